"""Logs are tidy: warnings once, on one line, and a level from outside."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterator

import pytest
from tqdm import tqdm

from karyoseg.core.runs.logs import AboveBars, tidy


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """What a root handler of our own shows, with levels, handlers and warnings put back afterwards."""
    root, names = logging.getLogger(), ("karyoseg", "kedro")
    kept, levels = list(root.handlers), [logging.getLogger(name).level for name in names]
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)
    stream = io.StringIO()
    root.handlers = [logging.StreamHandler(stream)]
    yield stream
    root.handlers = kept
    logging.captureWarnings(False)
    for name, level in zip(names, levels, strict=True):
        logging.getLogger(name).setLevel(level)


def test_warnings_show_once_and_errors_always(log: io.StringIO) -> None:
    tidy()
    tidy()
    for name in ("a", "a", "b"):
        logging.getLogger("karyoseg.x").warning("file %s is odd", name)
        logging.getLogger("karyoseg.x").error("file %s is broken", "c")
    expected = ["file a is odd", "file c is broken", "file c is broken", "file b is odd", "file c is broken"]
    assert log.getvalue().splitlines() == expected


def test_an_interrupt_while_a_line_is_written_is_not_lost(log: io.StringIO) -> None:
    class Interrupted:
        """A lock that is waited for when the signal comes."""

        def acquire(self) -> None:
            raise KeyboardInterrupt

        def release(self) -> None:
            raise RuntimeError("cannot release un-acquired lock")

    tidy()
    usual = tqdm.get_lock()
    tqdm.set_lock(Interrupted())
    try:
        with pytest.raises(KeyboardInterrupt):
            logging.getLogger("karyoseg.x").error("file a is broken")
    finally:
        tqdm.set_lock(usual)


def test_warnings_of_libraries_come_on_one_line(log: io.StringIO) -> None:
    tidy()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        for _ in range(2):
            warnings.warn("this is old", FutureWarning, stacklevel=1)
    (line,) = log.getvalue().splitlines()
    assert line.startswith("this is old (FutureWarning, test_logs.py:")


def test_streams_are_wrapped_once(log: io.StringIO) -> None:
    tidy()
    tidy()
    (handler,) = (handler for handler in logging.getLogger().handlers if type(handler) is logging.StreamHandler)
    assert isinstance(handler.stream, AboveBars)
    assert handler.stream._stream is log
    assert len(handler.filters) == 1


@pytest.mark.parametrize(
    ("level", "karyoseg", "kedro"),
    [("debug", logging.DEBUG, logging.INFO), ("WARNING", logging.WARNING, logging.ERROR)],
)
def test_the_level_comes_from_the_environment(
    log: io.StringIO, monkeypatch: pytest.MonkeyPatch, level: str, karyoseg: int, kedro: int
) -> None:
    logging.getLogger("kedro").setLevel(logging.ERROR)
    monkeypatch.setenv("KARYOSEG_LOG_LEVEL", level)
    tidy()
    assert logging.getLogger("karyoseg").level == karyoseg
    assert logging.getLogger("kedro").level == kedro
    assert log.getvalue() == ""


def test_an_unknown_level_is_named_and_ignored(log: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KARYOSEG_LOG_LEVEL", "chatty")
    before = logging.getLogger("karyoseg").level
    tidy()
    assert logging.getLogger("karyoseg").level == before
    assert "KARYOSEG_LOG_LEVEL is 'CHATTY'; needed: one of DEBUG" in log.getvalue()
