"""What a run was: one JSON-like record, made before the first step and completed as the run goes on."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from karyoseg.core.runs.hardware import hardware, host, peak_memory_gb
from karyoseg.core.runs.privacy import without_secrets
from karyoseg.core.runs.provenance import git_state, package_versions

SCHEMA = 1
RUNNING, SUCCEEDED, FAILED, INTERRUPTED = "running", "succeeded", "failed", "interrupted"

_LONGEST_NAME = 60


def new_record(
    project: Path,
    *,
    environment: str,
    pipelines: Sequence[str],
    selection: Mapping[str, Any],
    runner: str,
    steps: Sequence[str],
    parameters: Mapping[str, Any],
    given_parameters: Mapping[str, Any],
) -> dict[str, Any]:
    """Write down what is known before the first step.

    Parameters
    ----------
    project : Path
        Folder of the project.
    environment : str
        Name of the Kedro environment.
    pipelines : sequence of str
        Their names.
    selection : mapping
        Options that choose among the steps of the pipelines; those not given are left out.
    runner : str
        Class of the runner.
    steps : sequence of str
        Names of the steps, in order.
    parameters : mapping
        Groups of parameters with all values, as used.
    given_parameters : mapping
        Those of the command line.

    Returns
    -------
    dict
        See docs/reference/files.md.
    """
    return {
        "schema": SCHEMA,
        "status": RUNNING,
        "error": None,
        "started": _now(),
        "ended": None,
        "seconds": None,
        "peak_memory_gb": None,
        "command": without_secrets([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "environment": environment,
        "pipelines": list(pipelines),
        "selection": without_secrets({key: value for key, value in selection.items() if value}),
        "runner": runner,
        "steps": [{"name": name, "seconds": None, "outputs": None} for name in steps],
        "given_parameters": without_secrets(given_parameters),
        "parameters": without_secrets(parameters),
        "git": git_state(project),
        "versions": package_versions(),
        "hardware": hardware(),
        "host": host(),
    }


def finish(record: dict[str, Any], status: str, seconds: float, error: str | None = None) -> None:
    """Complete a record in place.

    Parameters
    ----------
    record : dict
        From :func:`new_record`.
    status : str
        How the run ended.
    seconds : float
        Duration of the run [s].
    error : str, optional
        What went wrong.
    """
    record |= {
        "status": status,
        "error": without_secrets(error),
        "ended": _now(),
        "seconds": round(seconds, 1),
        "peak_memory_gb": round(peak_memory_gb(), 2),
    }


def record_name(record: Mapping[str, Any]) -> str:
    """Name the file of a record: time and pipelines.

    Parameters
    ----------
    record : mapping
        From :func:`new_record`.

    Returns
    -------
    str
        Without suffix; names sort by time.

    Examples
    --------
    >>> record_name({"started": "2026-03-01T08:30:00Z", "pipelines": ["train", "evaluate"]})
    '20260301T083000Z-train-evaluate'
    """
    pipelines = re.sub(r"[^\w-]+", "-", "-".join(record["pipelines"]).replace("__default__", "default"))
    return f"{re.sub('[-:]', '', record['started'])}-{pipelines[:_LONGEST_NAME]}"


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
