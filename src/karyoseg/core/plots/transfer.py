"""Real images of each style beside generated ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from karyoseg.core.plots.canvas import (
    YELLOW,
    bare,
    draw_outlines,
    new_figure,
    outline_colours,
    outlines,
    show_image,
    shrink,
)

_SIDE = 320  # px of each picture


@dataclass(frozen=True)
class TransferRow:
    """What is shown of one cluster.

    Parameters
    ----------
    caption : str
        Written above.
    real, generated : sequence of ((Y, X, 3) uint8 ndarray, (Y, X) integer ndarray)
        Images with their labels.
    """

    caption: str
    real: Sequence[tuple[np.ndarray, np.ndarray]]
    generated: Sequence[tuple[np.ndarray, np.ndarray]]


def transfer_sheet(rows: Sequence[TransferRow], n_columns: int) -> Figure:
    """Show clusters below each other.

    Parameters
    ----------
    rows : sequence of TransferRow
        The clusters.
    n_columns : int
        Real images per row, and generated ones.

    Returns
    -------
    Figure
        On the left real images; on the right generated ones. The first of each has the outlines of its labels.
    """
    figure = new_figure(2.0 * 2 * n_columns, 2.25 * len(rows) + 0.3)
    grid = figure.subplots(len(rows), 2 * n_columns, squeeze=False)
    for axes, row in zip(grid, rows, strict=True):
        axes[0].set_title(row.caption, loc="left", fontsize=9)
        for side, pairs in ((axes[:n_columns], row.real), (axes[n_columns:], row.generated)):
            for index, (ax, (image, labels)) in enumerate(zip(side, pairs, strict=False)):
                small, (small_labels,) = shrink(image, labels, side=_SIDE)
                show_image(ax, small / 255, stretch=False)
                if index == 0:
                    colour = YELLOW if np.median(image) < 128 else outline_colours(image)[0]  # noqa: PLR2004
                    draw_outlines(ax, outlines(small_labels), colour, 0.7)
    for ax in grid.ravel():
        bare(ax)
    figure.suptitle("real, with weak labels | generated, with synthetic labels", fontsize=10)
    return figure
