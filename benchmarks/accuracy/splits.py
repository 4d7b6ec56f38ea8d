"""Reading a split of a project's data, scoring predictions of it, and tables of scores."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from karyoseg.core.errors import KaryosegError
from karyoseg.core.lazy import Lazy
from karyoseg.core.metrics import image_scores, score_image, summarise
from karyoseg.core.progress import Progress
from karyoseg.core.threads import map_completed, n_threads
from karyoseg.datasets import CSVDataset, SamplePartitions

SHOWN = ["ap_50", "ap_75", "ap_mean", "f1", "dsb_score"]


@dataclass(frozen=True)
class Sample:
    """Image and true labels as published."""

    id: str
    name: str
    image: Lazy[np.ndarray]
    labels: Lazy[np.ndarray]


def read_split(data: Path, split: str) -> list[Sample]:
    """List the samples of a split.

    Parameters
    ----------
    data : Path
        Data folder of a project in which `download` and `preprocess` have run.
    split : str
        ``train``, ``val`` or ``test``.
    """
    splits = CSVDataset(filepath=str(data / "03_primary" / "splits.csv")).load()
    manifest = CSVDataset(filepath=str(data / "02_intermediate" / "manifest.csv")).load().set_index("id")
    stored = {
        kind: SamplePartitions(path=str(data / "02_intermediate" / kind), file_format=form).load()  # type: ignore[arg-type]
        for kind, form in (("images", "image"), ("labels", "labels"))
    }
    ids = sorted(splits.loc[splits["split"] == split, "id"])
    if not ids:
        raise KaryosegError(f"{data}: the {split} split holds no samples; needed: at least one. Check splits.csv.")
    return [
        Sample(key, manifest.loc[key, "class"] or "unclassified", stored["images"][key], stored["labels"][key])
        for key in ids
    ]


def score(
    samples: Sequence[Sample], predict: Callable[[Sample], np.ndarray], threads: int | None = None
) -> tuple[dict[str, Any], pd.DataFrame]:
    """Compare predictions with the true labels, as `evaluate` does.

    Parameters
    ----------
    samples : sequence of Sample
        From :func:`read_split`.
    predict : callable
        Gives the label image of a sample.
    threads : int, optional
        Samples at once; one per core by default.

    Returns
    -------
    metrics : dict
        Content of metrics.json.
    per_image : DataFrame
        One row per image.
    """

    def one(sample: Sample) -> tuple[str, pd.DataFrame, dict[str, Any]]:
        matches, pixels = score_image(sample.labels(), predict(sample))
        name = {"id": sample.id, "class": sample.name}
        return sample.id, matches.assign(**name), name | pixels

    scored = map_completed(one, samples, threads or n_threads())
    results = sorted(Progress(scored, total=len(samples), desc="scoring", unit="image"), key=lambda result: result[0])
    matches = pd.concat([matches for _, matches, _ in results], ignore_index=True)
    pixels = pd.DataFrame([pixels for _, _, pixels in results])
    return summarise(matches, pixels), image_scores(matches, pixels)


def flat(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Give the scores that tables show, and AP 50 of each class if there are several."""
    classes = metrics["by_class"] if len(metrics["by_class"]) > 1 else {}
    return {name: metrics[name] for name in SHOWN} | {f"ap_50 {name}": one["ap_50"] for name, one in classes.items()}


def mean_and_spread(runs: pd.DataFrame, by: str) -> pd.DataFrame:
    """Average over seeds.

    Parameters
    ----------
    runs : DataFrame
        One row per run; columns `by`, ``seed`` and numbers.
    by : str
        Column that names what is compared.

    Returns
    -------
    DataFrame
        One row per value of `by`, in order of appearance: number of seeds, and each number as text, ``mean ± half of
        the range`` if there are several seeds.
    """
    numbers = [name for name in runs if name not in (by, "seed")]
    rows = []
    for value, group in runs.groupby(by, sort=False):
        cells = {}
        for name in numbers:
            known = group[name].dropna()
            digits = 1 if name == "minutes" else 3
            spread = f" ± {np.ptp(known) / 2:.{digits}f}" if len(known) > 1 else ""
            cells[name] = f"{known.mean():.{digits}f}{spread}" if len(known) else ""
        rows.append({by: value, "seeds": len(group), **cells})
    return pd.DataFrame(rows)


def markdown(table: pd.DataFrame) -> str:
    """Write a table in Markdown."""
    lines = [list(map(str, table.columns)), ["---"] * table.shape[1]]
    lines += [[f"{cell:.3f}" if isinstance(cell, float) else str(cell) for cell in row] for row in table.to_numpy()]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
