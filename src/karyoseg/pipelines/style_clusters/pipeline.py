"""The style_clusters pipeline."""

from __future__ import annotations

from typing import Any

from kedro.pipeline import Node, Pipeline

from .nodes import draw_clusters, find_clusters, measure_styles


def create_pipeline(**kwargs: Any) -> Pipeline:
    """Measure how the images look, and group those that look alike."""
    return Pipeline(
        [
            Node(measure_styles, "style_images", "style_features", name="measure_styles"),
            Node(
                find_clusters,
                ["style_features", "style_manifest", "params:style_clusters"],
                ["style_clusters", "style_clusters_tried"],
                name="find_clusters",
            ),
            Node(
                draw_clusters,
                ["style_images", "style_clusters", "style_clusters_tried", "params:style_clusters"],
                "style_clusters_figure",
                name="draw_clusters",
            ),
        ]
    )
