"""Measuring several ways to do the same, each time in a process of its own, in turn.

A new process has no caches of an earlier one, and its peak memory is its own. Turns make what else happens on the
machine hit all ways alike.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

T = TypeVar("T")
K = TypeVar("K", bound=Hashable)

_SHOWN = 2000  # characters of what a failed process wrote


def turns(sides: Sequence[T], repeats: int) -> Iterator[T]:
    """Give every side once per round; every second round backwards, so that none always follows the same one.

    Examples
    --------
    >>> "".join(turns("abc", 3))
    'abccbaabc'
    """
    for number in range(repeats):
        yield from reversed(sides) if number % 2 else sides


def measure(module: str, setting: Mapping[str, Any]) -> dict[str, Any]:
    """Run ``python -m MODULE SETTING`` and return the JSON object it prints.

    Parameters
    ----------
    module : str
        Ends with :func:`answer`.
    setting : mapping
        What to measure.

    Raises
    ------
    RuntimeError
        If the process fails; with the end of what it wrote to standard error.
    """
    command = [sys.executable, "-m", module, json.dumps(setting)]
    with tempfile.TemporaryFile() as log:
        run = subprocess.run(command, stdout=subprocess.PIPE, stderr=log, check=False)
        log.seek(0)
        written = log.read().decode(errors="replace")
    try:
        answer: dict[str, Any] = json.loads(run.stdout)
    except ValueError:
        answer = {}
    if run.returncode or not answer:
        raise RuntimeError(f"{' '.join(command)} ended with code {run.returncode}:\n{written[-_SHOWN:]}")
    return answer


def answer(function: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Be the process that :func:`measure` starts: call the function with the setting and print what it returns."""
    with os.fdopen(os.dup(1), "w") as stream:
        os.dup2(2, 1)  # what libraries print and log is no answer
        stream.write(json.dumps(function(json.loads(sys.argv[1]))))


class TimeLeft:
    """What the runs still to come will take.

    Of a run that was made before, it is known. Of the others it is guessed, and the guesses are corrected by how far
    the earlier ones were off.

    Parameters
    ----------
    planned : sequence
        The runs to come; equal ones take equal time.
    guesses : mapping
        Seconds of each.
    """

    def __init__(self, planned: Sequence[K], guesses: Mapping[K, float]):
        self._todo = list(planned)
        self._guesses = guesses
        self._known: dict[K, list[float]] = {}

    def done(self, run: K, seconds: float) -> None:
        """Note that a run has been made."""
        self._todo.remove(run)
        self._known.setdefault(run, []).append(seconds)

    def seconds(self) -> float:
        """Sum up the rest."""
        known = {run: statistics.mean(times) for run, times in self._known.items()}
        speed = sum(known.values()) / sum(self._guesses[run] for run in known) if known else 1.0
        return sum(known.get(run, self._guesses[run] * speed) for run in self._todo)
