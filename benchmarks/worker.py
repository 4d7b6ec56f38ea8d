"""One side of one case in a process of its own, so that peak memory is its own.

Says "ready", then reads one line per run from standard input and answers with one JSON line: work done, seconds,
peak memory [GB].
"""

from __future__ import annotations

import json
import os
import sys
import time

from benchmarks.cases import CASES
from karyoseg.core.hardware import peak_memory_gb


def main(case: str, side: str) -> None:
    """Serve runs of one side until standard input closes."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print and log is no answer
    _, ours, plain = CASES[case]
    work = (ours if side == "karyoseg" else plain)()
    work()  # warm-up: graph building is not what is compared
    answers.write("ready\n")
    for _ in sys.stdin:
        started = time.perf_counter()
        amount = work()
        seconds = time.perf_counter() - started
        answers.write(json.dumps({"amount": amount, "seconds": seconds, "peak_gb": peak_memory_gb()}) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
