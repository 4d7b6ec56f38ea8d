"""Nodes of the train pipeline."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pandas as pd

from karyoseg.core.augmentation.mixing import repeat_to_share
from karyoseg.core.errors import KaryosegError, Problems
from karyoseg.core.lazy import Partitions
from karyoseg.core.runs.provenance import dvc_state, git_state
from karyoseg.core.splits import TRAIN, VALIDATION
from karyoseg.models.base import LabelledSamples, Segmenter
from karyoseg.models.stardist import StarDistSegmenter
from karyoseg.params.train import TrainParams

logger = logging.getLogger(__name__)

STYLE = "style"  # origin of synthetic samples


def train_model(
    *,
    images: Partitions,
    labels: Partitions,
    manifest: pd.DataFrame,
    splits: pd.DataFrame,
    policy: dict[str, Any],
    style_images: Partitions,
    style_labels: Partitions,
    preparation: dict[str, Any],
    params: TrainParams,
) -> tuple[Segmenter, pd.DataFrame]:
    """Train on the train split; choose the best weights and the thresholds on the val split.

    In: prepared samples and how they were prepared, splits, the augmentation
    policy, the training parameters, and synthetic samples if the policy asks
    for them.
    Out: the model, with thresholds and everything needed to prepare new images
    as these were; and losses by epoch.

    Test samples play no part, and nothing synthetic is validated on. A killed training continues from its last
    checkpoint.
    """
    from karyoseg.core.augmentation.augmenter import Augmenter  # albumentations is slow to import

    here = Path.cwd()
    origin = {"git": git_state(here), "dvc": dvc_state(here)}  # before the training: it may take long
    train, counts = training_samples(images, labels, splits, policy, style_images, style_labels)
    facts = {"preparation": preparation, "provenance": origin} | counts
    segmenter = StarDistSegmenter(Path(params.workspace), facts)
    config = params.config2d(n_channels=int(manifest["prepared_channels"].iloc[0]))
    history = segmenter.fit(
        train,
        select_samples(images, labels, splits, VALIDATION),
        Augmenter(policy["transforms"]),
        params.model_dump(mode="json") | {"config": config, "augmentation": policy},
    )
    return segmenter, history


def training_samples(
    images: Partitions,
    labels: Partitions,
    splits: pd.DataFrame,
    policy: dict[str, Any],
    style_images: Partitions,
    style_labels: Partitions,
) -> tuple[LabelledSamples, dict[str, int]]:
    """Take the train split, and synthetic samples if the augmentation policy asks for them; count the latter."""
    train = select_samples(images, labels, splits, TRAIN)
    if "style" not in policy:
        return train, {}
    style = repeat_style(style_images, style_labels, len(train.ids), policy["style"]["share"], policy["seed"])
    both = LabelledSamples({**train.images, **style.images}, {**train.labels, **style.labels})
    return both, {"n_style": len(style.distinct)}


def select_samples(images: Partitions, labels: Partitions, splits: pd.DataFrame, split: str) -> LabelledSamples:
    """Take the samples of one split."""
    ids = splits.loc[splits["split"] == split, "id"].tolist()
    problems = Problems()
    for key in ids:
        if key not in images or key not in labels:
            problems.add(key, "in splits.csv, but not prepared", "image and label image", "Run preprocess again.")
    problems.raise_if_any(f"Samples of the {split} split are missing")
    return LabelledSamples({key: images[key] for key in ids}, {key: labels[key] for key in ids})


def repeat_style(images: Partitions, labels: Partitions, n_real: int, share: float, seed: int) -> LabelledSamples:
    """Take synthetic samples, each as often as needed, to make up a share of the training patches."""
    if not images:
        raise KaryosegError(
            "train: the augmentation policy asks for synthetic samples, but none are prepared in "
            "05_model_input/style; needed: those of a style that passed. Run the pipelines style and augment, or the "
            "latter with augment.style.use=false."
        )
    chosen = repeat_to_share(sorted(images), n_real, share, seed)
    different = len(dict(chosen))
    logger.info("%d synthetic samples, %d of them different, beside %d real ones", len(chosen), different, n_real)
    keys = {f"{STYLE}/{name}/{time}": name for name, time in chosen}  # no id of a real sample has a slash
    return LabelledSamples(
        {key: images[name] for key, name in keys.items()}, {key: labels[name] for key, name in keys.items()}
    )
