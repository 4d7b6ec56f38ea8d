"""Observation only: how long each node took and how much memory the run needed. A run is correct without hooks."""

from __future__ import annotations

import logging
import resource
import sys
import time
from collections.abc import Sized
from typing import Any

from kedro.framework.hooks import hook_impl
from kedro.pipeline.node import Node

logger = logging.getLogger(__name__)


def peak_memory_gb() -> float:
    """Return the peak resident memory of this process [GB]."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1e9 if sys.platform == "darwin" else 1e6)


class RunLogHooks:
    """Log one line per node output and one per run."""

    def __init__(self) -> None:
        self._started = 0.0
        self._run_started = 0.0

    @hook_impl
    def before_pipeline_run(self, run_params: dict[str, Any]) -> None:
        """Start the clock of the run."""
        self._run_started = time.monotonic()

    @hook_impl
    def before_node_run(self, node: Node) -> None:
        """Start the clock of the node."""
        self._started = time.monotonic()
        logger.info("%s ...", node.name)

    @hook_impl
    def after_dataset_saved(self, dataset_name: str, data: Any, node: Node) -> None:
        """Log what was written and how long it took; lazy outputs are computed while they are written."""
        count = f" ({len(data)})" if isinstance(data, Sized) and not isinstance(data, str) else ""
        logger.info("%s -> %s%s, %.1f s", node.name, dataset_name, count, time.monotonic() - self._started)
        self._started = time.monotonic()

    @hook_impl
    def after_pipeline_run(self, run_params: dict[str, Any]) -> None:
        """Log the time and the memory of the run."""
        seconds = time.monotonic() - self._run_started
        names = ", ".join(run_params.get("pipeline_names") or ["all pipelines"])
        logger.info("Finished %s in %.0f s, peak memory %.1f GB", names, seconds, peak_memory_gb())
