"""Tracing the outlines of all objects of a label image at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.intp]


def trace_single_rings(
    owner_h: Integers, owner_v: Integers, across: Integers, down: Integers
) -> tuple[Integers, Integers, Integers]:
    """Put the edges of objects in order, where they form a single ring that does not touch itself.

    At each corner of such a ring one horizontal and one vertical edge meet. Going along a vertical edge and then a
    horizontal one is a permutation of the corners; each ring falls into two cycles of it, every second corner in each.

    Parameters
    ----------
    owner_h, owner_v : (h,), (v,) int ndarray
        Index of the object that each horizontal and each vertical edge belongs to, counted from 0.
    across, down : (h, 2, 2), (v, 2, 2) int ndarray
        Ends (x, y) of the edges.

    Returns
    -------
    simple : (n,) int ndarray
        Objects that have such a ring, ascending.
    corners : (m, 2) int ndarray
        Corners (x, y) of one ring after the other.
    ring : (m,) int ndarray
        Index into `simple` of each corner.

    Examples
    --------
    >>> square = np.array([[[0, 0], [1, 0]], [[0, 1], [1, 1]]])
    >>> trace_single_rings(np.zeros(2, int), np.zeros(2, int), square, square[..., ::-1])[1].tolist()
    [[0, 0], [0, 1], [1, 1], [1, 0]]
    """
    ends_h, ends_v = across.reshape(-1, 2), down.reshape(-1, 2)
    owner_h, owner_v = np.repeat(owner_h, 2), np.repeat(owner_v, 2)
    # Both orders give the same corners: a corner is known by its rank.
    order_h = np.lexsort((ends_h[:, 0], ends_h[:, 1], owner_h))
    order_v = np.lexsort((ends_v[:, 0], ends_v[:, 1], owner_v))
    along_h, along_v = _other_ends(order_h), _other_ends(order_v)
    owner, corners = owner_h[order_h], ends_h[order_h]
    cycle, steps = _cycles(along_v[along_h])
    touching = np.zeros(owner.max(initial=-1) + 1, bool)
    touching[owner[1:][(owner[1:] == owner[:-1]) & (corners[1:] == corners[:-1]).all(axis=1)]] = True
    n_cycles = np.bincount(owner[cycle == np.arange(len(cycle))], minlength=len(touching))
    simple = np.flatnonzero((n_cycles == 2) & ~touching)  # noqa: PLR2004
    first = np.searchsorted(owner, simple)
    member = np.flatnonzero(np.isin(cycle, first))
    member = member[np.lexsort((steps[member], owner[member]))]
    both = np.stack([member, along_v[member]], axis=1).reshape(-1)
    return simple, corners[both], np.searchsorted(simple, owner[both])


def _other_ends(order: Integers) -> Integers:
    """Rank of the other end of the edge, for each end by rank; ends 2i and 2i + 1 are those of edge i."""
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return rank[order ^ 1]


def _cycles(permutation: Integers) -> tuple[Integers, Integers]:
    """Smallest element of each element's cycle, and steps along the permutation until it; steps are doubled."""
    smallest, ahead = np.arange(len(permutation)), permutation
    while not np.array_equal(smallest, smallest[permutation]):
        smallest, ahead = np.minimum(smallest, smallest[ahead]), ahead[ahead]
    ahead = np.where(smallest == np.arange(len(permutation)), smallest, permutation)
    steps = (ahead != np.arange(len(permutation))).astype(np.intp)
    while not np.array_equal(ahead, smallest):
        steps, ahead = steps + steps[ahead], ahead[ahead]
    return smallest, steps
