"""Sheets of many images: what training sees, what the data look like, best and worst cases."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from matplotlib.figure import Figure

from karyoseg.core.augmentation.warps import Window
from karyoseg.core.plots.canvas import (
    YELLOW,
    bare,
    draw_outlines,
    new_figure,
    outlines,
    shorten,
    show_image,
    shrink,
)
from karyoseg.core.plots.cases import draw_case, panel_size

Augment = Callable[[np.ndarray, np.ndarray, Sequence[int], Window], tuple[np.ndarray, np.ndarray]]


def random_window(labels: np.ndarray, size: int, seed: int | Sequence[int]) -> Window:
    """Choose a square around a random object.

    Parameters
    ----------
    labels : (Y, X) integer ndarray
        Label image.
    size : int
        Side [px]; an image that is smaller along an axis is kept whole along it.
    seed : int or sequence of int
        Equal seeds choose the same square.

    Returns
    -------
    Window
        At most `size` by `size` pixels within the image.
    """
    rng = np.random.default_rng(np.random.SeedSequence(seed))
    inside = np.flatnonzero(labels > 0)
    centre = int(rng.choice(inside)) if inside.size else int(rng.integers(labels.size))
    corner = [
        int(np.clip(int(middle) - size // 2, 0, max(0, length - size)))
        for middle, length in zip(np.unravel_index(centre, labels.shape), labels.shape, strict=True)
    ]
    return Window(*corner, *(min(size, length) for length in labels.shape))


def contact_sheet(
    samples: Iterable[tuple[str, np.ndarray, np.ndarray, Window]],
    augmenter: Augment,
    n_variants: int,
    seed: int,
) -> Figure:
    """Show what training will see: each row one sample, first as it is, then as the augmenter changes it.

    Parameters
    ----------
    samples : iterable of (str, (Y, X[, C]) ndarray, (Y, X) ndarray, Window)
        Id, image and labels of each sample, and the part of it to show.
    augmenter : callable
        Called with (image, labels, (seed, epoch, index of the sample), window).
    n_variants : int
        Variants per sample.
    seed : int
        Seed of the policy.

    Returns
    -------
    Figure
        One row per sample, `n_variants` + 1 columns. A row shares one intensity scale, that of its original,
        so that changes of brightness show.
    """
    rows = list(samples)
    figure = new_figure(1.9 * (n_variants + 1), 2.0 * max(1, len(rows)) + 0.3)
    grid = figure.subplots(max(1, len(rows)), n_variants + 1, squeeze=False)
    for index, (axes, (name, image, labels, window)) in enumerate(zip(grid, rows, strict=False)):
        part = np.s_[window.top : window.top + window.height, window.left : window.left + window.width]
        low, high = np.percentile(image[part], (0.5, 99.8))
        variants = [augmenter(image, labels, (seed, epoch, index), window) for epoch in range(n_variants)]
        for ax, (changed, moved) in zip(axes, [(image[part], labels[part]), *variants], strict=True):
            shown = np.clip((changed - low) / max(float(high - low), 1e-6), 0, 1)
            small, (moved_small,) = shrink(shown, moved, side=512)
            show_image(ax, small, stretch=False)
            draw_outlines(ax, outlines(moved_small), YELLOW, 0.7)
        axes[0].set_ylabel(shorten(name, 21), fontsize=8)
    for ax in grid.ravel():
        bare(ax)
    for column, ax in enumerate(grid[0]):
        ax.set_title("original" if column == 0 else f"epoch {column}", fontsize=10)
    return figure


def gallery(
    samples: Iterable[tuple[str, np.ndarray, np.ndarray | None]], n_columns: int = 4, title: str = ""
) -> Figure:
    """Show samples in a grid.

    Parameters
    ----------
    samples : iterable of (str, (Y, X[, C]) ndarray, (Y, X) ndarray or None)
        Caption, image and, where known, labels, whose outlines are drawn.
    n_columns : int
        Images per row.
    title : str
        Written above.

    Returns
    -------
    Figure
        One panel per sample.
    """
    items = list(samples)
    n_rows = max(1, -(-len(items) // n_columns))
    figure = new_figure(2.8 * n_columns, 2.9 * n_rows + (0.3 if title else 0))
    axes = figure.subplots(n_rows, n_columns, squeeze=False).ravel()
    for ax in axes:
        ax.set_axis_off()
    for ax, (caption, image, labels) in zip(axes, items, strict=False):
        ax.set_axis_on()
        small, small_labels = shrink(image, *([] if labels is None else [labels]), side=512)
        show_image(ax, small)
        for part in small_labels:
            draw_outlines(ax, outlines(part), YELLOW, 0.8)
        ax.set_title(caption, fontsize=9)
        ax.set_anchor("N")
    if title:
        figure.suptitle(title, fontsize=12, x=0.01, ha="left", weight="bold")
    return figure


def case_grid(
    cases: Iterable[tuple[str, np.ndarray, np.ndarray, np.ndarray]], title: str = "", threshold: float = 0.5
) -> Figure:
    """Show several cases below each other, each as image, outlines and errors.

    Parameters
    ----------
    cases : iterable of (str, image, truth, prediction)
        Caption, ``(Y, X[, C])`` image and two ``(Y, X)`` label images.
    title : str
        Written above.
    threshold : float
        IoU from which objects match.

    Returns
    -------
    Figure
        Three columns, one row per case.
    """
    items = list(cases)
    heights = [panel_size(image.shape)[1] + 0.55 for _, image, _, _ in items] or [1.0]
    figure = new_figure(12.6, sum(heights) + (0.3 if title else 0))
    grid = figure.subplots(len(heights), 3, squeeze=False, height_ratios=heights)
    for ax in grid.ravel():
        bare(ax)
    for axes, (caption, image, truth, pred) in zip(grid, items, strict=False):
        draw_case(axes, image, truth, pred, threshold)
        axes[0].set_title(caption, fontsize=10, loc="left")
    if title:
        figure.suptitle(title, fontsize=12, x=0.01, ha="left", weight="bold")
    return figure
