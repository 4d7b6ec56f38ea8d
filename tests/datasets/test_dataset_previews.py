"""What kedro-viz shows of each kind of data set."""

from __future__ import annotations

import base64
import inspect
import io
import json
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from kedro.io import AbstractDataset
from PIL import Image

from karyoseg import datasets
from karyoseg.core.lazy import Lazy
from karyoseg.core.plots.canvas import new_figure
from karyoseg.core.predicting import PredictionResult
from karyoseg.datasets import (
    CSVDataset,
    FigureFolder,
    ForegroundDirectory,
    JSONDataset,
    MatplotlibDataset,
    ModelDirectory,
    ParquetDataset,
    PredictionFolder,
    SamplePartitions,
    StyleModels,
)
from karyoseg.datasets.prediction_folder import PlannedPrediction

KINDS = {"ImagePreview", "JSONPreview", "TablePreview"}


def everything(folder: str) -> list[AbstractDataset]:
    return [
        SamplePartitions(path=f"{folder}/images", file_format="image"),
        SamplePartitions(path=f"{folder}/labels", file_format="labels"),
        PredictionFolder(path=f"{folder}/results"),
        FigureFolder(path=f"{folder}/figures"),
        ModelDirectory(filepath=f"{folder}/model"),
        ForegroundDirectory(filepath=f"{folder}/foreground"),
        StyleModels(path=f"{folder}/style"),
        CSVDataset(filepath=f"{folder}/a.csv"),
        ParquetDataset(filepath=f"{folder}/a.parquet"),
        JSONDataset(filepath=f"{folder}/a.json"),
        MatplotlibDataset(filepath=f"{folder}/a.png"),
    ]


def picture(preview: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(preview))).convert("RGB"))


def coloured(preview: str) -> int:
    """Number of pixels that are not grey."""
    pixels = picture(preview).astype(int)
    return int((np.ptp(pixels, axis=-1) > 60).sum())


def store(folder: Path, disks: np.ndarray, ids: str = "abcdefgh") -> tuple[SamplePartitions, SamplePartitions]:
    images = SamplePartitions(path=str(folder / "images"), file_format="image")
    labels = SamplePartitions(path=str(folder / "labels"), file_format="labels")
    images.save({name: Lazy(lambda: (disks > 0).astype(np.uint16) * 4000, "v1") for name in ids})
    labels.save({name: Lazy(lambda: disks, "v1") for name in ids})
    return images, labels


@pytest.mark.parametrize("place", ["tmp", "memory://no-previews-yet"])
def test_without_data_there_is_no_preview_and_no_error(place: str, tmp_path: Path) -> None:
    for dataset in everything(str(tmp_path) if place == "tmp" else place):
        assert not dataset.preview()


def test_kedro_viz_can_tell_the_kind_of_every_preview(tmp_path: Path) -> None:
    found = everything(str(tmp_path))
    assert {type(dataset).__name__ for dataset in found} >= {
        name for name in datasets.__all__ if hasattr(getattr(datasets, name), "preview")
    }
    for dataset in found:
        annotation = inspect.signature(dataset.preview).return_annotation
        assert getattr(annotation, "__name__", annotation) in KINDS


def test_labels_are_drawn_on_their_images_wherever_those_are(tmp_path: Path, disks: np.ndarray) -> None:
    images, labels = store(tmp_path, disks)
    assert coloured(images.preview()) == 0
    patches, outlines = labels.preview(), labels.preview(images="../images")
    assert coloured(patches) > 4 * coloured(outlines) > 0
    assert (picture(outlines) > 250).all(axis=-1).sum() > (picture(patches) > 250).all(axis=-1).sum()  # bright nuclei
    assert labels.preview(images="../elsewhere") == patches


def test_number_of_samples_can_be_chosen(tmp_path: Path, disks: np.ndarray) -> None:
    images, _ = store(tmp_path, disks, "ab")
    assert picture(images.preview(n_samples=1)).shape < picture(images.preview()).shape
    images.save({})
    assert images.preview() == ""


def test_predictions_show_their_overlays(tmp_path: Path, disks: np.ndarray) -> None:
    def result(overlay: bool) -> PredictionResult:
        return PredictionResult(disks, disks > 0, pd.DataFrame({"label": [1, 2, 3, 4]}), overlay=overlay)

    folder = PredictionFolder(path=str(tmp_path))
    folder.save({"a": PlannedPrediction(partial(result, overlay=True), "v1")})
    assert coloured(folder.preview()) > 100
    folder.save({"a": PlannedPrediction(partial(result, overlay=False), "v2")})
    assert folder.preview() == ""


def test_figures_are_small_however_large_the_files(tmp_path: Path) -> None:
    figure = new_figure(12, 12)
    figure.add_subplot().imshow(np.random.default_rng(0).random((400, 400)), cmap="gray")
    folder = FigureFolder(path=str(tmp_path / "figures"))
    folder.save({f"{i}.png": figure for i in range(3)})
    sheet = MatplotlibDataset(filepath=str(tmp_path / "sheet.png"))
    sheet.save(figure)
    for dataset in (folder, sheet):
        assert 1e3 < len(dataset.preview()) < 400e3


def test_numbers_that_are_not_finite_are_valid_json(tmp_path: Path) -> None:
    dataset = JSONDataset(filepath=str(tmp_path / "a.json"))
    dataset.save({"map": float("nan"), "by_class": {"a": [float("inf"), 1.5]}})

    def refuse(name: str) -> None:
        raise AssertionError(name)

    shown = json.loads(dataset.preview(), parse_constant=refuse)
    assert shown == {"map": None, "by_class": {"a": [None, 1.5]}}


@pytest.mark.parametrize("kind", [CSVDataset, ParquetDataset])
def test_tables_show_their_first_rows(kind: type, tmp_path: Path) -> None:
    dataset = kind(filepath=str(tmp_path / "a"))
    dataset.save(pd.DataFrame({"id": list("abcd"), "n": [1, 2, 3, 4], "y": [0.1 + 0.2, 12345.0, 1, 2]}))
    shown = dataset.preview(nrows=2)
    assert shown["columns"] == ["id", "n", "y"]
    assert shown["data"] == [["a", 1, 0.3], ["b", 2, 12345]]
    assert len(dataset.load()) == 4
