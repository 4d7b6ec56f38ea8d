"""A canvas on which shapes are put down, taken up again, and measured."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt
from scipy.spatial.distance import cdist

from karyoseg.core.mask_synthesis.shapes import Stamp

Near = dict[int, float]  # gaps to the stamps within reach [px]

_CANDIDATES = 64  # positions tried at once


class Layout:
    """A canvas on which stamps are put down, taken up and measured.

    Parameters
    ----------
    side : int
        Side of the square in the middle that is wanted in the end [px].
    strip : int
        Centres lie in the square or at most this far outside [px].
    stamps : sequence of Stamp
        All that will be put down.
    reach : float
        Gaps below are measured, larger ones are infinite [px].
    """

    def __init__(self, side: int, strip: int, stamps: Sequence[Stamp], reach: float):
        self.stamps = stamps
        self.reach = reach
        largest = max(stamp.radii[1] for stamp in stamps)
        self._side, self._strip = side, strip
        self._margin = strip + int(np.ceil(largest)) + 2
        self._far = np.float32(reach + largest + 1)
        shape = (side + 2 * self._margin,) * 2
        self.canvas: npt.NDArray[np.int32] = np.zeros(shape, np.int32)
        self._distance: npt.NDArray[np.float32] = np.full(shape, self._far, np.float32)  # to the nearest object
        self._corners = np.zeros((len(stamps), 2), np.int64)
        self._centres = np.full((len(stamps), 2), np.inf)
        self._radii = np.array([stamp.radii[1] for stamp in stamps])
        self._near: list[Near] = [{} for _ in stamps]
        self._nearest = np.full(len(stamps), np.inf)

    @property
    def placed(self) -> npt.NDArray[np.bool_]:
        """Which stamps are down."""
        return np.isfinite(self._centres[:, 0])

    @property
    def gaps(self) -> npt.NDArray[np.float64]:
        """Distance of each stamp to its nearest neighbour [px], infinite beyond reach."""
        return self._nearest.copy()

    def gaps_with(self, index: int, near: Near) -> npt.NDArray[np.float64]:
        """Return the gaps as they would be with one more stamp.

        Parameters
        ----------
        index : int
            Which stamp.
        near : dict of int to float
            What :meth:`measure` gave.

        Returns
        -------
        (stamps,) ndarray
            As `gaps`.
        """
        gaps = self.gaps
        for other, gap in near.items():
            gaps[other] = min(gaps[other], gap)
        gaps[index] = min(near.values(), default=np.inf)
        return gaps

    def crop(self) -> npt.NDArray[np.int32]:
        """Return the square in the middle."""
        return self.canvas[self._margin : -self._margin, self._margin : -self._margin]

    def positions(self, index: int, low: float, high: float, rng: np.random.Generator) -> npt.NDArray[np.int64]:
        """Find places for a stamp.

        Parameters
        ----------
        index : int
            Which stamp.
        low, high : float
            Gap to the nearest object: from `low` to below `high` [px].
        rng : numpy.random.Generator
            Source of randomness.

        Returns
        -------
        (n, 2) int64 ndarray
            Corners (y, x), in random order; none if nothing was found.
        """
        stamp = self.stamps[index]
        start = self._margin - self._strip
        field = self._distance[start:-start, start:-start]
        # One pixel in four is enough to choose from.
        offset = rng.integers(2, size=2)
        sparse = field[offset[0] :: 2, offset[1] :: 2]
        near = np.flatnonzero((sparse > stamp.radii[0] + low) & (sparse <= stamp.radii[1] + high + 2))
        if not len(near):
            return np.zeros((0, 2), np.int64)
        centres = np.stack(np.unravel_index(rng.choice(near, _CANDIDATES), sparse.shape), axis=1) * 2 + offset + start
        corners = np.round(centres - stamp.centre).astype(np.int64)
        gaps, uphill = self._look(stamp, corners)
        if np.isfinite(high):  # slide to where the gap is right
            corners = np.round(corners + (rng.uniform(low, high, (len(gaps), 1)) - gaps[:, None]) * uphill).astype(
                np.int64
            )
            corners = corners[self._inside(corners + stamp.centre)]
            gaps, _ = self._look(stamp, corners)
        return corners[(gaps >= low) & (gaps < high)]

    def _look(
        self, stamp: Stamp, corners: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.floating], npt.NDArray[np.floating]]:
        """Gap at each of several places, and the direction in which it grows."""
        y, x = (corners[:, None] + stamp.edge).transpose(2, 0, 1)
        distances = self._distance[y, x]
        nearest = distances.argmin(axis=1)[:, None]
        y, x = (np.take_along_axis(part, nearest, axis=1)[:, 0] for part in (y, x))
        slope = [
            self._distance[y + 1, x] - self._distance[y - 1, x],
            self._distance[y, x + 1] - self._distance[y, x - 1],
        ]
        return self._distance[y, x] - 1, np.stack(slope, axis=1) / 2

    def _inside(self, centres: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
        low, high = self._margin - self._strip, self._margin + self._side + self._strip
        inside: npt.NDArray[np.bool_] = np.all((centres >= low) & (centres < high), axis=1)
        return inside

    def measure(self, index: int, corner: npt.NDArray[np.int64]) -> Near | None:
        """Measure the gaps that a stamp would have to those around.

        Parameters
        ----------
        index : int
            Which stamp; it is not down.
        corner : (2,) int64 ndarray
            Where it would be put.

        Returns
        -------
        dict of int to float, or None
            Gaps to the stamps within reach [px]; None if it would lie on others.
        """
        stamp = self.stamps[index]
        if self.canvas[self._window(index, corner)][stamp.mask].any():
            return None
        apart = np.hypot(*(self._centres - corner - stamp.centre).T) - self._radii - stamp.radii[1] - 1
        near = {}
        for other in np.flatnonzero(apart < self.reach).tolist():
            pixels = self.stamps[other].edge + self._corners[other]
            near[other] = float(cdist(stamp.edge + corner, pixels, "sqeuclidean").min() ** 0.5 - 1)
        return {other: gap for other, gap in near.items() if gap < self.reach}

    def put(self, index: int, corner: npt.NDArray[np.int64], near: Near) -> None:
        """Put a stamp down.

        Parameters
        ----------
        index : int
            Which stamp.
        corner : (2,) int64 ndarray
            Where.
        near : dict of int to float
            What :meth:`measure` gave.
        """
        self._corners[index], self._centres[index] = corner, corner + self.stamps[index].centre
        self._nearest = self.gaps_with(index, near)
        self._near[index] = near
        for other, gap in near.items():
            self._near[other][index] = gap
        window = self._window(index, corner)
        self.canvas[window][self.stamps[index].mask] = index + 1
        self._refresh(window)

    def take(self, index: int) -> tuple[npt.NDArray[np.int64], Near]:
        """Take a stamp up again.

        Parameters
        ----------
        index : int
            Which stamp.

        Returns
        -------
        corner : (2,) int64 ndarray
        near : dict of int to float
            To put it back.
        """
        corner, near = self._corners[index].copy(), self._near[index]
        window = self._window(index, corner)
        self.canvas[window][self.stamps[index].mask] = 0
        self._centres[index] = np.inf
        self._near[index] = {}
        self._nearest[index] = np.inf
        for other in near:
            del self._near[other][index]
            self._nearest[other] = min(self._near[other].values(), default=np.inf)
        self._refresh(window)
        return corner, near

    def _window(self, index: int, corner: npt.NDArray[np.int64]) -> tuple[slice, slice]:
        height, width = self.stamps[index].mask.shape
        return slice(corner[0], corner[0] + height), slice(corner[1], corner[1] + width)

    def _refresh(self, window: tuple[slice, slice]) -> None:
        """Bring the distances around a change up to date."""
        far = int(np.ceil(self._far))

        def grown(by: int) -> tuple[slice, slice]:
            y, x = (slice(max(0, part.start - by), part.stop + by) for part in window)
            return y, x

        changed, seen = grown(far), grown(2 * far)
        free = (self.canvas[seen] == 0).astype(np.uint8)
        distance = cv2.distanceTransform(free, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        top, left = (inner.start - outer.start for inner, outer in zip(changed, seen, strict=True))
        height, width = self._distance[changed].shape
        squared = np.rint(np.square(distance[top : top + height, left : left + width]))
        # OpenCV's last bit depends on where the memory lies, and equal seeds would give different images.
        np.minimum(np.sqrt(squared), self._far, out=self._distance[changed])
