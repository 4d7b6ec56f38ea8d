"""The train_foreground pipeline."""

from __future__ import annotations

from typing import Any

from kedro.pipeline import Node, Pipeline

from .nodes import train_foreground


def create_pipeline(**kwargs: Any) -> Pipeline:
    """Train a foreground model on the samples that train learns from."""
    return Pipeline(
        [
            Node(
                train_foreground,
                {
                    "images": "primary_images",
                    "labels": "primary_labels",
                    "manifest": "primary_manifest",
                    "splits": "splits",
                    "policy": "augmentation_policy",
                    "style_images": "prepared_style_images",
                    "style_labels": "prepared_style_labels",
                    "preparation": "preparation",
                    "params": "params:train_foreground",
                },
                ["foreground_model", "foreground_history"],
                name="train_foreground",
                tags="gpu",
            ),
        ]
    )
