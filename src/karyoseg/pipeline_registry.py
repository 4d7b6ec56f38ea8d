"""Registered pipelines. ``__default__`` runs the whole workflow in order."""

from __future__ import annotations

from kedro.framework.project import find_pipelines
from kedro.pipeline import Pipeline

from karyoseg.pipelines import boxed

WORKFLOW = ("download", "preprocess", "augment", "train", "evaluate", "visualize")


def register_pipelines() -> dict[str, Pipeline]:
    """Collect the pipelines of :mod:`karyoseg.pipelines`.

    Each is a namespace and a tag of its own name: kedro-viz shows it as one box to open, and node names in logs begin
    with it. Names of data sets and parameters stay as they are.

    Returns
    -------
    dict of str to Pipeline
        By name; ``__default__`` is the workflow from download to report, the others follow in its order.
    """
    found = find_pipelines(raise_errors=True)  # `kedro run --pipeline X` looks for X alone
    others = sorted(found.keys() - {*WORKFLOW, "__default__"})
    pipelines = {name: boxed(name, found[name]) for name in (*WORKFLOW, *others) if name in found}
    workflow = sum((pipelines[name] for name in WORKFLOW if name in pipelines), Pipeline([]))
    return {"__default__": workflow, **pipelines}
