"""Nodes of the visualize pipeline."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from karyoseg.core.errors import Problems
from karyoseg.core.lazy import Partitions
from karyoseg.core.plots import ap_plot, case_panel, gallery, learning_curves, size_histogram
from karyoseg.core.plots.canvas import shorten
from karyoseg.core.progress import Progress
from karyoseg.core.report.html import COLUMN_NAMES, Report, picture, render_report
from karyoseg.core.report.tables import (
    count_samples,
    object_diameters,
    pick_examples,
    select_cases,
    training_facts,
)
from karyoseg.core.runs.privacy import public_url
from karyoseg.core.runs.provenance import package_versions
from karyoseg.params.evaluate import EvaluateParams
from karyoseg.params.visualize import VisualizeParams

Drawing = tuple[str, Figure, str]  # file name, figure, caption


def visualize(
    *,
    images: Partitions,
    labels: Partitions,
    predictions: Partitions,
    manifest: pd.DataFrame,
    splits: pd.DataFrame,
    metrics: dict[str, Any],
    per_image: pd.DataFrame,
    per_class: pd.DataFrame,
    curve: pd.DataFrame,
    history: pd.DataFrame,
    evaluated: EvaluateParams,
    params: VisualizeParams,
    parameters: dict[str, Any],
) -> tuple[dict[str, Figure], str]:
    """Draw all figures and write the report around them.

    In: images, labels and predictions, metrics, training history and
    parameters. Without a history, or if another model than the one trained here
    was evaluated, nothing is said of the training.
    Out: figures of the worst and the best images with their errors, of scores
    and losses; and one HTML file that holds all of it and opens without
    network.
    """
    # The history is that of the model that was trained here.
    history = pd.DataFrame() if evaluated.model else history
    chosen = select_cases(per_image, params.rank_by, params.n_worst, params.n_best, params.ids)
    _check_available(per_image, images, labels, predictions)
    scores = per_image.assign(id=per_image["id"].astype(str)).set_index("id")
    drawings: dict[str, list[Drawing]] = {
        "curves": [("ap_curve.png", ap_plot(curve), "Scores over the IoU threshold.")],
        "sizes": [_draw_sizes(labels, predictions)],
        "gallery": _draw_gallery(images, labels, manifest, splits, params.n_gallery),
    }
    if len(history):
        curves = learning_curves(history)
        drawings["training"] = [("learning_curves.png", curves, "Losses and learning rate by epoch.")]
    for section, ids in chosen.items():
        rows = scores.loc[ids, ["class", "n_true", "n_pred", params.rank_by]]
        drawings[section] = list(_draw_cases(section, rows, images, labels, predictions))
    figures = {name: figure for drawn in drawings.values() for name, figure, _ in drawn}
    for figure in figures.values():
        figure.set_dpi(params.dpi)
    report = Report(
        title=params.title,
        metrics=metrics,
        per_class=per_class,
        per_image=per_image.sort_values(params.rank_by),
        data=count_samples(manifest, splits),
        pictures={
            section: [picture(*drawing, photo=section in {*chosen, "gallery"}) for drawing in drawn]
            for section, drawn in drawings.items()
        },
        facts={"model": public_url(evaluated.model)} if evaluated.model else training_facts(history),
        parameters=parameters,
        versions=package_versions(),
        created=f"{datetime.now().astimezone():%Y-%m-%d %H:%M %Z}",
    )
    return figures, render_report(report)


def _check_available(per_image: pd.DataFrame, *partitions: Partitions) -> None:
    """Refuse tables that belong to other data than what is on disk."""
    problems = Problems()
    for name in per_image["id"].astype(str):
        if not all(name in part for part in partitions):
            problems.add(
                name,
                "in metrics_per_image.csv, but image, labels or prediction is missing",
                "all three",
                "Run evaluate again.",
            )
    problems.raise_if_any("visualize: evaluated images are no longer there")


def _draw_cases(
    section: str, rows: pd.DataFrame, images: Partitions, labels: Partitions, predictions: Partitions
) -> Iterator[Drawing]:
    """Draw one panel per image, reading one image at a time."""
    score = rows.columns[-1]
    ids = Progress(rows.index, desc=f"drawing {section}", unit="image")
    for rank, name in enumerate(ids, start=1):
        row = rows.loc[name]
        title = f"{name}  ·  {row['class']}  ·  {COLUMN_NAMES[score]} {row[score]:.2f}"
        figure = case_panel(images[name](), labels[name](), predictions[name](), title)
        file = f"chosen_{name}.png" if section == "chosen" else f"{section}_{rank:02d}.png"
        yield file, figure, f"{title}, {row['n_true']:g} true and {row['n_pred']:g} predicted objects."


def _draw_sizes(labels: Partitions, predictions: Partitions) -> Drawing:
    shown = Progress(predictions, desc="measuring nuclei", unit="image")
    pairs = [(object_diameters(labels[name]()), object_diameters(predictions[name]())) for name in shown]
    truth, found = (np.concatenate([np.empty(0), *parts]) for parts in zip(*pairs, strict=True))
    figure = size_histogram({"truth": truth, "prediction": found})
    return "sizes.png", figure, "Diameters of circles of the same area, in the evaluated images."


def _draw_gallery(
    images: Partitions, labels: Partitions, manifest: pd.DataFrame, splits: pd.DataFrame, n: int
) -> list[Drawing]:
    """Draw examples of the data set; without any, nothing."""
    classes = dict(zip(manifest["id"].astype(str), manifest["class"].fillna("").astype(str), strict=True))
    split_of = dict(zip(splits["id"].astype(str), splits["split"].astype(str), strict=True))
    ids = [name for name in pick_examples(manifest, n) if name in images]
    samples = (
        (
            " · ".join(filter(None, [shorten(classes[name], 24), split_of.get(name, "unused")])),
            images[name](),
            labels[name]() if name in labels else None,
        )
        for name in ids
    )
    return [("gallery.png", gallery(samples), "Examples of the data set with their true outlines.")] if ids else []
