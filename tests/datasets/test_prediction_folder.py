"""The output folder of predict: whole files, resumption, respect for what is there."""

from __future__ import annotations

import csv
import threading
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

import fsspec
import numpy as np
import pandas as pd
import pytest
import tifffile
from kedro.io import DatasetError

from karyoseg.core.blocks.run import LargePrediction
from karyoseg.core.errors import KaryosegError, Problem
from karyoseg.core.io.image_files import ImageError
from karyoseg.core.measure import measure_objects
from karyoseg.core.predicting import PredictionResult
from karyoseg.datasets import prediction_folder
from karyoseg.datasets.prediction_folder import PlannedPrediction, PredictionFolder

if TYPE_CHECKING:
    from karyoseg.core.blocks.tasks import BlockJob

SUFFIXES = {".tif", ".rois.zip", ".geojson", ".png"}


def result(n_objects: int, *, overlay: bool = True) -> PredictionResult:
    """A prediction with objects in a row."""
    labels = np.zeros((6, 80), np.int32)
    for index in range(n_objects):
        labels[1:4, 5 * index : 5 * index + 3] = index + 1
    return PredictionResult(labels, labels, measure_objects(labels, labels), 0.5, {"source": "x"}, overlay)


class Counted:
    """Lazies that note what was computed, and fail where told."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.fail_at: str | None = None

    def compute(self, key: str, value: PredictionResult | Problem) -> PredictionResult | Problem:
        """Return the value, or fail."""
        if key == self.fail_at:
            raise RuntimeError("killed")
        self.done.append(key)
        return value

    def lazies(self, mark: str = "v1", n: int = 4) -> dict[str, PlannedPrediction]:
        """``n`` results with 0, 1, ... objects."""
        return {k: PlannedPrediction(partial(self.compute, k, result(i)), mark) for i, k in enumerate("abcdefgh"[:n])}


@pytest.fixture(autouse=True)
def one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that it is known how far a run came that failed."""
    monkeypatch.setattr(prediction_folder, "n_threads", lambda: 1)


def names(folder: Path) -> set[str]:
    """Visible files of a folder."""
    return {path.name for path in folder.iterdir() if path.name != ".objects"}


def test_round_trip(tmp_path: Path) -> None:
    data = PredictionFolder(path=str(tmp_path / "out"))
    assert not data.exists()
    data.save(Counted().lazies())
    assert data.exists()
    assert names(tmp_path / "out") == {key + suffix for key in "abcd" for suffix in SUFFIXES}
    loaded = data.load()
    assert list(loaded) == list("abcd")
    for n, lazy in enumerate(loaded.values()):
        stored = lazy()
        pd.testing.assert_frame_equal(stored.table, result(n).table)
        assert np.array_equal(tifffile.imread(stored.files[".tif"]), result(n).labels)
        assert stored.info == {"source": "x"}


def test_killed_run_continues(tmp_path: Path) -> None:
    counted = Counted()
    counted.fail_at = "c"
    data = PredictionFolder(path=str(tmp_path))
    with pytest.raises(DatasetError):
        data.save(counted.lazies())
    assert list(data.load()) == ["a", "b"]
    counted.fail_at = None
    data.save(counted.lazies())
    assert counted.done == ["a", "b", "c", "d"]
    data.save(counted.lazies())
    assert counted.done == ["a", "b", "c", "d"]


def test_several_at_once_give_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counted = Counted()
    PredictionFolder(path=str(tmp_path / "one")).save(counted.lazies(n=8))
    monkeypatch.setattr(prediction_folder, "n_threads", lambda: 4)
    together = threading.Barrier(4, timeout=20)

    def wait(key: str, value: PredictionResult) -> PredictionResult:
        together.wait()
        return value

    lazies = {key: PlannedPrediction(partial(wait, key, result(i)), "v1") for i, key in enumerate("abcdefgh")}
    PredictionFolder(path=str(tmp_path / "four")).save(lazies)
    for path in (tmp_path / "one").rglob("*.*"):
        other = tmp_path / "four" / path.relative_to(tmp_path / "one")
        assert path.is_dir() or path.read_bytes() == other.read_bytes()
    assert names(tmp_path / "one") == names(tmp_path / "four")


