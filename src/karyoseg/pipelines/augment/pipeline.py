"""The augment pipeline."""

from __future__ import annotations

from typing import Any

from kedro.pipeline import Node, Pipeline

from .nodes import build_policy, draw_contact_sheet


def create_pipeline(**kwargs: Any) -> Pipeline:
    """Write the augmentation policy and show what it does."""
    return Pipeline(
        [
            Node(build_policy, "params:augment", "augmentation_policy", name="build_policy"),
            Node(
                draw_contact_sheet,
                ["augmentation_policy", "primary_images", "primary_labels", "splits", "params:augment"],
                "augmentation_sheet",
                name="draw_contact_sheet",
            ),
        ]
    )
