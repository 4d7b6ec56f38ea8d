"""The style pipeline is made of others."""

from __future__ import annotations

from pathlib import Path

from kedro.framework.project import pipelines
from kedro.framework.startup import bootstrap_project

from karyoseg.pipelines import boxed, presegment
from karyoseg.pipelines.style import create_pipeline

PARTS = ("presegment", "style_clusters", "mask_synthesis", "style_transfer")


def test_it_is_its_parts_as_they_are_registered(project: Path) -> None:
    bootstrap_project(project)
    assert set(pipelines["style"].nodes) == {node for name in PARTS for node in pipelines[name].nodes}
    assert not set(pipelines["style"].nodes) & set(pipelines["__default__"].nodes)


def test_it_needs_annotated_shapes_and_images_without_masks_only() -> None:
    inputs = {name for name in create_pipeline().inputs() if not name.startswith("params:")}
    assert inputs == {"intermediate_labels", "splits"}


def test_boxes_are_not_put_into_boxes() -> None:
    once = boxed("presegment", presegment.create_pipeline())
    assert {node.name.split(".")[0] for node in once.nodes} == {"presegment"}
    assert boxed("other", once) is once
