"""Pictures of one image: its labels, truth against prediction, right and wrong objects."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from karyoseg.core.labels import n_objects
from karyoseg.core.matching import match_objects
from karyoseg.core.plots.canvas import (
    CYCLE,
    ORANGE,
    PURPLE,
    SKY,
    bare,
    draw_outlines,
    legend_below,
    new_figure,
    outline_colours,
    outlines,
    shorten,
    show_image,
    shrink,
)
from karyoseg.core.previews import to_rgb8

OUTCOMES = {"tp": ("found", SKY), "fp": ("false", ORANGE), "fn": ("missed", PURPLE)}

_SIDE, _LEGEND, _TITLE = 4.2, 0.26, 0.22  # inch
_WIDEST = 2.0  # aspect ratio of a panel beyond which it is not made wider or taller


def label_overlay(image: np.ndarray, labels: np.ndarray, title: str = "") -> Figure:
    """Fill every object with a colour of its own.

    Parameters
    ----------
    image : (Y, X) or (Y, X, C) ndarray
        Image of any real dtype.
    labels : (Y, X) integer ndarray
        Label image; what is not annotated (negative) is whitened.
    title : str
        Written above.

    Returns
    -------
    Figure
        One panel.
    """
    figure, ax = _one_panel(image.shape, title)
    draw_labels(ax, image, labels)
    return figure


def case_panel(
    image: np.ndarray, truth: np.ndarray, pred: np.ndarray, title: str = "", threshold: float = 0.5
) -> Figure:
    """Show image, outlines and errors side by side.

    Parameters
    ----------
    image : (Y, X) or (Y, X, C) ndarray
        Image of any real dtype.
    truth, pred : (Y, X) integer ndarray
        Label images.
    title : str
        Id and scores, written above.
    threshold : float
        IoU from which objects match.

    Returns
    -------
    Figure
        Three panels.
    """
    width, height = panel_size(image.shape)
    figure = new_figure(3 * width, height + _LEGEND + (_TITLE if title else 0))
    axes = figure.subplots(1, 3)
    draw_case(axes, image, truth, pred, threshold)
    figure.suptitle(title, fontsize=12, x=0.01, ha="left", weight="bold")
    return figure


def _one_panel(shape: tuple[int, ...], title: str) -> tuple[Figure, Axes]:
    width, height = panel_size(shape)
    figure = new_figure(width, height + _LEGEND + (_TITLE if title else 0))
    ax = figure.subplots()
    ax.set_title(shorten(title, 48), fontsize=10, loc="left")
    return figure, ax


def draw_case(
    axes: Sequence[Axes], image: np.ndarray, truth: np.ndarray, pred: np.ndarray, threshold: float = 0.5
) -> None:
    """Draw image, outlines and errors into three axes.

    Parameters
    ----------
    axes : sequence of three Axes
        Where.
    image : (Y, X) or (Y, X, C) ndarray
        Image of any real dtype.
    truth, pred : (Y, X) integer ndarray
        Label images.
    threshold : float
        IoU from which objects match.
    """
    show_image(axes[0], shrink(image)[0])
    axes[0].set_xlabel(f"{image.shape[1]} × {image.shape[0]} px, contrast stretched", fontsize=9)
    draw_overlay(axes[1], image, truth, pred)
    draw_errors(axes[2], image, truth, pred, threshold)


def draw_overlay(ax: Axes, image: np.ndarray, truth: np.ndarray, pred: np.ndarray) -> None:
    """Draw outlines of truth (solid) and prediction (dashed, on top) with a legend.

    Parameters
    ----------
    ax : Axes
        Where.
    image : (Y, X) or (Y, X, C) ndarray
        Image of any real dtype.
    truth, pred : (Y, X) integer ndarray
        Label images.
    """
    small, (true_small, pred_small) = shrink(image, truth, pred)
    show_image(ax, small)
    true_colour, pred_colour = outline_colours(small)
    draw_outlines(ax, outlines(true_small), true_colour, 1.1)
    draw_outlines(ax, outlines(pred_small), pred_colour, 1.1, dashed=True)
    counts = [n_objects(labels) for labels in (truth, pred)]
    handles = [
        Line2D([], [], color=true_colour, linewidth=2.5, label=f"truth ({counts[0]})"),
        Line2D([], [], color=pred_colour, linewidth=2.5, linestyle=(0, (2, 1)), label=f"prediction ({counts[1]})"),
    ]
    legend_below(ax, handles)


def draw_errors(
    ax: Axes, image: np.ndarray, truth: np.ndarray, pred: np.ndarray, threshold: float = 0.5
) -> pd.DataFrame:
    """Colour found, false and missed objects, with a legend that counts.

    Parameters
    ----------
    ax : Axes
        Where.
    image : (Y, X) or (Y, X, C) ndarray
        Image of any real dtype.
    truth, pred : (Y, X) integer ndarray
        Label images.
    threshold : float
        IoU from which objects match.

    Returns
    -------
    DataFrame
        The matching, see :func:`karyoseg.core.matching.match_objects`.
    """
    matching = match_objects(truth, pred, threshold)
    small, (true_small, pred_small) = shrink(image, truth, pred)
    rgb = np.repeat(0.75 * to_rgb8(small).mean(axis=-1, keepdims=True), 3, axis=-1)
    handles = []
    # Missed objects last: where a false object covers one, both stay visible by outline and fill.
    for outcome, (word, colour) in OUTCOMES.items():
        rows = matching[matching["outcome"] == outcome]
        labels, key = (true_small, "true") if outcome == "fn" else (pred_small, "pred")
        _tint(rgb, np.isin(labels, rows[key].to_numpy()), colour, 0.22 if outcome == "tp" else 0.45)
        draw_outlines(ax, outlines(labels, rows[key].tolist()), colour, 0.9)
        handles.append(Patch(color=colour, label=f"{word} ({len(rows)})"))
    unknown = true_small < 0
    if unknown.any():
        _tint(rgb, unknown, "#FFFFFF", 0.3)
        handles.append(Patch(color="#BBBBBB", label="not annotated"))
    ax.imshow(rgb.astype(np.uint8), interpolation="antialiased")
    bare(ax)
    legend_below(ax, handles)
    return matching


def draw_labels(ax: Axes, image: np.ndarray, labels: np.ndarray, alpha: float = 0.45) -> None:
    """Fill every object with a colour of its own.

    Parameters
    ----------
    ax : Axes
        Where.
    image : (Y, X) or (Y, X, C) ndarray
        Image of any real dtype.
    labels : (Y, X) integer ndarray
        Label image.
    alpha : float
        Opacity of the colours.
    """
    small, (labels_small,) = shrink(image, labels)
    rgb = to_rgb8(small).astype(float)
    # Neighbouring ids get colours far apart; objects may share a colour, their outlines tell them apart.
    palette = np.array([to_rgb(colour) for colour in CYCLE])
    inside = labels_small > 0
    colours = palette[labels_small[inside] % len(CYCLE)]
    rgb[inside] = (1 - alpha) * rgb[inside] + alpha * 255 * colours
    _tint(rgb, labels_small < 0, "#FFFFFF", 0.3)
    ax.imshow(rgb.astype(np.uint8), interpolation="antialiased")
    draw_outlines(ax, outlines(labels_small), "white", 0.6)
    bare(ax)


def _tint(rgb: np.ndarray, mask: np.ndarray, colour: str, alpha: float) -> None:
    """Blend a colour into a region, in place."""
    rgb[mask] = (1 - alpha) * rgb[mask] + alpha * 255 * np.array(to_rgb(colour))


def panel_size(shape: tuple[int, ...]) -> tuple[float, float]:
    """Choose the size of a panel that fits the image.

    Parameters
    ----------
    shape : tuple of int
        Shape of the image, (Y, X, ...).

    Returns
    -------
    width, height : float
        Size of the picture alone [inch].
    """
    aspect = float(np.clip(shape[1] / shape[0], 1 / _WIDEST, _WIDEST))
    return (_SIDE, _SIDE / aspect) if aspect >= 1 else (_SIDE * max(aspect, 0.75), _SIDE)
