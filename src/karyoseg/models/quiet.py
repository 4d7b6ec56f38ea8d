"""TensorFlow, imported without its remarks on the processor; everything else it says is shown."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator

#: What TensorFlow writes at every start on any machine, before its log level counts.
_REMARKS = (
    r"before absl::InitializeLog"
    r"|oneDNN custom operations are on"
    r"|binary is optimized to use available CPU|To enable the following instructions"
    r"|factory for plugin \w+ when one has already been registered|computation placer already registered"
)
_SECONDS = 5  # for the last lines to pass
_SIEVE = f"""
import re, signal, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)
for line in sys.stdin:
    if not re.search({_REMARKS!r}, line):
        sys.stderr.write(line)
"""


def import_tensorflow() -> None:
    """Import TensorFlow, which takes seconds the first time; TF_CPP_MIN_LOG_LEVEL=0 shows all it says."""
    if "tensorflow" in sys.modules:
        return
    # TensorFlow reads it when it is imported. Its errors also come as exceptions; its log calls remarks errors, too.
    silent = os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3") == "3"
    with _sifted() if silent else contextlib.nullcontext():
        import tensorflow  # noqa: F401


@contextlib.contextmanager
def _sifted() -> Iterator[None]:
    """Pass what is written to standard error through a second process.

    TensorFlow writes to the file, not to Python's stream. And where it cannot run at all, as on old processors, it
    says so and aborts: another process still passes that on.
    """
    sieve = subprocess.Popen([sys.executable, "-SEc", _SIEVE], stdin=subprocess.PIPE, text=True)  # noqa: S603
    usual = os.dup(2)
    os.dup2(sieve.stdin.fileno(), 2)  # type: ignore[union-attr]
    try:
        yield
    finally:
        os.dup2(usual, 2)
        os.close(usual)
        with contextlib.suppress(subprocess.TimeoutExpired):
            sieve.communicate(timeout=_SECONDS)
