"""The mask_synthesis pipeline."""

from __future__ import annotations

from typing import Any

from kedro.pipeline import Node, Pipeline

from .nodes import build_shape_database, compare_masks, draw_comparison, draw_masks, measure_masks, measure_styles


def create_pipeline(**kwargs: Any) -> Pipeline:
    """Measure the nuclei of each style, draw label images like theirs, and compare both."""
    return Pipeline(
        [
            Node(
                measure_styles,
                ["style_labels", "style_clusters", "params:mask_synthesis"],
                ["measured_populations", "style_populations"],
                name="measure_styles",
            ),
            Node(
                build_shape_database,
                ["intermediate_labels", "splits", "params:mask_synthesis"],
                "shape_database",
                name="build_shape_database",
            ),
            Node(
                draw_masks,
                ["style_populations", "shape_database", "params:mask_synthesis"],
                ["synthetic_labels", "mask_plan"],
                name="draw_masks",
            ),
            Node(
                measure_masks,
                ["synthetic_labels", "mask_plan", "style_populations", "params:mask_synthesis"],
                ["synthetic_masks_table", "synthetic_populations"],
                name="measure_masks",
            ),
            Node(
                compare_masks,
                ["measured_populations", "style_populations", "synthetic_populations"],
                "mask_comparison",
                name="compare_masks",
            ),
            Node(
                draw_comparison,
                [
                    "measured_populations",
                    "synthetic_populations",
                    "style_labels",
                    "style_clusters",
                    "synthetic_labels",
                    "mask_plan",
                ],
                "mask_comparison_figure",
                name="draw_comparison",
            ),
        ]
    )
