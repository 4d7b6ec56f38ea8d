"""``kedro run`` with readable errors and checked names of pipelines."""

from __future__ import annotations

import functools
import pkgutil
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from kedro.framework.cli.project import run as kedro_run
from kedro.utils import find_kedro_project

import karyoseg.pipelines
from karyoseg.cli.errors import with_readable_errors
from karyoseg.core.errors import KaryosegError

_INTERRUPTED = 130


def check_pipelines(names: Sequence[str]) -> None:
    """Refuse names of pipelines that do not exist.

    Parameters
    ----------
    names : sequence of str
        Names given on the command line.

    Raises
    ------
    KaryosegError
        With the names that exist.
    """
    known = ["__default__", *(module.name for module in pkgutil.iter_modules(karyoseg.pipelines.__path__))]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise KaryosegError(f"pipeline '{unknown[0]}': does not exist; needed: one of {', '.join(known)}.")


def require_project_folder() -> None:
    """Refuse to run in a folder below the project, which Kedro finds from there.

    Paths of the catalog would start from the project, those in parameters and of the log from the folder: a run would
    leave its data in two places. Outside of projects, where an installed package runs, both start from the folder.

    Raises
    ------
    KaryosegError
        With the folder to run in.
    """
    here = Path.cwd()
    project = find_kedro_project(here)
    if project not in (None, here):
        raise KaryosegError(
            f"{here}: a folder inside the project; needed: the folder of the project, where relative paths start. Run "
            f"it in {project}."
        )


@contextmanager
def _stopped_orderly() -> Iterator[None]:
    """Leave on Ctrl-C, and on the SIGTERM of batch systems and containers, with what is on disk in order."""

    def stop(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    usual = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except KeyboardInterrupt:
        from karyoseg.hooks import run_hooks

        run_hooks.interrupted()
        click.echo("Interrupted. The same command continues where this run stopped.", err=True)
        sys.exit(_INTERRUPTED)
    finally:
        signal.signal(signal.SIGTERM, usual)


def adapt(command: click.Command) -> click.Command:
    """Make Kedro's run command refuse unknown pipelines and folders below the project, and report errors readably.

    Parameters
    ----------
    command : click.Command
        With the options ``pipeline`` and ``pipelines``.

    Returns
    -------
    click.Command
        The same command with another callback.
    """
    callback = command.callback
    if callback is None:
        raise TypeError(f"command {command.name} has no function to call")

    @functools.wraps(callback)
    @with_readable_errors
    def run(*, pipeline: str | None, pipelines: list[str], **options: Any) -> Any:
        require_project_folder()
        # --pipeline NAME is what everybody types; to Kedro it is the deprecated form of --pipelines NAME.
        names = [*([pipeline] if pipeline else []), *pipelines]
        check_pipelines(names)
        with _stopped_orderly():
            return callback(pipeline=None, pipelines=names, **options)

    return click.Command(
        name=command.name,
        callback=run,
        params=command.params,
        help=command.help,
        context_settings=command.context_settings,
    )


run = adapt(kedro_run)
