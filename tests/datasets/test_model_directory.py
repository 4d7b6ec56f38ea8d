"""The model folder as a Kedro dataset: replaced as a whole."""

from __future__ import annotations

import json
from pathlib import Path

import fsspec
import pytest
from kedro.io import DatasetError

from karyoseg.core.errors import KaryosegError
from karyoseg.datasets import ModelDirectory
from karyoseg.models.stardist import StarDistSegmenter
from karyoseg.models.stardist.folder import INT8


def make_model(folder: Path, mark: str) -> StarDistSegmenter:
    """Build a folder that looks like a model; the weights are read at the first prediction only."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"n_channel_in": 1}))
    (folder / "weights_best.h5").write_bytes(mark.encode())
    (folder / "training.json").write_text(json.dumps({"name": mark}))
    return StarDistSegmenter.load(folder)


@pytest.fixture
def final(tmp_path: Path) -> Path:
    return tmp_path / "06" / "stardist"


@pytest.fixture
def dataset(final: Path) -> ModelDirectory:
    return ModelDirectory(filepath=str(final))


def name_of(dataset: ModelDirectory) -> str:
    return dataset.load().describe()["training"]["name"]


def test_round_trip_and_replacement(dataset: ModelDirectory, final: Path, tmp_path: Path) -> None:
    assert not dataset.exists()
    dataset.save(make_model(tmp_path / "a", "first"))
    assert dataset.exists()
    assert name_of(dataset) == "first"
    dataset.save(make_model(tmp_path / "b", "second"))
    assert name_of(dataset) == "second"
    assert [path.name for path in final.parent.iterdir()] == [final.name]
    dataset.release()
    assert str(final) in repr(dataset)


def test_another_model_can_be_loaded_in_its_place(final: Path, tmp_path: Path) -> None:
    make_model(tmp_path / "elsewhere", "elsewhere")
    dataset = ModelDirectory(filepath=str(final), load_from=str(tmp_path / "elsewhere"))
    assert dataset.exists()
    assert name_of(dataset) == "elsewhere"
    dataset.save(make_model(tmp_path / "a", "first"))
    assert name_of(dataset) == "elsewhere"
    assert name_of(ModelDirectory(filepath=str(final))) == "first"


def test_a_loaded_model_can_be_saved_over_itself(dataset: ModelDirectory, tmp_path: Path) -> None:
    dataset.save(make_model(tmp_path / "a", "first"))
    dataset.save(dataset.load())
    assert name_of(dataset) == "first"


def test_only_model_files_are_kept(dataset: ModelDirectory, final: Path, tmp_path: Path) -> None:
    model = make_model(tmp_path / "a", "first")
    (tmp_path / "a" / "epoch_00001.weights.h5").write_bytes(b"checkpoint")
    dataset.save(model)
    assert {path.name for path in final.iterdir()} == {"config.json", "weights_best.h5", "training.json"}


def test_missing_model_says_how_to_get_one(dataset: ModelDirectory) -> None:
    with pytest.raises(DatasetError) as caught:
        dataset.load()
    assert isinstance(caught.value.__cause__, KaryosegError)
    assert "kedro run --pipeline train" in str(caught.value.__cause__)


@pytest.mark.parametrize("name", ["config.json", "thresholds.json", "training.json"])
def test_damaged_json_is_named(dataset: ModelDirectory, final: Path, tmp_path: Path, name: str) -> None:
    dataset.save(make_model(tmp_path / "a", "first"))
    (final / name).write_text("{half")
    with pytest.raises(DatasetError) as caught:
        dataset.load()
    assert f"{name}: is not valid JSON" in str(caught.value.__cause__)


@pytest.mark.parametrize("moment", ["copy", "rename new"])
def test_a_failing_save_keeps_the_earlier_model(
    dataset: ModelDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    dataset.save(make_model(tmp_path / "a", "first"))
    second = make_model(tmp_path / "b", "second")

    def full(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    rename = Path.rename

    def fail_for_new(path: Path, target: Path) -> Path:
        return full() if path.name.endswith(".part") else rename(path, target)  # type: ignore[func-returns-value]

    with monkeypatch.context() as patch:
        if moment == "copy":
            patch.setattr(StarDistSegmenter, "save", full)
        else:
            patch.setattr(Path, "rename", fail_for_new)
        with pytest.raises(DatasetError) as caught:
            dataset.save(second)
    assert "the model cannot be written (No space left on device)" in str(caught.value.__cause__)
    assert dataset.exists()
    assert name_of(dataset) == "first"


def test_a_kill_between_the_two_renames_loses_nothing(dataset: ModelDirectory, final: Path, tmp_path: Path) -> None:
    dataset.save(make_model(tmp_path / "a", "first"))
    final.rename(final.with_name(f".{final.name}.old"))
    assert dataset.exists()
    assert name_of(dataset) == "first"
    final.rename(final.with_name(f".{final.name}.old"))
    dataset.save(make_model(tmp_path / "b", "second"))
    assert name_of(dataset) == "second"
    assert [path.name for path in final.parent.iterdir()] == [final.name]


def test_a_half_copy_of_a_killed_run_is_replaced(dataset: ModelDirectory, final: Path, tmp_path: Path) -> None:
    half = final.with_name(f".{final.name}.part")
    half.mkdir(parents=True)
    (half / "junk").write_text("x")
    dataset.save(make_model(tmp_path / "a", "first"))
    assert not (final / "junk").exists()


def test_dvc_files_inside_stay(dataset: ModelDirectory, final: Path, tmp_path: Path) -> None:
    dataset.save(make_model(tmp_path / "a", "first"))
    (final / "weights_best.h5.dvc").write_text("outs: []")
    dataset.save(make_model(tmp_path / "b", "second"))
    assert (final / "weights_best.h5.dvc").read_text() == "outs: []"


def test_the_network_in_8_bit_stays_with_the_same_weights_only(
    dataset: ModelDirectory, final: Path, tmp_path: Path
) -> None:
    dataset.save(make_model(tmp_path / "a", "first"))
    for name in INT8:
        (final / name).write_text(name)
    dataset.save(make_model(tmp_path / "again", "first"))
    assert [(final / name).read_text() for name in INT8] == list(INT8)
    dataset.save(make_model(tmp_path / "b", "second"))
    assert not any((final / name).exists() for name in INT8)


def test_other_filesystems(tmp_path: Path) -> None:
    dataset = ModelDirectory(filepath="memory:///model-directory/m")
    with pytest.raises(DatasetError) as caught:
        dataset.load()
    assert isinstance(caught.value.__cause__, KaryosegError)
    dataset.save(make_model(tmp_path / "a", "first"))
    dataset.save(make_model(tmp_path / "b", "second"))
    assert dataset.exists()
    assert name_of(dataset) == "second"
    fsspec.filesystem("memory").rm("/model-directory", recursive=True)


def test_preview_is_json(dataset: ModelDirectory, tmp_path: Path) -> None:
    dataset.save(make_model(tmp_path / "a", "first"))
    assert json.loads(dataset.preview())["training"]["name"] == "first"
