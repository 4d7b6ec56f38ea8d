"""The predict pipeline."""

from __future__ import annotations

from typing import Any

from kedro.pipeline import Node, Pipeline

from karyoseg.pipelines.predict.nodes import collect_objects, find_inputs, predict_images


def create_pipeline(**kwargs: Any) -> Pipeline:
    """Segment a user's images and measure the objects."""
    return Pipeline(
        [
            Node(find_inputs, "params:predict", "predict_inputs", name="find_inputs"),
            Node(predict_images, ["predict_inputs", "params:predict"], "predictions", name="predict_images"),
            Node(
                collect_objects,
                ["predictions", "predict_inputs"],
                ["objects_csv", "objects_parquet"],
                name="collect_objects",
            ),
        ]
    )
