"""One measurement: `python -m benchmarks.worker SETTING`. Started by `benchmarks.alternate.measure`.

Prints one JSON object: amount of work, seconds it took, seconds from the start of the process until it began, peak
memory [GB].
"""

from __future__ import annotations

import time
from typing import Any

import psutil

from benchmarks.alternate import answer


def main(setting: dict[str, Any]) -> dict[str, Any]:
    """Prepare one side of one case, then do its work and time it."""
    from benchmarks.cases import CASES
    from karyoseg.core.runs.hardware import peak_memory_gb

    work = CASES[setting["case"]].prepare(setting["side"], setting)
    start_seconds = time.time() - psutil.Process().create_time()
    started = time.perf_counter()
    outcome = work()
    seconds = time.perf_counter() - started
    amount, seconds = outcome if isinstance(outcome, tuple) else (outcome, seconds)
    return {"amount": amount, "seconds": seconds, "start_seconds": start_seconds, "peak_gb": peak_memory_gb()}


if __name__ == "__main__":
    answer(main)
