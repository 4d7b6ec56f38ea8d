"""One side of one case in a process of its own, so that peak memory is its own.

Says "ready", then reads one line per run from standard input and answers with one JSON line: work done, seconds,
peak memory [GB].
"""

from __future__ import annotations

import contextlib
import json
import sys
import time

from benchmarks.cases import CASES
from karyoseg.hooks import peak_memory_gb


def main(case: str, side: str) -> None:
    """Serve runs of one side until standard input closes."""
    _, ours, plain = CASES[case]
    with contextlib.redirect_stdout(sys.stderr):
        work = (ours if side == "karyoseg" else plain)()
        work()  # warm-up: graph building is not what is compared
    print("ready", flush=True)
    for _ in sys.stdin:
        started = time.perf_counter()
        with contextlib.redirect_stdout(sys.stderr):
            amount = work()
        seconds = time.perf_counter() - started
        print(json.dumps({"amount": amount, "seconds": seconds, "peak_gb": peak_memory_gb()}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
