"""Measure karyoseg beside plain stardist, print tables and write them as JSON.

Every measurement runs in a process of its own, the sides in turn.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from benchmarks import record
from benchmarks.alternate import TimeLeft, measure, turns
from benchmarks.cases import CASES, OURS, PLAIN
from benchmarks.cluster import WORKERS
from benchmarks.inputs import ARCHIVE, Inputs, make_inputs, model_path
from karyoseg.core.progress import duration
from karyoseg.params.train import TrainParams

RESULTS = Path("data/08_reporting/benchmarks")
#: Images in the folder, sides of the large images and of the single one [px], training steps per epoch.
FULL = {"n_images": 240, "large": 8192, "blocks": 4096, "single": 2048, "steps": 12}
QUICK = {"n_images": 16, "large": 1024, "blocks": 1024, "single": 512, "steps": 2}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line asks for; 1 if a measurement failed."""
    options = _parse(arguments)
    if options.show:
        print(*record.markdown(record.read(options.show)), sep="\n")
        return 0
    if options.archive and not options.archive.is_file():
        raise SystemExit(f"--archive {options.archive}: no such file")
    result = record.circumstances()
    path = options.json or RESULTS / f"{result['created'].replace(':', '')}.json"
    sizes = QUICK if options.quick else FULL
    repeats = options.repeats or (1 if options.quick else None)
    with tempfile.TemporaryDirectory(prefix="karyoseg-bench-") as scratch:
        _say("making images")
        sides_px = {name: sizes[name] for name in ("large", "blocks", "single")}
        inputs = make_inputs(Path(scratch), options.archive, sizes["n_images"], **sides_px)
        model: dict[str, Any] = {"path": str(model_path(options.model, Path(scratch)))}
        if any(CASES[case].ours in ("chosen", "engines") for case in options.only):
            _say("opening every engine once")
            model |= measure("benchmarks.engines", {"model": model["path"]})
        result |= {"inputs": inputs.facts, "model": model, "cases": {}, "failed": {}}
        sides = {case: _sides(case, model) for case in options.only}
        plan = [(case, side) for case in options.only for side in turns(sides[case], repeats or CASES[case].rounds)]
        _run(plan, inputs, sizes["steps"], result, path)
    print(*record.markdown(result), sep="\n")
    print(f"\n{path}")
    return int(bool(result["failed"]))


def _run(plan: list[tuple[str, str]], inputs: Inputs, steps: int, result: dict[str, Any], path: Path) -> None:
    """Make one measurement after the other; the file is written after each."""
    left = TimeLeft(plan, {(case, side): CASES[case].seconds for case, side in plan})
    runs: dict[str, list[dict[str, Any]]] = {case: [] for case, _ in plan}
    scores: dict[str, dict[str, Any]] = {case: {} for case, _ in plan}
    for number, (case, side) in enumerate(plan, start=1):
        started = time.monotonic()
        output = inputs.folder / "output"
        output.mkdir()
        setting = inputs.setting(case) | {
            "case": case, "side": side, "model": result["model"]["path"], "output": str(output), "steps": steps
        }  # fmt: skip
        try:
            run = measure("benchmarks.worker", setting) | {"side": side}
        except RuntimeError as error:
            result["failed"][f"{case}, {side}"] = str(error)
            said = f"failed: {error}"
        else:
            runs[case].append(run)
            if CASES[case].scored and side not in scores[case]:
                names = [path.name for path in Path(setting["images"]).iterdir()]
                scores[case][side] = record.score_folder(names, inputs.folder / "truth", output)
            result["cases"][case] = record.summary(case, runs[case], scores[case])
            said = f"{run['amount'] / run['seconds']:.2f} {CASES[case].unit}, {run['peak_gb']:.2f} GB"
        shutil.rmtree(output)
        record.write(path, result)
        left.done((case, side), time.monotonic() - started)
        _say(f"{number} of {len(plan)}: {case}, {side}: {said}; about {duration(left.seconds())} left")


def _sides(case: str, model: Mapping[str, Any]) -> list[str]:
    """Name the sides of a case."""
    precisions = get_args(TrainParams.model_fields["precision"].annotation)
    ways: dict[str, list[str]] = {
        "chosen": [model.get("auto", "")],
        "engines": list(model.get("available", ())),
        "trainings": [name for name in precisions if name in ("auto", "f32")],
        "workers": list(WORKERS),
        "one": [OURS],
    }
    ours = ways[CASES[case].ours]
    return [PLAIN, *ours] if CASES[case].reference == PLAIN else ours


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    option = parser.add_argument
    cases = list(CASES)
    option("--only", nargs="+", choices=cases, default=cases, metavar="CASE", help=f"some of: {', '.join(cases)}")
    option("--quick", action="store_true", help="small inputs, once: to try it, not for figures")
    option("--repeats", type=int, help="rounds; default 3, by engine 2, with --quick 1")
    option("--model", help="folder or name of the model that predicts; default: that of BBBC038, else one that ships")
    option("--archive", type=Path, default=ARCHIVE if ARCHIVE.is_file() else None, metavar="ZIP",
           help=f"BBBC038 in the layout of S-BSST265; default {ARCHIVE}; without it images are drawn")  # fmt: skip
    option("--json", type=Path, metavar="FILE", help=f"file to write; default: a new one in {RESULTS}")
    option("--show", type=Path, metavar="FILE", help="print the tables of an earlier run")
    return parser.parse_args(arguments)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
