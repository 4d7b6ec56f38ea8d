"""The train_foreground pipeline, tiny, and its model stored, loaded and used by the full mode of predict."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tifffile
from kedro.io import DataCatalog, MemoryDataset
from kedro.runner import SequentialRunner

from karyoseg.core.lazy import Lazy
from karyoseg.core.preparation import Plan, Preparation
from karyoseg.datasets import CSVDataset, ForegroundDirectory
from karyoseg.models.stardist import StarDistSegmenter
from karyoseg.models.unet import ForegroundModel
from karyoseg.params.predict import PredictParams
from karyoseg.params.train import TrainParams
from karyoseg.params.train_foreground import TrainForegroundParams
from karyoseg.pipelines.predict import nodes
from karyoseg.pipelines.train.nodes import train_model
from karyoseg.pipelines.train_foreground import create_pipeline
from karyoseg.pipelines.train_foreground.nodes import train_foreground
from recipes import OnlyRescaled


def field(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Bright squares of 12 px in noise."""
    rng = np.random.default_rng(seed)
    labels = np.zeros((64, 64), np.int32)
    for index, (y, x) in enumerate([(4, 8), (6, 40), (36, 12), (40, 44)], start=1):
        labels[y : y + 12, x : x + 12] = index
    return ((labels > 0) + rng.normal(0, 0.05, labels.shape)).astype(np.float32), labels


class Everything:
    """Finds the squares, and two that are not there."""

    fingerprint = "everything"
    preparation = Preparation()
    diameter = None

    def use(self, engine: str, precision: str) -> str:
        """Say what was asked for."""
        return f"{engine} {precision}"

    def describe(self) -> dict[str, Any]:
        """Say what models of ours say."""
        return {"thresholds": {"prob": 0.5, "nms": 0.3}, "training": {}}

    def plan(self, image: np.ndarray, *, scale: float | None, **_: Any) -> Plan:
        """Keep the image as it is."""
        return Plan(OnlyRescaled(), scale or 1.0)

    def predict(self, image: np.ndarray, *, scale: float, **_: Any) -> SimpleNamespace:
        """Give the true labels and two more."""
        labels = field(0)[1]
        labels[22:30, 20:28], labels[54:62, 2:10] = 5, 6
        return SimpleNamespace(labels=labels, scale=scale)


def test_it_learns_from_the_samples_that_train_learns_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, list[str]] = {}

    def fit(self: Any, train: Any, validation: Any, augment: Any, options: Any) -> pd.DataFrame:
        seen[type(self).__name__] = train.ids
        assert validation.ids == ["s2"]
        assert self.training["n_style"] == 2
        return pd.DataFrame()

    ids = ["s0", "s1", "s2"]
    parts = [{key: Lazy(lambda i=i, p=p: field(i)[p], f"{key}-{p}") for i, key in enumerate(ids)} for p in range(2)]
    shared = {
        "images": parts[0],
        "labels": parts[1],
        "manifest": pd.DataFrame({"id": ids, "prepared_channels": 1}),
        "splits": pd.DataFrame({"id": ids, "split": ["train", "train", "val"]}),
        "policy": {"seed": 1, "transforms": [], "style": {"share": 0.5}},
        "style_images": {"g_000": parts[0]["s0"], "g_001": parts[0]["s1"], "g_002": parts[0]["s2"]},
        "style_labels": {"g_000": parts[1]["s0"], "g_001": parts[1]["s1"], "g_002": parts[1]["s2"]},
        "preparation": Preparation().to_dict(),
    }
    for model in (ForegroundModel, StarDistSegmenter):
        monkeypatch.setattr(model, "fit", fit)
    train_foreground(**shared, params=TrainForegroundParams(workspace=str(tmp_path)))
    train_model(**shared, params=TrainParams(workspace=str(tmp_path / "m")))
    assert seen["ForegroundModel"] == seen["StarDistSegmenter"]
    assert sum(key.startswith("style/") for key in seen["ForegroundModel"]) == 2


@pytest.mark.slow
def test_trained_stored_loaded_and_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = [f"s{i}" for i in range(5)]
    parts = [{key: Lazy(lambda i=i, p=p: field(i)[p], f"{key}-{p}") for i, key in enumerate(ids)} for p in range(2)]
    params = TrainForegroundParams(
        workspace=str(tmp_path / "work"),
        depth=2,
        filters=4,
        epochs=4,
        steps_per_epoch=40,
        batch_size=4,
        patch_size=[32, 32],
        learning_rate=0.01,
    )
    folder = tmp_path / "models" / "foreground"
    values = {
        "primary_images": parts[0],
        "primary_labels": parts[1],
        "primary_manifest": pd.DataFrame({"id": ids, "prepared_channels": 1}),
        "splits": pd.DataFrame({"id": ids, "split": ["train"] * 3 + ["val", "test"]}),
        "augmentation_policy": {"transforms": []},
        "prepared_style_images": {},
        "prepared_style_labels": {},
        "preparation": Preparation().to_dict(),
        "params:train_foreground": params,
    }
    catalog = DataCatalog(
        {name: MemoryDataset(value, copy_mode="assign") for name, value in values.items()}
        | {
            "foreground_model": ForegroundDirectory(filepath=str(folder)),
            "foreground_history": CSVDataset(filepath=str(tmp_path / "history.csv"), save_args={"index": False}),
        }
    )
    SequentialRunner().run(create_pipeline(), catalog)
    assert len(pd.read_csv(tmp_path / "history.csv")) == 4
    model = ForegroundDirectory(filepath=str(folder)).load()
    assert isinstance(model, ForegroundModel)
    assert model.training["n_train"] == 3
    image, labels = field(9)
    found = model.predict(image) > 0.5
    assert (found & (labels > 0)).sum() / (found | (labels > 0)).sum() > 0.8

    monkeypatch.setattr(nodes, "load_segmenter", lambda name: Everything())
    tifffile.imwrite(tmp_path / "new.tif", image)
    counts = []
    for foreground in (None, str(folder)):
        options = PredictParams(
            input=str(tmp_path / "new.tif"),
            output=str(tmp_path / "out"),
            model="all",
            mode="full",
            full={"foreground_model": foreground},  # type: ignore[arg-type]
        )
        (prediction,) = nodes.predict_images(nodes.find_inputs(options), options).values()
        counts.append(prediction().labels.max())
    assert counts == [6, 4]
