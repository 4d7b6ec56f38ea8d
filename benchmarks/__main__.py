"""Run all cases, both sides alternating, and print the ratios.

Usage: python -m benchmarks [--runs 5] [--model FOLDER] [--json FILE] [CASE ...]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.cases import CASES
from benchmarks.inputs import MODEL

SIDES = ("karyoseg", "stardist")


class Worker:
    """The process of one side, ready to measure."""

    def __init__(self, case: str, side: str):
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.worker", case, side],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self._answer()

    def _answer(self) -> str:
        line = self._process.stdout.readline() if self._process.stdout else ""
        if not line:
            raise RuntimeError(f"{self._process.args} ended without an answer; run it by hand to see why")
        return line

    def run(self) -> dict[str, float]:
        """Measure once."""
        if self._process.stdin is not None:
            self._process.stdin.write("run\n")
            self._process.stdin.flush()
        result: dict[str, float] = json.loads(self._answer())
        return result

    def stop(self) -> None:
        """End the process."""
        self._process.communicate()


def compare(case: str, runs: int) -> dict[str, Any]:
    """Measure both sides in turn; only one of them works at a time."""
    workers = {side: Worker(case, side) for side in SIDES}
    results: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
    for _ in range(runs):
        for side, worker in workers.items():
            results[side].append(worker.run())
    for worker in workers.values():
        worker.stop()
    rates = {side: statistics.median(r["amount"] / r["seconds"] for r in results[side]) for side in SIDES}
    return {
        "case": case,
        "unit": CASES[case][0],
        **{f"{side}_rate": rates[side] for side in SIDES},
        "ratio": rates["karyoseg"] / rates["stardist"],
        **{f"{side}_peak_gb": max(r["peak_gb"] for r in results[side]) for side in SIDES},
    }


def main() -> None:
    """Print the table and write it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", nargs="*", choices=[*CASES, []], default=[])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--model", help="folder of the model to predict with; default: that of BBBC038")
    parser.add_argument("--json", type=Path, default=Path("data/08_reporting/benchmarks.json"))
    arguments = parser.parse_args()
    if arguments.model:
        os.environ[MODEL] = arguments.model
    rows = []
    print(f"{'case':<14}{'unit':>10}{'karyoseg':>11}{'stardist':>11}{'ratio':>8}{'peak GB':>16}")
    for case in arguments.cases or CASES:
        row = compare(case, arguments.runs)
        rows.append(row)
        memory = f"{row['karyoseg_peak_gb']:.2f} / {row['stardist_peak_gb']:.2f}"
        print(
            f"{case:<14}{row['unit']:>10}{row['karyoseg_rate']:>11.3f}{row['stardist_rate']:>11.3f}"
            f"{row['ratio']:>8.2f}{memory:>16}",
            flush=True,
        )
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(
        json.dumps({"machine": platform.processor(), "runs": arguments.runs, "rows": rows}, indent=2)
    )


if __name__ == "__main__":
    main()
