"""Observation only: a line per step in the log, a record of the run on disk. A run is correct without hooks."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.io import CatalogProtocol
from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node

from karyoseg.core.errors import KaryosegError, causes
from karyoseg.core.lazy import Lazy
from karyoseg.core.progress import duration
from karyoseg.core.runs import records as run_records
from karyoseg.core.runs.hardware import peak_memory_gb
from karyoseg.core.runs.logs import tidy
from karyoseg.datasets.run_folder import RunFolder
from karyoseg.pipeline_registry import WORKFLOW

logger = logging.getLogger(__name__)

RUNS = "08_reporting/runs"
_SELECTION = ("tags", "node_names", "from_nodes", "to_nodes", "from_inputs", "to_outputs", "namespaces")
_OPTIONS = (*_SELECTION, "load_versions", "only_missing_outputs")


class RunHooks:
    """Log one line per step and keep the record of the run up to date.

    A step whose outputs are computed while they are saved is finished with the last of them. Threads share one
    object; the processes of a parallel runner have copies, which log their steps and leave the record alone.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._project = Path()
        self._data = "data"
        self._reset(Pipeline([]))

    def _reset(self, pipeline: Pipeline) -> None:
        self._process = os.getpid()
        self._started = time.monotonic()
        self._steps = {node.name: index for index, node in enumerate(pipeline.nodes, start=1)}
        self._begun: dict[str, float] = {}
        self._saved: dict[str, dict[str, tuple[int, str] | None]] = {}
        self._folder: RunFolder | None = None
        self._path = ""
        self._record: dict[str, Any] = {}

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Arrange the log; remember where the project keeps its data."""
        tidy()
        self._project = context.project_path
        self._data = data_folder(context)

    @hook_impl
    def before_pipeline_run(self, run_params: dict[str, Any], pipeline: Pipeline, catalog: CatalogProtocol) -> None:
        """Start the clock and the record."""
        self._reset(pipeline)
        with _harmless():
            self._record = run_records.new_record(
                self._project,
                environment=run_params.get("env") or "local",
                pipelines=sorted(run_params.get("pipeline_names") or ["__default__"], key=_place),
                selection={name: run_params.get(name) for name in _OPTIONS},
                runner=_class_name(run_params.get("runner") or "SequentialRunner"),
                steps=list(self._steps),
                parameters=_parameters(pipeline, catalog),
                given_parameters=run_params.get("runtime_params") or {},
            )
            folder = RunFolder(f"{self._data}/{RUNS}")
            self._path = folder.reserve(run_records.record_name(self._record))
            self._folder = folder
            self._write()
            shown = self._path.removeprefix(f"{self._project.as_posix()}/")
            logger.info("Run of %s, record %s", _plural(len(self._steps), "step"), shown)

    @hook_impl
    def before_dataset_loaded(self, node: Node) -> None:
        """Start the clock of a step."""
        self._begin(node)

    @hook_impl
    def before_node_run(self, node: Node) -> None:
        """Start the clock of a step without inputs."""
        self._begin(node)

    @hook_impl
    def after_node_run(self, node: Node) -> None:
        """Finish a step without outputs."""
        if not node.outputs:
            self._finish_step(node)

    @hook_impl
    def after_dataset_saved(self, dataset_name: str, data: Any, node: Node) -> None:
        """Note what was written; the last output finishes the step."""
        saved = self._saved.setdefault(node.name, {})
        saved[dataset_name] = _count(data)
        if set(saved) == set(node.outputs):
            self._finish_step(node)

    @hook_impl
    def on_pipeline_error(self, error: Exception) -> None:
        """Log which step failed; complete the record."""
        for name, begun in self._begun.items():
            logger.error("%s failed after %s", self._label(name), duration(time.monotonic() - begun))
        self._end(run_records.FAILED, _explain(error))

    @hook_impl
    def after_pipeline_run(self) -> None:
        """Log time and memory of the run; complete the record."""
        self._end(run_records.SUCCEEDED)
        seconds = duration(time.monotonic() - self._started)
        logger.info(
            "Finished %s in %s, peak memory %.1f GB", _plural(len(self._steps), "step"), seconds, peak_memory_gb()
        )

    def interrupted(self) -> None:
        """Complete the record of a run that was stopped from outside: Kedro does not tell hooks of that."""
        if self._record.get("status") == run_records.RUNNING:
            self._end(run_records.INTERRUPTED)

    def _begin(self, node: Node) -> None:
        if node.name not in self._begun:
            self._begun[node.name] = time.monotonic()
            logger.debug("%s begins", self._label(node.name))

    def _finish_step(self, node: Node) -> None:
        seconds = time.monotonic() - self._begun.pop(node.name, time.monotonic())
        saved = self._saved.pop(node.name, {})
        shown = [f"{name} ({_plural(*count)})" if count else name for name, count in saved.items()]
        logger.info("%s  %8s  %s", self._label(node.name), duration(seconds), ", ".join(shown))
        counts = {name: count and count[0] for name, count in saved.items()}
        with _harmless(), self._lock:
            self._record["steps"][self._steps[node.name] - 1] |= {"seconds": round(seconds, 2), "outputs": counts}
            self._write()

    def _end(self, status: str, error: str | None = None) -> None:
        with _harmless(), self._lock:
            run_records.finish(self._record, status, time.monotonic() - self._started, error)
            self._write()

    def _write(self) -> None:
        if self._folder is not None and os.getpid() == self._process:
            self._folder.write(self._path, self._record)

    def _label(self, name: str) -> str:
        """Step number and name, as wide as those of the other steps."""
        total = str(len(self._steps))
        width = max(map(len, self._steps), default=0)
        return f"{self._steps.get(name, '-'):>{len(total)}}/{total}  {name:<{width}}"


def data_folder(context: KedroContext) -> str:
    """Return the folder of the data, which an environment may move to a bucket.

    Parameters
    ----------
    context : KedroContext
        Context of a session.

    Returns
    -------
    str
        Absolute path or URL.
    """
    folder = str(context.config_loader["globals"].get("data", "data"))
    return folder if "://" in folder else (context.project_path / folder).as_posix()


@contextmanager
def _harmless() -> Iterator[None]:
    """Warn if observation fails, and let the run go on."""
    try:
        yield
    except Exception as error:  # noqa: BLE001  whatever it is, it must not stop the run
        logger.warning("The record of this run is incomplete: %s: %s", type(error).__name__, error)


def _place(name: str) -> tuple[int, str]:
    """Sort pipelines as the workflow runs them: Kedro passes them in any order."""
    return WORKFLOW.index(name) if name in WORKFLOW else len(WORKFLOW), name


def _parameters(pipeline: Pipeline, catalog: CatalogProtocol) -> dict[str, Any]:
    """Load the groups that the pipeline asks for, complete with defaults."""
    inputs = pipeline.inputs()
    everything = catalog.load("parameters") if "parameters" in inputs else {}
    groups = {name: catalog.load(name) for name in inputs if name.startswith("params:")}
    return dict(sorted((everything | {name.removeprefix("params:"): group for name, group in groups.items()}).items()))


def _count(data: Any) -> tuple[int, str] | None:
    """Say how many of what there are, where that says something."""
    if isinstance(data, pd.DataFrame):
        return len(data), "row"
    if isinstance(data, Mapping) and data:
        first = next(iter(data.values()))
        if isinstance(first, Lazy):
            return len(data), "sample"
        if hasattr(first, "savefig"):
            return len(data), "figure"
    return (len(data), "item") if isinstance(data, list) else None


def _plural(n: int, word: str) -> str:
    return f"{n} {word}" if n == 1 else f"{n} {word}s"


def _class_name(runner: str) -> str:
    """Kedro tells the name of the runner, or what Python prints of the object."""
    return runner.partition(" object")[0].rpartition(".")[2]


def _explain(error: BaseException) -> str:
    """Give the message for the user if there is one below what Kedro wraps around it, else type and text."""
    mendable = (str(cause) for cause in causes(error) if isinstance(cause, KaryosegError))
    return next(mendable, f"{type(error).__name__}: {error}")


run_hooks = RunHooks()
"""The one that settings.py registers."""
