"""The style pipeline: others in a row, each of which also runs alone."""

from __future__ import annotations

from typing import Any

from kedro.pipeline import Pipeline

from karyoseg.pipelines import boxed, mask_synthesis, presegment, style_clusters, style_transfer

_PARTS = {
    "presegment": presegment,
    "style_clusters": style_clusters,
    "mask_synthesis": mask_synthesis,
    "style_transfer": style_transfer,
}


def create_pipeline(**kwargs: Any) -> Pipeline:
    """Label images weakly, group them by look, draw label images like theirs, and paint these in each look."""
    return sum((boxed(name, part.create_pipeline()) for name, part in _PARTS.items()), Pipeline([]))
