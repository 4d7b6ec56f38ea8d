"""Nodes of the train pipeline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from karyoseg.core.augment import Augmenter
from karyoseg.core.errors import Problems
from karyoseg.core.lazy import Lazy
from karyoseg.core.provenance import dvc_state, git_state
from karyoseg.core.splits import TRAIN, VALIDATION
from karyoseg.models.base import LabelledSamples, Segmenter
from karyoseg.models.stardist import StarDistSegmenter
from karyoseg.params.preprocess import PreprocessParams
from karyoseg.params.train import TrainParams

Partitions = dict[str, Lazy[np.ndarray]]


def train_model(
    *,
    images: Partitions,
    labels: Partitions,
    manifest: pd.DataFrame,
    splits: pd.DataFrame,
    policy: dict[str, Any],
    preprocess: PreprocessParams,
    params: TrainParams,
) -> tuple[Segmenter, pd.DataFrame]:
    """Train on the train split; choose the best weights and the thresholds on the val split.

    In: prepared samples, splits, the augmentation policy and the training
    parameters.
    Out: the model, with thresholds and everything needed to prepare new images
    as these were; and losses by epoch.

    Test samples play no part. A killed training continues from its last
    checkpoint.
    """
    here = Path.cwd()
    origin = {"git": git_state(here), "dvc": dvc_state(here)}  # before the training: it may take long
    segmenter = StarDistSegmenter(
        Path(params.workspace) / params.name,
        {"preparation": preprocess.preparation().to_dict(), "provenance": origin},
    )
    config = params.config2d(n_channels=int(manifest["prepared_channels"].iloc[0]))
    history = segmenter.fit(
        select_samples(images, labels, splits, TRAIN),
        select_samples(images, labels, splits, VALIDATION),
        Augmenter(policy["transforms"]),
        params.model_dump(mode="json") | {"config": config, "augmentation": policy},
    )
    return segmenter, history


def select_samples(images: Partitions, labels: Partitions, splits: pd.DataFrame, split: str) -> LabelledSamples:
    """Take the samples of one split."""
    ids = splits.loc[splits["split"] == split, "id"].tolist()
    problems = Problems()
    for key in ids:
        if key not in images or key not in labels:
            problems.add(key, "in splits.csv, but not prepared", "image and label image", "Run preprocess again.")
    problems.raise_if_any(f"Samples of the {split} split are missing")
    return LabelledSamples({key: images[key] for key in ids}, {key: labels[key] for key in ids})
