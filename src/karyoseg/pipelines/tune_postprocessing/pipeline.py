"""The tune_postprocessing pipeline."""

from __future__ import annotations

from typing import Any

from kedro.pipeline import Node, Pipeline

from .nodes import predict_runs, search_parameters


def create_pipeline(**kwargs: Any) -> Pipeline:
    """Predict validation images at two scales, and search the best parameters of the post-processing."""
    return Pipeline(
        [
            Node(
                predict_runs,
                {
                    "images": "intermediate_images",
                    "labels": "intermediate_labels",
                    "manifest": "primary_manifest",
                    "splits": "splits",
                    "params": "params:tune_postprocessing",
                },
                "tuning_runs",
                name="predict_runs",
            ),
            Node(
                search_parameters,
                ["tuning_runs", "params:tune_postprocessing"],
                ["postprocessing", "tuning_trials"],
                name="search_parameters",
            ),
        ]
    )
