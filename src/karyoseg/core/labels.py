"""Label images: ``(Y, X)`` integers, 0 background, positive = instance id, negative = not annotated."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy import ndimage as ndi
from skimage.util import map_array

from karyoseg.core.regions import find_regions
from karyoseg.core.size import resize_labels


def n_objects(labels: np.ndarray) -> int:
    """Count the instances of a label image.

    Parameters
    ----------
    labels : (Y, X) integer ndarray
        Label image.

    Returns
    -------
    int
        Number of distinct positive values.

    Examples
    --------
    >>> n_objects(np.array([[0, 7], [-1, 2]]))
    2
    """
    return len(find_regions(labels).labels)


def relabel(labels: np.ndarray) -> np.ndarray:
    """Renumber the instances 1..n in ascending order of their old ids.

    Parameters
    ----------
    labels : (Y, X) integer ndarray
        Label image; negative values are kept.

    Returns
    -------
    (Y, X) int32 ndarray
        The renumbered image.

    Examples
    --------
    >>> relabel(np.array([[0, 7], [-1, 2]])).tolist()
    [[0, 2], [-1, 1]]
    """
    ids = find_regions(labels).labels
    numbered = map_array(labels, ids.astype(labels.dtype), np.arange(1, len(ids) + 1, dtype=np.int32))
    np.copyto(numbered, labels, where=labels < 0, casting="unsafe")
    return numbered


def object_boxes(labels: np.ndarray) -> Iterator[tuple[int, tuple[slice, slice]]]:
    """Give the bounding box of each instance; unlike with scipy's ``find_objects``, large ids need no memory.

    Parameters
    ----------
    labels : (Y, X) integer ndarray
        Label image.

    Yields
    ------
    tuple of int and tuple of slice
        Id and box, in ascending order.

    Examples
    --------
    >>> list(object_boxes(np.array([[0, 2_000_000_000]])))
    [(2000000000, (slice(0, 1, None), slice(1, 2, None)))]
    """
    regions = find_regions(labels)
    for index, top, left, bottom, right in np.stack([regions.labels, *regions.boxes()], axis=1).tolist():
        yield index, (slice(top, bottom), slice(left, right))


def fill_holes(labels: np.ndarray, *, swallow: bool = False) -> np.ndarray:
    """Fill the holes inside each instance.

    Holes that hold another instance or unannotated pixels keep those pixels.

    Parameters
    ----------
    labels : (Y, X) integer ndarray
        Label image.
    swallow : bool
        Fill those pixels too: an instance inside of another becomes part of it.

    Returns
    -------
    (Y, X) ndarray
        A copy of the same dtype.

    Examples
    --------
    >>> ring = np.array([[3, 3, 3], [3, 0, 3], [3, 3, 3]])
    >>> int(fill_holes(ring)[1, 1])
    3
    """
    filled = labels.copy()
    for index, box in object_boxes(labels):
        region = filled[box]
        inside = ndi.binary_fill_holes(region == index)
        region[inside if swallow else inside & (region == 0)] = index
    return filled


def remove_small(labels: np.ndarray, min_area: int) -> np.ndarray:
    """Set instances of fewer than `min_area` pixels to background.

    Parameters
    ----------
    labels : (Y, X) integer ndarray
        Label image; negative values are kept.
    min_area : int
        Smallest area kept [px].

    Returns
    -------
    (Y, X) ndarray
        A copy of the same dtype.

    Examples
    --------
    >>> remove_small(np.array([[1, 0, 2, 2]]), min_area=2).tolist()
    [[0, 0, 2, 2]]
    """
    kept = labels.copy()
    regions = find_regions(labels)
    small = regions.area < min_area
    for index, top, left, bottom, right in np.column_stack([regions.labels, *regions.boxes()])[small].tolist():
        region = kept[top:bottom, left:right]
        region[region == index] = 0
    return kept


def clean_labels(labels: np.ndarray, scale: float, *, fill: bool = True, min_area: int = 0) -> np.ndarray:
    """Bring a label image to the grid of the prepared image, for training.

    Parameters
    ----------
    labels : (Y, X) integer ndarray
        Label image.
    scale : float
        Prepared pixels per pixel.
    fill : bool
        Fill holes inside the instances.
    min_area : int
        Smallest area kept [px of the prepared image].

    Returns
    -------
    (Y', X') int32 ndarray
        Resampled by nearest neighbour, instances numbered from 1.
    """
    resized = _rescale(labels, scale)
    filled = fill_holes(resized) if fill else resized
    return relabel(remove_small(filled, min_area))


def n_cleaned_away(labels: np.ndarray, scale: float, *, fill: bool = True, min_area: int = 0) -> int:
    """Count the instances that :func:`clean_labels` leaves out; faster than cleaning if there are none.

    Parameters
    ----------
    labels : (Y, X) integer ndarray
        Label image.
    scale : float
        Prepared pixels per pixel.
    fill : bool
        Fill holes inside the instances.
    min_area : int
        Smallest area kept [px of the prepared image].

    Returns
    -------
    int
        Instances of `labels` that are too small, or have no pixel left.

    Examples
    --------
    >>> n_cleaned_away(np.array([[1, 0, 2, 2]]), 1, min_area=2)
    1
    """
    areas = find_regions(_rescale(labels, scale)).area
    if (areas < min_area).any():  # some may have holes, which count once they are filled
        left = n_objects(clean_labels(labels, scale, fill=fill, min_area=min_area))
    else:
        left = len(areas)
    return len(find_regions(labels).labels) - left


def _rescale(labels: np.ndarray, scale: float) -> np.ndarray:
    height, width = (max(1, round(n * scale)) for n in labels.shape)
    return resize_labels(labels, (height, width))
