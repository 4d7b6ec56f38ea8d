"""Score a model on rescaled copies of a split, by the predict pipeline with its default parameters.

Images and true labels are rescaled and written as files; what a user's prediction does with them, such as estimating
the size of nuclei, is part of it.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import tifffile

from benchmarks.accuracy.splits import Sample, flat, markdown, read_split, score
from benchmarks.prediction import predict_pipeline
from karyoseg.core.lazy import Lazy
from karyoseg.core.size import resize_image, resize_labels


def main(arguments: Sequence[str] | None = None) -> None:
    """Rescale, predict, score and print."""
    options = _parse(arguments)
    samples = read_split(options.data, options.split)[:: options.every]
    rows = []
    for factor in options.factors:
        metrics = score_rescaled(samples, factor, options.model, options.scale)
        rows.append({"copies": f"x{factor:g}", "images": metrics["n_images"], **flat(metrics)})
        print(markdown(pd.DataFrame(rows[-1:])).splitlines()[-1], flush=True)
    table = pd.DataFrame(rows)
    if options.csv:
        table.to_csv(options.csv, index=False)
    print(f"\n{markdown(table)}")


def score_rescaled(samples: Sequence[Sample], factor: float, model: str, scale: str = "auto") -> dict:
    """Score the predict pipeline on copies that are `factor` times as large."""
    with tempfile.TemporaryDirectory(prefix="karyoseg-scales-") as scratch:
        images, output = Path(scratch, "images"), Path(scratch, "output")
        images.mkdir()
        copies = [_rescaled(sample, factor) for sample in samples]
        for copy in copies:
            tifffile.imwrite(images / f"{copy.id}.tif", copy.image(), photometric="minisblack", compression="zlib")
        predict_pipeline(images, output, model=model, scale=scale, overlay=False)()
        return score(copies, lambda copy: tifffile.imread(output / f"{copy.id}.tif"))[0]


def _rescaled(sample: Sample, factor: float) -> Sample:
    def image() -> np.ndarray:
        original = sample.image()
        if factor == 1:
            return original
        limits = np.iinfo(original.dtype)
        return np.clip(np.rint(resize_image(original, factor)), limits.min, limits.max).astype(original.dtype)

    def labels() -> np.ndarray:
        return resize_labels(sample.labels(), image().shape[:2])

    return Sample(sample.id, sample.name, Lazy(image, ""), Lazy(labels, ""))


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accuracy.scales", description=__doc__)
    option = parser.add_argument
    option("model", help="folder or name of a model")
    option("--data", type=Path, default=Path("data"), help="data folder with 02_intermediate and 03_primary/splits.csv")
    option("--split", choices=["train", "val", "test"], default="val")
    option("--factors", type=float, nargs="+", default=[0.5, 1, 2, 4])
    option("--scale", default="auto", help="predict.scale; none shows what is gained by estimating the size")
    option("--every", type=int, default=1, help="only every so many-th image")
    option("--csv", type=Path, help="also write the table here")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
