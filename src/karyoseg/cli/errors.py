"""What a user can mend is printed as one message, without a traceback."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable
from typing import Any

import click
from kedro.config import MissingConfigException
from kedro.validation.exceptions import ParameterValidationError

from karyoseg.core.errors import KaryosegError, causes

_USER_ERRORS = (KaryosegError, ParameterValidationError, MissingConfigException)
#: What Kedro and pydantic say of classes, and what is shown in its place.
_FOR_PROGRAMMERS = {
    r"\n *For further information visit \S+": "",
    r" Failed to instantiate \w+ for parameter '.*': \d+ validation errors? for \w+$": "",
    r"^( *)Value error, ": r"\1",
    r" \[type=value_error, .*\]$": "",
    r" \[type=\w+, input_value=(.*), input_type=\w+\]$": r" (found \1)",
}


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
    return next((cause for cause in causes(error) if isinstance(cause, _USER_ERRORS)), None)


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
    message = str(error)
    for pattern, shown in _FOR_PROGRAMMERS.items():
        message = re.sub(pattern, shown, message, flags=re.MULTILINE)
    return message


def with_readable_errors(function: Callable[..., Any]) -> Callable[..., Any]:
    """Turn user errors of a command into messages of the command line, with exit code 1.

    ``KARYOSEG_TRACEBACK=1`` lets them through.

    Parameters
    ----------
    function : callable
        Callback of a command.

    Returns
    -------
    callable
        The same with readable errors.
    """

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except Exception as error:
            mendable = user_error(error)
            if mendable is None or os.environ.get("KARYOSEG_TRACEBACK"):
                raise
            message = f"{readable(mendable)}\n(set KARYOSEG_TRACEBACK=1 for the full traceback)"
            raise click.ClickException(message) from None

    return call