def test_what_was_begun_beside_a_failure_is_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counted = Counted()
    counted.fail_at = "a"
    monkeypatch.setattr(prediction_folder, "n_threads", lambda: 2)
    data = PredictionFolder(path=str(tmp_path))
    with pytest.raises(RuntimeError, match="killed"):
        save(data, counted.lazies(n=8))
    assert list(data.load()) == counted.done
    assert len(counted.done) < 7
    counted.fail_at = None
    data.save(counted.lazies(n=8))
    assert sorted(counted.done) == list("abcdefgh")


@pytest.mark.parametrize("lost", ["b.tif", "b.rois.zip", "b.geojson", "b.png", ".objects/b.parquet", ".objects/b.json"])
def test_missing_or_unfinished_files_are_made_again(tmp_path: Path, lost: str) -> None:
    counted = Counted()
    data = PredictionFolder(path=str(tmp_path))
    data.save(counted.lazies())
    (tmp_path / lost).unlink()
    assert ("b" in data.load()) is False
    if lost.endswith(".json"):
        # Without its record karyoseg cannot know the files as its own.
        with pytest.raises(KaryosegError, match="not written by karyoseg") as caught:
            save(data, counted.lazies())
        assert "b.tif" in str(caught.value)
        return
    counted.done.clear()
    data.save(counted.lazies())
    assert counted.done == ["b"]
    assert "b" in data.load()


def save(data: PredictionFolder, value: dict) -> None:
    """Save, with Kedro's wrapping taken off."""
    try:
        data.save(value)
    except DatasetError as error:
        raise error.__cause__ or error from None


def test_kill_between_files_of_an_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counted, data = Counted(), PredictionFolder(path=str(tmp_path))
    real = Path.replace

    def failing(self: Path, target: Path) -> Path:
        if target.name == "b.geojson":
            raise KeyboardInterrupt
        return real(self, target)

    monkeypatch.setattr(Path, "replace", failing)
    with pytest.raises(KeyboardInterrupt):
        data.save(counted.lazies())
    monkeypatch.undo()
    assert list(data.load()) == ["a"]
    data.save(counted.lazies())
    assert counted.done == ["a", "b", "b", "c", "d"]
    assert not list(tmp_path.rglob("*.part"))


@pytest.mark.parametrize("content", ["{half", "{}", "null", "[]"])
def test_damaged_record_is_not_trusted(tmp_path: Path, content: str) -> None:
    counted, data = Counted(), PredictionFolder(path=str(tmp_path))
    data.save(counted.lazies())
    (tmp_path / ".objects/b.json").write_text(content)
    counted.done.clear()
    data.save(counted.lazies())
    assert counted.done == ["b"]


def test_changed_fingerprint_is_computed_again(tmp_path: Path) -> None:
    counted, data = Counted(), PredictionFolder(path=str(tmp_path))
    data.save(counted.lazies("v1"))
    data.save(counted.lazies("v2"))
    assert counted.done == list("abcdabcd")


def test_preview_that_is_no_longer_wanted_goes(tmp_path: Path) -> None:
    data = PredictionFolder(path=str(tmp_path))
    data.save({"a": PlannedPrediction(partial(result, 1), "v1")})
    data.save({"a": PlannedPrediction(partial(result, 1, overlay=False), "v2")})
    assert names(tmp_path) == {"a.tif", "a.rois.zip", "a.geojson"}
    assert list(data.load()) == ["a"]


def test_results_of_other_runs_stay(tmp_path: Path) -> None:
    data = PredictionFolder(path=str(tmp_path))
    data.save({"a": PlannedPrediction(partial(result, 1), "v1")})
    (tmp_path / "notes.txt").write_text("mine")
    data.save({"b": PlannedPrediction(partial(result, 2), "v1")})
    assert list(data.load()) == ["a", "b"]
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_files_of_the_user_are_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "b.png").write_bytes(b"mine")
    counted = Counted()
    with pytest.raises(KaryosegError, match=r"already has b\.png"):
        save(PredictionFolder(path=str(tmp_path)), counted.lazies())
    assert (tmp_path / "b.png").read_bytes() == b"mine"
    assert counted.done == []


def test_files_of_the_user_beside_earlier_results_are_not_overwritten(tmp_path: Path) -> None:
    """Also if only a new parameter makes a file of that name a result."""
    data, plain = PredictionFolder(path=str(tmp_path)), replace(result(1), overlay=False)
    data.save({"a": PlannedPrediction(lambda: plain, "v1")})
    (tmp_path / "a.png").write_bytes(b"mine")
    data.save({"a": PlannedPrediction(lambda: plain, "v1")})  # nothing is written
    with pytest.raises(KaryosegError, match=r"already has a\.png"):
        save(data, {"a": PlannedPrediction(lambda: result(1), "v2")})
    assert (tmp_path / "a.png").read_bytes() == b"mine"


