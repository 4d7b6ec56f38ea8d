"""The size of nuclei in images where nothing is known of it: at which a model is most certain of what it finds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import pairwise

import numpy as np

from karyoseg.core.blocks.grid import Objects
from karyoseg.core.matching import count_matches, find_overlap
from karyoseg.core.scale_check import ENOUGH, check_scale
from karyoseg.core.size import polygon_diameters, typical_diameter

#: Typical nucleus diameters that are tried [px].
DIAMETERS = (10.0, 14.0, 20.0, 28.0, 40.0, 56.0, 80.0)

_OFF_SIZE = 0.1  # how much certainty one natural logarithm of size counts
_HALF_SURE = 0.5
_MOST = 0.5
_SURE = 0.76  # noise and debris that are taken for many objects are less certain
_SEARCHED = 512  # px a side: of larger images a part
_STANDS_OUT = 0.5  # of the intensity range; an empty field is not stretched so far


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
        Mean certainty less 0.1 |ln(typical size / wanted)|, at most 1; minus infinity without objects. To the mean
        one object of certainty 0.5 is added, so that a single object says little.

    Examples
    --------
    >>> [round(certainty(np.full(3, size), np.full(3, 0.9), 20), 2) for size in (20, 40)]
    [0.8, 0.73]
    """
    if not diameters.size:
        return -np.inf
    mean = (prob.sum() + _HALF_SURE) / (len(prob) + 1)
    return float(mean - _OFF_SIZE * abs(np.log(typical_diameter(diameters) / wanted)))


def agreement(labels: Sequence[np.ndarray]) -> np.ndarray:
    """Tell how well what a model finds at a scale agrees with what it finds at the scales next to it.

    Near the right scale the same objects are found again; elsewhere others come with each step.

    Parameters
    ----------
    labels : sequence of (Y, X) integer ndarray
        Objects found, by ascending or descending scale, on the same grid.

    Returns
    -------
    (n,) float ndarray
        Mean panoptic quality (objects match at an IoU of 0.5) with both neighbours, 0..1. Beyond the first and the last
        scale nothing is known to agree, so that counts as 0.

    Examples
    --------
    >>> nucleus, other = np.array([[1, 1, 0, 0]]), np.array([[0, 0, 0, 1]])
    >>> agreement([other, nucleus, nucleus]).tolist()
    [0.0, 0.5, 0.5]
    """
    matches = [count_matches(find_overlap(*pair), [0.5]).iloc[0] for pair in pairwise(labels)]
    quality = [2 * pair["sum_iou"] / max(pair["n_true"] + pair["n_pred"], 1) for pair in matches]
    return np.convolve([0.0, *quality, 0.0], [0.5, 0.5], mode="valid")


def right_scale(
    diameters: Callable[[float], np.ndarray],
    prepare: Callable[..., np.ndarray],
    find: Callable[[np.ndarray, float], Objects],
    scale: float,
    target: float,
) -> float:
    """Return the scale at which the objects of an image whose size was estimated are to be found.

    If they are far from the size that they should have, the estimate was wrong: then it is the scale that they ask for,
    see :func:`karyoseg.core.scale_check.check_scale`. If next to nothing is found, but the image is not empty, nuclei
    of other sizes are looked for in its busiest part, see :func:`search_scale`.

    Parameters
    ----------
    diameters : callable
        Finds objects at a scale; returns the diameters ``(n,)`` of those that decide [px of the image].
    prepare : callable
        Called with a scale, gives the image prepared at it; with a part (Y, X) [px of the image] besides, only that.
    find : callable
        Finds the objects of what `prepare` gives, and of a scale; lays them out on the image.
    scale : float
        The estimate [prepared px per px of the image].
    target : float
        The size that objects should have [px of the prepared image].

    Returns
    -------
    float
        Prepared pixels per pixel of the image.
    """
    diameters = cache(diameters)
    right = check_scale(diameters, scale, target)
    if len(diameters(right)) >= ENOUGH:
        return right
    seen = prepare(1.0)  # without hot pixels and margins, which would be the busiest
    if seen.max() <= _STANDS_OUT:
        return right
    part = busiest_part(seen, _SEARCHED)

    def find_in_part(at: float) -> Objects:
        return find(prepare(at, part), at)

    return search_scale(find_in_part, target, known=find_in_part(right)) or right


def search_scale(find: Callable[[float], Objects], target: float, known: Objects | None = None) -> float | None:
    """Find the scale at which a model is certain of several objects, where it found next to none.

    So it is where the size was estimated from something else, such as a scale bar; not where the objects lie in those
    that are known: they are parts of large nuclei, such as chromocentres.

    Parameters
    ----------
    find : callable
        Finds objects at a scale, laid out on the image.
    target : float
        The size they should have [px of the prepared image].
    known : Objects, optional
        The few that were found at the scale at hand.

    Returns
    -------
    float or None
        Prepared pixels per pixel of the image; None if the model is not certain at any.
    """
    best, sure = None, _SURE
    for wanted in DIAMETERS:
        found = find(target / wanted)
        score = certainty(polygon_diameters(found.polygons), found.prob, wanted)
        if len(found) >= ENOUGH and score > sure and not (known and _mostly_inside(found, known)):
            best, sure = target / wanted, score
    return best


def _mostly_inside(objects: Objects, others: Objects) -> bool:
    """Tell whether most objects are centred in others that are larger, taken as circles."""
    apart = np.linalg.norm(objects.points[:, None] - others.points[None], axis=2)
    radii = polygon_diameters(others.polygons) / 2
    smaller = polygon_diameters(objects.polygons)[:, None] / 2 < radii
    return bool(np.mean(((apart < radii) & smaller).any(axis=1)) > _MOST)


def busiest_part(image: np.ndarray, side: int) -> tuple[slice, slice]:
    """Find the part of an image with most contrast.

    Parameters
    ----------
    image : (Y, X) or (Y, X, C) ndarray
        Image of any real dtype.
    side : int
        Of the part, at most [px].

    Returns
    -------
    tuple of slice
        The part (Y, X).
    """

    def starts(length: int) -> Iterator[int]:
        yield from (round(s) for s in np.linspace(0, max(0, length - side), max(1, 2 * length // side)))

    parts = [np.s_[y : y + side, x : x + side] for y in starts(image.shape[0]) for x in starts(image.shape[1])]
    return max(parts, key=lambda part: float(image[part][::4, ::4].std()))
