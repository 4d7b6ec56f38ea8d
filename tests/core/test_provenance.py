"""A result remembers the revision it came from, and never a wrong one."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import yaml

from karyoseg.core.runs.provenance import dvc_state, git_state, package_versions
from repositories import environment, git


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with one commit."""
    for name, value in environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    git(tmp_path, "init", "--quiet")
    (tmp_path / "code.py").write_text("1\n")
    git(tmp_path, "add", "code.py")
    git(tmp_path, "commit", "-q", "-m", "first")
    return tmp_path


def test_a_clean_commit(repository: Path) -> None:
    commit = git(repository, "rev-parse", "HEAD")
    assert git_state(repository) == {
        "commit": commit,
        "branch": "main",
        "describe": git(repository, "describe", "--always"),
        "dirty": False,
    }


def test_tag_and_detached_head(repository: Path) -> None:
    git(repository, "tag", "-a", "model-v1", "-m", "one")
    git(repository, "checkout", "-q", "--detach")
    state = git_state(repository)
    assert (state["describe"], state["branch"]) == ("model-v1", None)


@pytest.mark.parametrize(
    ("file", "dirty"), [("code.py", True), ("new.py", True), ("dvc.lock", False), ("sub/dvc.lock", True)]
)
def test_changed_and_new_files_are_noticed_but_not_the_lock_of_dvc(repository: Path, file: str, dirty: bool) -> None:
    (repository / "sub").mkdir()
    (repository / file).write_text("2\n")
    assert git_state(repository)["dirty"] is dirty
    assert git_state(repository / "sub")["dirty"] is dirty


def test_no_repository_no_commit_no_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert git_state(tmp_path) == {}
    assert git_state(tmp_path / "missing") == {}
    git(tmp_path, "init", "-q")
    assert git_state(tmp_path) == {}
    monkeypatch.setenv("PATH", "")
    assert git_state(tmp_path) == {}


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def test_only_what_is_on_disk_as_recorded_is_named(tmp_path: Path) -> None:
    raw = tmp_path / "data/01_raw"
    (raw / "many").mkdir(parents=True)
    (raw / "sample.zip").write_bytes(b"zip")
    (raw / "many/a.tif").write_bytes(b"12")
    (raw / "own.zip").write_bytes(b"own")
    (raw / "changed.zip").write_bytes(b"other")
    (raw / "longer.zip").write_bytes(b"longer")
    outs = [
        {"path": "data/01_raw/sample.zip", "md5": md5(b"zip"), "size": 3},
        {"path": "data/01_raw/many", "md5": "0.dir", "nfiles": 1, "size": 2},
        {"path": "data/01_raw/changed.zip", "md5": md5(b"zip")},
        {"path": "data/01_raw/longer.zip", "md5": md5(b"longer"), "size": 3},
        {"path": "data/01_raw/gone", "md5": "1.dir", "nfiles": 0, "size": 0},
        {"path": "data/08_reporting/metrics.json", "md5": "2"},
    ]
    (tmp_path / "dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": {"download": {"outs": outs}}}))
    (raw / "own.zip.dvc").write_text(yaml.safe_dump({"outs": [{"path": "own.zip", "md5": md5(b"own")}]}))
    assert dvc_state(tmp_path) == {
        "data/01_raw/many": "0.dir",
        "data/01_raw/own.zip": md5(b"own"),
        "data/01_raw/sample.zip": md5(b"zip"),
    }
    (raw / "many/b.tif").write_bytes(b"")
    assert "data/01_raw/many" not in dvc_state(tmp_path)


@pytest.mark.parametrize("content", ["", "stages: [1", "stages: {a: {outs: [{path: x, md5: 1}]}}"])
def test_a_broken_lock_does_not_stop_a_training(tmp_path: Path, content: str) -> None:
    (tmp_path / "dvc.lock").write_text(content)
    assert dvc_state(tmp_path) == {}
    assert dvc_state(tmp_path / "missing") == {}


def test_versions_are_those_installed() -> None:
    assert {"python", "karyoseg", "numpy", "keras"} <= set(package_versions())
