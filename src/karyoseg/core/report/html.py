"""The HTML report of a trained model: tables and figures in one file that opens offline."""

from __future__ import annotations

import base64
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.figure import Figure

from karyoseg.core.plots.canvas import to_jpeg_bytes, to_png_bytes
from karyoseg.core.runs.privacy import without_secrets

#: What the headline numbers mean, in the order they are shown.
DEFINITIONS: dict[str, tuple[str, str]] = {
    "f1": ("F1", "2 TP / (2 TP + FP + FN) at IoU 0.5"),
    "iou": ("AP 50", "TP / (TP + FP + FN) at IoU 0.5"),
    "ap_mean": ("AP mean", "mean of AP at IoU 0.50, 0.55 … 0.95"),
    "map": ("mAP", "area under precision over recall, 20 IoU thresholds, mean over classes"),
    "precision": ("Precision", "share of predicted objects that are right, at IoU 0.5"),
    "recall": ("Recall", "share of true objects that are found, at IoU 0.5"),
    "pq": ("PQ", "panoptic quality: F1 times mean IoU of matched objects"),
    "aji": ("AJI", "aggregated Jaccard index"),
    "dice": ("Dice", "agreement of foreground pixels"),
    "dsb_score": ("DSB score", "mean over images of their own AP mean"),
}

#: How columns of the tables are called in print.
COLUMN_NAMES = {
    "id": "image",
    "n_images": "images",
    "n_true": "true",
    "n_pred": "predicted",
    "ap_50": "AP 50",
    "ap_75": "AP 75",
    **{key: label for key, (label, _) in DEFINITIONS.items()},
}

_CSS_DPI = 96
_SCORES = ["f1", "ap_50", "ap_75", "ap_mean", "precision", "recall", "map", "pq", "aji", "dice"]
_COUNTS = ["n_images", "n_true", "n_pred"]
_SHOWN = ["id", "class", *_COUNTS, "f1", "ap_50", "ap_75", "ap_mean", "map", "pq", "aji", "dice"]


@dataclass(frozen=True)
class Picture:
    """A figure of the report.

    Parameters
    ----------
    name : str
        File name of the figure.
    caption : str
        What it shows; also its text for readers who cannot see it.
    uri : str
        The image itself as data URI.
    width : int
        Width on the page [CSS px], so that letters are equally large in all figures.
    """

    name: str
    caption: str
    uri: str
    width: int


@dataclass(frozen=True)
class Report:
    """What the template fills in.

    Parameters
    ----------
    title : str
        Heading.
    metrics : dict
        Metrics of the evaluated images, see ``karyoseg.core.metrics.summarise``.
    per_class, per_image : DataFrame
        Scores of classes and images.
    data : DataFrame
        Images and objects per class and split, see ``karyoseg.core.report.tables.count_samples``.
    pictures : dict of str to list of Picture
        By section: worst, best, chosen, gallery, curves, training, sizes. Sections may be absent or empty.
    facts : dict of str to str
        Facts about model and training.
    parameters : dict
        Parameters of the run.
    versions : dict of str to str
        Installed packages.
    created : str
        Date and time.
    """

    title: str
    metrics: Mapping[str, Any]
    per_class: pd.DataFrame
    per_image: pd.DataFrame
    data: pd.DataFrame
    pictures: Mapping[str, Sequence[Picture]] = field(default_factory=dict)
    facts: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    created: str = ""


def render_report(report: Report) -> str:
    """Render the report.

    Parameters
    ----------
    report : Report
        Contents; every text is escaped.

    Returns
    -------
    str
        A HTML page that loads nothing from anywhere.
    """
    environment = Environment(
        loader=PackageLoader("karyoseg.core.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["score"] = _score
    metrics = report.metrics
    headline = [(label, metrics[key], text) for key, (label, text) in DEFINITIONS.items() if key in metrics]
    return environment.get_template("report.html.j2").render(
        report=report,
        headline=headline,
        classes=_rows(report.per_class),
        images=_rows(report.per_image),
        parameters=flatten(without_secrets(report.parameters)),
        score_columns=_SCORES,
        names=COLUMN_NAMES,
    )


def picture(name: str, figure: Figure, caption: str, *, photo: bool = False) -> Picture:
    """Embed a figure.

    Parameters
    ----------
    name : str
        File name of the figure.
    figure : Figure
        The figure, rendered at its own resolution.
    caption : str
        What it shows.
    photo : bool
        Encode as JPEG, for images; otherwise as PNG, for charts.

    Returns
    -------
    Picture
        Figure and caption.
    """
    content, kind = (to_jpeg_bytes(figure), "jpeg") if photo else (to_png_bytes(figure), "png")
    uri = f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"
    return Picture(name, caption, uri, width=round(_CSS_DPI * figure.get_figwidth()))


def flatten(parameters: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Write nested parameters as dotted names.

    Parameters
    ----------
    parameters : dict
        Nested parameters.
    prefix : str
        Put before every name.

    Returns
    -------
    dict of str to str
        Name and value.

    Examples
    --------
    >>> flatten({"train": {"epochs": 5, "patch_size": [64, 64]}})
    {'train.epochs': '5', 'train.patch_size': '[64, 64]'}
    """
    flat: dict[str, str] = {}
    for key, value in parameters.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{name}.")
        elif isinstance(value, list) and value and all(isinstance(item, Mapping) for item in value):
            for index, item in enumerate(value):
                flat |= {f"{name}.{index}": ", ".join(f"{k}={v}" for k, v in item.items())}
        else:
            flat[name] = str(value)
    return flat


def _rows(table: pd.DataFrame) -> list[dict[Hashable, Any]]:
    """Keep the columns to show, of those that are present; missing values become None."""
    present = table[[column for column in _SHOWN if column in table]].astype(object)
    return present.where(present.notna(), None).to_dict("records")


def _score(value: Any) -> str:
    """Format a cell: scores with three digits, counts as they are, missing as a dash."""
    if value is None or (isinstance(value, float | np.floating) and not np.isfinite(value)):
        return "–"
    if isinstance(value, float | np.floating):
        return f"{value:.3f}"
    return str(value)
