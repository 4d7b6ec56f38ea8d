"""The train pipeline."""

from __future__ import annotations

from typing import Any

from kedro.pipeline import Node, Pipeline

from .nodes import train_model


def create_pipeline(**kwargs: Any) -> Pipeline:
    """Train a model and choose its thresholds."""
    return Pipeline(
        [
            Node(
                train_model,
                {
                    "images": "primary_images",
                    "labels": "primary_labels",
                    "manifest": "primary_manifest",
                    "splits": "splits",
                    "policy": "augmentation_policy",
                    "style_images": "prepared_style_images",
                    "style_labels": "prepared_style_labels",
                    "preparation": "preparation",
                    "params": "params:train",
                },
                ["model", "training_history"],
                name="train_model",
                tags="gpu",
            ),
        ]
    )
