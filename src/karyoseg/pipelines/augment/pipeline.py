"""The augment pipeline."""

from __future__ import annotations

from typing import Any

from kedro.pipeline import Node, Pipeline

from .nodes import build_policy, draw_contact_sheet, prepare_style_images, prepare_style_labels


def create_pipeline(**kwargs: Any) -> Pipeline:
    """Write the augmentation policy, show what it does, and prepare synthetic images if they are to be used."""
    style = ["synthetic_images", "synthetic_labels", "synthetic_images_table", "preparation", "params:augment"]
    return Pipeline(
        [
            Node(build_policy, "params:augment", "augmentation_policy", name="build_policy"),
            Node(
                draw_contact_sheet,
                ["augmentation_policy", "primary_images", "primary_labels", "splits", "params:augment"],
                "augmentation_sheet",
                name="draw_contact_sheet",
            ),
            Node(prepare_style_images, style, "prepared_style_images", name="prepare_style_images"),
            Node(
                prepare_style_labels,
                [*style, "params:preprocess"],
                "prepared_style_labels",
                name="prepare_style_labels",
            ),
        ]
    )
