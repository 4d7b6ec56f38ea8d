"""The configuration fits the code: every entry is used, every input resolves, every value is valid."""

from __future__ import annotations

import ast
import inspect
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
from kedro.framework.context import KedroContext
from kedro.framework.project import pipelines
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project
from kedro.pipeline import Pipeline
from pydantic import BaseModel, ValidationError

from karyoseg.core.errors import KaryosegError
from karyoseg.storage_hooks import StorageHooks

#: Groups whose `model_dump()` is passed on: their fields are keys or arguments where they are used.
PASSED_ON = (
    "augment.transforms",
    "dataset.sample",
    "predict.cluster",
    "preprocess",
    "style_clusters.method",
    "style_transfer",
    "train",
    "train_foreground",
    "tune_postprocessing.ranges",
)
STARDISTS = "train.network"  # read by StarDist alone
ENVIRONMENTS = ["base", "bbbc038", "bbbc038-fast", "bsst265", "s3", "test"]


@pytest.fixture(scope="module", params=ENVIRONMENTS)
def context(request: pytest.FixtureRequest, project: Path) -> KedroContext:
    bootstrap_project(project)
    with KedroSession.create(project, env=request.param) as session:
        return session.load_context()


@pytest.fixture(scope="module")
def everything(context: KedroContext) -> Pipeline:
    return sum((pipeline for name, pipeline in pipelines.items() if name != "__default__"), Pipeline([]))


def parameter_inputs(pipeline: Pipeline) -> dict[str, type[BaseModel]]:
    """Parameter group -> the pydantic model that the nodes ask for."""
    found: dict[str, type[BaseModel]] = {}
    for node in pipeline.nodes:
        hints = get_type_hints(node.func)
        declared = node._inputs
        if isinstance(declared, dict):
            arguments = declared
        else:
            arguments = dict(zip(inspect.signature(node.func).parameters, node.inputs, strict=False))
        for argument, dataset in arguments.items():
            if dataset.startswith("params:"):
                found[dataset.removeprefix("params:")] = hints[argument]
    return found


def test_all_environments_are_tested(project: Path) -> None:
    folders = {path.name for path in (project / "conf").iterdir() if path.is_dir()} - {"local"}
    assert folders == set(ENVIRONMENTS)


def test_only_what_stays_inside_one_pipeline_is_not_in_the_catalog(context: KedroContext) -> None:
    for name, pipeline in pipelines.items():
        if name == "__default__":
            continue
        inside = {dataset for node in pipeline.nodes for dataset in node.inputs} & pipeline.all_outputs()
        needed = {dataset for dataset in pipeline.datasets() if not dataset.startswith("params:")}
        assert needed - set(context.catalog.keys()) <= inside


def test_every_catalog_entry_is_used_by_a_pipeline(context: KedroContext, everything: Pipeline) -> None:
    declared = {name for name in context.catalog.keys() if not name.startswith("param")}  # noqa: SIM118
    assert declared <= set(everything.datasets())


def test_every_catalog_entry_has_a_layer(context: KedroContext) -> None:
    config: dict[str, Any] = context.config_loader["catalog"]
    entries = {name: entry for name, entry in config.items() if not name.startswith("_")}
    without = [
        name for name, entry in entries.items() if not entry.get("metadata", {}).get("kedro-viz", {}).get("layer")
    ]
    assert without == []


def test_layers_are_the_folders_of_the_data(context: KedroContext) -> None:
    config: dict[str, Any] = context.config_loader["catalog"]
    for name, entry in config.items():
        if name.startswith("_"):
            continue
        folder = re.search(r"/\d\d_(\w+)/", entry.get("filepath") or entry["path"])
        assert folder is not None, name
        assert entry["metadata"]["kedro-viz"]["layer"] == folder[1], name


def test_every_parameter_group_is_used_and_present(context: KedroContext, everything: Pipeline) -> None:
    assert set(parameter_inputs(everything)) == set(context.params)


def test_every_parameter_is_valid_and_known(context: KedroContext, everything: Pipeline) -> None:
    raw: dict[str, Any] = context.config_loader["parameters"]
    for group, model in parameter_inputs(everything).items():
        assert model.model_validate(raw[group]) == context.params[group], group


