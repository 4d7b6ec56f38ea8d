"""Tidy logs: a level from outside, each warning once and on one line, lines above progress bars."""

from __future__ import annotations

import logging
import os
import warnings
from pathlib import Path
from typing import TextIO

from tqdm import tqdm

logger = logging.getLogger(__name__)

LEVEL_VARIABLE = "KARYOSEG_LOG_LEVEL"
_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")


class EachWarningOnce(logging.Filter):
    """Let each warning pass the first time only; progress and errors always pass."""

    def __init__(self) -> None:
        super().__init__()
        self._seen: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether to show a message.

        Parameters
        ----------
        record : LogRecord
            The message.
        """
        if record.levelno != logging.WARNING:
            return True
        text = record.getMessage()
        new = text not in self._seen
        self._seen.add(text)
        return new


class AboveBars:
    """Stream that writes above progress bars, not into them.

    Parameters
    ----------
    stream : file
        Where to write.
    """

    def __init__(self, stream: TextIO):
        self._stream = stream

    def write(self, text: str) -> None:
        """Write a line."""
        try:
            tqdm.write(text, file=self._stream, end="")
        except Exception as error:
            # Interrupted before it has its lock, tqdm fails to release it, and logging drops that error: the interrupt
            # would be lost.
            if isinstance(error.__context__, KeyboardInterrupt):
                raise error.__context__ from None
            raise

    def flush(self) -> None:
        """Flush the stream."""
        self._stream.flush()


def tidy() -> None:
    """Arrange the handlers of the root logger and the warnings of Python; again and again does no harm."""
    logging.captureWarnings(True)
    warnings.formatwarning = _one_line
    for handler in logging.getLogger().handlers:
        if type(handler) is not logging.StreamHandler:
            continue
        if not isinstance(handler.stream, AboveBars):
            handler.setStream(AboveBars(handler.stream))
            handler.addFilter(EachWarningOnce())
    _set_level()


def _set_level() -> None:
    """Take the level from the environment; DEBUG also shows Kedro's own messages."""
    level = os.environ.get(LEVEL_VARIABLE, "").upper()
    if not level:
        return
    if level not in _LEVELS:
        logger.warning("%s is '%s'; needed: one of %s. It stays as it was.", LEVEL_VARIABLE, level, ", ".join(_LEVELS))
        return
    logging.getLogger("karyoseg").setLevel(level)
    if level == "DEBUG":
        logging.getLogger("kedro").setLevel(logging.INFO)


def _one_line(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    return f"{message} ({category.__name__}, {Path(filename).name}:{lineno})"
