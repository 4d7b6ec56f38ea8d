"""Dockerfile and scripts are clean, and nothing private reaches the builder."""

from __future__ import annotations

import re
import shutil
import sys
import tarfile
from pathlib import Path

from areas import unavailable
from container_engines import PROJECT, call, find_engine

TOOLS = Path(sys.executable).parent
PRIVATE = [
    ".env",
    ".git/config",
    ".venv/bin/python",
    "conf/local/credentials.yml",
    "data/01_raw/image.tif",
    "data/06_models/stardist/weights_best.h5",
    "dump.sql",
    "notebooks/.ipynb_checkpoints/explore_results.ipynb",
    "src/karyoseg.egg-info/PKG-INFO",
    "src/karyoseg/__pycache__/__init__.pyc",
    "src/karyoseg/core/__pycache__/labels.pyc",
]
NEEDED = [
    ".telemetry",
    "conf/base/globals.yml",
    "conf/logging.yml",
    "notebooks/explore_results.ipynb",
    "pyproject.toml",
    "requirements/cpu.txt",
    "src/karyoseg/__init__.py",
    "src/karyoseg/core/templates/report.html",
]


def tool(name: str) -> Path:
    path = TOOLS / name
    if not path.exists():
        unavailable("linters", f"{name} is not installed (make install-dev)")
    return path


def test_hadolint_finds_nothing() -> None:
    assert call(tool("hadolint"), PROJECT / "Dockerfile").stdout == ""


def test_shellcheck_finds_nothing() -> None:
    scripts = [*PROJECT.glob("scripts/*.sh"), *PROJECT.glob("tests/**/*.sh"), *PROJECT.glob(".ci/*")]
    assert call(tool("shellcheck"), *scripts).stdout == ""


def test_locked_packages_come_before_the_source() -> None:
    stages = re.split(r"^FROM ", (PROJECT / "Dockerfile").read_text(), flags=re.MULTILINE)
    installing = [stage for stage in stages if "pip install" in stage]
    assert len(installing) == 3
    for stage in installing:
        assert "--require-hashes" in stage
        copied = re.findall("^COPY (.*)", stage.split("pip install")[0], flags=re.MULTILINE)
        assert [source for source in copied if not source.startswith("requirements/")] == []


def test_the_script_says_what_is_missing(tmp_path: Path) -> None:
    for program in ("bash", "dirname", "git"):
        (tmp_path / program).symlink_to(str(shutil.which(program)))
    run = call(PROJECT / "scripts" / "build_image.sh", check=False, env={"PATH": str(tmp_path)})
    assert run.returncode == 1
    assert "install buildah" in run.stderr


def test_only_what_a_run_needs_reaches_the_builder(tmp_path: Path) -> None:
    engine = find_engine(tmp_path)
    project = tmp_path / "project"
    for name in [*PRIVATE, *NEEDED]:
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).touch()
    shutil.copy(PROJECT / ".dockerignore", project)
    (project / "Dockerfile").write_text('FROM scratch\nCOPY . /context\nCMD ["none"]\n')
    builder = ["docker"] if engine.program == "docker" else ["buildah"]
    call(*builder, "build", "--tag", "localhost/karyoseg-context", project)
    try:
        container = engine("create", "localhost/karyoseg-context").stdout.strip()
        engine("export", "--output", tmp_path / "context.tar", container)
        engine("rm", container)
    finally:
        engine("rmi", "--force", "localhost/karyoseg-context", check=False)
    with tarfile.open(tmp_path / "context.tar") as archive:
        members = [member.name.strip("/") for member in archive if member.isfile()]
    assert sorted(name.removeprefix("context/") for name in members if name.startswith("context/")) == sorted(NEEDED)
