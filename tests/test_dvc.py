"""dvc.yaml says what the pipelines read, write and compute with, and `dvc repro` works."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import grimp
import pytest
import yaml
from dvc.dependency.param import ParamsDependency
from dvc.repo import Repo
from dvc.stage import PipelineStage
from kedro.framework.context import KedroContext
from kedro.framework.project import pipelines
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project

from karyoseg.pipeline_registry import WORKFLOW
from projects import copy_project
from repositories import dvc, environment, git, make_repository

STAGES = ["download", "preprocess", "augment", "train", "evaluate", "visualize"]
#: Made by a stage, but no dataset: `download` keeps the archive of the samples beside what it says about it.
ARCHIVE = {"download": {"data/01_raw/sample.zip"}}


@pytest.fixture(scope="module")
def context(project: Path) -> KedroContext:
    bootstrap_project(project)
    with KedroSession.create(project, env="base") as session:
        return session.load_context()


@pytest.fixture(scope="module")
def stages(project: Path) -> dict[str, PipelineStage]:
    with Repo(str(project)) as repo:
        return {stage.name: stage for stage in repo.index.stages if isinstance(stage, PipelineStage)}


@pytest.fixture(scope="module")
def locations(context: KedroContext) -> dict[str, str]:
    """Where each dataset lies."""
    entries: dict[str, Any] = context.config_loader["catalog"]
    return {name: entry.get("filepath") or entry["path"] for name, entry in entries.items()}


def dependencies(stage: PipelineStage) -> set[str]:
    return {dep.def_path for dep in stage.deps if not isinstance(dep, ParamsDependency)}


def code_of(stage: PipelineStage) -> set[str]:
    return {path for path in dependencies(stage) if path.startswith("src/")}


def test_there_is_one_stage_per_pipeline(context: KedroContext, stages: dict[str, PipelineStage]) -> None:
    assert set(stages) == set(STAGES) == set(WORKFLOW)
    for name, stage in stages.items():
        commands = [stage.cmd] if isinstance(stage.cmd, str) else stage.cmd
        assert commands[-1] == f"kedro run --env base --pipelines {name}"


@pytest.mark.parametrize("name", STAGES)
def test_outputs_are_those_of_the_pipeline(
    name: str, context: KedroContext, stages: dict[str, PipelineStage], locations: dict[str, str]
) -> None:
    written = pipelines[name].all_outputs() & set(locations)
    expected = {locations[dataset] for dataset in written} | ARCHIVE.get(name, set())
    assert {out.def_path for out in stages[name].outs} == expected
    metrics = {locations["metrics"]} & expected
    assert {out.def_path for out in stages[name].outs if out.metric} == metrics


@pytest.mark.parametrize("name", STAGES)
def test_data_dependencies_are_the_inputs_of_the_pipeline(
    name: str, context: KedroContext, stages: dict[str, PipelineStage], locations: dict[str, str]
) -> None:
    entries = context.config_loader["catalog"]
    written = {dataset for stage in STAGES for dataset in pipelines[stage].all_outputs()}
    read = {
        dataset
        for dataset in pipelines[name].inputs()
        if dataset in written or (dataset in entries and not entries[dataset].get("optional"))
    }
    assert dependencies(stages[name]) - code_of(stages[name]) == {locations[dataset] for dataset in read}


@pytest.mark.parametrize("name", STAGES)
def test_only_folders_with_a_file_per_sample_stay_out_of_the_cache(
    name: str, context: KedroContext, stages: dict[str, PipelineStage], locations: dict[str, str]
) -> None:
    entries = context.config_loader["catalog"]
    partitions = {locations[key] for key, entry in entries.items() if entry["type"].endswith("SamplePartitions")}
    written = {out.def_path for out in stages[name].outs}
    assert {out.def_path for out in stages[name].outs if not out.use_cache} == partitions & written


@pytest.fixture(scope="module")
def imports() -> grimp.ImportGraph:
    return grimp.build_graph("karyoseg")


@pytest.mark.parametrize("name", STAGES)
def test_code_dependencies_are_the_modules_that_a_stage_computes_with(
    name: str, project: Path, imports: grimp.ImportGraph, context: KedroContext, stages: dict[str, PipelineStage]
) -> None:
    """Reading and writing files (karyoseg.datasets) does not count, but a model that is read is one that computes."""
    starts = {f"karyoseg.pipelines.{name}"}
    if "model" in pipelines[name].datasets():
        starts.add("karyoseg.models")
    used = set[str]()
    found = {module for start in starts for module in {start} | imports.find_descendants(start)}
    while found:
        used |= found
        found = {module for each in found for module in imports.find_modules_directly_imported_by(each)} - used
    files = {file_of(module, project) for module in used}
    listed = code_of(stages[name])
    missing = {file for file in files if not any(f"{file}/".startswith(f"{path}/") for path in listed)}
    useless = {path for path in listed if not any(f"{file}/".startswith(f"{path}/") for file in files)}
    assert (missing, useless) == (set(), set())


def file_of(module: str, project: Path) -> str:
    path = Path("src", *module.split("."))
    return (path / "__init__.py" if (project / path).is_dir() else path.with_suffix(".py")).as_posix()


def read_parameters(name: str, context: KedroContext) -> set[str]:
    """Groups that a pipeline reads."""
    inputs = pipelines[name].inputs()
    if "parameters" in inputs:
        return set(context.params)
    return {dataset.removeprefix("params:") for dataset in inputs if dataset.startswith("params:")}


@pytest.mark.parametrize("name", STAGES)
def test_parameters_are_those_that_the_nodes_read(
    name: str, project: Path, context: KedroContext, stages: dict[str, PipelineStage]
) -> None:
    expected: dict[str, set[str]] = {}
    for path in sorted((project / "conf/base").glob("parameters*.yml")):
        text = path.read_text(encoding="utf-8")
        groups = set(yaml.safe_load(text)) & read_parameters(name, context)
        if groups:
            expected[path.relative_to(project).as_posix()] = groups
            # Where data lie is no parameter of a result.
            globals_ = set(re.findall(r"\$\{globals:(\w+)", text)) - {"data", "predict_output"}
            if globals_:
                expected.setdefault("conf/base/globals.yml", set()).update(globals_)
    listed = {dep.def_path: set(dep.params) for dep in stages[name].deps if isinstance(dep, ParamsDependency)}
    assert listed == expected


def test_the_lock_knows_every_stage_and_the_parameters_of_today(
    project: Path, stages: dict[str, PipelineStage]
) -> None:
    lock = yaml.safe_load((project / "dvc.lock").read_text(encoding="utf-8"))["stages"]
    assert set(lock) == set(STAGES)
    for name, stage in stages.items():
        for dep in (dep for dep in stage.deps if isinstance(dep, ParamsDependency)):
            today = yaml.safe_load((project / dep.def_path).read_text(encoding="utf-8"))
            assert lock[name]["params"][dep.def_path] == {key: today[key] for key in dep.params}, name
        assert {out["path"] for out in lock[name]["outs"]} == {out.def_path for out in stage.outs}


@pytest.fixture
def repository(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository of the project whose base parameters are those of the environment `test`."""
    for name, value in environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    folder = copy_project(project, tmp_path / "project")
    monkeypatch.setenv("PYTHONPATH", str(folder / "src"))
    shutil.copy2(project / "dvc.yaml", folder)
    shutil.copytree(project / ".dvc/plots", folder / ".dvc/plots")
    tiny = yaml.safe_load((folder / "conf/test/parameters.yml").read_text())
    for path in (folder / "conf/base").glob("parameters_*.yml"):
        path.write_text(yaml.safe_dump(merged(yaml.safe_load(path.read_text()), tiny)))
    return make_repository(project, folder, remote="local")


def merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Replace values of `base` by those of `changes` that have the same place."""
    return {
        key: merged(value, changes[key]) if isinstance(value, dict) and key in changes else changes.get(key, value)
        for key, value in base.items()
    } | {key: value for key, value in changes.items() if key not in base and not isinstance(value, dict)}


@pytest.mark.slow
def test_repro_repeats_nothing_and_revisions_compare_in_a_fresh_clone(repository: Path) -> None:
    dvc(repository, "repro")
    assert git(repository, "status", "--porcelain") == "?? dvc.lock"
    training = json.loads((repository / "data/06_models/stardist/training.json").read_text())
    assert training["provenance"]["git"]["commit"] == git(repository, "rev-parse", "HEAD")
    assert training["provenance"]["git"]["dirty"] is False
    assert set(training["provenance"]["dvc"]) == {"data/01_raw/fetched.json", "data/01_raw/sample.zip"}
    assert "up to date" in dvc(repository, "repro").splitlines()[-1]
    commit(repository, "one")

    parameters = repository / "conf/base/parameters_evaluate.yml"
    parameters.write_text(yaml.safe_dump({"evaluate": {"split": "test", "prob_thresh": 0.01, "nms_thresh": None}}))
    output = dvc(repository, "repro", "evaluate")
    assert "Stage 'train' didn't change, skipping" in output
    commit(repository, "two")
    dvc(repository, "push", "--all-tags")

    git(repository.parent, "clone", "--quiet", str(repository), "clone")
    clone = repository.parent / "clone"
    dvc(clone, "pull", "--allow-missing")
    changes = json.loads(dvc(clone, "metrics", "diff", "--json", "one", "two"))["data/08_reporting/metrics.json"]
    assert changes["n_pred"]["new"] > changes["n_pred"]["old"]
    parameters_diff = json.loads(dvc(clone, "params", "diff", "--json", "one", "two"))
    assert parameters_diff["conf/base/parameters_evaluate.yml"]["evaluate.prob_thresh"]["new"] == 0.01
    plots = json.loads(dvc(clone, "plots", "diff", "--json", "one", "two"))
    assert "errors" not in plots
    for title in ("Average precision over the IoU threshold", "Training"):
        (plot,) = plots["data"][title]
        assert set(plot["revisions"]) == {"one", "two"}
    assert "data/08_reporting/figures/ap_curve.png" in plots["data"]


def commit(repository: Path, tag: str) -> None:
    git(repository, "add", "--all")
    git(repository, "commit", "--quiet", "-m", tag)
    git(repository, "tag", tag)
