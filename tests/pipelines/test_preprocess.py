"""Preprocess through a catalog on disk."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from kedro.io import DataCatalog, MemoryDataset
from kedro.runner import SequentialRunner

from karyoseg.core.errors import KaryosegError, ProblemReport
from karyoseg.core.lazy import Lazy
from karyoseg.core.size import median_diameter
from karyoseg.datasets import CSVDataset, JSONDataset, SamplePartitions
from karyoseg.params.preprocess import PreprocessParams
from karyoseg.pipelines.preprocess import create_pipeline

Pair = tuple[np.ndarray, np.ndarray]


def nuclei(radius: int, seed: int, shape: tuple[int, int] = (120, 130)) -> Pair:
    """Bright disks on a grid."""
    labels = np.zeros(shape, np.int32)
    y, x = np.ogrid[: shape[0], : shape[1]]
    step = 3 * radius
    for index, (cy, cx) in enumerate(
        [(cy, cx) for cy in range(step, shape[0], step) for cx in range(step, shape[1], step)], start=1
    ):
        labels[(y - cy) ** 2 + (x - cx) ** 2 <= radius**2] = index
    noise = np.random.default_rng(seed).normal(20, 3, shape)
    return np.clip(noise + 150 * (labels > 0), 0, 255).astype(np.uint8), labels


def run(tmp_path: Path, pairs: dict[str, Pair], columns: dict[str, Any] | None = None, **params: Any) -> DataCatalog:
    """Write 02, run preprocess, return the catalog."""

    def partitions(name: str, part: int) -> SamplePartitions:
        formats = ("image", "labels")
        dataset = SamplePartitions(path=str(tmp_path / "02" / name), file_format=formats[part])  # type: ignore[arg-type]
        dataset.save({key: Lazy(partial(pair.__getitem__, part), f"{key}{part}") for key, pair in pairs.items()})
        return dataset

    keys = list(pairs)
    manifest = pd.DataFrame({"id": keys, "split": "train", "class": "", "image_sha256": keys, "label_sha256": keys})
    manifest["magnification"] = manifest["pixel_size_um"] = np.nan
    manifest["height"], manifest["width"] = zip(*[pair[1].shape for pair in pairs.values()], strict=True)
    manifest.loc[manifest["id"].str.startswith("test"), "split"] = "test"
    catalog = DataCatalog(
        {
            "manifest": MemoryDataset(manifest.assign(**(columns or {}))),
            "intermediate_images": partitions("images", 0),
            "intermediate_labels": partitions("labels", 1),
            "splits": CSVDataset(filepath=str(tmp_path / "splits.csv")),
            "primary_manifest": CSVDataset(filepath=str(tmp_path / "manifest.csv")),
            "preparation": JSONDataset(filepath=str(tmp_path / "preparation.json")),
            "primary_images": SamplePartitions(path=str(tmp_path / "03/images"), file_format="image"),
            "primary_labels": SamplePartitions(path=str(tmp_path / "03/labels"), file_format="labels"),
            "params:preprocess": MemoryDataset(PreprocessParams(**params)),
        }
    )
    SequentialRunner().run(create_pipeline(), catalog)
    return catalog


@pytest.fixture
def pairs() -> dict[str, Pair]:
    made = {f"train_{i}": nuclei(6 + i, i) for i in range(8)}
    return made | {"test_0": nuclei(7, 50), "test_1": nuclei(14, 51), "001": nuclei(8, 52)}


def test_pairs_are_normalised_and_keep_their_size(tmp_path: Path, pairs: dict[str, Pair]) -> None:
    data = run(tmp_path, pairs)
    images, labels = data.load("primary_images"), data.load("primary_labels")
    assert set(images) == set(labels) == set(pairs)
    for key in pairs:
        image = images[key]()
        assert image.dtype == np.float32
        assert image.shape == pairs[key][0].shape
        assert np.percentile(image, 1) == pytest.approx(0, abs=1e-5)
        np.testing.assert_array_equal(labels[key]() > 0, pairs[key][1] > 0)
    splits = data.load("splits").set_index("id")["split"]
    assert set(splits[splits == "test"].index) == {"test_0", "test_1"}
    assert set(splits) == {"train", "val", "test"}


def test_size_normalisation_measures_train_and_estimates_the_rest(tmp_path: Path, pairs: dict[str, Pair]) -> None:
    data = run(tmp_path, pairs, rescale={"name": "diameter", "target": 20})
    labels, splits = data.load("primary_labels"), data.load("splits").set_index("id")["split"]
    for key, label in labels.items():
        tolerance = 0.08 if splits[key] == "train" else 0.35
        assert median_diameter(label()) == pytest.approx(20, rel=tolerance)
    shapes = {key: (image().shape, labels[key]().shape) for key, image in data.load("primary_images").items()}
    assert all(image == label for image, label in shapes.values())


def test_magnification_and_pixel_size(tmp_path: Path, pairs: dict[str, Pair]) -> None:
    by_lens = run(tmp_path / "a", pairs, {"magnification": 40.0}, rescale={"name": "magnification", "target": 20})
    by_pixel = run(tmp_path / "b", pairs, {"pixel_size_um": 0.25}, rescale={"name": "pixel_size", "target": 0.5})
    for data in (by_lens, by_pixel):
        assert data.load("primary_images")["test_0"]().shape == (60, 65)
        assert data.load("primary_manifest")["scale"].tolist() == [0.5] * len(pairs)


def test_missing_facts_are_reported_for_all_samples_at_once(tmp_path: Path, pairs: dict[str, Pair]) -> None:
    with pytest.raises(ProblemReport) as raised:
        run(tmp_path, pairs, rescale={"name": "pixel_size", "target": 0.5})
    assert len(raised.value.problems) == len(pairs)
    assert not (tmp_path / "03").exists()


def test_shape_mismatch_and_mixed_channels_are_reported(tmp_path: Path, pairs: dict[str, Pair]) -> None:
    image, labels = pairs["train_0"]
    with pytest.raises(ProblemReport, match="train_0"):
        run(tmp_path / "a", pairs | {"train_0": (image[:50], labels)})
    with pytest.raises(ProblemReport, match="number of channels"):
        run(tmp_path / "b", pairs | {"train_1": (np.dstack([image] * 2), labels)}, colour="keep")


def test_cleaning_fills_holes_and_drops_specks(tmp_path: Path, pairs: dict[str, Pair]) -> None:
    image, labels = pairs["train_5"]
    spoilt = labels.copy()
    y, x = (int(v) for v in np.argwhere(labels == 1).mean(axis=0))
    spoilt[y, x] = 0
    spoilt[0, 0] = 99
    cleaned = run(tmp_path, pairs | {"train_5": (image, spoilt)}).load("primary_labels")["train_5"]()
    assert cleaned[y, x] == cleaned[y, x + 1] > 0
    assert cleaned[0, 0] == 0


def test_a_second_run_writes_nothing_again(tmp_path: Path, pairs: dict[str, Pair]) -> None:
    run(tmp_path, pairs)
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "03").rglob("*.tif")}
    run(tmp_path, pairs)
    assert stamps == {path: path.stat().st_mtime_ns for path in (tmp_path / "03").rglob("*.tif")}
    run(tmp_path, pairs, pmax=90)
    changed = {path for path, stamp in stamps.items() if path.stat().st_mtime_ns != stamp}
    assert {path.parent.name for path in changed} == {"images"}


def test_no_labels_at_all(tmp_path: Path, pairs: dict[str, Pair]) -> None:
    with pytest.raises(KaryosegError, match="none of the 11 samples"):
        run(tmp_path, pairs, {"label_sha256": ""})


def test_nuclei_that_rescaling_makes_too_small_are_missed(
    tmp_path: Path, pairs: dict[str, Pair], caplog: pytest.LogCaptureFixture
) -> None:
    run(tmp_path / "a", pairs, min_area=20)
    assert "left out" not in caplog.text
    data = run(tmp_path / "b", pairs, min_area=20, rescale={"name": "diameter", "target": 3})
    (warning,) = [record.getMessage() for record in caplog.records if "left out" in record.getMessage()]
    splits = data.load("splits").set_index("id")["split"]
    learnt, left = [key for key in pairs if splits[key] != "test"], data.load("primary_labels")
    lost = {key: pairs[key][1].max() - left[key]().max() for key in learnt}
    assert warning.startswith(f"{sum(lost.values())} nuclei in {sum(n > 0 for n in lost.values())} of {len(learnt)} ")
    assert f"preprocess.min_area=20 px (most, {max(lost.values())}, in train_0 at scale 0." in warning
