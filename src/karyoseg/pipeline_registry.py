"""Registered pipelines. ``__default__`` runs the whole workflow in order."""

from __future__ import annotations

from kedro.framework.project import find_pipelines
from kedro.pipeline import Pipeline

WORKFLOW = ("download", "preprocess", "augment", "train", "evaluate", "visualize")


def register_pipelines() -> dict[str, Pipeline]:
    """Collect the pipelines of :mod:`karyoseg.pipelines`.

    Returns
    -------
    dict of str to Pipeline
        By name; ``__default__`` is the workflow from download to report.
    """
    pipelines = find_pipelines(raise_errors=True)
    pipelines["__default__"] = sum((pipelines[name] for name in WORKFLOW if name in pipelines), Pipeline([]))
    return pipelines
