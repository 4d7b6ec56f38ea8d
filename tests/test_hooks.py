"""One line per step in the log, one record per run on disk."""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import matplotlib.figure
import pandas as pd
import pytest
from kedro.framework.hooks.manager import _create_hook_manager
from kedro.io import DataCatalog, DatasetError, MemoryDataset
from kedro.pipeline import Pipeline, node
from kedro.runner import SequentialRunner, ThreadRunner
from pluggy import PluginManager

from karyoseg.core.errors import KaryosegError
from karyoseg.core.lazy import Lazy
from karyoseg.hooks import RunHooks, _count
from karyoseg.params.train import TrainParams
from karyoseg.storage_hooks import StorageHooks
from object_store import ObjectStore

RUN = {"env": "test", "pipeline_names": ["train"], "runtime_params": {"x": {"n": 1}}, "runner": "SequentialRunner"}


def rows(n: int) -> pd.DataFrame:
    return pd.DataFrame({"a": range(n)})


def both(table: pd.DataFrame) -> tuple[list[int], str]:
    return [1], "text"


def fail(table: pd.DataFrame) -> str:
    raise RuntimeError("a bug")


def stop(table: pd.DataFrame) -> str:
    raise KeyboardInterrupt


def steps(second: Any = both, outputs: Any = ("numbers", "text")) -> Pipeline:
    outputs = list(outputs) if isinstance(outputs, tuple) else outputs
    return Pipeline([node(rows, "params:n", "table", name="make"), node(second, "table", outputs, name="second_one")])


@pytest.fixture
def hooks(tmp_path: Path) -> RunHooks:
    made = RunHooks()
    made._project, made._data = tmp_path, f"{tmp_path}/data"
    return made


def registered(*hooks: RunHooks | StorageHooks) -> PluginManager:
    """What Kedro calls hooks through."""
    manager = _create_hook_manager()
    for each in hooks:
        manager.register(each)
    return manager


def run(hooks: RunHooks, pipeline: Pipeline, runner: Any = None, n: int = 3) -> None:
    """What a session does: the hooks around a run."""
    catalog = DataCatalog({"params:n": MemoryDataset(n)})
    manager = registered(hooks)
    manager.hook.before_pipeline_run(run_params=RUN, pipeline=pipeline, catalog=catalog)
    try:
        (runner or SequentialRunner()).run(pipeline, catalog, manager)
    except Exception as error:
        manager.hook.on_pipeline_error(error=error, run_params=RUN, pipeline=pipeline, catalog=catalog)
        raise
    manager.hook.after_pipeline_run(run_params=RUN, run_result={}, pipeline=pipeline, catalog=catalog)


def record(folder: Path) -> dict[str, Any]:
    (path,) = (folder / "data/08_reporting/runs").glob("*.json")
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [item.getMessage() for item in caplog.records if item.name == "karyoseg.hooks"]


@pytest.mark.parametrize("runner", [SequentialRunner, ThreadRunner])
def test_a_line_per_step_with_number_time_and_counts(
    hooks: RunHooks, caplog: pytest.LogCaptureFixture, runner: type, tmp_path: Path
) -> None:
    caplog.set_level(logging.INFO, logger="karyoseg")
    run(hooks, steps(), runner())
    begun, first, second, finished = lines(caplog)
    assert begun.startswith("Run of 2 steps, record data/08_reporting/runs/2")
    assert re.fullmatch(r"1/2  make         [ \d]{3}\.\d s  table \(3 rows\)", first)
    assert re.fullmatch(r"2/2  second_one   [ \d]{3}\.\d s  numbers \(1 item\), text", second)
    assert finished.startswith("Finished 2 steps in ")
    assert finished.endswith(" GB")
    written = record(tmp_path)
    assert written["status"] == "succeeded"
    assert [step["outputs"] for step in written["steps"]] == [{"table": 3}, {"numbers": 1, "text": None}]
    assert (written["environment"], written["given_parameters"]) == ("test", {"x": {"n": 1}})
    assert written["parameters"] == {"n": 3}


