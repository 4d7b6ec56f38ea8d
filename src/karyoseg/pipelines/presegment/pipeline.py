"""The presegment pipeline."""

from __future__ import annotations

from typing import Any

from kedro.pipeline import Node, Pipeline

from .nodes import describe_images, find_inputs, label_images, read_images


def create_pipeline(**kwargs: Any) -> Pipeline:
    """Bring images without masks to one form, and label them with a model as well as it can."""
    return Pipeline(
        [
            Node(find_inputs, "params:presegment", "presegment_inputs", name="find_inputs"),
            Node(read_images, ["presegment_inputs", "params:presegment"], "style_images", name="read_images"),
            Node(label_images, ["style_images", "params:presegment"], "style_labels", name="label_images"),
            Node(
                describe_images,
                ["presegment_inputs", "style_images", "style_labels"],
                "style_manifest",
                name="describe_images",
            ),
        ]
    )
