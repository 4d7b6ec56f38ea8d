"""Draw the images that a model segments worst: image, outlines of truth and prediction, errors, scores."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.accuracy.splits import SHOWN, Sample, markdown, read_split, score
from karyoseg.core.plots import case_grid, to_png_bytes
from karyoseg.core.preparation import ImageFacts
from karyoseg.core.size import median_diameter
from karyoseg.models import load_segmenter
from karyoseg.models.whole_image import segment_image


def main(arguments: Sequence[str] | None = None) -> None:
    """Predict, rank, draw and print."""
    options = _parse(arguments)
    samples = {sample.id: sample for sample in read_split(options.data, options.split)}
    model = load_segmenter(options.model)

    def predict(sample: Sample) -> np.ndarray:
        return segment_image(model, sample.image(), facts=ImageFacts(sample.id))[0].labels

    metrics, per_image = score(list(samples.values()), predict)
    worst = per_image.sort_values(options.by).head(options.k)
    worst["diameter"] = [median_diameter(samples[key].labels()) for key in worst["id"]]
    cases = []
    for row in worst.to_dict("records"):
        sample = samples[row["id"]]
        caption = (
            f"{row['id'][:12]}  {row['class']}  nuclei of {row['diameter']:.0f} px  AP 50 {row['ap_50']:.2f}  "
            f"AP mean {row['ap_mean']:.2f}  {row['n_true']} true, {row['n_pred']} found"
        )
        cases.append((caption, sample.image(), sample.labels(), predict(sample)))
    title = f"{options.model}: worst {len(cases)} of {metrics['n_images']} images of {options.split}, by {options.by}"
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_bytes(to_png_bytes(case_grid(cases, title)))
    shown = ["id", "class", "diameter", "n_true", "n_pred", *(name for name in SHOWN if name in worst)]
    print(markdown(worst[shown]), f"\n{options.output}", sep="\n")


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accuracy.worst", description=__doc__)
    option = parser.add_argument
    option("model", help="folder or name of a model")
    option("--data", type=Path, default=Path("data"), help="data folder with 02_intermediate and 03_primary/splits.csv")
    option("--split", choices=["train", "val", "test"], default="val")
    option("-k", type=int, default=8, help="number of images")
    option("--by", default="ap_50", choices=["f1", "ap_50", "ap_75", "ap_mean", "dice", "aji", "pq"])
    option("--output", type=Path, default=Path("data/08_reporting/worst.png"))
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
