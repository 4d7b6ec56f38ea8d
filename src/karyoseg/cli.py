"""``kedro run`` with errors a user can read: what he can mend is printed as one message, without a traceback."""

from __future__ import annotations

import functools
import os
from typing import Any

import click
from kedro.config import MissingConfigException
from kedro.framework.cli.project import run as kedro_run
from kedro.validation.exceptions import ParameterValidationError

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


def _with_readable_errors(command: click.Command) -> click.Command:
    callback = command.callback
    if callback is None:
        raise TypeError(f"command {command.name} has no function to call")

    @functools.wraps(callback)
    def run(*args: Any, **kwargs: Any) -> Any:
        try:
            return callback(*args, **kwargs)
        except Exception as error:
            mendable = user_error(error)
            if mendable is None or os.environ.get("KARYOSEG_TRACEBACK"):
                raise
            raise click.ClickException(f"{mendable}\n(set KARYOSEG_TRACEBACK=1 for the full traceback)") from None

    return click.Command(
        name=command.name,
        callback=run,
        params=command.params,
        help=command.help,
        context_settings=command.context_settings,
    )


cli.add_command(_with_readable_errors(kedro_run), "run")
