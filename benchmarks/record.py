"""Results as JSON and as Markdown tables."""

from __future__ import annotations

import json
import os
import shlex
import statistics
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pandas as pd
import tifffile

from benchmarks.cases import CASES, OURS, PLAIN
from karyoseg.core.io.files import replace_text
from karyoseg.core.metrics import score_image, summarise
from karyoseg.core.runs.hardware import hardware, host
from karyoseg.core.runs.provenance import git_state, package_versions
from karyoseg.core.threads import map_completed, n_threads

_ENGINES = ("openvino", "onnxruntime", "nncf")
_SCORES = ("ap_50", "ap_mean", "n_true", "n_pred")
_BUSY = 0.3  # load per core above which figures are doubtful


def circumstances() -> dict[str, Any]:
    """Say when, where and with what a measurement is made."""
    versions = package_versions()
    for name in _ENGINES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    machine = hardware()
    load = os.getloadavg()[0] / machine["cores"] if hasattr(os, "getloadavg") else 0.0
    return {
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "command": shlex.join(["python", "-m", "benchmarks", *sys.argv[1:]]),
        "git": git_state(Path(__file__).parent),
        "hardware": machine,
        "system": host()["system"],
        "versions": versions,
        "load_per_core_before": round(load, 2),
    }


def score_folder(names: Sequence[str], truth: Path, found: Path) -> dict[str, float]:
    """Compare label images with the true ones of the same names."""

    def score(name: str) -> tuple[pd.DataFrame, dict[str, Any]]:
        matches, counts = score_image(tifffile.imread(truth / name).astype("int32"), tifffile.imread(found / name))
        facts = {"id": name, "class": "all"}
        return matches.assign(**facts), facts | counts

    scored = list(map_completed(score, names, n_threads()))
    metrics = summarise(pd.concat([matches for matches, _ in scored]), pd.DataFrame([counts for _, counts in scored]))
    return {name: metrics[name] for name in _SCORES}


def summary(case: str, runs: Sequence[Mapping[str, Any]], scores: Mapping[str, Any]) -> dict[str, Any]:
    """Put the runs of a case together.

    Parameters
    ----------
    case : str
        Key of ``CASES``.
    runs : sequence of mapping
        ``side``, ``amount``, ``seconds``, ``start_seconds``, ``peak_gb``, in the order of time.
    scores : mapping
        Of :func:`score_folder`, by side.

    Returns
    -------
    dict
        Title, unit, and by side: rate (median), rates, ratio to the reference (median of those of each round), peak
        memory (largest), seconds from the start of the process to that of the work (median), scores.
    """
    names = list(dict.fromkeys(run["side"] for run in runs))
    by_side = {name: [run for run in runs if run["side"] == name] for name in names}
    rates = {name: [run["amount"] / run["seconds"] for run in group] for name, group in by_side.items()}
    sides = {}
    for name, group in by_side.items():
        ratios = [ours / plain for ours, plain in zip(rates[name], rates.get(CASES[case].reference, []), strict=False)]
        sides[name] = {
            "rate": statistics.median(rates[name]),
            "rates": rates[name],
            "ratio": statistics.median(ratios) if ratios else None,
            "seconds": [run["seconds"] for run in group],
            "start_seconds": statistics.median(run["start_seconds"] for run in group),
            "peak_gb": max(run["peak_gb"] for run in group),
            "scores": scores.get(name),
        }
    return {"title": CASES[case].title, "unit": CASES[case].unit, "sides": sides}


def markdown(record: Mapping[str, Any]) -> Iterator[str]:
    """Write the tables of a record, line by line."""
    machine, inputs = record["hardware"], record["inputs"]
    yield f"{machine['processor']}, {machine['cores']} cores; {record['created']}; `{record['command']}`"
    yield (
        f"{inputs['images']} images, {inputs['mpx']:.1f} Mpx ({inputs['source']}); "
        f"large image {inputs['large_mpx']:.1f} Mpx; single image {inputs['single_mpx']:.1f} Mpx; "
        f"model {record['model']['path']}; chosen by itself: {record['model'].get('auto', 'not asked')}"
    )
    if record["load_per_core_before"] > _BUSY:
        yield f"**The machine was busy ({record['load_per_core_before']} per core): the figures are doubtful.**"
    for case in record["cases"].values():
        yield ""
        yield f"**{case['title']}**"
        yield ""
        yield f"| | {case['unit']} | range | ratio | peak memory [GB] | start [s] | AP 50 | AP mean |"
        yield "|---|---|---|---|---|---|---|---|"
        for name, side in case["sides"].items():
            label = name if name in (PLAIN, OURS) else f"{OURS}, {name}"
            ratio = "" if side["ratio"] is None else f"{side['ratio']:.2f}"
            scores = side["scores"] or {}
            points = " | ".join(f"{scores[key]:.4f}" if key in scores else "" for key in ("ap_50", "ap_mean"))
            yield (
                f"| {label} | {side['rate']:.2f} | {min(side['rates']):.2f} to {max(side['rates']):.2f} | {ratio} "
                f"| {side['peak_gb']:.2f} | {side['start_seconds']:.1f} | {points} |"
            )
    yield from _memory(record["cases"])
    if refused := record["model"].get("refused"):
        yield ""
        yield f"Not possible with this model here (the reasons are in the file): {', '.join(refused)}."
    for name, reason in record["failed"].items():
        yield ""
        yield f"Failed: {name}: {' '.join(reason.split())[-300:]}"


def _memory(cases: Mapping[str, Any]) -> Iterator[str]:
    """Say whether more images need more memory."""
    for name, many in cases.get("folder", {"sides": {}})["sides"].items():
        few = cases.get("engines", {"sides": {}})["sides"].get(name)
        if few:
            yield ""
            yield f"Four times as many images: {few['peak_gb']:.2f} GB become {many['peak_gb']:.2f} GB ({name})."


def read(path: Path) -> dict[str, Any]:
    """Read a record."""
    record: dict[str, Any] = json.loads(path.read_text())
    return record


def write(path: Path, record: Mapping[str, Any]) -> None:
    """Write the record whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_text(path, json.dumps(record, indent=1) + "\n")
