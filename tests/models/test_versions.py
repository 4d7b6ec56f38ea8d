"""Versions of models: complete or not there, and nothing unsaved is lost."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from karyoseg.core.errors import KaryosegError
from karyoseg.models import model_folder
from karyoseg.models.tracking import MODELS
from karyoseg.models.versions import ModelVersions
from repositories import dvc, environment, git, make_repository

FILES = ("config.json", "weights_best.h5", "training.json")


@pytest.fixture
def here(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with an untracked model `nuclei` and the remote `local` beside it as default."""
    for name, value in environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    folder = tmp_path / "here"
    for layer in ("06_models", "08_reporting"):
        (folder / "data" / layer).mkdir(parents=True)
        (folder / "data" / layer / ".gitkeep").touch()
    make_repository(project, folder, remote="local")
    write_model(folder, b"one")
    return folder


@pytest.fixture
def there(here: Path) -> Path:
    """A clone beside it."""
    git(here.parent, "clone", "--quiet", str(here), "there")
    return here.parent / "there"


def write_model(project: Path, weights: bytes, name: str = "nuclei") -> Path:
    folder = project / MODELS / name
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text("{}")
    (folder / "training.json").write_text(json.dumps({"name": name}))
    (folder / "weights_best.h5").write_bytes(weights)
    return folder


def weights(project: Path, name: str = "nuclei") -> bytes:
    return (project / MODELS / name / "weights_best.h5").read_bytes()


def test_a_release_commits_its_tracking_file_alone_and_reaches_a_clone(here: Path) -> None:
    (here / "notes.txt").write_text("staged, but not for this commit")
    git(here, "add", "notes.txt")
    release = ModelVersions(here).push("nuclei", "1.0")
    assert (release.tag, release.new) == ("nuclei-v1.0", True)
    assert release.commit == git(here, "rev-parse", "HEAD")
    assert git(here, "show", "--name-only", "--format=", "HEAD") == "data/06_models/nuclei.dvc"
    assert git(here, "cat-file", "-t", "nuclei-v1.0") == "tag"
    assert git(here, "status", "--porcelain") == "A  notes.txt"  # and DVC left no file of its own

    git(here.parent, "clone", "--quiet", str(here), "there")
    there = here.parent / "there"
    ModelVersions(there).pull("nuclei")
    for name in FILES:
        assert (there / MODELS / "nuclei" / name).read_bytes() == (here / MODELS / "nuclei" / name).read_bytes()
    assert git(there, "status", "--porcelain") == ""


def test_two_versions_and_back(here: Path) -> None:
    versions = ModelVersions(here)
    versions.push("nuclei", "1")
    write_model(here, b"two")
    versions.push("nuclei", "v2")
    for rev, content in (("1", b"one"), ("nuclei-v2", b"two"), ("HEAD~1", b"one"), ("HEAD", b"two")):
        versions.pull("nuclei", rev)
        assert weights(here) == content
    assert git(here, "status", "--porcelain") == ""
    assert versions.pull("nuclei", "2") is None
    assert versions.pull("nuclei", "1") == "data/06_models/nuclei.dvc"
    assert git(here, "status", "--porcelain") == "M data/06_models/nuclei.dvc"


def test_versions_are_never_moved_and_never_doubled(here: Path) -> None:
    versions = ModelVersions(here)
    first = versions.push("nuclei", "1")
    again = versions.push("nuclei", "1")
    assert (again.commit, again.new, again.uploaded) == (first.commit, False, 0)
    with pytest.raises(KaryosegError, match="these files are nuclei-v1 already"):
        versions.push("nuclei", "2")
    write_model(here, b"two")
    with pytest.raises(KaryosegError, match=r"nuclei-v1: exists with other files.*Taken are nuclei-v1"):
        versions.push("nuclei", "1")
    assert git(here, "tag") == "nuclei-v1"


def test_what_git_refuses_is_completed_later(here: Path) -> None:
    hook = here / ".git/hooks/pre-commit"
    hook.write_text("#!/bin/sh\necho the linter says no >&2\nexit 1\n")
    hook.chmod(0o755)
    with pytest.raises(KaryosegError, match=r"uploaded, but git refuses.*the linter says no"):
        ModelVersions(here).push("nuclei", "1")
    assert git(here, "tag") == ""
    hook.unlink()
    release = ModelVersions(here).push("nuclei", "1")
    assert (release.new, release.uploaded) == (True, 0)


