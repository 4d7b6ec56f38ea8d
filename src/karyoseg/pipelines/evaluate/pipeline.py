"""The evaluate pipeline."""

from __future__ import annotations

from typing import Any

from kedro.pipeline import Node, Pipeline

from .nodes import match_images, predict_split, summarise_metrics


def create_pipeline(**kwargs: Any) -> Pipeline:
    """Segment the test samples, match objects, compute metrics."""
    return Pipeline(
        [
            Node(
                predict_split,
                ["model", "primary_images", "primary_manifest", "splits", "preparation", "params:evaluate"],
                "test_labels_pred",
                name="predict_split",
            ),
            Node(
                match_images,
                ["test_labels_pred", "intermediate_labels", "manifest"],
                ["matches", "pixel_counts"],
                name="match_images",
            ),
            Node(
                summarise_metrics,
                ["matches", "pixel_counts"],
                ["metrics", "metrics_per_image", "metrics_per_class", "ap_curve"],
                name="summarise_metrics",
            ),
        ]
    )
