"""The preprocess pipeline."""

from __future__ import annotations

from typing import Any

from kedro.pipeline import Node, Pipeline

from .nodes import measure_samples, prepare_images, prepare_labels, split_samples


def create_pipeline(**kwargs: Any) -> Pipeline:
    """Split the samples, measure their nuclei, and bring images and labels to the form the network needs."""
    return Pipeline(
        [
            Node(split_samples, ["manifest", "params:preprocess"], "splits", name="split_samples"),
            Node(
                measure_samples,
                ["manifest", "splits", "intermediate_images", "intermediate_labels", "params:preprocess"],
                ["primary_manifest", "preparation"],
                name="measure_samples",
            ),
            Node(
                prepare_images,
                ["primary_manifest", "intermediate_images", "params:preprocess"],
                "primary_images",
                name="prepare_images",
            ),
            Node(
                prepare_labels,
                ["primary_manifest", "intermediate_labels", "params:preprocess"],
                "primary_labels",
                name="prepare_labels",
            ),
        ]
    )
