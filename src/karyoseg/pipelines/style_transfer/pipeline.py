"""The style_transfer pipeline."""

from __future__ import annotations

from typing import Any

from kedro.pipeline import Node, Pipeline

from .nodes import draw_samples, generate_images, judge_generators, measure_samples, train_generators


def create_pipeline(**kwargs: Any) -> Pipeline:
    """Train a generator per cluster, judge what it makes, and make images of the synthetic label images."""
    return Pipeline(
        [
            Node(
                measure_samples,
                ["style_images", "style_labels", "style_clusters"],
                "style_samples",
                name="measure_samples",
            ),
            Node(
                train_generators,
                ["style_images", "style_labels", "style_samples", "params:style_transfer"],
                "style_models",
                name="train_generators",
                tags="gpu",
            ),
            Node(
                judge_generators,
                {
                    "models": "style_models",
                    "images": "style_images",
                    "labels": "style_labels",
                    "samples": "style_samples",
                    "synthetic_labels": "synthetic_labels",
                    "masks": "synthetic_masks_table",
                    "params": "params:style_transfer",
                },
                "style_quality",
                name="judge_generators",
            ),
            Node(
                generate_images,
                ["style_models", "synthetic_labels", "synthetic_masks_table", "style_quality", "params:style_transfer"],
                "synthetic_images",
                name="generate_images",
                tags="gpu",
            ),
            Node(
                draw_samples,
                {
                    "images": "style_images",
                    "labels": "style_labels",
                    "samples": "style_samples",
                    "synthetic_images": "synthetic_images",
                    "synthetic_labels": "synthetic_labels",
                    "masks": "synthetic_masks_table",
                    "quality": "style_quality",
                },
                "style_samples_figure",
                name="draw_samples",
            ),
        ]
    )
