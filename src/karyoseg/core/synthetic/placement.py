"""Where nuclei go: apart, touching or partly over each other, never in pieces."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage as ndi

from karyoseg.core.synthetic.nucleus import Mask, Stamp

_CROSS = ndi.generate_binary_structure(2, 1)
_MIN_PIXELS = 9
_MIN_VISIBLE = 0.12  # part of a nucleus that must lie inside the image
_MIN_LEFT = 0.55  # part of a visible nucleus that its upper neighbours must leave


class Field:
    """A field of view that takes up nuclei one by one, each above the ones before.

    Parameters
    ----------
    shape : tuple of int
        Height and width [px].
    overlap : float
        Largest part of either nucleus in an overlap.
    """

    def __init__(self, shape: tuple[int, int], overlap: float):
        self.labels: npt.NDArray[np.int32] = np.zeros(shape, np.int32)
        self.light: npt.NDArray[np.float32] = np.zeros(shape, np.float32)
        self._overlap = overlap
        self._centres: list[npt.NDArray[np.int64]] = []
        self._areas: list[int] = [0]  # as first placed, index is the label
        self._stamps: list[Stamp] = []

    @property
    def n_nuclei(self) -> int:
        """Number of nuclei placed so far."""
        return len(self._centres)

    def put_apart(self, stamp: Stamp, rng: np.random.Generator) -> bool:
        """Try one random position with background all around.

        Parameters
        ----------
        stamp : Stamp
            The nucleus.
        rng : numpy.random.Generator
            Source of randomness.

        Returns
        -------
        bool
            Whether it was placed.
        """
        half = np.sqrt(stamp.mask.sum() / np.pi)
        centre = np.round(rng.uniform(-0.6 * half, np.array(self.labels.shape) + 0.6 * half)).astype(int)
        if self._contact(stamp, centre, margin=2):
            return False
        return self._put(stamp, centre)

    def put_in_contact(self, stamp: Stamp, rng: np.random.Generator) -> bool:
        """Try to slide a nucleus against a random other one, sometimes partly over it.

        Parameters
        ----------
        stamp : Stamp
            The nucleus.
        rng : numpy.random.Generator
            Source of randomness.

        Returns
        -------
        bool
            Whether it was placed.
        """
        if not self._centres:
            return False
        other = rng.integers(len(self._centres))
        turn = rng.uniform(0, 2 * np.pi)
        direction = np.array([np.sin(turn), np.cos(turn)])
        start = self._stamps[other].reach(direction) + stamp.reach(-direction) + 3
        # Push in beyond first contact for an overlap; half of the pairs only touch.
        depth = rng.uniform(-1, 1) * self._overlap * np.sqrt(stamp.mask.sum())
        for distance in np.arange(start, 0, -1):
            centre = np.round(self._centres[other] + distance * direction).astype(int)
            if self._contact(stamp, centre, margin=1):
                centre = np.round(self._centres[other] + (distance - max(depth, 0)) * direction).astype(int)
                return self._put(stamp, centre)
        return False

    def put_beside(self, stamp: Stamp, rng: np.random.Generator) -> bool:
        """Try to place the sister of the nucleus placed last, parallel to it (anaphase).

        Parameters
        ----------
        stamp : Stamp
            The nucleus placed last.
        rng : numpy.random.Generator
            Source of randomness.

        Returns
        -------
        bool
            Whether it was placed.
        """
        across = np.array([np.cos(stamp.angle), -np.sin(stamp.angle)])
        distance = stamp.reach(across) + stamp.reach(-across) + rng.uniform(2, 2 + stamp.reach(across))
        centre = np.round(self._centres[-1] + distance * across).astype(int)
        sister = Stamp(stamp.kind, stamp.mask[::-1, ::-1], stamp.light[::-1, ::-1], stamp.angle)
        return not self._contact(sister, centre, margin=1) and self._put(sister, centre)

    def _windows(self, stamp: Stamp, centre: npt.NDArray[np.int64]) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
        """Slices of the field and of the patch where the two meet; empty ones if they do not."""
        corner = centre - np.array(stamp.mask.shape) // 2
        first = np.clip(corner, 0, self.labels.shape)
        last = np.clip(corner + stamp.mask.shape, 0, self.labels.shape)
        here = tuple(slice(a, b) for a, b in zip(first, last, strict=True))
        there = tuple(slice(a, b) for a, b in zip(first - corner, last - corner, strict=True))
        return here, there

    def _contact(self, stamp: Stamp, centre: npt.NDArray[np.int64], margin: int) -> bool:
        """Whether other nuclei lie within `margin` pixels of this one."""
        here, there = self._windows(stamp, centre)
        occupied = self.labels[here] > 0
        if not occupied.any():
            return False
        near = ndi.binary_dilation(stamp.mask, _CROSS, iterations=margin)
        return bool((occupied & near[there]).any())

    def _put(self, stamp: Stamp, centre: npt.NDArray[np.int64]) -> bool:
        """Place a nucleus if it stays visible and leaves those below in one large piece each."""
        here, there = self._windows(stamp, centre)
        mask = stamp.mask[there]
        area = int(mask.sum())
        if area < max(_MIN_PIXELS, _MIN_VISIBLE * stamp.mask.sum()) or not _in_one_piece(mask):
            return False
        covered = np.bincount(self.labels[here][mask])
        below = np.flatnonzero(covered)
        below = below[below > 0]
        if any(covered[label] > self._overlap * min(area, self._areas[label]) for label in below):
            return False
        before = self.labels[here].copy()
        self.labels[here][mask] = self.n_nuclei + 1
        if not all(self._survives(int(label)) for label in below):
            self.labels[here] = before
            return False
        self._centres.append(centre)
        self._stamps.append(stamp)
        self._areas.append(area)
        self.light[here] += stamp.light[there]
        return True

    def _survives(self, label: int) -> bool:
        """Whether a nucleus is still one large piece."""
        window, _ = self._windows(self._stamps[label - 1], self._centres[label - 1])
        left = self.labels[window] == label
        return bool(left.sum() >= max(_MIN_PIXELS, _MIN_LEFT * self._areas[label])) and _in_one_piece(left)


def _in_one_piece(mask: Mask) -> bool:
    return ndi.label(mask, _CROSS)[1] == 1
