"""``kedro model describe`` works for any model folder, far from any repository."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner, Result
from kedro.framework.startup import bootstrap_project

from karyoseg.cli.model import model
from object_store import ObjectStore

COMMIT = "0123456789" * 4


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model folder as plain StarDist writes it."""
    folder = tmp_path / "data/06_models/nuclei"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text('{"n_channel_in": 1}')
    (folder / "weights_best.h5").touch()
    return folder


def describe(*arguments: object, project: Path) -> Result:
    metadata = SimpleNamespace(project_path=project)
    return CliRunner().invoke(model, ["describe", *map(str, arguments)], obj=metadata)


def rows(result: Result) -> dict[str, str]:
    return {name: value.strip() for name, value in (line.split("  ", 1) for line in result.stdout.splitlines())}


def test_a_model_of_ours_says_where_it_came_from(folder: Path, tmp_path: Path) -> None:
    training = {
        "name": "nuclei",
        "created": "2026-01-01T00:00:00Z",
        "data_fingerprint": "abc",
        "n_train": 5,
        "n_validation": 1,
        "validation_score": 0.5,
        "parameters": {"epochs": 3},
        "provenance": {
            "git": {"commit": COMMIT, "branch": None, "describe": "nuclei-v1", "dirty": True},
            "dvc": {"data/01_raw/a.zip": "ff"},
        },
    }
    (folder / "training.json").write_text(json.dumps(training))
    (folder / "thresholds.json").write_text('{"prob": 0.6, "nms": 0.3}')
    shown = rows(describe("nuclei", project=tmp_path))
    assert shown["git revision"] == f"{COMMIT} (nuclei-v1), with changes that are not committed"
    assert shown["raw data"] == "data/01_raw/a.zip (md5 ff)"
    assert shown["data fingerprint"] == "abc"
    assert shown["parameters.epochs"] == "3"
    assert shown["validation score"] == "0.5"
    assert shown["thresholds"] == "prob 0.6, nms 0.3"
    known = json.loads(describe(folder, "--json", project=tmp_path).stdout)
    assert known["training"] == training


def test_a_model_of_plain_stardist_has_no_history(folder: Path, tmp_path: Path) -> None:
    shown = rows(describe(folder, project=tmp_path / "elsewhere"))
    assert shown["model"] == "nuclei"
    for fact in ("git revision", "created", "raw data", "data fingerprint"):
        assert shown[fact] == "unknown"


def test_a_model_in_a_bucket_is_described_where_it_is(
    folder: Path, project: Path, on_s3: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = on_s3.create_bucket("described")
    for file in folder.iterdir():
        on_s3.client().upload_file(str(file), "described", f"nuclei/{file.name}")
    monkeypatch.chdir(project)
    bootstrap_project(project)
    shown = rows(describe(f"{bucket}/nuclei", project=project))
    assert (shown["model"], shown["place"]) == ("nuclei", f"{bucket}/nuclei")
    missing = describe(f"{bucket}/nothing", project=project)
    assert missing.exit_code == 1
    assert f"{bucket}/nothing: no model there" in missing.output


def test_a_model_that_ships_is_described_where_it_is(tmp_path: Path) -> None:
    shown = rows(describe("nuclei-fluo", project=tmp_path))
    assert shown["model"] == "nuclei-fluo"
    assert Path(shown["place"]).parts[-2:] == ("bundled", "nuclei-fluo")
    assert shown["preparation.rescale.name"] == "diameter"


def test_what_ships_needs_a_text_about_it(folder: Path, tmp_path: Path) -> None:
    metadata = SimpleNamespace(project_path=tmp_path, source_dir=tmp_path / "src", package_name="karyoseg")
    result = CliRunner().invoke(model, ["bundle", "nuclei", "--as", "nuclei-new"], obj=metadata)
    assert result.exit_code == 1
    assert "src/karyoseg/bundled/nuclei-new.md: is missing; needed: what the model card cannot know" in result.output
    about = tmp_path / "src/karyoseg/bundled/nuclei-new.md"
    about.parent.mkdir(parents=True)
    about.touch()
    result = CliRunner().invoke(model, ["bundle", "nuclei", "--as", "nuclei-new"], obj=metadata)
    assert result.exit_code == 1
    assert "does not say how it was trained" in result.output
    assert [path.name for path in about.parent.iterdir()] == ["nuclei-new.md"]


def test_no_model_is_a_plain_message(tmp_path: Path) -> None:
    result = describe("nothing", project=tmp_path)
    assert result.exit_code == 1
    assert "nothing: no model there" in result.output