def test_parallel_steps_leave_the_record_to_the_main_process(
    hooks: RunHooks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline, catalog = steps(), DataCatalog({"params:n": MemoryDataset(3)})
    manager = registered(hooks)
    manager.hook.before_pipeline_run(run_params=RUN, pipeline=pipeline, catalog=catalog)
    before = record(tmp_path)
    # As in a forked process. A real one may crash: libraries that earlier tests loaded have threads.
    own = os.getpid()
    monkeypatch.setattr(os, "getpid", lambda: own + 1)
    SequentialRunner().run(pipeline, catalog, manager)
    assert record(tmp_path) == before


def test_a_failure_names_the_step_and_the_cause(
    hooks: RunHooks, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    with pytest.raises(RuntimeError):
        run(hooks, steps(fail, "text"))
    errors = [item.getMessage() for item in caplog.records if item.levelno == logging.ERROR]
    assert [error.partition(" after ")[0] for error in errors] == ["2/2  second_one failed"]
    written = record(tmp_path)
    assert (written["status"], written["error"]) == ("failed", "RuntimeError: a bug")
    assert [step["seconds"] is None for step in written["steps"]] == [False, True]


def test_what_the_user_can_mend_is_recorded_without_what_kedro_wraps_around_it(hooks: RunHooks, tmp_path: Path) -> None:
    def save(table: pd.DataFrame) -> str:
        raise DatasetError("Failed while saving") from KaryosegError("https://me:pw@example.org/a.tif: broken")

    with pytest.raises(DatasetError):
        run(hooks, steps(save, "text"))
    assert record(tmp_path)["error"] == "https://example.org/a.tif: broken"


def test_a_run_that_its_bucket_refuses_has_no_record(hooks: RunHooks, on_s3: ObjectStore, tmp_path: Path) -> None:
    storage = StorageHooks()
    catalog = {"table": {"filepath": "s3://no-such-bucket/table.csv"}}
    storage._context = SimpleNamespace(config_loader={"catalog": catalog}, params={"n": 3})  # type: ignore[assignment]
    begin = registered(storage, hooks).hook.before_pipeline_run
    with pytest.raises(KaryosegError, match="no such bucket"):
        begin(run_params=RUN, pipeline=steps(), catalog=DataCatalog({"params:n": MemoryDataset(3)}))
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("broken", ["missing", "empty"])
def test_a_training_from_a_model_that_is_not_there_is_refused_before_it_begins(
    hooks: RunHooks, tmp_path: Path, broken: str
) -> None:
    def begin(pipeline: Pipeline, init: dict[str, str]) -> None:
        storage = StorageHooks()
        params = {"train": TrainParams(init=init)}
        storage._context = SimpleNamespace(config_loader={"catalog": {}}, params=params)  # type: ignore[assignment]
        hook = registered(storage, hooks).hook.before_pipeline_run
        hook(run_params=RUN, pipeline=pipeline, catalog=DataCatalog({"params:train": MemoryDataset(params["train"])}))

    (tmp_path / "empty").mkdir()
    training = Pipeline([node(lambda params: "text", "params:train", "text", name="train")])
    with pytest.raises(KaryosegError, match=rf"train\.init\.path: .*{broken}: no model there"):
        begin(training, {"name": "model", "path": str(tmp_path / broken)})
    assert not (tmp_path / "data").exists()
    begin(training, {"name": "model", "path": "nuclei-fluo"})
    begin(Pipeline([]), {"name": "model", "path": "not asked for"})
    begin(training, {"name": "scratch"})


def test_an_interrupted_run_is_completed_once(hooks: RunHooks, tmp_path: Path) -> None:
    hooks.interrupted()  # before any run
    with pytest.raises(KeyboardInterrupt):
        run(hooks, steps(stop, "text"))
    assert record(tmp_path)["status"] == "running"
    hooks.interrupted()
    written = record(tmp_path)
    hooks.interrupted()
    assert written["status"] == "interrupted"
    assert record(tmp_path) == written


def test_without_a_place_for_the_record_the_run_goes_on(
    hooks: RunHooks, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    caplog.set_level(logging.INFO, logger="karyoseg")
    (tmp_path / "data").write_text("a file where the folder should be")
    run(hooks, steps())
    assert "The record of this run is incomplete" in caplog.text
    assert any(line.startswith("Finished 2 steps") for line in lines(caplog))


def test_a_record_that_cannot_be_written_any_more_does_not_stop_the_run(hooks: RunHooks, tmp_path: Path) -> None:
    def remove(table: pd.DataFrame) -> str:
        shutil.rmtree(tmp_path / "data")
        (tmp_path / "data").write_text("in the way")
        return "text"

    run(hooks, steps(remove, "text"))
    assert (tmp_path / "data").read_text() == "in the way"


def test_pipelines_are_recorded_in_the_order_of_the_workflow(hooks: RunHooks) -> None:
    asked = {"pipeline_names": ["predict", "evaluate", "train"]}
    hooks.before_pipeline_run(run_params=RUN | asked, pipeline=Pipeline([]), catalog=DataCatalog())
    record = json.loads(Path(hooks._path).read_text())
    assert record["pipelines"] == ["train", "evaluate", "predict"]


def test_counts_say_what_is_counted() -> None:
    assert _count(rows(2)) == (2, "row")
    assert _count({"a": Lazy(dict, "1")}) == (1, "sample")
    assert _count({"a.png": matplotlib.figure.Figure()}) == (1, "figure")
    assert [_count(data) for data in ({"f1": 0.5}, {}, "text", None)] == [None] * 4
