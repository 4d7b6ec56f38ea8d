"""The style_transfer pipeline."""

from __future__ import annotations

from typing import Any

from kedro.pipeline import Node, Pipeline

from .nodes import (
    check_clusters,
    draw_samples,
    gather_samples,
    generate_images,
    judge_generators,
    require_passed,
    train_generators,
)


def create_pipeline(**kwargs: Any) -> Pipeline:
    """Train a generator per cluster that can be learnt, judge what it makes, and paint the synthetic label images."""
    return Pipeline(
        [
            Node(
                gather_samples,
                ["style_images", "style_labels", "style_clusters", "style_manifest"],
                "style_samples",
                name="gather_samples",
            ),
            Node(
                check_clusters,
                {
                    "images": "style_images",
                    "labels": "style_labels",
                    "samples": "style_samples",
                    "synthetic_labels": "synthetic_labels",
                    "masks": "synthetic_masks_table",
                    "params": "params:style_transfer",
                },
                "style_checks",
                name="check_clusters",
            ),
            Node(
                train_generators,
                ["style_images", "style_labels", "style_samples", "style_checks", "params:style_transfer"],
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
                    "checks": "style_checks",
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
                # The table last: were it first, a kill in between would leave it beside images of an earlier run.
                ["synthetic_images", "synthetic_images_table"],
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
            Node(require_passed, ["style_quality", "synthetic_images_table"], None, name="require_passed"),
        ]
    )
