"""A picture of clusters: where the images lie, how the number of clusters was chosen, and what each one looks like."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from karyoseg.core.plots.canvas import (
    BLUE,
    CYCLE,
    VERMILLION,
    bare,
    new_figure,
    shorten,
    show_image,
    shrink,
    style_axes,
)
from karyoseg.core.previews import spread

_MARKERS = "osD^vP*X"
_TILE, _CHART = 1.5, 3.6  # inch
_SIDE = 200  # px of a tile


def clusters_figure(
    images: Mapping[str, Callable[[], np.ndarray]],
    clusters: pd.DataFrame,
    tried: pd.DataFrame,
    *,
    n_columns: int = 8,
    max_rows: int = 20,
) -> Figure:
    """Show clusters of images.

    Parameters
    ----------
    images : dict of str to callable
        Gives the (Y, X, 3) uint8 image of each id.
    clusters : DataFrame
        From :func:`karyoseg.core.style.clusters.cluster_table`.
    tried : DataFrame
        Of :class:`karyoseg.core.style.clusters.Clustering`.
    n_columns : int
        Images per cluster, from the most typical on the left to the least typical.
    max_rows : int
        Clusters with a sheet, the largest ones.

    Returns
    -------
    Figure
        Two charts, and below them a row of images per cluster, with their own brightness.
    """
    names = sorted(clusters["cluster"].unique())
    shown = names[:max_rows]
    heights = [_CHART, (_TILE + 0.35) * len(shown)]
    figure = new_figure(_TILE * n_columns, sum(heights))
    # Apart, so that the labels of the charts do not move the images.
    above, below = figure.subfigures(2, 1, squeeze=False, height_ratios=heights)[:, 0]
    places, choice = above.subplots(1, 2)
    _draw_places(places, clusters, names)
    _draw_choice(choice, tried)
    grid = below.subplots(len(shown), n_columns, squeeze=False)
    for axes, name in zip(grid, shown, strict=True):
        inside = clusters[clusters["cluster"] == name].sort_values(["distance", "id"])
        chosen = spread(inside["id"].tolist(), n_columns)
        for ax in axes:
            bare(ax)
            ax.set_anchor("N")
        for ax, key in zip(axes, chosen, strict=False):
            tile, _ = shrink(images[key](), side=_SIDE)
            show_image(ax, tile / 255, stretch=False)
            ax.set_xlabel(shorten(key, 18), fontsize=6)
        colour, _ = _look(names.index(name))
        title = f"{name}: {len(inside)} image{'s' if len(inside) > 1 else ''}"
        axes[0].set_title(title, fontsize=10, loc="left", color=colour, weight="bold")
    if len(names) > len(shown):
        below.suptitle(f"the {len(shown)} largest of {len(names)} clusters", fontsize=10)
    return figure


def _look(index: int) -> tuple[str, str]:
    """Colour and marker of a cluster."""
    return CYCLE[index % len(CYCLE)], _MARKERS[index // len(CYCLE) % len(_MARKERS)]


def _draw_places(ax: Axes, clusters: pd.DataFrame, names: list[str]) -> None:
    for index, name in enumerate(names):
        inside = clusters[clusters["cluster"] == name]
        colour, marker = _look(index)
        ax.scatter(inside["x"], inside["y"], s=22, color=colour, marker=marker, alpha=0.7, linewidths=0)
        if len(names) <= 2 * len(CYCLE):
            top = inside["x"].mean(), inside["y"].max()
            ax.annotate(
                name, top, (0, 5), textcoords="offset points", ha="center", color=colour, fontsize=8, weight="bold"
            )
    style_axes(ax)
    ax.margins(0.1)
    ax.set_title("images by style", fontsize=11, loc="left")
    ax.set_xlabel("first main direction")
    ax.set_ylabel("second main direction")


def _draw_choice(ax: Axes, tried: pd.DataFrame) -> None:
    chosen = tried.loc[tried["chosen"].astype(bool), "clusters"]
    if tried[["silhouette", "stability"]].isna().all(axis=None):
        bare(ax)
        ax.text(0.5, 0.5, f"{chosen.iloc[0]:g}: given, or too few images to choose", ha="center", fontsize=10)
        ax.set_title("number of clusters", fontsize=11, loc="left")
        return
    for column, colour in (("silhouette", BLUE), ("stability", VERMILLION)):
        known = tried.dropna(subset=[column])
        if len(known):
            ax.plot(known["clusters"], known[column], "o-", color=colour, markersize=4, linewidth=1.6, label=column)
    for number in chosen:
        ax.axvline(number, color="#999999", linewidth=1, linestyle=":", label=f"chosen: {number:g}")
    style_axes(ax)
    ax.set_title("number of clusters, first division", fontsize=11, loc="left")
    ax.set_ylim(-0.05, 1.05)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.legend(fontsize=9, frameon=False)