def test_an_unsaved_model_is_not_replaced(here: Path) -> None:
    versions = ModelVersions(here)
    versions.push("nuclei", "1")
    write_model(here, b"two")
    versions.push("nuclei", "2")
    write_model(here, b"trained all night")
    tracking = (here / MODELS / "nuclei.dvc").read_text()
    with pytest.raises(KaryosegError, match="holds a model that no version keeps"):
        versions.pull("nuclei", "1")
    assert weights(here) == b"trained all night"
    assert (here / MODELS / "nuclei.dvc").read_text() == tracking
    versions.pull("nuclei", "1", force=True)
    assert weights(here) == b"one"


def test_an_uncommitted_tracking_file_is_not_replaced(here: Path) -> None:
    versions = ModelVersions(here)
    versions.push("nuclei", "1")
    write_model(here, b"two")
    dvc(here, "add", str(MODELS / "nuclei"))
    with pytest.raises(KaryosegError, match="changes that no commit holds"):
        versions.pull("nuclei", "1")
    assert weights(here) == b"two"


def test_files_missing_in_the_remote_leave_the_model_alone(here: Path) -> None:
    versions = ModelVersions(here)
    versions.push("nuclei", "1")
    git(here.parent, "clone", "--quiet", str(here), "there")
    there = here.parent / "there"
    shutil.rmtree(here.parent / "karyoseg-store")
    write_model(there, b"mine")
    with pytest.raises(KaryosegError, match="needed: "):
        ModelVersions(there).pull("nuclei", "1")
    assert weights(there) == b"mine"


