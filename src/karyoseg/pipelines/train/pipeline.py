"""The train pipeline."""

from __future__ import annotations

from typing import Any

from kedro.pipeline import Node, Pipeline

from .nodes import train_model


def create_pipeline(**kwargs: Any) -> Pipeline:
    """Train a model."""
    return Pipeline(
        [
            Node(
                train_model,
                [
                    "primary_images",
                    "primary_labels",
                    "primary_manifest",
                    "splits",
                    "augmentation_policy",
                    "params:preprocess",
                    "params:train",
                ],
                ["model", "training_history"],
                name="train_model",
                tags="gpu",
            ),
        ],
        tags="train",
    )