def fields(model: type[BaseModel], group: str, *around: str) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Group and name of every field, and the models that it is part of; those of groups within included."""
    owners = (*around, model.__name__)
    for name, field in model.model_fields.items():
        yield group, name, owners
        for inner in models(field.annotation):
            yield from fields(inner, f"{group}.{name}", *owners)


def models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from models(part)


def names_read(code: str) -> tuple[set[str], set[str]]:
    """Attributes that a module reads, and what it takes from dictionaries or as arguments; validators do not count."""
    attributes, passed = set(), set()
    nodes: list[ast.AST] = [ast.parse(code)]
    while nodes:
        match node := nodes.pop():
            case ast.FunctionDef(decorator_list=marks) if any("validator" in ast.unparse(mark) for mark in marks):
                continue
            case ast.Attribute(attr=name, ctx=ast.Load()):
                attributes.add(name)
            case ast.Subscript(slice=ast.Constant(value=str(name)), ctx=ast.Load()) | ast.arg(arg=name):
                passed.add(name)
        nodes += ast.iter_child_nodes(node)
    return attributes, passed


def test_every_field_of_the_parameters_is_read_by_the_code(project: Path, everything: Pipeline) -> None:
    modules = [path.read_text() for path in (project / "src" / "karyoseg").rglob("*.py")]
    attributes, passed = zip(*map(names_read, modules), strict=True)
    for model_group, model in parameter_inputs(everything).items():
        for group, name, owners in fields(model, model_group):
            # Attributes of that name may be of something else where none of the models is mentioned.
            near = (code for code, names in zip(modules, attributes, strict=True) if name in names)
            read = any(owner in code for code in near for owner in owners)
            whole = group.startswith(PASSED_ON) and any(name in names for names in passed)
            assert read or whole or group == STARDISTS, f"{group}.{name}"


def test_axes_are_checked_wherever_they_can_be_given(context: KedroContext, everything: Pipeline) -> None:
    groups = [group for group, model in parameter_inputs(everything).items() if "axes" in model.model_fields]
    assert {"dataset", "predict", "presegment"} <= set(groups)
    for group in groups:
        params = context.params[group]
        values = params.model_dump()
        assert params.model_validate(values | {"axes": "cyx"}).axes == "CYX"
        with pytest.raises(ValidationError, match="axes: found 'QQ'"):
            params.model_validate(values | {"axes": "QQ"})


def test_default_pipeline_is_the_workflow_in_order(context: KedroContext) -> None:
    names = [node.name for node in pipelines["__default__"].nodes]
    first = ["download.fetch_dataset", "preprocess.split_samples", "train.train_model"]
    assert [name for name in names if name in first] == first
    assert not {node.name for node in pipelines["predict"].nodes} & set(names)


def predictions_of(project: Path, conf: Path, **given: Any) -> str:
    """Folder of the predictions of a run, after the checks before its first node."""
    bootstrap_project(project)
    with KedroSession.create(project, conf_source=str(conf), runtime_params=given) as session:
        context = session.load_context()
        hooks = StorageHooks()
        hooks.after_context_created(context)
        hooks.before_pipeline_run(pipelines["predict"])
        entries = context.config_loader["catalog"]
        assert entries["objects_csv"]["filepath"].rpartition("/")[0] == entries["predictions"]["path"]
        assert context.params["predict"].output == entries["predictions"]["path"]
        return str(entries["predictions"]["path"])


def test_predictions_go_where_the_parameter_says_or_the_run_is_refused(project: Path, tmp_path: Path) -> None:
    conf = tmp_path / "conf"
    shutil.copytree(project / "conf", conf, ignore=shutil.ignore_patterns("local"))
    (conf / "local").mkdir()
    assert predictions_of(project, conf) == "data/07_model_output/predict"
    (conf / "local/globals.yml").write_text("predict_output: mine")
    assert predictions_of(project, conf) == "mine"
    assert predictions_of(project, conf, predict={"output": "other"}) == "other"
    (conf / "local/parameters.yml").write_text("predict: {output: elsewhere}")
    with pytest.raises(
        KaryosegError, match=r"found elsewhere .* go to mine.*--params predict\.output=elsewhere.*globals"
    ):
        predictions_of(project, conf)
    assert predictions_of(project, conf, predict={"output": "other"}) == "other"
