"""The objects of a label image as runs of pixels: all are measured at once, without a loop over them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from karyoseg.core.polygons import edge_crossings

_BLOCK = 2_000_000  # pixels looked at together: bounds the memory
#: Length that a border pixel stands for, by the sum of its neighbours' weights.
_STEP = np.zeros(51)
_STEP[[5, 7, 15, 17, 25, 27]] = 1
_STEP[[21, 33]] = np.sqrt(2)
_STEP[[13, 23]] = (1 + np.sqrt(2)) / 2


@dataclass(frozen=True)
class Regions:
    """Objects of a label image; all arrays and results are in ascending order of the labels.

    Parameters
    ----------
    image : (Y, X) integer ndarray
        The label image.
    labels : (n,) int64 ndarray
        Labels of the objects.
    owner : (runs,) ndarray
        Index of the object of each run, ascending.
    row, start, stop : (runs,) int64 ndarray
        Row of the run, first column and column after the last.
    """

    image: NDArray[np.integer]
    labels: NDArray[np.int64]
    owner: NDArray[np.intp]
    row: NDArray[np.int64]
    start: NDArray[np.int64]
    stop: NDArray[np.int64]

    @property
    def shape(self) -> tuple[int, int]:
        """Size of the image (Y, X) [px]."""
        return self.image.shape[0], self.image.shape[1]

    @property
    def area(self) -> NDArray[np.int64]:
        """Pixels of each object."""
        return self._sum(self.stop - self.start).astype(np.int64)

    def united(self, groups: NDArray[np.intp]) -> Regions:
        """Take several objects together as one.

        Parameters
        ----------
        groups : (m, k) int ndarray
            Positions in `labels` of the objects of each group; a group holds no object twice.

        Returns
        -------
        Regions
            One object per group, numbered from 1, with the areas, boxes, moments and convex hulls of the groups; they
            may share objects, so that `image` does not show them.
        """
        first = np.append(self._first(), len(self.owner))
        members = groups.ravel()
        n_runs = first[members + 1] - first[members]
        begin = np.cumsum(n_runs) - n_runs
        runs = np.arange(n_runs.sum()) + np.repeat(first[members] - begin, n_runs)
        owner = np.repeat(np.repeat(np.arange(len(groups)), groups.shape[1]), n_runs)
        names = np.arange(1, len(groups) + 1)
        return Regions(self.image, names, owner, self.row[runs], self.start[runs], self.stop[runs])

    def boxes(self) -> tuple[NDArray[np.int64], ...]:
        """Return top, left (inside), bottom, right (just outside) of each object [px]."""
        first = self._first()
        return (
            np.minimum.reduceat(self.row, first) if len(first) else self.row,
            np.minimum.reduceat(self.start, first) if len(first) else self.start,
            np.maximum.reduceat(self.row, first) + 1 if len(first) else self.row,
            np.maximum.reduceat(self.stop, first) if len(first) else self.stop,
        )

    def moments(self) -> tuple[NDArray[np.float64], ...]:
        """Return centroid y, x [px] and the variances yy, xx and covariance yx [px2] of the pixels of each object."""
        area = self.area
        top, left, _, _ = self.boxes()
        # Counted from the box, the sums are exact.
        y = self.row - top[self.owner]
        first, n = self.start - left[self.owner], self.stop - self.start
        last = first + n - 1
        x = n * (first + last) / 2
        squares = (last * (last + 1) * (2 * last + 1) - (first - 1) * first * (2 * first - 1)) / 6
        sum_y, sum_x = self._sum(n * y), self._sum(x)
        yy, xx, yx = self._sum(n * y**2), self._sum(squares), self._sum(x * y)
        return (
            top + sum_y / area,
            left + sum_x / area,
            (yy - sum_y**2 / area) / area,
            (xx - sum_x**2 / area) / area,
            (yx - sum_y * sum_x / area) / area,
        )

    def perimeters(self) -> NDArray[np.float64]:
        """Return the length of the outlines through the centres of the border pixels, with 4-connectivity [px].

        References
        ----------
        .. [1] Benkrid, Crookes, Design and FPGA implementation of a perimeter estimator, 2000.
        """
        lengths = np.zeros(len(self.labels))
        height, width = self.shape
        rows = max(1, _BLOCK // width)
        dtype = np.min_scalar_type(self.image.max(initial=0))
        for top in range(0, height, rows):
            # Two more rows on each side: border pixels of the block, and whether their neighbours are such.
            bottom = min(top + rows, height)
            block = np.zeros((bottom - top + 4, width + 2), dtype)
            low, high = max(top - 2, 0), min(bottom + 2, height)
            inside = block[low - top + 2 : high - top + 2, 1:-1]
            np.maximum(self.image[low:high], 0, out=inside, casting="unsafe")
            centre = block[1:-1, 1:-1]
            inner = (centre == block[:-2, 1:-1]) & (centre == block[2:, 1:-1])
            inner &= (centre == block[1:-1, :-2]) & (centre == block[1:-1, 2:])
            border = np.zeros_like(block)
            border[1:-1, 1:-1] = np.where(inner, 0, centre)
            y, x = np.nonzero(border[2:-2])
            value, y = border[y + 2, x], y + 2
            total = np.ones(len(value), np.intp)
            for dy, dx in ((-1, 0), (1, 0), (0, -1), (0, 1), (-1, -1), (-1, 1), (1, -1), (1, 1)):
                total += (border[y + dy, x + dx] == value) * (10 if dy and dx else 2)
            owner = np.searchsorted(self.labels, value)
            lengths += np.bincount(owner, _STEP[total], minlength=len(lengths))
        return lengths

    def convex_areas(self) -> NDArray[np.int64]:
        """Return the number of pixels in the convex hull of each object.

        The hull is that of the middles of the pixels' sides; a pixel counts if its centre lies in it.
        """
        y, left, right = self.row.astype(np.float64), self.start.astype(np.float64), self.stop - 1.0
        sides = [(y, left - 0.5), (y, right + 0.5)]
        sides += [(y + half, x) for half in (-0.5, 0.5) for x in (left, right)]
        points = np.concatenate([np.stack(side, axis=-1) for side in sides])
        owner = np.tile(self.owner, len(sides))
        order = np.argsort(owner, kind="stable")
        hulls = shapely.convex_hull(shapely.linestrings(points[order], indices=owner[order]))
        corners, owner = shapely.get_coordinates(hulls, return_index=True)
        same = owner[1:] == owner[:-1]
        ends = corners[:-1][same], corners[1:][same]
        owner, _, x = edge_crossings(owner[:-1][same], *ends[0].T[::-1], *ends[1].T[::-1])
        widths = np.floor(x[1::2]) - np.ceil(x[::2]) + 1
        return np.bincount(owner[::2], widths, minlength=len(self.labels)).astype(np.int64)

    def intensities(self, image: NDArray[Any]) -> dict[str, NDArray[np.float64]]:
        """Return ``mean``, ``min``, ``max`` and ``std`` of a channel in each object.

        Parameters
        ----------
        image : (Y, X) ndarray
            Channel on the grid of the labels.
        """
        area = self.area
        parts = [self._part_intensities(image, area[objects], runs) for objects, runs in self._parts()]
        none = np.zeros(0)
        return {
            name: np.concatenate([none, *(part[i] for part in parts)])
            for i, name in enumerate(("mean", "min", "max", "std"))
        }

    def _part_intensities(
        self, image: NDArray[Any], area: NDArray[np.int64], runs: slice
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        lengths = self.stop[runs] - self.start[runs]
        begin = np.cumsum(lengths) - lengths
        columns = np.repeat(self.start[runs] - begin, lengths) + np.arange(lengths.sum())
        values = image[np.repeat(self.row[runs], lengths), columns]
        first = np.cumsum(area) - area
        low, high = np.minimum.reduceat(values, first), np.maximum.reduceat(values, first)
        values = values.astype(np.float64)
        mean = np.add.reduceat(values, first) / area
        values -= np.repeat(mean, area)
        values *= values
        return mean, low.astype(np.float64), high.astype(np.float64), np.sqrt(np.add.reduceat(values, first) / area)

    def _parts(self) -> Iterator[tuple[slice, slice]]:
        """Groups of objects of few pixels together, and their runs."""
        first = np.append(self._first(), len(self.owner))
        groups = np.cumsum(self.area) // _BLOCK
        borders = [0, *(np.flatnonzero(np.diff(groups)) + 1), len(self.labels)]
        for start, stop in pairwise(borders):
            if start < stop:
                yield slice(start, stop), slice(first[start], first[stop])

    def _first(self) -> NDArray[np.intp]:
        """First run of each object."""
        return np.searchsorted(self.owner, np.arange(len(self.labels)))

    def _sum(self, values: NDArray[Any]) -> NDArray[np.float64]:
        return np.bincount(self.owner, values, minlength=len(self.labels)).astype(np.float64, copy=False)


def find_regions(labels: NDArray[np.integer]) -> Regions:
    """Find the objects of a label image.

    Parameters
    ----------
    labels : (Y, X) integer ndarray
        Label image; 0 and negative pixels belong to no object.

    Returns
    -------
    Regions
        Its objects.

    Examples
    --------
    >>> regions = find_regions(np.array([[0, 7, 7], [2, 2, 7]]))
    >>> regions.labels.tolist(), regions.area.tolist()
    ([2, 7], [2, 3])
    """
    width = labels.shape[1]
    flat = np.ascontiguousarray(labels).reshape(-1)
    begins = np.empty(flat.size, bool)
    np.not_equal(flat[1:], flat[:-1], out=begins[1:])
    begins[::width] = True
    first = np.flatnonzero(begins)
    stop = np.append(first[1:], flat.size)
    inside = flat[first] > 0
    first, stop = first[inside], stop[inside]
    values, owner = np.unique(flat[first], return_inverse=True)
    order = np.argsort(owner, kind="stable")
    first, stop = first[order], stop[order]
    row = first // width
    return Regions(labels, values.astype(np.int64), owner[order], row, first - row * width, stop - row * width)
