"""Segment images unlike those a model learnt from: F1 at IoU 0.5 and error of the size, by condition.

Scenes are drawn; with a data folder its validation images are changed as well.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.accuracy.conditions import CHANGES, SCENES, Pair, draw
from benchmarks.accuracy.splits import markdown, read_split
from karyoseg.core.metrics import match_table
from karyoseg.core.size import median_diameter
from karyoseg.models import load_segmenter
from karyoseg.models.base import Segmenter

SEED = 0


def main(arguments: Sequence[str] | None = None) -> None:
    """Segment under every condition and print a table."""
    options = _parse(arguments)
    model = load_segmenter(options.model)
    model.use("auto", options.precision)
    rows = []
    for name, make in conditions(options.data, options.images):
        if any(text in name for text in options.only):
            rows.append({"condition": name, **measure(model, make())})
            print(f"{name}: F1 {rows[-1]['F1']:.3f}", flush=True)
    print(markdown(pd.DataFrame(rows)))


def conditions(data: Path | None, n: int) -> Iterator[tuple[str, Callable[[], list[Pair]]]]:
    """Name every condition and say how to make its images.

    Parameters
    ----------
    data : Path or None
        Data folder of a project, for changed validation images.
    n : int
        Images per condition.
    """
    for name in SCENES:
        yield f"drawn: {name}", lambda name=name: [draw(name, np.random.default_rng((SEED, i))) for i in range(n)]
    if data is None:
        return
    samples = read_split(data, "val")
    pairs = [(sample.image(), sample.labels()) for sample in samples[:: max(1, len(samples) // n)][:n]]
    for name, change in CHANGES.items():
        yield (
            f"real: {name}",
            lambda change=change: [change(*pair, np.random.default_rng((SEED, i))) for i, pair in enumerate(pairs)],
        )


def measure(model: Segmenter, pairs: list[Pair]) -> dict[str, float]:
    """Segment images as the predict pipeline does, and count.

    Parameters
    ----------
    model : Segmenter
        The model.
    pairs : list of tuple of ndarray
        Images and true labels.

    Returns
    -------
    dict
        F1, objects found, false and missed; estimated over true diameter: the median and the worst.
    """
    counts, ratios = np.zeros(3, int), []
    for image, labels in pairs:
        prepared, scale = model.prepare(image)
        found = model.predict(prepared, scale=scale, out_shape=labels.shape).labels
        counts += match_table(labels, found, [0.5])[["tp", "fp", "fn"]].to_numpy(int)[0]
        if labels.any() and model.diameter:
            ratios.append(model.diameter / scale / median_diameter(labels))
    tp, fp, fn = counts.tolist()
    worst = max(ratios, key=lambda ratio: abs(np.log(ratio)), default=np.nan)
    return {
        "F1": 2 * tp / (2 * tp + fp + fn) if tp + fp + fn else 1.0,
        "found": tp,
        "false": fp,
        "missed": fn,
        "size ratio": float(np.median(ratios)) if ratios else np.nan,
        "worst ratio": float(worst),
    }


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accuracy.robustness", description=__doc__)
    option = parser.add_argument
    option("model", help="folder or name of a model")
    option("--data", type=Path, help="data folder with 02_intermediate and 03_primary/splits.csv")
    option("--only", nargs="+", default=[""], help="conditions whose names contain one of these texts")
    option("--images", type=int, default=8, help="images per condition")
    option("--precision", default="auto", choices=("auto", "f32", "bf16", "int8"), help="that the network runs in")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
