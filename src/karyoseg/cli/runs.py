"""``kedro runs``: what ran here, when, and how it ended."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click
import pandas as pd
import psutil
from kedro.framework.session import KedroSession
from kedro.framework.startup import ProjectMetadata

from karyoseg.cli.errors import with_readable_errors
from karyoseg.core.progress import duration
from karyoseg.core.runs.hardware import host
from karyoseg.core.runs.records import RUNNING, SUCCEEDED
from karyoseg.datasets.run_folder import RunFolder
from karyoseg.hooks import RUNS, data_folder


def row(name: str, record: Mapping[str, Any]) -> dict[str, str]:
    """Write a record as a row of the table.

    Parameters
    ----------
    name : str
        Of its file.
    record : mapping
        The record.

    Returns
    -------
    dict of str to str
        Columns of the table.
    """
    n_steps = len(record["steps"])
    done = n_steps if record["status"] == SUCCEEDED else sum(step["seconds"] is not None for step in record["steps"])
    status = "killed" if _is_dead(record) else record["status"]
    peak, seconds = record["peak_memory_gb"], record["seconds"]
    git = record["git"]
    return {
        "run": name,
        "env": record["environment"],
        "status": status,
        "steps": f"{done}/{n_steps}",
        "time": "-" if seconds is None else duration(seconds),
        "peak": "-" if peak is None else f"{peak:.1f} GB",
        "git": git["describe"] + ("+" if git["dirty"] else "") if git else "-",
    }


def _is_dead(record: Mapping[str, Any]) -> bool:
    """Tell whether a run that never ended has no process any more; on other machines nobody can know."""
    here = record["host"]["name"] == host()["name"]
    return record["status"] == RUNNING and here and not psutil.pid_exists(record["host"]["pid"])


@click.command()
@click.option("--env", "-e", help="Kedro environment; it says where the data are.")
@click.option("--last", "-n", type=click.IntRange(min=1), default=20, show_default=True, help="How many to show.")
@click.pass_obj
@with_readable_errors
def runs(metadata: ProjectMetadata, env: str | None, last: int) -> None:
    """List the last runs, the newest at the bottom. "+" after the git revision: files had been changed."""
    context = KedroSession.create(metadata.project_path, env=env).load_context()
    folder = f"{data_folder(context)}/{RUNS}"
    records = RunFolder(folder).read(last)
    table = pd.DataFrame([row(name, record) for name, record in records.items()])
    click.echo(f"{folder}: no runs yet" if table.empty else f"{table.to_string(index=False)}\n{folder}")
