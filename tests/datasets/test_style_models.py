"""Folders of generators: trained once, kept when whole, refused when damaged."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import h5py
import pytest
from kedro.io import DatasetError

from karyoseg.core.errors import KaryosegError
from karyoseg.core.lazy import Lazy
from karyoseg.datasets import StyleModels
from karyoseg.models.pix2pix import StyleGenerator


class Trainings:
    """Makes folders as a training leaves them, and notes which were made."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.made: list[str] = []

    def lazy(self, cluster: str, mark: str = "v1") -> Lazy[StyleGenerator]:
        def train() -> StyleGenerator:
            self.made.append(cluster)
            folder = self.folder / cluster
            (folder / "samples").mkdir(parents=True, exist_ok=True)
            (folder / "samples" / "step_000002.png").write_bytes(b"png")
            (folder / "config.json").write_text(json.dumps({"filters": 4}))
            facts = {"n_tiles": 3, "tile_size": 32, "steps": 2, "minutes": 0.1, "created": "now", "mark": mark}
            (folder / "training.json").write_text(json.dumps(facts))
            with h5py.File(folder / "generator.weights.h5", "w") as file:
                file["weights"] = [1.0]
            return StyleGenerator.load(folder)

        return Lazy(train, mark)


@pytest.fixture
def trainings(tmp_path: Path) -> Trainings:
    return Trainings(tmp_path / "work")


@pytest.fixture
def models(tmp_path: Path) -> StyleModels:
    return StyleModels(path=str(tmp_path / "06_models" / "style"))


def test_saved_generators_are_loaded_by_cluster(models: StyleModels, trainings: Trainings, tmp_path: Path) -> None:
    assert not models.exists()
    assert models.preview() == ""
    models.save({name: trainings.lazy(name) for name in ("group_002", "group_001")})
    assert models.exists()
    loaded = models.load()
    assert list(loaded) == ["group_001", "group_002"]
    assert loaded["group_001"].directory == tmp_path / "06_models" / "style" / "group_001"
    assert (loaded["group_001"].directory / "samples" / "step_000002.png").is_file()
    assert "group_002" in models.preview()


def test_only_what_is_new_changed_or_damaged_is_trained(
    models: StyleModels, trainings: Trainings, caplog: pytest.LogCaptureFixture
) -> None:
    jobs = {name: trainings.lazy(name) for name in "abcd"}
    models.save(jobs)
    weights = models.load()["c"].directory / "generator.weights.h5"
    weights.write_bytes(weights.read_bytes()[:100])
    shutil.rmtree(weights.parents[1] / "d")
    trainings.made.clear()
    models.save(jobs | {"b": trainings.lazy("b", "v2"), "e": trainings.lazy("e")})
    assert trainings.made == ["b", "c", "d", "e"]
    assert models.load()["b"].training["mark"] == "v2"
    assert "Training it again" in caplog.text


def test_a_failed_training_keeps_those_before_it(models: StyleModels, trainings: Trainings) -> None:
    def fail() -> StyleGenerator:
        raise KaryosegError("diverged")

    jobs = {"a": trainings.lazy("a"), "b": Lazy(fail, "v1")}
    with pytest.raises(DatasetError, match="diverged"):
        models.save(jobs)
    with pytest.raises(DatasetError, match="1 clusters are trained; needed: all"):
        models.load()
    models.save(jobs | {"b": trainings.lazy("b")})
    assert trainings.made == ["a", "b"]


def test_clusters_that_no_longer_exist_are_not_loaded(models: StyleModels, trainings: Trainings) -> None:
    models.save({name: trainings.lazy(name) for name in "ab"})
    models.save({"a": trainings.lazy("a")})
    assert list(models.load()) == ["a"]


def test_a_damaged_index_is_named(models: StyleModels, trainings: Trainings, tmp_path: Path) -> None:
    models.save({"a": trainings.lazy("a")})
    (tmp_path / "06_models" / "style" / "index.json").write_text("{")
    with pytest.raises(DatasetError, match=r"index\.json: is damaged"):
        models.load()
