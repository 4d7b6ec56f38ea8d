"""``kedro run`` with errors a user can read: what he can mend is printed as one message, without a traceback."""

from __future__ import annotations

import functools
import os
import pkgutil
import re
from collections.abc import Sequence
from typing import Any

import click
from kedro.config import MissingConfigException
from kedro.framework.cli.project import run as kedro_run
from kedro.validation.exceptions import ParameterValidationError

import karyoseg.pipelines
from karyoseg.core.errors import KaryosegError

_USER_ERRORS = (KaryosegError, ParameterValidationError, MissingConfigException)


def user_error(error: BaseException | None) -> BaseException | None:
    """Find the error a user can act on in a chain of causes.

    Kedro wraps what a dataset raises into ``DatasetError``; the original is its cause.

    Parameters
    ----------
    error : BaseException or None
        What was raised.

    Returns
    -------
    BaseException or None
        The first user error of the chain, or None.
    """
    while error is not None:
        if isinstance(error, _USER_ERRORS):
            return error
        error = error.__cause__ or error.__context__
    return None


@click.group(name="karyoseg")
def cli() -> None:
    """Commands of this project."""


def readable(error: BaseException) -> str:
    """Return the message of a user error, without hints that only programmers can use.

    Parameters
    ----------
    error : BaseException
        From :func:`user_error`.

    Returns
    -------
    str
        The message.
    """
    message = re.sub(r"\n *For further information visit \S+", "", str(error))
    return re.sub(r" \[type=value_error, .*\]$", "", message, flags=re.MULTILINE)


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


def _with_readable_errors(command: click.Command) -> click.Command:
    callback = command.callback
    if callback is None:
        raise TypeError(f"command {command.name} has no function to call")

    @functools.wraps(callback)
    def run(*, pipeline: str | None, pipelines: list[str], **options: Any) -> Any:
        # --pipeline NAME is what everybody types; to Kedro it is the deprecated form of --pipelines NAME.
        names = [*([pipeline] if pipeline else []), *pipelines]
        try:
            check_pipelines(names)
            return callback(pipeline=None, pipelines=names, **options)
        except Exception as error:
            mendable = user_error(error)
            if mendable is None or os.environ.get("KARYOSEG_TRACEBACK"):
                raise
            message = f"{readable(mendable)}\n(set KARYOSEG_TRACEBACK=1 for the full traceback)"
            raise click.ClickException(message) from None

    return click.Command(
        name=command.name,
        callback=run,
        params=command.params,
        help=command.help,
        context_settings=command.context_settings,
    )


run = _with_readable_errors(kedro_run)
cli.add_command(run)
