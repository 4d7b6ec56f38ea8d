"""The train node: what it passes on, what it refuses, what it leaves on disk."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from kedro.io import DataCatalog, MemoryDataset
from kedro.runner import SequentialRunner

from karyoseg.core.errors import KaryosegError
from karyoseg.core.lazy import Lazy
from karyoseg.core.preparation import Preparation
from karyoseg.datasets import CSVDataset, JSONDataset, ModelDirectory, SamplePartitions
from karyoseg.models.stardist import StarDistSegmenter
from karyoseg.params.train import TrainParams
from karyoseg.pipelines.train import create_pipeline
from karyoseg.pipelines.train.nodes import train_model

POLICY = {"seed": 1, "transforms": [{"name": "flip", "axes": "yx", "p": 0.5}]}
NETWORK = {"n_rays": 8, "unet_n_depth": 2, "unet_n_filter_base": 4, "net_conv_after_unet": 8}


def lazies(part: int, n: int = 5) -> dict[str, Lazy[np.ndarray]]:
    """Images or labels of squares; the id "001" looks like a number."""

    def draw(seed: int) -> np.ndarray:
        labels = np.zeros((72, 80), np.int32)
        labels[10:26, 10 + seed : 26 + seed] = 1
        labels[40:60, 40:60] = 2
        return labels if part else (labels > 0).astype(np.float32)

    return {f"00{i}": Lazy(partial(draw, i), f"{part}-{i}") for i in range(n)}


def make_params(workspace: Path, **changes: Any) -> TrainParams:
    tiny = {"network": NETWORK, "patch_size": [64, 64], "batch_size": 1, "steps_per_epoch": 2, "epochs": 1}
    return TrainParams(**(tiny | {"workspace": str(workspace / "m")} | changes))


@pytest.fixture
def splits() -> pd.DataFrame:
    names = ["train", "train", "val", "test", "excluded"]
    return pd.DataFrame({"id": [f"00{i}" for i in range(5)], "split": names})


def test_the_pipeline_trains_from_disk_to_disk(tmp_path: Path, splits: pd.DataFrame) -> None:
    catalog = DataCatalog(
        {
            "primary_images": SamplePartitions(path=str(tmp_path / "03/images"), file_format="image"),
            "primary_labels": SamplePartitions(path=str(tmp_path / "03/labels"), file_format="labels"),
            "primary_manifest": CSVDataset(filepath=str(tmp_path / "03/manifest.csv")),
            "splits": CSVDataset(filepath=str(tmp_path / "03/splits.csv")),
            "prepared_style_images": SamplePartitions(
                path=str(tmp_path / "05/images"), file_format="image", optional=True
            ),
            "prepared_style_labels": SamplePartitions(
                path=str(tmp_path / "05/labels"), file_format="labels", optional=True
            ),
            "augmentation_policy": JSONDataset(filepath=str(tmp_path / "05/policy.json")),
            "model": ModelDirectory(filepath=str(tmp_path / "06/m")),
            "training_history": CSVDataset(filepath=str(tmp_path / "08/history.csv")),
            "preparation": MemoryDataset(Preparation(pmax=99).to_dict()),
            "params:train": MemoryDataset(make_params(tmp_path / "06/.training")),
        }
    )
    catalog.save("primary_images", lazies(0))
    catalog.save("primary_labels", lazies(1))
    catalog.save("primary_manifest", pd.DataFrame({"id": splits["id"], "prepared_channels": 1}))
    catalog.save("splits", splits)
    catalog.save("augmentation_policy", POLICY)
    SequentialRunner().run(create_pipeline(), catalog)

    folder = tmp_path / "06" / "m"
    assert {path.name for path in folder.iterdir()} == {
        "config.json", "thresholds.json", "weights_best.h5", "history.csv", "training.json", "model_card.md"
    }  # fmt: skip
    facts = json.loads((folder / "training.json").read_text())
    assert (facts["n_train"], facts["n_validation"]) == (2, 1)
    assert facts["parameters"]["augmentation"] == POLICY
    model = catalog.load("model")
    assert model.preparation.pmax == 99  # the recipe travels with the model
    assert len(catalog.load("training_history")) == 1
    assert model.predict(lazies(0)["003"]()).labels.shape == (72, 80)


def test_each_split_goes_where_it_belongs(
    tmp_path: Path, splits: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, Any] = {}

    def fit(self: Any, train: Any, validation: Any, augment: Any, options: Any) -> pd.DataFrame:
        seen.update(train=train.ids, validation=validation.ids, options=options, folder=self.directory)
        seen["augmented"] = augment(np.zeros((8, 8), np.float32), np.zeros((8, 8), np.int32), (1, 2, 3))
        return pd.DataFrame()

    monkeypatch.setattr(StarDistSegmenter, "fit", fit)
    train_model(
        images=lazies(0),
        labels=lazies(1),
        manifest=pd.DataFrame({"id": splits["id"], "prepared_channels": 3}),
        splits=splits,
        policy=POLICY,
        style_images={},
        style_labels={},
        preparation=Preparation().to_dict(),
        params=make_params(tmp_path),
    )
    assert seen["train"] == ["000", "001"]
    assert seen["validation"] == ["002"]
    assert seen["folder"] == tmp_path / "m"
    assert seen["options"]["config"]["n_channel_in"] == 3
    assert seen["options"]["config"]["axes"] == "YXC"
    assert seen["augmented"][0].shape == (8, 8)


def test_no_validation_samples_is_a_clear_error(tmp_path: Path, splits: pd.DataFrame) -> None:
    with pytest.raises(KaryosegError, match="no samples in split 'val'"):
        train_model(
            images=lazies(0),
            labels=lazies(1),
            manifest=pd.DataFrame({"id": splits["id"], "prepared_channels": 1}),
            splits=splits[splits["split"] != "val"],
            policy=POLICY,
            style_images={},
            style_labels={},
            preparation=Preparation().to_dict(),
            params=make_params(tmp_path),
        )


def test_samples_that_are_listed_but_missing_are_reported(tmp_path: Path, splits: pd.DataFrame) -> None:
    with pytest.raises(KaryosegError, match=r"001.*Run preprocess again"):
        train_model(
            images={key: value for key, value in lazies(0).items() if key != "001"},
            labels=lazies(1),
            manifest=pd.DataFrame({"id": splits["id"], "prepared_channels": 1}),
            splits=splits,
            policy=POLICY,
            style_images={},
            style_labels={},
            preparation=Preparation().to_dict(),
            params=make_params(tmp_path),
        )


@pytest.mark.parametrize("share", [0.25, 0.8])
def test_synthetic_samples_get_their_share_of_the_training_and_none_of_the_validation(
    tmp_path: Path, splits: pd.DataFrame, monkeypatch: pytest.MonkeyPatch, share: float
) -> None:
    seen: dict[str, Any] = {}

    def fit(self: Any, train: Any, validation: Any, augment: Any, options: Any) -> pd.DataFrame:
        seen.update(train=train, validation=validation.ids, facts=self.training)
        return pd.DataFrame()

    monkeypatch.setattr(StarDistSegmenter, "fit", fit)
    style = {f"group_{key}": value for key, value in lazies(0, 3).items()}
    train_model(
        images=lazies(0),
        labels=lazies(1),
        manifest=pd.DataFrame({"id": splits["id"], "prepared_channels": 1}),
        splits=splits,
        policy=POLICY | {"style": {"share": share}},
        style_images=style,
        style_labels={f"group_{key}": value for key, value in lazies(1, 3).items()},
        preparation=Preparation().to_dict(),
        params=make_params(tmp_path),
    )
    made = [key for key in seen["train"].ids if key.startswith("style/")]
    assert set(seen["train"].ids) - set(made) == {"000", "001"}
    assert len(made) == max(1, round(2 * share / (1 - share)))
    assert seen["facts"]["n_style"] == len({key.split("/")[1] for key in made})
    for key in made:
        name = key.split("/")[1]
        assert seen["train"].images[key].fingerprint == style[name].fingerprint
    assert seen["validation"] == ["002"]


def test_synthetic_samples_that_were_asked_for_and_are_missing_stop_the_training(
    tmp_path: Path, splits: pd.DataFrame
) -> None:
    with pytest.raises(KaryosegError, match="none are prepared"):
        train_model(
            images=lazies(0),
            labels=lazies(1),
            manifest=pd.DataFrame({"id": splits["id"], "prepared_channels": 1}),
            splits=splits,
            policy=POLICY | {"style": {"share": 0.5}},
            style_images={},
            style_labels={},
            preparation=Preparation().to_dict(),
            params=make_params(tmp_path),
        )
