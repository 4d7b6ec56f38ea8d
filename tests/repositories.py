"""Git repositories with DVC, apart from the settings of whoever runs the tests."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

_TRACKED = (".dvc/.gitignore", ".dvc/config", ".dvcignore", ".gitignore")


def environment(folder: Path) -> dict[str, str]:
    """Variables that keep git and DVC to themselves; `folder` takes what DVC stores beside repositories."""
    return {
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        **{f"GIT_{role}_NAME": "test" for role in ("AUTHOR", "COMMITTER")},
        **{f"GIT_{role}_EMAIL": "test@example.org" for role in ("AUTHOR", "COMMITTER")},
        "DVC_GLOBAL_CONFIG_DIR": str(folder / "dvc-global"),
        "DVC_SYSTEM_CONFIG_DIR": str(folder / "dvc-system"),
        "DVC_SITE_CACHE_DIR": str(folder / "dvc-site"),
        "DVC_NO_ANALYTICS": "1",
    }


def git(folder: Path, *arguments: str) -> str:
    """Run git; a failure fails the test."""
    return _run(folder, "git", "-c", "init.defaultBranch=main", *arguments)


def dvc(folder: Path, *arguments: str) -> str:
    """Run dvc with commands of this environment on the path; a failure fails the test."""
    return _run(folder, sys.executable, "-m", "dvc", *arguments)


def make_repository(project: Path, folder: Path, remote: str) -> Path:
    """Turn a folder into a repository with one commit, the project's settings and a default remote."""
    for name in _TRACKED:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(project / name, folder / name)
    config = folder / ".dvc/config"
    config.write_text(config.read_text().replace("remote = s3", f"remote = {remote}"))
    git(folder, "init", "--quiet")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "-m", "first")
    return folder


def _run(folder: Path, *command: str) -> str:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    run = subprocess.run(
        command, cwd=folder, env=os.environ | {"PATH": path}, capture_output=True, text=True, check=False
    )
    if run.returncode:
        raise AssertionError(f"{' '.join(command)} failed:\n{run.stdout[-4000:]}\n{run.stderr[-4000:]}")
    return run.stdout.strip()
