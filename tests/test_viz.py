"""The graph in kedro-viz: layers, pipelines and previews, as data and in a browser."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kedro.framework.project import pipelines
from kedro.framework.startup import bootstrap_project
from scripts.screenshot_graph import CHROMIUM, Graph, open_graph, take_pictures

from areas import unavailable
from karyoseg.pipeline_registry import WORKFLOW
from projects import copy_project, kedro

LAYERS = ["raw", "intermediate", "primary", "model_input", "models", "model_output", "reporting"]
STYLE = {  # not run here
    *("synthetic_images", "synthetic_images_table", "synthetic_labels"),
    *("prepared_style_images", "prepared_style_labels"),
}
WITHOUT_PREVIEW = {"pixel_counts", "report"} | STYLE  # in memory; a web page of its own
PAYLOAD = 400e3

pytestmark = pytest.mark.slow


def build(project: Path) -> Path:
    """Run `kedro viz build` in a project copy and return the folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KEDRO_ENV", "test")
        run = kedro(project, "viz", "build", "--include-previews")
    assert "could not be previewed" not in run.stdout + run.stderr
    return project / "build"


def read(site: Path, part: str) -> dict[str, Any]:
    return json.loads((site / "api" / part).read_bytes())


def previews(site: Path) -> dict[str, Any]:
    """Preview of every data set of the workflow, by name."""
    nodes = {node["name"]: node["id"] for node in read(site, "main")["nodes"] if node["type"] == "data"}
    return {name: read(site, f"nodes/{identity}").get("preview") for name, identity in nodes.items()}


@pytest.fixture(scope="module")
def site(finished_project: Path) -> Path:
    return build(finished_project)


@pytest.fixture(scope="module")
def graph(site: Path) -> Iterator[Graph]:
    if CHROMIUM is None:
        unavailable("browser", "no chromium on this machine; .ci/system_tools installs it")
    with open_graph(site) as graph:
        yield graph
    assert graph.errors == []


def test_layers_are_in_the_order_of_the_data_folders(site: Path) -> None:
    assert read(site, "main")["layers"] == LAYERS


def test_pipelines_are_listed_in_the_order_of_the_workflow(site: Path) -> None:
    listed = [entry["id"] for entry in read(site, "main")["pipelines"]]
    others = listed[1 + len(WORKFLOW) :]
    assert listed == ["__default__", *WORKFLOW, *sorted(others)]
    assert {"predict", "style"} <= set(others)


def test_every_data_set_of_a_finished_run_has_a_preview(site: Path) -> None:
    assert {name for name, preview in previews(site).items() if not preview} == WITHOUT_PREVIEW


def test_payloads_are_small(site: Path) -> None:
    sizes = {path.name: path.stat().st_size for path in (site / "api" / "nodes").iterdir()}
    assert max(sizes.values()) < PAYLOAD


def test_nodes_tell_what_goes_in_and_what_comes_out(site: Path) -> None:
    tasks = [node for node in read(site, "main")["nodes"] if node["type"] == "task"]
    for task in tasks:
        code = read(site, f"nodes/{task['id']}")["code"]
        assert "    In: " in code, task["name"]
        assert "    Out: " in code, task["name"]


def test_graph_of_a_fresh_clone_is_drawn_without_previews(project: Path, tmp_path: Path) -> None:
    site = build(copy_project(project, tmp_path / "clone"))
    assert not any(previews(site).values())
    assert read(site, "main")["layers"] == LAYERS


def test_selector_offers_every_pipeline(graph: Graph, project: Path) -> None:
    bootstrap_project(project)
    graph.show()
    graph.page.locator(".pipeline-list .dropdown__label").click()
    offered = graph.page.locator(".pipeline-list .menu-option").all_inner_texts()
    assert [name.strip() for name in offered] == list(pipelines)


def test_workflow_is_one_box_per_pipeline_until_opened(graph: Graph) -> None:
    boxes = graph.page.locator(".pipeline-node--modularPipeline")
    graph.show()
    assert set(boxes.all_text_contents()) == set(WORKFLOW)
    graph.show(expanded=True)
    assert boxes.count() == 0
    assert set(graph.page.locator(".pipeline-layer-name").all_text_contents()) == set(LAYERS)


@pytest.mark.parametrize("name", ["intermediate_labels", "test_labels_pred", "figures", "augmentation_sheet"])
def test_pictures_are_shown_beside_the_graph(graph: Graph, name: str) -> None:
    graph.show(node=name, expanded=True)
    picture = graph.page.locator(".pipeline-metadata img")
    picture.wait_for()
    assert picture.evaluate("image => image.decode().then(() => image.naturalWidth)") > 300


@pytest.mark.parametrize(
    ("name", "text"), [("manifest", "train_tissue_00"), ("metrics", "ap_mean"), ("model", "thresholds")]
)
def test_tables_and_facts_are_shown_beside_the_graph(graph: Graph, name: str, text: str) -> None:
    graph.show(node=name, expanded=True)
    graph.page.locator(".pipeline-metadata").get_by_text(text).first.wait_for()


def test_pictures_for_the_documentation_are_taken(graph: Graph, tmp_path: Path, project: Path) -> None:
    take_pictures(graph, tmp_path)
    pictures = list(tmp_path.iterdir())
    assert {taken.name for taken in pictures} == {"pipeline.png", "pipeline_preview.png"}
    for taken in pictures:
        assert 20e3 < taken.stat().st_size < PAYLOAD
        assert (project / "docs" / "images" / taken.name).exists()
