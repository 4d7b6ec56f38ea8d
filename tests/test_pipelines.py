"""The pipelines read and write what their reference says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from kedro.framework.project import pipelines
from kedro.framework.startup import bootstrap_project


@pytest.fixture(scope="module")
def table(project: Path) -> dict[str, list[str]]:
    """Pipeline -> what it reads, what it writes and its parameters, as the reference says."""
    bootstrap_project(project)
    page = (project / "docs/reference/pipelines.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \|(.*)\|(.*)\|(.*)\|$", page, flags=re.MULTILINE)
    return {name: cells for name, *cells in rows}


@pytest.fixture(scope="module")
def catalog(project: Path) -> set[str]:
    files = (project / "conf/base").glob("catalog*.yml")
    return {name for file in files for name in yaml.safe_load(file.read_text())}


def named(cell: str) -> set[str]:
    """Names in a cell; `the tables of` a pipeline are its results."""
    others = re.findall(r"the tables of `(\w+)`", cell)
    names = re.findall(r"`(\w+)`", re.sub(r"the tables of `\w+`", "", cell))
    return set(names).union(*(pipelines[other].outputs() for other in others))


def test_every_pipeline_is_in_the_reference(table: dict[str, list[str]]) -> None:
    assert set(table) == set(pipelines) - {"__default__"}


def test_pipelines_read_and_write_what_the_reference_says(table: dict[str, list[str]], catalog: set[str]) -> None:
    for name, (reads, writes, parameters) in table.items():
        pipeline = pipelines[name]
        if reads.strip().startswith("runs "):
            assert set(pipeline.nodes) == {node for part in named(reads) for node in pipelines[part].nodes}, name
            continue
        assert named(reads) == pipeline.inputs() & catalog, name
        assert named(writes) == pipeline.all_outputs() & catalog, name
        groups = {given.removeprefix("params:") for given in pipeline.inputs() if given.startswith("params:")}
        assert named(parameters) == groups, name