def test_problems_do_not_stop_the_others(tmp_path: Path) -> None:
    counted, data = Counted(), PredictionFolder(path=str(tmp_path))
    lazies = counted.lazies()
    bad = lazies | {
        "b": PlannedPrediction(partial(counted.compute, "b", Problem("b.tif", "broken", "image", "Mend.")), "v1")
    }
    data.save(bad)
    assert list(data.load()) == ["a", "c", "d"]
    with (tmp_path / "problems.csv").open() as stream:
        assert [row["where"] for row in csv.DictReader(stream)] == ["b.tif"]
    data.save(lazies)
    assert not (tmp_path / "problems.csv").exists()
    assert list(data.load()) == list("abcd")
    before = names(tmp_path)
    data.save(bad | {"b": replace(bad["b"], fingerprint="v2")})
    assert list(data.load()) == ["a", "c", "d"]
    assert names(tmp_path) == before | {"problems.csv"}
    counted.done.clear()
    data.save(lazies)
    assert counted.done == ["b"]
    assert list(data.load()) == list("abcd")
    assert names(tmp_path) == before


def test_what_a_bad_image_left_is_not_overwritten_by_another_image(tmp_path: Path) -> None:
    images = [tmp_path / plate / "A01.tif" for plate in ("plate1", "plate2")]
    for image in images:
        image.parent.mkdir()
        image.touch()
    data = PredictionFolder(path=str(tmp_path / "out"))
    data.save(planned(images[0]))
    bad = PlannedPrediction(lambda: Problem(str(images[0]), "broken", "image", "Mend."), "v2", str(images[0]))
    with pytest.raises(KaryosegError, match="No image could be predicted"):
        save(data, {"A01": bad})
    assert list(data.load()) == []
    with pytest.raises(KaryosegError, match=r"A01 from .*plate1/A01\.tif, now from .*plate2/A01\.tif"):
        save(data, planned(images[1], "v3"))


def test_only_problems(tmp_path: Path) -> None:
    data = PredictionFolder(path=str(tmp_path))
    with pytest.raises(KaryosegError, match=r"No image could be predicted[\s\S]*b\.tif: broken"):
        save(data, {"b": PlannedPrediction(lambda: Problem("b.tif", "broken", "image", "Mend."), "v1")})
    assert (tmp_path / "problems.csv").exists()


def test_unwritable_place_is_told_before_the_first_prediction(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    counted = Counted()
    with pytest.raises(KaryosegError, match="cannot be written"):
        save(PredictionFolder(path=str(tmp_path / "file" / "out")), counted.lazies())
    assert counted.done == []


def test_folder_without_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, *_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "mkdir", refuse)  # root, as in containers, may make folders whatever the mode
    counted = Counted()
    with pytest.raises(KaryosegError, match=r"cannot be written \(Permission denied\)"):
        save(PredictionFolder(path=str(tmp_path / "out")), counted.lazies())
    assert counted.done == []


def test_loading_nothing(tmp_path: Path) -> None:
    with pytest.raises(DatasetError) as caught:
        PredictionFolder(path=str(tmp_path)).load()
    assert isinstance(caught.value.__cause__, KaryosegError)


def test_remote_folder() -> None:
    data = PredictionFolder(path="memory://predictions/out")
    counted = Counted()
    data.save(counted.lazies())
    data.save(counted.lazies())
    assert counted.done == list("abcd")
    assert len(data.load()["d"]().table) == 3
    assert not fsspec.filesystem("memory").glob("**/*.part")


@pytest.mark.parametrize("name", ["problems.csv", "objects.csv", "objects.parquet"])
def test_tables_of_the_user_are_not_overwritten_but_ours_are(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"mine")
    data, counted = PredictionFolder(path=str(tmp_path)), Counted()
    for _ in range(2):
        with pytest.raises(KaryosegError, match=f"already has {name}, not written by karyoseg"):
            save(data, counted.lazies())
    assert (tmp_path / name).read_bytes() == b"mine"
    assert counted.done == []
    (tmp_path / name).unlink()
    data.save(counted.lazies(n=1))
    (tmp_path / name).write_bytes(b"of an earlier run")
    data.save(counted.lazies(n=2))
    assert counted.done == ["a", "b"]


