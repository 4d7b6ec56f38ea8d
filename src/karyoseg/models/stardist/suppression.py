"""Non-maximum suppression: of all candidates that propose the same object, the most probable stays."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from threadpoolctl import ThreadpoolController

#: The cells around one, first those that come later in raster order.
_NEIGHBOURS = np.array([(1, 1), (1, 0), (1, -1), (0, 1), (0, -1), (-1, 1), (-1, 0), (-1, -1)])
_LATER = 4
_SAME = 1 / 3  # of what the threshold leaves: how much outlines that surely overlap more than it may differ


@dataclass(frozen=True)
class Candidates:
    """Star-convex polygons that a network proposes, in raster order.

    Parameters
    ----------
    prob : (n,) float32 ndarray
        Object probability, 0..1.
    dist : (n, n_rays) float32 ndarray
        Star distances [px].
    points : (n, 2) int ndarray
        Polygon centres (y, x) [px].
    grid : tuple of int
        Distance of neighbouring centres (Y, X) [px].
    """

    prob: np.ndarray
    dist: np.ndarray
    points: np.ndarray
    grid: tuple[int, int]

    def __len__(self) -> int:
        return len(self.prob)

    def pick(self, chosen: np.ndarray) -> Candidates:
        """Return some of them.

        Parameters
        ----------
        chosen : ndarray of bool or int
            Mask or indices.
        """
        return Candidates(self.prob[chosen], self.dist[chosen], self.points[chosen], self.grid)


def survivors(found: Candidates, nms_thresh: float) -> np.ndarray:
    """Choose the candidates that no more probable one overlaps too much.

    Every cell inside of a nucleus proposes it, and to compare all these polygons pair by pair is what StarDist's
    suppression takes its time for. So the peaks of the probability are compared first. What climbs to a peak that
    stays, and has its outline, is a copy of it; only the rest is compared in the second round.

    Of equally probable ones the later wins, so the choice depends on nothing but the candidates around.

    Parameters
    ----------
    found : Candidates
        All of them.
    nms_thresh : float
        Largest overlap of two instances kept, 0..1.

    Returns
    -------
    (k,) int ndarray
        Indices of those that stay, the most probable first.
    """
    everything = np.arange(len(found))
    top = summits(found)
    stays = np.zeros(len(found), bool)
    stays[_suppress(found, nms_thresh, np.flatnonzero(top == everything))] = True
    climbs = np.flatnonzero(stays[top] & (top != everything))
    copies = climbs[_same_outline(found, climbs, top[climbs], _SAME * (1 - nms_thresh))]
    return _suppress(found, nms_thresh, np.delete(everything, copies))


def summits(found: Candidates) -> np.ndarray:
    """Find where each candidate gets by going to the most probable neighbour, again and again.

    Parameters
    ----------
    found : Candidates
        All of them.

    Returns
    -------
    (n,) int ndarray
        Index of a candidate that has no more probable one among the eight around.

    Examples
    --------
    >>> points = np.array([[0, 0], [0, 2], [0, 4], [0, 8]])
    >>> summits(Candidates(np.array([0.7, 0.8, 0.9, 0.6]), np.ones((4, 32)), points, (2, 2))).tolist()
    [2, 2, 2, 3]
    """
    if not len(found):
        return np.zeros(0, np.intp)
    cells = found.points // found.grid
    rows, columns = (cells - cells.min(axis=0) + 1).T
    index = np.full((rows.max() + 2, columns.max() + 2), -1, np.int32)  # of large images, it is large
    index[rows, columns] = np.arange(len(found))
    top, highest = np.arange(len(found)), found.prob.copy()
    for number, (down, right) in enumerate(_NEIGHBOURS):
        beside = index[rows + down, columns + right]
        prob = found.prob[beside]
        higher = (beside >= 0) & ((prob > highest) | ((prob == highest) & (number < _LATER)))
        top[higher], highest[higher] = beside[higher], prob[higher]
    while (further := top[top] != top).any():
        top[further] = top[top[further]]
    return top


def _same_outline(found: Candidates, some: np.ndarray, others: np.ndarray, tolerance: float) -> np.ndarray:
    """Whether outlines differ by less than a share of the radius, mean over the rays of the first."""
    angles = np.linspace(0, 2 * np.pi, found.dist.shape[1], endpoint=False)
    further = (found.points[others] - found.points[some]) @ np.stack([np.sin(angles), np.cos(angles)])
    differs = np.abs(found.dist[others] + further - found.dist[some]).mean(axis=1)
    same: np.ndarray = differs < tolerance * found.dist[some].mean(axis=1)
    return same


def _suppress(found: Candidates, nms_thresh: float, among: np.ndarray) -> np.ndarray:
    from stardist.nms import non_maximum_suppression_inds

    if not len(among):
        return among
    order = among[np.argsort(found.prob[among], kind="stable")[::-1]]
    dist, points, prob = found.dist[order], found.points[order], found.prob[order]
    # Threads that meet at every polygon cost more than they bring.
    with _thread_pools().limit(limits=1, user_api="openmp"):
        kept: np.ndarray = order[non_maximum_suppression_inds(dist, points, prob, nms_thresh, verbose=0)]
    return kept


@cache
def _thread_pools() -> ThreadpoolController:
    return ThreadpoolController()
