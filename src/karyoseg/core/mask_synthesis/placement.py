"""Placement by chance, then corrected until nuclei are as close to each other as those that were measured."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from karyoseg.core.mask_synthesis.layout import Layout
from karyoseg.core.mask_synthesis.population import Population
from karyoseg.core.mask_synthesis.shapes import Stamp

Gaps = npt.NDArray[np.float64]

#: Below this gap [px] no background lies between two objects.
TOUCHING = 1.0

_STEPS = (0.1, 0.2, 0.35, 0.6, 1.0)  # gaps told apart, in diameters
_MOVES = 5  # at most, per object
_CLOSE_ENOUGH = 0.02  # largest difference between the shares of objects up to any gap


class GapTarget:
    """How many objects should have which distance to their nearest neighbour.

    Parameters
    ----------
    population : Population
        What was measured.
    largest : float
        Gaps beyond are not told apart [px].

    Attributes
    ----------
    edges : ndarray
        Limits of the classes [px]: touching objects, then ever larger gaps, the last class without an end.
    below : ndarray
        Share of the objects with a gap below each limit [0..1].
    """

    def __init__(self, population: Population, largest: float = np.inf):
        steps = np.array(_STEPS) * float(population.whole["diameter"].median())
        self.edges = np.concatenate([[TOUCHING], steps[(steps > 2 * TOUCHING) & (steps <= largest)]])
        gaps, border = (population.objects[name].to_numpy(float) for name in ("gap", "to_border"))
        self.below = np.array([self._share(gaps, border, edge) for edge in self.edges])
        self.below = np.maximum.accumulate(self.below)

    @staticmethod
    def _share(gaps: Gaps, border: Gaps, edge: float) -> float:
        """Share of gaps below `edge` among objects whose surroundings can be seen that far."""
        seen = border >= edge
        return float(np.mean((gaps if not seen.any() else gaps[seen]) < edge))

    def surplus(self, gaps: Gaps) -> Gaps:
        """Say by how much the share of objects in each class is too large.

        Parameters
        ----------
        gaps : (n,) ndarray
            Distance of each object to its nearest neighbour [px].

        Returns
        -------
        ndarray
            One value per class, in [-1..1]; they sum to 0.
        """
        shares = np.bincount(self.classify(gaps), minlength=len(self.edges) + 1) / len(gaps)
        return shares - np.diff(self.below, prepend=0.0, append=1.0)

    def classify(self, gaps: Gaps) -> npt.NDArray[np.intp]:
        """Say which class each gap belongs to.

        Parameters
        ----------
        gaps : (n,) ndarray
            Gaps [px].

        Returns
        -------
        (n,) int ndarray
            0 for touching.
        """
        return np.searchsorted(self.edges, gaps, side="right")

    def limits(self, kind: int) -> tuple[float, float]:
        """Return the smallest gap of a class and that of the next [px].

        Parameters
        ----------
        kind : int
            The class.

        Returns
        -------
        low, high : float
            Infinite at the end of the last class.
        """
        ends = [0.0, *self.edges, np.inf]
        return ends[kind], ends[kind + 1]


def place(
    stamps: Sequence[Stamp], side: int, target: GapTarget, rng: np.random.Generator, strip: int = 0
) -> npt.NDArray[np.int32]:
    """Place shapes at random and move single ones until gaps and touching are as measured.

    Parameters
    ----------
    stamps : sequence of Stamp
        Shapes for the square and the strip around it.
    side : int
        Side of the square [px].
    target : GapTarget
        Gaps to arrive at.
    rng : numpy.random.Generator
        Source of randomness.
    strip : int
        Centres lie up to here outside of the square, so that its border cuts shapes as that of an image does [px].

    Returns
    -------
    (side, side) int32 ndarray
        Label image; shapes for which there was no room are left out.
    """
    stamps = sorted(stamps, key=lambda stamp: -stamp.area)  # small ones find room between large ones
    if not stamps:
        return np.zeros((side, side), np.int32)
    layout = Layout(side, strip, stamps, float(target.edges[-1]))
    for index in range(len(stamps)):
        _put_at_random(layout, index, rng)
    _match_gaps(layout, target, rng)
    return layout.crop()


def _put_at_random(layout: Layout, index: int, rng: np.random.Generator) -> None:
    for corner in layout.positions(index, 0.0, np.inf, rng):
        near = layout.measure(index, corner)
        if near is not None:
            layout.put(index, corner, near)
            return


def _match_gaps(layout: Layout, target: GapTarget, rng: np.random.Generator) -> None:
    """Move objects from classes of gaps that have too many to others, as long as that helps."""
    movable = np.flatnonzero(layout.placed)
    if len(movable) < 2:  # noqa: PLR2004
        return

    def judge(gaps: Gaps) -> tuple[Gaps, float]:
        surplus = target.surplus(gaps[movable])
        return surplus, float(np.abs(np.cumsum(surplus)).sum())

    gaps = layout.gaps
    surplus, error = judge(gaps)
    for _ in range(_MOVES * len(movable)):
        if np.abs(np.cumsum(surplus)).max() <= _CLOSE_ENOUGH:
            break
        many, few = np.maximum(surplus, 0), np.maximum(-surplus, 0)
        source = rng.choice(len(many), p=many / many.sum())
        wanted = rng.choice(len(few), p=few / few.sum())
        index = int(rng.choice(movable[target.classify(gaps[movable]) == source]))
        before = layout.take(index)
        corners = layout.positions(index, *target.limits(wanted), rng)
        moved = layout.measure(index, corners[0]) if len(corners) else None
        if moved is not None:
            after = layout.gaps_with(index, moved)
            judged = judge(after)
            if judged[1] < error:
                layout.put(index, corners[0], moved)
                gaps, (surplus, error) = after, judged
                continue
        layout.put(index, *before)
