"""Whether an image was rescaled rightly, going by the objects that are found in it."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from karyoseg.core.blocks.grid import Window, sample_windows
from karyoseg.core.preparation import ESTIMATE_RANGE
from karyoseg.core.size import typical_diameter

_RIGHT_WITHIN = 1.4  # objects of other sizes are segmented about as well
_LARGEST_CORRECTION = 4.0
#: Objects that tell a size; one alone may be a fragment.
ENOUGH = 3
_SIDE, _PIXELS = 1024, 4.2e6  # of the windows whose objects decide


def check_scale(diameters: Callable[[float], np.ndarray], scale: float, target: float) -> float:
    """Return the scale at which the objects of an image have about the size that they should have.

    That is the scale at hand, unless the objects found are far from that size: then it is corrected by what they show,
    provided that the objects found at the other scale come closer to it.

    Parameters
    ----------
    diameters : callable
        Finds objects at a scale; returns their diameters ``(n,)`` [px of the image].
    scale : float
        Prepared pixels per pixel of the image.
    target : float
        The size they should have [px of the prepared image].

    Returns
    -------
    float
        Prepared pixels per pixel of the image; `diameters` has been called with it.

    Examples
    --------
    >>> check_scale(lambda scale: np.full(5, 30.0), 2.0, target=30)
    1.0
    """
    found = diameters(scale) * scale
    factor = min(scale_correction(found, target), max(1.0, ESTIMATE_RANGE[1] / scale))
    if factor == 1:
        return scale
    again = diameters(scale * factor) * scale * factor
    return scale * factor if _off(again, target) < _off(found, target) else scale


def _off(diameters: np.ndarray, target: float) -> float:
    """How far objects are from the size that they should have; infinite without objects."""
    return abs(math.log(target / typical_diameter(diameters))) if len(diameters) else math.inf


def scale_correction(diameters: np.ndarray, target: float) -> float:
    """Return by how much to rescale an image further, going by the objects that were found in it.

    Parameters
    ----------
    diameters : (n,) ndarray
        Of the objects [px of the prepared image].
    target : float
        The size they should have [px].

    Returns
    -------
    float
        Factor; 1 if they are about right, or too few to tell.

    Examples
    --------
    >>> scale_correction(np.array([2, 3, 20, 20]), 30), scale_correction(np.array([29, 31, 33]), 30)
    (1.5, 1.0)
    """
    if len(diameters) < ENOUGH:
        return 1.0
    factor = target / typical_diameter(diameters)
    if 1 / _RIGHT_WITHIN <= factor <= _RIGHT_WITHIN:
        return 1.0
    return min(max(factor, 1 / _LARGEST_CORRECTION), _LARGEST_CORRECTION)


def check_windows(shape: tuple[int, int]) -> list[Window]:
    """Return the parts of an image whose objects decide: all of it, unless it is large.

    Parameters
    ----------
    shape : tuple of int
        Size of the image (Y, X) [px].
    """
    return sample_windows(shape, _SIDE, _PIXELS)


def centred_in(windows: list[Window], points: np.ndarray) -> np.ndarray:
    """Tell which points lie in windows.

    Parameters
    ----------
    windows : list of tuple of slice
        Parts of an image (Y, X) [px].
    points : (n, 2) ndarray
        Points (y, x) [px].

    Returns
    -------
    (n,) bool ndarray
        Whether one of the windows holds the point.
    """
    inside = np.zeros(len(points), bool)
    for window in windows:
        y, x = ((side.start - 0.5 <= p) & (p < side.stop - 0.5) for side, p in zip(window, points.T, strict=True))
        inside |= y & x
    return inside
