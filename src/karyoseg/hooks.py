"""Observation only: how long each node took and how much memory the run needed. A run is correct without hooks."""

from __future__ import annotations

import logging
import resource
import sys
import time
from typing import Any

from kedro.framework.hooks import hook_impl
from kedro.pipeline.node import Node

logger = logging.getLogger(__name__)


def peak_memory_gb() -> float:
    """Return the peak resident memory of this process [GB]."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1e9 if sys.platform == "darwin" else 1e6)


class RunLogHooks:
    """Log one line per node and one per run."""

    def __init__(self) -> None:
        self._started: dict[str, float] = {}
        self._run_started = 0.0

    @hook_impl
    def before_pipeline_run(self) -> None:
        """Start the clock of the run."""
        self._run_started = time.monotonic()

    @hook_impl
    def before_node_run(self, node: Node) -> None:
        """Start the clock of the node."""
        self._started[node.name] = time.monotonic()

    @hook_impl
    def after_node_run(self, node: Node) -> None:
        """Log the time the node function took; lazily computed outputs are written after it."""
        seconds = time.monotonic() - self._started.pop(node.name, time.monotonic())
        logger.debug("%s: %.1f s", node.name, seconds)

    @hook_impl
    def after_pipeline_run(self, run_params: dict[str, Any]) -> None:
        """Log the time and the memory of the run."""
        seconds = time.monotonic() - self._run_started
        names = ", ".join(run_params.get("pipeline_names") or ["__default__"])
        logger.info("Finished %s in %.0f s, peak memory %.1f GB", names, seconds, peak_memory_gb())
