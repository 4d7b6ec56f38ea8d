"""Copies of the project to run kedro in, as a user does."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

_COPIED = ("conf", "src", "notebooks", "pyproject.toml", ".telemetry")


def copy_project(project: Path, folder: Path) -> Path:
    """Copy what a run needs; no data, no personal configuration."""
    skipped = shutil.ignore_patterns("__pycache__", "local", "*.egg-info")
    folder.mkdir(exist_ok=True)
    for name in _COPIED:
        if (project / name).is_dir():
            shutil.copytree(project / name, folder / name, ignore=skipped)
        else:
            shutil.copy2(project / name, folder / name)
    (folder / "conf" / "local").mkdir()
    return folder


def kedro(folder: Path, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run kedro in a project copy; with `check`, a failure fails the test and shows the output."""
    run = subprocess.run(
        [sys.executable, "-m", "kedro", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder / "src")},
        capture_output=True,
        text=True,
        check=False,
    )
    if check and run.returncode:
        raise AssertionError(f"kedro {' '.join(arguments)} failed:\n{run.stdout[-4000:]}\n{run.stderr[-4000:]}")
    return run
