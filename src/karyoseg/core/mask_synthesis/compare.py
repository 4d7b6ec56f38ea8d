"""Measured and synthetic label images side by side: a table and a figure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from karyoseg.core.mask_synthesis.population import Population
from karyoseg.core.plots.canvas import BLUE, VERMILLION, bare, new_figure, shorten, style_axes
from karyoseg.core.previews import label_tile

Values = npt.NDArray[np.float64]

_MEGAPIXEL = 1e6
_AVERAGED = {"density", "coverage", "touching"}
_TILE = 320  # side of an example [px]
_COLUMNS = ("cluster", "quantity", "unit", "n_real", "n_synthetic", "real", "synthetic", "distance")


@dataclass(frozen=True)
class _Quantity:
    """Something that is compared."""

    name: str
    unit: str
    logarithmic: bool = False


QUANTITIES = (
    _Quantity("density", "objects per megapixel"),
    _Quantity("coverage", "share of the area"),
    _Quantity("diameter", "px", logarithmic=True),
    _Quantity("gap", "px", logarithmic=True),
    _Quantity("touching", "share of the objects"),
    _Quantity("solidity", ""),
    _Quantity("eccentricity", ""),
)
"""In this order; the first two are values of tiles, the others of objects."""


@dataclass(frozen=True)
class Comparison:
    """One style to compare.

    Parameters
    ----------
    real : Population
        All measured objects, also those that were not followed.
    synthetic : Population
        Those of the synthetic label images, cut into tiles of the same size.
    real_labels, synthetic_labels : (Y, X) integer ndarray
        One example each, shown as far as both reach.
    """

    real: Population
    synthetic: Population
    real_labels: np.ndarray
    synthetic_labels: np.ndarray


def quantity_values(population: Population, name: str) -> Values:
    """Return the values of a quantity, one per tile or object.

    Parameters
    ----------
    population : Population
        What was measured.
    name : str
        One of :data:`QUANTITIES`. Sizes and shapes are those of objects that the border does not cut.

    Returns
    -------
    (n,) float64 ndarray
        Values; infinite gaps for objects that are alone.
    """
    tiles, objects = population.tiles, population.objects
    if name == "density":
        values = _MEGAPIXEL * tiles["n_objects"] / (tiles["height"] * tiles["width"])
    elif name == "coverage":
        values = tiles["coverage"]
    elif name == "touching":
        values = objects["gap"] == 0
    else:
        values = (objects if name == "gap" else population.whole)[name]
    return values.to_numpy(float)


def compare_populations(pairs: Mapping[str, tuple[Population, Population]]) -> pd.DataFrame:
    """Compare measured with synthetic objects.

    Parameters
    ----------
    pairs : dict of str to (Population, Population)
        Measured and synthetic, by style.

    Returns
    -------
    DataFrame
        One row per style and quantity: number of values, their median (mean for density, coverage and touching), and
        ``distance``, the largest difference between both cumulative distributions (Kolmogorov and Smirnov), from 0 for
        equal to 1 for distinct; NaN if one side has no values.
    """
    from scipy.stats import ks_2samp  # slow to import

    rows = []
    for cluster, (real, synthetic) in pairs.items():
        for quantity in QUANTITIES:
            values = [quantity_values(population, quantity.name) for population in (real, synthetic)]
            known = all(part.size for part in values)
            distance = ks_2samp(*values).statistic if known else np.nan
            counts, typical = (part.size for part in values), (_typical(part, quantity) for part in values)
            rows.append((cluster, quantity.name, quantity.unit, *counts, *typical, distance))
    return pd.DataFrame(rows, columns=_COLUMNS)


def _typical(values: Values, quantity: _Quantity) -> float:
    if not values.size:
        return np.nan
    return float(np.mean(values) if quantity.name in _AVERAGED else np.median(values))


def comparison_figure(comparisons: Mapping[str, Comparison], most: int = 12) -> Figure:
    """Show an example of each style, measured and synthetic, and the distributions of what was compared.

    Parameters
    ----------
    comparisons : dict of str to Comparison
        By style.
    most : int
        Styles shown; the others are only in the table.

    Returns
    -------
    Figure
        One row per style.
    """
    shown = list(comparisons.items())[:most]
    figure = new_figure(2.1 * (2 + len(QUANTITIES)), 2.3 * max(1, len(shown)) + 0.4)
    grid = figure.subplots(max(1, len(shown)), 2 + len(QUANTITIES), squeeze=False)
    for axes, (cluster, comparison) in zip(grid, shown, strict=False):
        examples = comparison.real_labels, comparison.synthetic_labels
        height, width = np.minimum(*(labels.shape for labels in examples))
        for ax, labels in zip(axes, (labels[:height, :width] for labels in examples), strict=False):
            ax.imshow(np.asarray(label_tile(labels, side=_TILE)), interpolation="nearest")
            bare(ax)
        axes[0].set_ylabel(shorten(cluster, 20), fontsize=9)
        for ax, quantity in zip(axes[2:], QUANTITIES, strict=True):
            _draw_distributions(ax, comparison, quantity)
    titles = ("measured", "synthetic", *(quantity.name for quantity in QUANTITIES))
    for ax, title in zip(grid[0], titles, strict=True):
        ax.set_title(title, fontsize=10)
    if len(comparisons) > most:
        figure.suptitle(f"the first {most} of {len(comparisons)} styles", fontsize=10, x=0.01, ha="left")
    return figure


def _draw_distributions(ax: Axes, comparison: Comparison, quantity: _Quantity) -> None:
    """Cumulative distributions; shares of the objects as bars."""
    sides = ((comparison.real, BLUE, "measured"), (comparison.synthetic, VERMILLION, "synthetic"))
    for position, (population, colour, label) in enumerate(sides):
        values = quantity_values(population, quantity.name)
        if quantity.name == "touching":
            ax.bar(position, values.mean() if values.size else 0.0, color=colour, label=label)
            continue
        finite = np.sort(values[np.isfinite(values)])
        if quantity.logarithmic:
            finite = np.maximum(finite, 1)  # touching objects have no gap
        finite = np.concatenate([finite[:1], finite])  # up from 0
        share = np.arange(len(finite)) / max(1, len(values))
        ax.step(finite, share, where="post", color=colour, linewidth=1.4, label=label)
    ax.set_ylim(0, 1)
    if quantity.name == "touching":
        ax.set_xticks([])
    else:
        ax.set_xlabel(quantity.unit or quantity.name, fontsize=8)
    if quantity.logarithmic:
        ax.set_xscale("log")
        ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=5))
        ax.xaxis.set_major_formatter("{x:g}")
        ax.minorticks_off()
    if quantity.name == QUANTITIES[0].name:
        ax.legend(fontsize=8, frameon=False, loc="lower right")
    style_axes(ax)
    ax.tick_params(labelsize=7)
