"""Kedro pipelines: thin nodes over :mod:`karyoseg.core` and :mod:`karyoseg.models`."""

from __future__ import annotations

from kedro.pipeline import Pipeline


def boxed(name: str, pipeline: Pipeline) -> Pipeline:
    """Give a pipeline a namespace and a tag of its own name; a pipeline made of such ones stays as it is.

    Parameters
    ----------
    name : str
        Name of the pipeline.
    pipeline : Pipeline
        Its nodes.

    Returns
    -------
    Pipeline
        The nodes, in a namespace; names of data sets and parameters stay as they are.
    """
    if all(node.namespace for node in pipeline.nodes):
        return pipeline
    return Pipeline(pipeline, namespace=name, tags=name, prefix_datasets_with_namespace=False)
