"""Progress of long steps: a bar with the time left on a terminal, a line in the log now and then elsewhere.

Containers and batch systems have no terminal; there, a bar would be one endless line.
"""

from __future__ import annotations

import io
import logging
import os
import sys
from typing import Any

from tqdm import tqdm

logger = logging.getLogger(__name__)

LOG_SECONDS = 30.0
"""Time between two lines of the log, and before the first."""

_MINUTE, _HOUR = 60, 3600
_LONGEST = 100  # of one unit, before the next larger one is used


def duration(seconds: float) -> str:
    """Write a duration for people.

    Parameters
    ----------
    seconds : float
        The duration [s].

    Returns
    -------
    str
        Number and unit.

    Examples
    --------
    >>> duration(4.21), duration(150), duration(9000)
    ('4.2 s', '2.5 min', '2.5 h')
    """
    if seconds < _LONGEST:
        return f"{seconds:.1f} s"
    if seconds < _LONGEST * _MINUTE:
        return f"{seconds / _MINUTE:.1f} min"
    return f"{seconds / _HOUR:.1f} h"


class Progress(tqdm):
    """Wrap an iterable, or count by hand with ``update``; see :class:`tqdm.tqdm` for the arguments.

    Parameters
    ----------
    *args, **kwargs : object
        Those of tqdm. `desc` says what is done and `unit` to what (singular).

    Examples
    --------
    >>> sum(Progress([1, 2, 3], desc="adding", unit="number"))
    6
    """

    def __init__(self, *args: Any, **kwargs: Any):
        self._is_bar = _has_terminal()
        if not self._is_bar:
            kwargs |= {"file": io.StringIO(), "mininterval": LOG_SECONDS, "delay": LOG_SECONDS, "miniters": 1}
        super().__init__(*args, **{"leave": False, "dynamic_ncols": True} | kwargs)

    def __bool__(self) -> bool:
        """Be true even without a total: pooch asks."""
        return True

    def display(self, msg: str | None = None, pos: int | None = None) -> Any:
        """Draw the bar, or log a line; tqdm calls it when it is time to.

        Parameters
        ----------
        msg, pos : object
            Of tqdm; an empty message removes the bar.
        """
        if self._is_bar:
            return super().display(msg, pos)
        if msg is None:
            logger.info("%s", self.line())
        return True

    def line(self) -> str:
        """Say in words how far it is.

        Returns
        -------
        str
            What, done, total, time left; the last two if they are known.
        """
        state = self.format_dict
        done, total = state["n"], state["total"]
        if state["unit_scale"]:
            text = f"{tqdm.format_sizeof(done)}{state['unit']}"
            of = f" of {tqdm.format_sizeof(total)}{state['unit']}" if total else ""
        else:
            text, of = str(done), f" of {total} {state['unit']}s" if total else f" {state['unit']}s"
        text = f"{self.desc.removesuffix(': ')}: {text}{of}"
        if not (total and done):
            return text
        rate = state["rate"] or done / state["elapsed"]
        return f"{text}, about {duration((total - done) / rate)} left"


def _has_terminal() -> bool:
    """Tell whether a bar can be drawn; some batch systems offer a terminal without lines."""
    return sys.stderr.isatty() and os.get_terminal_size(sys.stderr.fileno()).lines > 0
