"""Simulated shapes: random outlines, of which those are kept that are like measured ones."""

from __future__ import annotations

import numpy as np
import pandas as pd

from karyoseg.core.mask_synthesis.population import describe
from karyoseg.core.mask_synthesis.shapes import COLUMNS, Mask, ShapeDatabase
from karyoseg.core.synthetic.nucleus import rounded

_COMPARED = ["circularity", "eccentricity", "solidity"]
_ROUGHEST = 0.2  # bumps, share of the radius
_HOPELESS = 100  # outlines in a row that are rejected
_LOBED = 0.2  # share of outlines with a dent
_SIZES = 24.0, 64.0  # diameters drawn: descriptors of few pixels are coarse, and shapes are resized anyway [px]


def simulate_shapes(
    queries: pd.DataFrame, rng: np.random.Generator, *, tolerance: float = 0.1, attempts: int = 12
) -> ShapeDatabase:
    """Draw a random shape like each of some objects.

    Parameters
    ----------
    queries : DataFrame
        Objects with the columns diameter, ratio, circularity, eccentricity and solidity.
    rng : numpy.random.Generator
        Source of randomness.
    tolerance : float
        A shape is accepted if circularity, eccentricity and solidity differ from those of the object by at most this
        share [0..1].
    attempts : int
        Outlines drawn per object before giving up; if none of a hundred or more is accepted, no more are drawn.

    Returns
    -------
    ShapeDatabase
        At most one shape per object: where no outline was accepted there is none.
    """
    masks: list[Mask] = []
    tables = [describe(np.zeros((1, 1), np.int32), min_area=1)]
    waiting = queries
    for _ in range(attempts):
        if waiting.empty:
            break
        drawn = [_draw(*size, rng) for size in zip(waiting["diameter"], waiting["ratio"], strict=True)]
        found = describe(_side_by_side(drawn), min_area=1)
        wanted = waiting[_COMPARED].to_numpy()
        accepted = (np.abs(found[_COMPARED].to_numpy() - wanted) <= tolerance * wanted).all(axis=1)
        if not accepted.any() and len(drawn) > _HOPELESS:
            break
        masks += [drawn[index] for index in np.flatnonzero(accepted)]
        tables.append(found[accepted])
        waiting = waiting[~accepted]
    table = pd.concat(tables, ignore_index=True).assign(source="simulated")
    return ShapeDatabase(masks, table[COLUMNS])


def _draw(diameter: float, ratio: float, rng: np.random.Generator) -> Mask:
    angle, roughness = rng.uniform(0, np.pi), rng.uniform(0, _ROUGHEST)
    rho, _ = rounded(float(np.clip(diameter, *_SIZES)), ratio, angle, rng, roughness=roughness, lobed=_LOBED)
    return rho <= 1


def _side_by_side(masks: list[Mask]) -> np.ndarray:
    """Label image of shapes that do not touch, so that all are measured at once."""
    side = max(max(mask.shape) for mask in masks) + 2
    columns = int(np.ceil(np.sqrt(len(masks))))
    labels = np.zeros((-(-len(masks) // columns) * side, columns * side), np.int32)
    for index, mask in enumerate(masks):
        row, column = divmod(index, columns)
        top, left = row * side + 1, column * side + 1
        labels[top : top + mask.shape[0], left : left + mask.shape[1]][mask] = index + 1
    return labels
