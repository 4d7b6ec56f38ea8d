"""Nodes of the train_foreground pipeline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from karyoseg.core.lazy import Partitions
from karyoseg.core.splits import VALIDATION
from karyoseg.models.unet import ForegroundModel
from karyoseg.params.train_foreground import TrainForegroundParams
from karyoseg.pipelines.train.nodes import select_samples, training_samples


def train_foreground(
    *,
    images: Partitions,
    labels: Partitions,
    manifest: pd.DataFrame,
    splits: pd.DataFrame,
    policy: dict[str, Any],
    style_images: Partitions,
    style_labels: Partitions,
    preparation: dict[str, Any],
    params: TrainForegroundParams,
) -> tuple[ForegroundModel, pd.DataFrame]:
    """Train U-Nets that map how likely each pixel is part of a nucleus.

    In: prepared samples and how they were prepared, splits, the augmentation
    policy, the training parameters, and synthetic samples if the policy asks
    for them.
    Out: the model, with what is needed to prepare new images as these were; and
    losses by network and epoch.

    It learns from what train learns from. Test samples play no part, and
    nothing synthetic is validated on. A killed training continues from its last
    checkpoint.
    """
    from karyoseg.core.augmentation.augmenter import Augmenter  # albumentations is slow to import

    config = {
        "n_channels": int(manifest["prepared_channels"].iloc[0]),
        "depth": params.depth,
        "filters": params.filters,
        "sigmas": params.sigmas,
        "test_time": params.test_time,
    }
    train, counts = training_samples(images, labels, splits, policy, style_images, style_labels)
    model = ForegroundModel(Path(params.workspace), config, {"preparation": preparation} | counts)
    history = model.fit(
        train,
        select_samples(images, labels, splits, VALIDATION),
        Augmenter(policy["transforms"]),
        params.model_dump(mode="json") | {"augmentation": policy},
    )
    return model, history
