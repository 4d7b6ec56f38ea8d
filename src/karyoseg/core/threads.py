"""Working on several items at once in threads: NumPy, codecs and networks let others run meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

from joblib import cpu_count

T = TypeVar("T")
R = TypeVar("R")

_MOST = 8  # beyond, Python itself is what threads wait for

#: Set when a map stops early; what runs in its threads looks at them, for an interrupt reaches the main thread only.
_STOPS: ContextVar[tuple[threading.Event, ...]] = ContextVar("stops", default=())


def n_threads() -> int:
    """Return how many items to work on at once: one per core this process may use, but not more than 8."""
    return min(cpu_count(), _MOST)


def map_completed(compute: Callable[[T], R], items: Iterable[T], threads: int) -> Iterator[R]:
    """Apply a function to items in threads, and give the results as they come.

    No more than `threads` items are begun and not yet given, however many there are. When one fails, those begun are
    finished and given, no more are begun, and then the error is raised: of several, that of the first item. An
    interrupt ends maps inside these threads as well.

    Parameters
    ----------
    compute : callable
        Called with each item.
    items : iterable
        Taken one at a time.
    threads : int
        How many at once.

    Yields
    ------
    object
        What `compute` returned, in order of completion.
    """
    running: dict[Future[R], int] = {}
    failed: dict[int, BaseException] = {}

    def finished() -> Iterator[R]:
        for future in wait(running, return_when=FIRST_COMPLETED).done:
            position, error = running.pop(future), future.exception()
            if error is None:
                yield future.result()
            else:
                failed[position] = error

    stop = threading.Event()
    with ThreadPoolExecutor(threads, initializer=_STOPS.set, initargs=((*_STOPS.get(), stop),)) as pool:
        try:
            for position, item in enumerate(items):
                raise_if_stopped()
                running[pool.submit(compute, item)] = position
                if len(running) >= threads:
                    yield from finished()
                if failed:
                    break
            while running:
                yield from finished()
        except BaseException:
            stop.set()
            raise
    if failed:
        raise failed[min(failed)]


def raise_if_stopped() -> None:
    """End what runs in a thread of :func:`map_completed` that was stopped; long work asks now and then.

    Raises
    ------
    KeyboardInterrupt
        If it was stopped.
    """
    if any(stop.is_set() for stop in _STOPS.get()):
        raise KeyboardInterrupt


class Room:
    """A limit on what threads hold together; a single one may exceed it, alone.

    Parameters
    ----------
    size : float
        The limit, in any unit.

    Examples
    --------
    >>> room = Room(10)
    >>> with room.take(25):
    ...     print("alone")
    alone
    """

    def __init__(self, size: float):
        self._size = size
        self._taken = 0.0
        self._change = threading.Condition()

    @contextmanager
    def take(self, amount: float) -> Iterator[None]:
        """Wait until there is room for `amount`, and hold it until the block ends.

        Parameters
        ----------
        amount : float
            In the unit of the limit.
        """
        with self._change:
            self._change.wait_for(lambda: not self._taken or self._taken + amount <= self._size)
            self._taken += amount
        try:
            yield
        finally:
            with self._change:
                self._taken -= amount
                self._change.notify_all()


#: Pixels of prepared images that networks see at the same time, in all threads together: bounds the memory.
PIXELS_SEEN = Room(16e6)