def test_a_run_of_problems_only_does_not_stop_the_next(tmp_path: Path) -> None:
    data = PredictionFolder(path=str(tmp_path))
    with pytest.raises(KaryosegError, match="No image could be predicted"):
        save(data, {"b": PlannedPrediction(lambda: Problem("b.tif", "broken", "image", "Mend."), "v1")})
    assert not data.exists()
    data.save(Counted().lazies())
    assert not (tmp_path / "problems.csv").exists()


def planned(source: Path | str, mark: str = "v1") -> dict[str, PlannedPrediction]:
    """One image A01 from a source."""
    made = PredictionResult(*vars(result(1)).values())
    made.info["source"] = str(source)
    return {"A01": PlannedPrediction(lambda: made, mark, str(source))}


def test_an_image_whose_name_changes_counts_once(tmp_path: Path) -> None:
    image = tmp_path / "A01.tif"
    data = PredictionFolder(path=str(tmp_path / "out"))
    data.save(planned(image))
    plan = planned(image)["A01"]
    data.save({"A01_tif": plan, "A01_png": PlannedPrediction(partial(result, 1), "v1", str(tmp_path / "A01.png"))})
    assert set(data.load()) == {"A01_tif", "A01_png"}
    assert (tmp_path / "out/A01.tif").exists()
    data.save({"A01": plan})
    assert set(data.load()) == {"A01", "A01_png"}


class Damaged(LargePrediction):
    """A large image, one part of which cannot be read."""

    def write(self, store: Path, table: Path, kept: Path) -> bytes | None:
        """Find the part."""
        raise ImageError("slide.zarr", "NaN in one part", "finite numbers", "Replace them.")


@pytest.mark.parametrize("skip", [True, False])
def test_a_large_image_whose_middle_is_damaged(tmp_path: Path, skip: bool) -> None:
    large = Damaged(cast("BlockJob", None), {}, fixed_overlap=False, info={}, skip_if_bad=skip)
    data = PredictionFolder(path=str(tmp_path))
    plans = {"slide": PlannedPrediction(lambda: large, "v1", "slide.zarr")} | Counted().lazies(n=1)
    if not skip:
        with pytest.raises(KaryosegError, match="NaN in one part"):
            save(data, plans)
        return
    data.save(plans)
    assert set(data.load()) == {"a"}
    with (tmp_path / "problems.csv").open(newline="") as stream:
        assert [row["where"] for row in csv.DictReader(stream)] == ["slide.zarr"]


def test_results_of_another_image_of_the_same_name_stay(tmp_path: Path) -> None:
    images = [tmp_path / plate / "A01.tif" for plate in ("plate1", "plate2")]
    for image in images:
        image.parent.mkdir()
        image.touch()
    data = PredictionFolder(path=str(tmp_path / "out"))
    data.save(planned(images[0]))
    before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*.*") if path.is_file()}
    with pytest.raises(KaryosegError, match=r"A01 from .*plate1/A01\.tif, now from .*plate2/A01\.tif.*predict\.output"):
        save(data, planned(images[1], "v2"))
    assert {path: path.read_bytes() for path in (tmp_path / "out").rglob("*.*") if path.is_file()} == before


def test_the_same_image_may_be_named_otherwise_or_moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = tmp_path / "plate" / "A01.tif"
    image.parent.mkdir()
    image.touch()
    (tmp_path / "alias").symlink_to(image.parent)
    monkeypatch.chdir(tmp_path)
    data = PredictionFolder(path=str(tmp_path / "out"))
    for mark, name in enumerate((image, "plate/A01.tif", "./plate/../plate/A01.tif", "alias/A01.tif", image)):
        data.save(planned(name, f"v{mark}"))
    image.parent.rename(tmp_path / "moved")
    data.save(planned(tmp_path / "moved/A01.tif", "moved"))
    assert data.load()["A01"]().info["source"] == str(tmp_path / "moved/A01.tif")


def test_images_in_archives_and_buckets_are_told_apart(tmp_path: Path) -> None:
    for name in ("a.zip", "b.zip"):
        (tmp_path / name).touch()
    inside = [f"zip://x/A01.tif::{tmp_path / name}" for name in ("a.zip", "b.zip")]
    for number, (first, second) in enumerate((inside, ("s3://lab/p1/A01.tif", "s3://lab/p2/A01.tif"))):
        data = PredictionFolder(path=str(tmp_path / str(number)))
        data.save(planned(first))
        data.save(planned(first, "v2"))
        with pytest.raises(KaryosegError, match="other image"):
            save(data, planned(second, "v3"))
