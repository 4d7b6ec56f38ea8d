"""The download pipeline."""

from __future__ import annotations

from typing import Any

from kedro.pipeline import Node, Pipeline

from .nodes import fetch_dataset, inspect_samples, read_images, read_labels


def create_pipeline(**kwargs: Any) -> Pipeline:
    """Fetch a data set, check every sample, store one image and one label file per sample."""
    return Pipeline(
        [
            Node(fetch_dataset, "params:dataset", "fetched", name="fetch_dataset"),
            Node(
                inspect_samples,
                ["fetched", "params:dataset"],
                ["manifest", "download_problems"],
                name="inspect_samples",
            ),
            Node(
                read_images,
                ["fetched", "manifest", "params:dataset"],
                "intermediate_images",
                name="read_images",
            ),
            Node(
                read_labels,
                ["fetched", "manifest", "params:dataset"],
                "intermediate_labels",
                name="read_labels",
            ),
        ]
    )
