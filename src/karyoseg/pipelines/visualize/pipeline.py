"""The visualize pipeline."""

from __future__ import annotations

from typing import Any

from kedro.pipeline import Node, Pipeline

from .nodes import visualize


def create_pipeline(**kwargs: Any) -> Pipeline:
    """Draw figures and write the report."""
    return Pipeline(
        [
            # One node: figures can be saved but not loaded again, and the report embeds the same ones.
            Node(
                visualize,
                {
                    "images": "intermediate_images",
                    "labels": "intermediate_labels",
                    "predictions": "test_labels_pred",
                    "manifest": "manifest",
                    "splits": "splits",
                    "metrics": "metrics",
                    "per_image": "metrics_per_image",
                    "per_class": "metrics_per_class",
                    "curve": "ap_curve",
                    "history": "training_history",
                    "evaluated": "params:evaluate",
                    "params": "params:visualize",
                    "parameters": "parameters",
                },
                ["figures", "report"],
                name="write_report",
            ),
        ]
    )
