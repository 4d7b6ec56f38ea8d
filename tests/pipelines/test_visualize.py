"""The visualize pipeline, from tables and partitions to figures and report."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from karyoseg.core.errors import KaryosegError
from karyoseg.core.lazy import Lazy
from karyoseg.core.metrics import ap_curve, class_scores, image_scores, score_image, summarise
from karyoseg.params.evaluate import EvaluateParams
from karyoseg.params.visualize import VisualizeParams
from karyoseg.pipelines.visualize.nodes import visualize


def field(n: int, shape: tuple[int, int] = (64, 80)) -> np.ndarray:
    """Label image of `n` squares in a row."""
    labels = np.zeros(shape, np.int32)
    for index in range(n):
        labels[10:20, 12 * index + 1 : 12 * index + 10] = index + 1
    return labels


def run(params: VisualizeParams, **changes: Any) -> tuple[dict[str, Figure], str, list[str]]:
    """Run the node on five test and two train samples; the last value lists which images were read."""
    truth = {"good": field(4), "half": field(4), "none": field(0), "missed": field(3), "001": field(2)}
    pred = {"good": field(4), "half": field(2), "none": field(0), "missed": field(0), "001": field(2)}
    train = {"t1": field(3), "t2": field(1)}
    reads: list[str] = []

    def read(name: str, value: np.ndarray) -> np.ndarray:
        reads.append(name)
        return value

    every = {**truth, **train}
    images = {name: Lazy(partial(read, name, (labels * 30).astype(np.uint8)), "") for name, labels in every.items()}
    labels = {name: Lazy(partial(read, f"{name} labels", value), "") for name, value in every.items()}
    predictions = {name: Lazy(partial(read, f"{name} pred", value), "") for name, value in pred.items()}
    classes = dict.fromkeys(every, "cells") | {"none": ""}
    matches, pixels = [], []
    for name, value in truth.items():
        counted, areas = score_image(value, pred[name])
        key = {"id": name, "class": classes[name] or "unclassified"}
        matches.append(counted.assign(**key))
        pixels.append(key | areas)
    table, counts = pd.concat(matches), pd.DataFrame(pixels)
    metrics = summarise(table, counts)
    manifest = pd.DataFrame(
        {"id": list(every), "class": list(classes.values()), "n_objects": [v.max() for v in every.values()]}
    )
    splits = pd.DataFrame({"id": list(every), "split": ["test"] * 5 + ["train", "val"]})
    inputs: dict[str, Any] = {
        "images": images,
        "labels": labels,
        "predictions": predictions,
        "manifest": manifest,
        "splits": splits,
        "metrics": metrics,
        "per_image": image_scores(table, counts),
        "per_class": class_scores(metrics),
        "curve": ap_curve(table),
        "history": pd.DataFrame({"epoch": [1, 2], "loss": [2.0, 1.0], "val_loss": [2.0, 1.5]}),
        "evaluated": EvaluateParams(),
        "parameters": {"train": {"epochs": 2}},
    }
    figures, report = visualize(params=params, **(inputs | changes))
    return figures, report, reads


def test_figures_and_report_show_worst_best_and_chosen() -> None:
    params = VisualizeParams(ids=("001",), n_worst=2, n_best=1, dpi=50, title="my <model>")
    figures, report, _ = run(params)
    assert set(figures) == {
        "ap_curve.png",
        "learning_curves.png",
        "sizes.png",
        "gallery.png",
        "worst_01.png",
        "worst_02.png",
        "best_01.png",
        "chosen_001.png",
    }
    assert all(figure.dpi == 50 for figure in figures.values())
    assert figures["worst_01.png"].get_suptitle().startswith("missed")
    assert figures["worst_02.png"].get_suptitle().startswith("half")
    assert report.count("<img") == len(figures)
    assert "my &lt;model&gt;" in report
    assert "train.epochs" in report
    assert "unclassified" in report


@pytest.mark.parametrize("changes", [{"evaluated": EvaluateParams(model="nuclei-fluo")}, {"history": pd.DataFrame()}])
def test_nothing_is_said_of_a_training_that_was_not_here(changes: dict[str, Any]) -> None:
    figures, report, _ = run(VisualizeParams(dpi=50), **changes)
    assert "learning_curves.png" not in figures
    assert "validation loss" not in report
    assert ("nuclei-fluo" in report) == ("evaluated" in changes)


def test_only_images_that_are_shown_are_read() -> None:
    _, _, reads = run(VisualizeParams(n_worst=1, n_best=0, n_gallery=0, dpi=50))
    assert [name for name in reads if " " not in name] == ["missed"]


def test_nothing_chosen_still_makes_a_report() -> None:
    figures, report, _ = run(VisualizeParams(n_worst=0, n_best=0, n_gallery=0, dpi=50))
    assert set(figures) == {"ap_curve.png", "learning_curves.png", "sizes.png"}
    assert report.rstrip().endswith("</html>")


def test_unknown_id_is_named_before_anything_is_drawn() -> None:
    with pytest.raises(KaryosegError, match=r"'misssed'.*missed"):
        run(VisualizeParams(ids=("misssed",)))


def test_stale_tables_are_refused() -> None:
    with pytest.raises(KaryosegError, match=r"good.*Run evaluate again"):
        run(VisualizeParams(), predictions={})