def test_a_revision_is_read_beside_the_working_tree(
    here: Path, there: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KARYOSEG_CACHE", str(tmp_path / "cache"))
    versions = ModelVersions(here)
    versions.push("nuclei", "1")
    write_model(here, b"two")
    versions.push("nuclei", "2")
    git(there, "pull", "--quiet")
    monkeypatch.chdir(there)
    for name, content in (
        ("data/06_models/nuclei@1", b"one"),
        ("data/06_models/nuclei@v2", b"two"),
        ("nuclei@nuclei-v1", b"one"),
        ("nuclei@HEAD", b"two"),
        (f"{there}/data/06_models/nuclei@HEAD~1", b"one"),
    ):
        folder = model_folder(name)
        assert (folder / "weights_best.h5").read_bytes() == content
        assert folder.name == "nuclei"
        assert folder.is_relative_to(tmp_path / "cache")
    assert not (there / MODELS / "nuclei").exists()
    assert git(there, "status", "--porcelain") == ""
    shutil.rmtree(here.parent / "karyoseg-store")
    shutil.rmtree(there / ".dvc/cache", ignore_errors=True)
    assert (model_folder("nuclei@1") / "weights_best.h5").read_bytes() == b"one"  # kept in the cache


def test_a_revision_that_another_process_brings_meanwhile_is_used(
    here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dvc.api import DVCFileSystem

    monkeypatch.setenv("KARYOSEG_CACHE", str(tmp_path / "cache"))
    versions = ModelVersions(here)
    versions.push("nuclei", "1")
    get = DVCFileSystem.get

    def get_when_the_other_is_done(self: DVCFileSystem, source: str, target: str, **options: bool) -> None:
        get(self, source, target, **options)
        get(self, source, str(Path(target).parents[1] / "nuclei"), **options)

    monkeypatch.setattr(DVCFileSystem, "get", get_when_the_other_is_done)
    folder = versions.at(MODELS / "nuclei", "1")
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES)
    assert [path.name for path in folder.parent.iterdir()] == ["nuclei"]  # and nothing is left of the own download


def test_revisions_without_the_model_are_named(
    here: Path, there: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KARYOSEG_CACHE", str(tmp_path / "cache"))
    ModelVersions(here).push("nuclei", "1")
    git(there, "pull", "--quiet", "--tags")
    monkeypatch.chdir(there)
    with pytest.raises(KaryosegError, match=r"revision 7: git does not know it.*nuclei-v1"):
        model_folder("nuclei@7")
    with pytest.raises(KaryosegError, match=r"data/06_models/nuclei@HEAD~1: is not in that revision.*nuclei-v1"):
        model_folder("nuclei@HEAD~1")
    with pytest.raises(KaryosegError, match=r"data/06_models/other@HEAD: is not in that revision"):
        model_folder("other@HEAD")
    shutil.rmtree(here.parent / "karyoseg-store")
    with pytest.raises(KaryosegError, match=r"data/06_models/nuclei@1: .*needed: all files in the remote"):
        model_folder("nuclei@1")
    assert [path for path in (tmp_path / "cache").rglob("*") if path.is_file()] == []


@pytest.mark.parametrize(
    ("name", "version", "message"),
    [
        ("nuclei", "a b", "version 'a b': no valid name"),
        ("../nuclei", "1", "model '../nuclei': no valid name"),
        ("nuclei", "1..2", "no valid name"),
        ("missing", "1", "no model there"),
    ],
)
def test_bad_names_and_missing_models_are_refused(here: Path, name: str, version: str, message: str) -> None:
    with pytest.raises(KaryosegError, match=message):
        ModelVersions(here).push(name, version)
    assert git(here, "status", "--porcelain") == ""


def test_unknown_revisions_name_those_that_exist(here: Path) -> None:
    versions = ModelVersions(here)
    with pytest.raises(KaryosegError, match=r"is not tracked here.*No version of nuclei"):
        versions.pull("nuclei")
    versions.push("nuclei", "1")
    with pytest.raises(KaryosegError, match=r"revision 7: git does not know it.*nuclei-v1"):
        versions.pull("nuclei", "7")
    with pytest.raises(KaryosegError, match="is not in revision HEAD~1"):
        versions.pull("nuclei", "HEAD~1")


def test_no_git_no_dvc_no_remote(here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    plain = tmp_path / "plain"
    plain.mkdir()
    with pytest.raises(KaryosegError, match="needed: a git repository"):
        ModelVersions(plain)
    git(plain, "init", "--quiet")
    with pytest.raises(KaryosegError, match="dvc init"):
        ModelVersions(plain)
    dvc(here, "config", "--unset", "core.remote")
    with pytest.raises(KaryosegError, match=r"no remote specified.*version-models\.md"):
        ModelVersions(here).push("nuclei", "1")
    with pytest.raises(KaryosegError, match="nowhere"):
        ModelVersions(here, "nowhere").push("nuclei", "1")
    assert git(here, "tag") == ""


@pytest.fixture
def pipeline(here: Path) -> Path:
    """A project whose model `made` and metrics are outputs of dvc.yaml."""
    (here / "dvc.yaml").write_text(
        "stages:\n  train:\n    cmd: sh train.sh\n    deps: [train.sh]\n"
        "    outs: [data/06_models/made]\n    metrics: [data/08_reporting/metrics.json]\n"
    )
    reproduce(here, "one")
    return here


def reproduce(project: Path, result: str) -> None:
    (project / "train.sh").write_text(
        "mkdir -p data/06_models/made; cd data/06_models/made; echo '{}' > config.json; echo '{}' > training.json\n"
        f'printf {result} > weights_best.h5; echo \'{{"f1": "{result}"}}\' > ../../08_reporting/metrics.json\n'
    )
    git(project, "add", "--all")
    git(project, "commit", "--quiet", "-m", result)
    dvc(project, "repro")


def test_an_output_of_the_pipeline_is_released_with_its_metrics(pipeline: Path) -> None:
    versions = ModelVersions(pipeline)
    versions.push("made", "1")
    assert git(pipeline, "show", "--name-only", "--format=", "HEAD") == "dvc.lock"
    reproduce(pipeline, "two")
    ModelVersions(pipeline).push("made", "2")
    versions.pull("made", "1")
    assert weights(pipeline, "made") == b"one"
    assert json.loads((pipeline / "data/08_reporting/metrics.json").read_text()) == {"f1": "one"}
    difference = json.loads(dvc(pipeline, "metrics", "diff", "--json", "made-v1", "made-v2"))
    assert difference["data/08_reporting/metrics.json"]["f1"] == {"old": "one", "new": "two"}


def test_an_output_of_the_pipeline_must_be_what_the_commit_makes(pipeline: Path) -> None:
    (pipeline / "train.sh").write_text("changed")
    with pytest.raises(KaryosegError, match=r"1 files differ from the last commit \(train\.sh"):
        ModelVersions(pipeline).push("made", "1")
    git(pipeline, "checkout", "--quiet", "train.sh")
    (pipeline / MODELS / "made/weights_best.h5").write_bytes(b"by hand")
    with pytest.raises(KaryosegError, match=r"not what dvc\.lock records"):
        ModelVersions(pipeline).push("made", "1")
    assert git(pipeline, "tag") == ""
