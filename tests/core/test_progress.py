"""Lines in the log where there is no terminal, a bar where there is one."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from karyoseg.core import progress
from karyoseg.core.progress import Progress, duration

SCRIPT = """
import logging, sys, time
logging.basicConfig(format="%(message)s", stream=sys.stdout)
from karyoseg.core.runs.logs import tidy
from karyoseg.core.progress import Progress
tidy()
for n in Progress(range(3), desc="counting", unit="sheep", mininterval=0):
    if n == 1:
        logging.warning("one black sheep")
"""


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """The log, with a line every 50 ms and at most four."""
    monkeypatch.setattr(progress, "LOG_SECONDS", 0.05)
    caplog.set_level(logging.INFO, logger="karyoseg")
    return caplog


def test_durations_have_one_unit_and_similar_widths() -> None:
    assert [duration(s) for s in (0, 99.9, 100, 5999, 6000)] == ["0.0 s", "99.9 s", "1.7 min", "100.0 min", "1.7 h"]


def test_the_log_says_done_total_and_time_left(lines: pytest.LogCaptureFixture) -> None:
    items = [item for item in Progress(range(4), desc="cutting", unit="image") if time.sleep(0.06) is None]
    assert items == [0, 1, 2, 3]
    messages = [record.getMessage() for record in lines.records]
    texts = [re.fullmatch(r"cutting: (\d) of 4 images, about ([\d.]+) (?:s|min|h) left", each) for each in messages]
    assert [text and text[1] for text in texts] == ["1", "2", "3", "4"]
    left = [float(text[2]) for text in texts if text]
    assert left[0] >= 0.2  # three more of 60 ms at least
    assert left[-1] == 0


def test_steps_shorter_than_the_interval_stay_silent(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="karyoseg")
    assert list(Progress("abc", desc="spelling", unit="letter")) == ["a", "b", "c"]
    assert caplog.records == []


def test_bytes_are_counted_by_hand_and_the_total_may_be_unknown(lines: pytest.LogCaptureFixture) -> None:
    bar = Progress(desc="downloading", unit="B", unit_scale=True)
    assert bar  # pooch takes a false one for none
    time.sleep(0.06)
    bar.update(2_000_000)
    bar.close()
    assert [record.getMessage() for record in lines.records] == ["downloading: 2.00MB"]


@pytest.mark.skipif(os.name != "posix", reason="pseudo terminals exist on POSIX systems only")
@pytest.mark.parametrize("rows", [40, 0])
def test_a_terminal_shows_a_bar_that_log_lines_do_not_break(rows: int, tmp_path: Path) -> None:
    import fcntl
    import pty
    import struct
    import termios

    terminal, inside = pty.openpty()
    fcntl.ioctl(inside, termios.TIOCSWINSZ, struct.pack("HHHH", rows, 80, 0, 0))
    process = subprocess.Popen([sys.executable, "-c", SCRIPT], stdin=inside, stdout=inside, stderr=inside)
    os.close(inside)
    output = b""
    while True:
        try:
            chunk = os.read(terminal, 4096)
        except OSError:  # Linux' way to say that the other end is closed
            break
        output += chunk
        if not chunk:
            break
    os.close(terminal)
    text = output.decode()
    assert process.wait() == 0, text
    assert ("counting:  33%|" in text) == (rows > 0)
    shown = [line.rpartition("\r")[2] for line in text.replace("\r\n", "\n").split("\n")]
    assert "one black sheep" in shown
    assert shown[-1].strip() == ""  # the bar is gone at the end
