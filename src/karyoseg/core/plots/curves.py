"""Charts of tables: scores over thresholds, learning curves, sizes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from karyoseg.core.metrics import ALL_IMAGES
from karyoseg.core.plots.canvas import BLACK, BLUE, CYCLE, VERMILLION, new_figure, shorten, style_axes

_MIDDLE = 0.5


def ap_plot(curve: pd.DataFrame) -> Figure:
    """Plot AP = TP / (TP + FP + FN) over the IoU threshold, and precision, recall and F1 beside it.

    Parameters
    ----------
    curve : DataFrame
        From :func:`karyoseg.core.metrics.ap_curve`.

    Returns
    -------
    Figure
        Two charts: AP of every class; precision, recall and F1 of all images.
    """
    # At threshold 0 objects match that do not even touch: true by definition, and of no interest.
    curve = curve[curve["threshold"] > 0]
    figure = new_figure(10, 4)
    left, right = figure.subplots(1, 2, sharey=True)
    names = [name for name in curve["class"].astype(str).unique() if name != ALL_IMAGES]
    for index, name in enumerate(names if len(names) > 1 else []):
        part = curve[curve["class"].astype(str) == name].sort_values("threshold")
        left.plot(
            part["threshold"],
            part["ap"],
            color=CYCLE[index % len(CYCLE)],
            linewidth=1.4,
            linestyle=("-", "--", ":")[index // len(CYCLE) % 3],
            label=shorten(name),
        )
    whole = curve[curve["class"].astype(str) == ALL_IMAGES].sort_values("threshold")
    left.plot(whole["threshold"], whole["ap"], color=BLACK, linewidth=2.4, label="all images")
    for name, column, colour in (
        ("precision", "precision", BLUE),
        ("recall", "recall", VERMILLION),
        ("F1", "f1", BLACK),
    ):
        right.plot(whole["threshold"], whole[column], color=colour, linewidth=2, label=name)
    left.set_ylabel("score")
    left.set_title("AP = TP / (TP + FP + FN)", fontsize=11, loc="left")
    right.set_title("all images", fontsize=11, loc="left")
    for ax in (left, right):
        style_axes(ax)
        ax.set_xlabel("IoU threshold")
        ax.set_ylim(-0.02, 1.02)
        ax.axvline(_MIDDLE, color="#999999", linewidth=0.8, linestyle=":")
        ax.legend(fontsize=9, frameon=False, loc="lower left")
    return figure


def learning_curves(history: pd.DataFrame) -> Figure:
    """Plot losses of training and validation and the learning rate over epochs.

    Parameters
    ----------
    history : DataFrame
        One row per epoch: epoch (counted from the first row if absent), loss, val_loss and, where known,
        further pairs such as prob_loss and val_prob_loss, and lr or learning_rate.

    Returns
    -------
    Figure
        One chart per quantity; the best epoch by val_loss is marked.
    """
    epochs = history["epoch"] if "epoch" in history else pd.Series(np.arange(len(history)))
    rates = [name for name in ("lr", "learning_rate") if name in history][:1]
    panels = [
        (title, name)
        for title, name in (
            ("total loss", "loss"),
            ("object probability", "prob_loss"),
            ("distances", "dist_loss"),
        )
        if name in history or f"val_{name}" in history
    ]
    figure = new_figure(3.6 * max(1, len(panels) + len(rates)), 3.4)
    axes = figure.subplots(1, max(1, len(panels) + len(rates)), squeeze=False)[0]
    for ax, (title, name) in zip(axes, panels, strict=False):
        for column, label, colour in ((name, "training", BLUE), (f"val_{name}", "validation", VERMILLION)):
            if column in history:
                _curve(ax, epochs, history[column], colour, label)
        _mark_best(ax, epochs, history)
        ax.set_title(title, fontsize=11, loc="left")
        ax.legend(fontsize=9, frameon=False)
    for name in rates:
        _curve(axes[len(panels)], epochs, history[name], BLACK, "learning rate")
        axes[len(panels)].set_yscale("log", nonpositive="mask")
        axes[len(panels)].set_title("learning rate", fontsize=11, loc="left")
    for ax in axes:
        style_axes(ax)
        ax.set_xlabel("epoch")
        ax.xaxis.get_major_locator().set_params(integer=True)
    return figure


def _curve(ax: Axes, epochs: pd.Series, values: pd.Series, colour: str, label: str) -> None:
    marker = "o" if len(values) < 25 else ""  # noqa: PLR2004  (a line of one epoch is invisible)
    ax.plot(epochs, values, color=colour, linewidth=1.6, marker=marker, markersize=3, label=label)


def _mark_best(ax: Axes, epochs: pd.Series, history: pd.DataFrame) -> None:
    """Mark the epoch whose weights are kept."""
    if "val_loss" in history and history["val_loss"].notna().any():
        best = epochs.iloc[int(np.nanargmin(history["val_loss"].to_numpy()))]
        ax.axvline(best, color="#999999", linewidth=1, linestyle=":", label=f"best, epoch {best:g}")


def size_histogram(groups: Mapping[str, ArrayLike], unit: str = "px") -> Figure:
    """Plot how large the objects are.

    Parameters
    ----------
    groups : dict of str to (n,) float array
        Equivalent diameters [`unit`] by group, for example truth and prediction.
    unit : str
        Unit of the diameters.

    Returns
    -------
    Figure
        Outlined histograms over shared logarithmic bins, with medians in the legend.
    """
    figure = new_figure(6, 3.4)
    ax = figure.subplots()
    values = np.concatenate([np.asarray(group, float) for group in groups.values()] or [np.empty(0)])
    values = values[np.isfinite(values) & (values > 0)]
    if not values.size:
        ax.text(0.5, 0.5, "no objects", ha="center", va="center", transform=ax.transAxes, color="#666666")
    else:
        low, high = values.min() * 0.95, values.max() * 1.05
        bins = np.geomspace(low, high, int(np.clip(np.sqrt(values.size) * 1.5, 8, 40))).tolist()
        for index, (name, group) in enumerate(groups.items()):
            diameters = np.asarray(group, float)
            median = f", median {np.median(diameters):.0f} {unit}" if diameters.size else ""
            label = f"{name} ({diameters.size}{median})"
            ax.hist(diameters, bins, histtype="stepfilled", alpha=0.15, color=CYCLE[index % len(CYCLE)])
            ax.hist(diameters, bins, histtype="step", linewidth=1.8, color=CYCLE[index % len(CYCLE)], label=label)
        ax.set_xscale("log")
        ticks = [tick for base in (1, 10, 100, 1000) for tick in (base, 2 * base, 5 * base) if low <= tick <= high]
        ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        ax.minorticks_off()
        ax.legend(fontsize=9, frameon=False)
    style_axes(ax)
    ax.set_xlabel(f"equivalent diameter [{unit}]")
    ax.set_ylabel("objects")
    return figure
