"""The reference placement of nucleAIzer: shapes fall onto each other until the image is full.

It does not reproduce the measured density; use it to compare. See R. Hollandi et al., Cell Systems 10 (2020),
doi:10.1016/j.cels.2020.04.003.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import cycle, islice

import numpy as np
import numpy.typing as npt

from karyoseg.core.mask_synthesis.population import Population
from karyoseg.core.mask_synthesis.shapes import Mask, Stamp

_BLOCKS = ((10, 1.0), (30, 0.25), (30, 0.25))  # lengths of the blocks, share of each that is placed at random
_TRIES = 49
_LOWERED = 0.05  # share of shapes that fall until they touch
_TURN_AFTER = 3
_SIDES = 4
_LEAST_OBJECTS = 25
_SPREAD_OF_ONE = 10.0  # of the number of objects, if a single tile was measured
_LARGEST_GAP = 1 / 5  # of the side


def count_to_fill(population: Population, side: int, rng: np.random.Generator) -> int:
    """Draw how many objects of the measured size would fill an image completely.

    Parameters
    ----------
    population : Population
        What was measured.
    side : int
        Side of the image [px].
    rng : numpy.random.Generator
        Source of randomness.

    Returns
    -------
    int
        At least 25.
    """
    counts = side**2 / population.objects.groupby("tile")["area"].mean()
    spread = float(counts.std(ddof=0)) if len(counts) > 1 else _SPREAD_OF_ONE
    return max(_LEAST_OBJECTS, round(rng.normal(float(counts.mean()), spread)))


def largest_gap(population: Population, side: int) -> int:
    """Return how far a shape may float above the one below.

    Parameters
    ----------
    population : Population
        What was measured.
    side : int
        Side of the image [px].

    Returns
    -------
    int
        Mean of the gaps and twice their standard deviation, but at most a fifth of the side [px].
    """
    most = side * _LARGEST_GAP
    gaps = population.objects["gap"].to_numpy(float)
    gaps = gaps[np.isfinite(gaps)]
    return max(1, round(min(float(gaps.mean() + 2 * gaps.std()), most) if gaps.size else most))


def place_tetris(
    stamps: Sequence[Stamp], side: int, *, n: int, gap: int, rng: np.random.Generator
) -> npt.NDArray[np.int32]:
    """Place shapes one by one: at random, or on the top of those below.

    The canvas is turned by 90 degrees after every third shape, and when it is full from one side.

    Parameters
    ----------
    stamps : sequence of Stamp
        Shapes in the order of placement; those larger than the image are skipped.
    side : int
        Side of the image [px].
    n : int
        Stop after so many objects.
    gap : int
        Largest distance from the shapes below [px].
    rng : numpy.random.Generator
        Source of randomness.

    Returns
    -------
    (side, side) int32 ndarray
        Label image.
    """
    canvas = np.zeros((side, side), np.int32)
    placed = 0
    for index, (stamp, at_random) in enumerate(zip(stamps, _modes(), strict=False), start=1):
        mask = stamp.mask
        if placed == n:
            break
        if max(mask.shape) <= side:
            corner = _random_corner(canvas, mask, rng) if at_random else None
            for _ in range(_SIDES):
                corner = corner or _tetris_corner(canvas, mask, gap, rng)
                if corner:
                    break
                canvas = np.rot90(canvas)
            if corner is None:
                break
            placed += 1
            window = canvas[corner[0] : corner[0] + mask.shape[0], corner[1] : corner[1] + mask.shape[1]]
            window[mask & (window == 0)] = placed
        if index % _TURN_AFTER == 0:
            canvas = np.rot90(canvas)
    return np.ascontiguousarray(canvas)


def _modes() -> Iterator[bool]:
    """Say for each shape whether its position is random."""
    for length, share in cycle(_BLOCKS):
        n_random = int(length * share)
        yield from islice(cycle([True]), n_random)
        yield from islice(cycle([False]), length - n_random)


def _random_corner(canvas: npt.NDArray[np.int32], mask: Mask, rng: np.random.Generator) -> tuple[int, int] | None:
    height, width = mask.shape
    for _ in range(_TRIES):
        y, x = int(rng.integers(len(canvas) - height + 1)), int(rng.integers(len(canvas) - width + 1))
        if not canvas[y : y + height, x : x + width][mask].any():
            return y, x
    return None


def _tetris_corner(
    canvas: npt.NDArray[np.int32], mask: Mask, gap: int, rng: np.random.Generator
) -> tuple[int, int] | None:
    """Corner of a shape that rests on, or floats above, what lies below; None if there is no room."""
    side = len(canvas)
    height, width = mask.shape
    occupied = canvas > 0
    top = np.where(occupied.any(axis=0), side - occupied.argmax(axis=0), 0)  # height of the stack in each column
    highest = np.lib.stride_tricks.sliding_window_view(top, width).max(axis=1)
    stacks = np.flatnonzero(top[: len(highest)])
    column = int(rng.choice(stacks) if len(stacks) else rng.integers(len(highest)))
    if highest[column] + height > side:
        column = int(highest.argmin())
    rest = int(highest[column])
    if rest + height > side:
        return None
    if rng.random() < _LOWERED:
        below = mask[::-1].argmax(axis=0)  # free pixels below the shape in each column
        rest = max(0, int((top[column : column + width] - below).max()))
    else:
        rest = min(rest + int(rng.integers(1, gap + 1)), side - height)
    return side - rest - height, column
