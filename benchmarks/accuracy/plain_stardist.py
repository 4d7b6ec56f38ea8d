"""Train plain stardist with its defaults on the train split of prepared data, and score it with karyoseg's metrics.

32 rays, grid 2, patches of 256 px in batches of 4, flips, right-angle rotations and intensity changes, learning rate
and schedule of `Config2D`, images at their own sizes, thresholds optimised by stardist on the val split. A seed that
is done is skipped.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.accuracy.splits import Sample, flat, markdown, mean_and_spread, read_split, score
from benchmarks.training import plain_augmenter

_PERCENTILES = 1, 99.8
_STEPS_PER_EPOCH = 100
_NAME = "plain"


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, score and print."""
    options = _parse(arguments)
    split = "test" if options.final else "val"
    rows = []
    for seed in options.seeds:
        folder = options.output / f"{options.steps}-steps-{seed}"
        trained = folder / "trained.json"
        if not trained.is_file():
            trained.parent.mkdir(parents=True, exist_ok=True)
            trained.write_text(json.dumps({"minutes": train(options.data, folder, seed, options.steps)}))
        scores = folder / f"scores_{split}.json"
        if not scores.is_file():
            metrics, _ = score(read_split(options.data, split), _predictor(folder), threads=1)
            scores.write_text(json.dumps(metrics, indent=1))
        minutes = json.loads(trained.read_text())["minutes"]
        name = f"plain stardist, {split}"
        rows.append({"run": name, "seed": seed, "minutes": minutes, **flat(json.loads(scores.read_text()))})
    runs = pd.DataFrame(rows)
    runs.to_csv(options.output / f"plain_stardist_{split}.csv", index=False)
    print(markdown(mean_and_spread(runs, "run")))


def train(data: Path, folder: Path, seed: int, steps: int) -> float:
    """Train one model; return the minutes it took, without reading the images."""
    import keras
    from stardist import fill_label_holes
    from stardist.models import Config2D, StarDist2D

    pairs = {}
    for split in ("train", "val"):
        samples = read_split(data, split)
        pairs[split] = [_normalised(one) for one in samples], [fill_label_holes(one.labels()) for one in samples]
    np.random.seed(seed)  # noqa: NPY002  (what stardist uses)
    keras.utils.set_random_seed(seed)
    per_epoch = min(_STEPS_PER_EPOCH, steps)
    config = Config2D(
        n_rays=32, grid=(2, 2), n_channel_in=1, train_patch_size=(256, 256), train_batch_size=4,
        train_steps_per_epoch=per_epoch, train_epochs=steps // per_epoch, train_tensorboard=False,
    )  # fmt: skip
    model = StarDist2D(config, name=_NAME, basedir=str(folder))
    started = time.monotonic()
    model.train(*pairs["train"], validation_data=pairs["val"], augmenter=plain_augmenter, seed=seed)
    model.optimize_thresholds(*pairs["val"])
    return (time.monotonic() - started) / 60


def _predictor(folder: Path) -> Any:
    from stardist.models import StarDist2D

    model = StarDist2D(None, name=_NAME, basedir=str(folder))
    return lambda sample: model.predict_instances(_normalised(sample))[0]


def _normalised(sample: Sample) -> np.ndarray:
    from csbdeep.utils import normalize

    image = sample.image()
    return normalize(image if image.ndim == 2 else image.mean(axis=-1), *_PERCENTILES)


def _steps(text: str) -> int:
    steps = int(text)
    if steps > _STEPS_PER_EPOCH and steps % _STEPS_PER_EPOCH:
        raise ValueError(text)  # argparse names it
    return steps


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accuracy.plain_stardist", description=__doc__)
    option = parser.add_argument
    option("--data", type=Path, default=Path("data"), help="data folder with 02_intermediate and 03_primary/splits.csv")
    option("--output", type=Path, default=Path("data/08_reporting/plain_stardist"), help="folder for models and scores")
    option("--seeds", type=int, nargs="+", default=[42])
    option("--steps", type=_steps, default=4000, help=f"a multiple of {_STEPS_PER_EPOCH}, or less than that")
    option("--final", action="store_true", help="score the test split instead of val: once, when all is decided")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
