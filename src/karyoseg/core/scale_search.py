"""The size of nuclei in images where nothing is known of it: at which a model is most certain of what it finds."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

#: Typical nucleus diameters that are tried [px].
DIAMETERS = (10.0, 14.0, 20.0, 28.0, 40.0, 56.0, 80.0)

_OFF_SIZE = 0.1  # how much certainty one natural logarithm of size counts
_HALF_SURE = 0.5
_SEARCHED = 1024  # px of a side: the size is chosen on a part of larger images


def certainty(diameters: np.ndarray, prob: np.ndarray, wanted: float) -> float:
    """Score what a model found, without knowing the truth: how sure it is, and whether the size is what it looked for.

    Parameters
    ----------
    diameters : (n,) ndarray
        Of the objects found [px].
    prob : (n,) ndarray
        Certainty of each object, 0..1.
    wanted : float
        Diameter that was looked for [px].

    Returns
    -------
    float
        Mean certainty less 0.1 |ln(typical size / wanted)|, at most 1; minus infinity without objects. Half of the
        area is of objects smaller than the typical one. To the mean one object of certainty 0.5 is added, so that a
        single object says little.

    Examples
    --------
    >>> [round(certainty(np.full(3, size), np.full(3, 0.9), 20), 2) for size in (20, 40)]
    [0.8, 0.73]
    """
    if not diameters.size:
        return -np.inf
    ordered = np.sort(diameters)
    area = np.cumsum(ordered**2)
    typical = ordered[np.searchsorted(area, area[-1] / 2)]
    mean = (prob.sum() + _HALF_SURE) / (len(prob) + 1)
    return float(mean - _OFF_SIZE * abs(np.log(typical / wanted)))


def busiest_part(image: np.ndarray) -> tuple[slice, slice]:
    """Find the part of an image with most contrast.

    Parameters
    ----------
    image : (Y, X) or (Y, X, C) ndarray
        Image of any real dtype.

    Returns
    -------
    tuple of slice
        The part (Y, X), at most 1024 px a side.
    """

    def starts(length: int) -> Iterator[int]:
        yield from (round(s) for s in np.linspace(0, max(0, length - _SEARCHED), max(1, 2 * length // _SEARCHED)))

    parts = [
        np.s_[y : y + _SEARCHED, x : x + _SEARCHED] for y in starts(image.shape[0]) for x in starts(image.shape[1])
    ]
    return max(parts, key=lambda part: float(image[part][::4, ::4].std()))
