"""The rules of the post-processing, see :mod:`karyoseg.core.postprocessing.combine`."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage as ndi
from skimage.measure import label as connected_parts
from skimage.segmentation import expand_labels

from karyoseg.core.labels import fill_holes, object_boxes, relabel
from karyoseg.core.regions import find_regions
from karyoseg.core.size import median_diameter

Labels = NDArray[np.integer]

_CERTAIN = 4  # times the smallest area: objects that large need no support


def mend(labels: Labels) -> Labels:
    """Fill the holes of each object, and merge touching ones that are fragments (rule A).

    What lies in a hole becomes part of the object around it. Two objects that touch, also at corners, are merged if
    together they lack less of their convex hull than they do apart. Such pairs are merged one after the other, where
    the first of a pair is still an object of its own; then pairs are looked for again, until there are none.

    Parameters
    ----------
    labels : (Y, X) integer ndarray
        Label image.

    Returns
    -------
    (Y, X) int32 ndarray
        Objects numbered from 1.
    """
    labels = relabel(fill_holes(labels, swallow=True))
    while len(pairs := _fragments(labels)):
        target = np.arange(labels.max() + 1)
        for first, second in pairs:
            target[target == first] = second
        labels = relabel(target[labels])
    return labels


def _fragments(labels: Labels) -> NDArray[np.intp]:
    """List the pairs (i < j) of labels 1..n to merge."""
    pairs = touching_pairs(labels)
    if not len(pairs):
        return pairs
    regions = find_regions(labels)
    lacking = regions.convex_areas() - regions.area
    joint = regions.united(pairs - 1)
    return pairs[lacking[pairs - 1].sum(axis=1) > joint.convex_areas() - joint.area]


def touching_pairs(labels: Labels) -> NDArray[np.intp]:
    """List which objects touch, at sides or corners.

    Parameters
    ----------
    labels : (Y, X) integer ndarray
        Label image.

    Returns
    -------
    (n, 2) int ndarray
        Pairs of labels, the lower one first, in ascending order.

    Examples
    --------
    >>> touching_pairs(np.array([[1, 0, 3], [0, 2, 3]])).tolist()
    [[1, 2], [2, 3]]
    """
    left, right = labels[:, :-1], labels[:, 1:]
    shifted = [(labels[:-1], labels[1:]), (left, right), (left[:-1], right[1:]), (right[:-1], left[1:])]
    found = [np.zeros((0, 2), np.intp)]
    for one, other in shifted:
        meet = (one != other) & (one > 0) & (other > 0)
        found.append(np.stack([one[meet], other[meet]], axis=-1).astype(np.intp))
    return np.unique(np.sort(np.concatenate(found), axis=1), axis=0)


def merge_runs(first: Labels, second: Labels, *, max_occupied: float, large_nuclei: float) -> Labels:
    """Choose between predictions at two scales, or take the best objects of both (rule B).

    The first alone counts if its nuclei are large, or the second found none; the second if the first found none. Else
    the objects of both compete: those nearest to the typical area come first, later ones are accepted if enough of them
    is still free, and get what is free.

    Parameters
    ----------
    first, second : (Y, X) integer ndarray
        Label images, nuclei at the size the network was trained at, and larger.
    max_occupied, large_nuclei : float
        See :class:`karyoseg.core.postprocessing.combine.PostProcessing`.

    Returns
    -------
    (Y, X) int32 ndarray
        Objects numbered from 1.
    """
    diameters = median_diameter(first), median_diameter(second)
    if math.isnan(diameters[0]):
        return relabel(second)
    if math.isnan(diameters[1]) or diameters[0] > large_nuclei:
        return relabel(first)
    typical = math.pi * (sum(diameters) / 4) ** 2
    found = [
        (abs(np.count_nonzero(inside) - typical), inside, box)
        for labels in (first, second)
        for index, box in object_boxes(labels)
        for inside in [labels[box] == index]
    ]
    merged = np.zeros(first.shape, np.int32)
    for position, (_, inside, box) in enumerate(sorted(found, key=lambda item: item[0]), start=1):
        region = merged[box]
        free = inside & (region == 0)
        if 1 - np.count_nonzero(free) / np.count_nonzero(inside) < max_occupied:
            region[free] = position
    return relabel(merged)


def correct_contours(
    labels: Labels, foreground: NDArray[np.bool_], *, erosion_radius: int, dilation_radius: int
) -> Labels:
    """Let the foreground decide in a band along the contours (rule C).

    Around the objects taken together, pixels that far outside are added to the nearest object, and pixels that far
    inside stay, where there is foreground. Borders between touching objects stay as they are.

    Parameters
    ----------
    labels : (Y, X) integer ndarray
        Label image.
    foreground : (Y, X) bool ndarray
        Where nuclei are.
    erosion_radius, dilation_radius : int
        See :class:`karyoseg.core.postprocessing.combine.PostProcessing`.

    Returns
    -------
    (Y, X) integer ndarray
        Label image with the same labels.
    """
    if not labels.any():
        return labels
    grown = expand_labels(labels, dilation_radius) if dilation_radius else labels
    # Also true where the image ends: objects are not eroded from there.
    kept = labels > 0
    if erosion_radius and not kept.all():
        kept = ndi.distance_transform_edt(kept) > erosion_radius
    return np.where(kept | foreground, grown, 0).astype(labels.dtype)


def keep_largest_parts(labels: Labels, min_area: int) -> Labels:
    """Keep the largest part of each object, connected along sides, if it is large enough (rule C).

    Parameters
    ----------
    labels : (Y, X) integer ndarray
        Label image.
    min_area : int
        Smallest area [px].

    Returns
    -------
    (Y, X) integer ndarray
        Label image with the same labels.
    """
    parts = connected_parts(labels, background=0, connectivity=1)
    area = np.bincount(parts.ravel())
    owner = np.zeros(area.size, labels.dtype)
    owner[parts.ravel()] = labels.ravel()
    order = np.lexsort((np.arange(area.size), -area, owner))  # of equal ones the first
    largest = order[np.unique(owner[order], return_index=True)[1]]
    largest = largest[(owner[largest] > 0) & (area[largest] >= min_area)]
    value = np.zeros_like(owner)
    value[largest] = owner[largest]
    return value[parts]


def drop_unsupported(labels: Labels, foreground: NDArray[np.bool_], *, min_overlap: float, min_area: int) -> Labels:
    """Remove objects that are too small, or that hold too little foreground for their size (rule D).

    Parameters
    ----------
    labels : (Y, X) integer ndarray
        Label image.
    foreground : (Y, X) bool ndarray
        Where nuclei are.
    min_overlap : float
        See :class:`karyoseg.core.postprocessing.combine.PostProcessing`.
    min_area : int
        Smallest area with enough foreground; without, it is four times this [px].

    Returns
    -------
    (Y, X) int32 ndarray
        Objects numbered from 1.
    """
    area = np.bincount(labels.ravel())
    share = np.bincount(labels.ravel(), foreground.ravel()) / np.maximum(area, 1)
    keep = area >= np.where(share >= min_overlap, min_area, _CERTAIN * min_area)
    return relabel(np.where(keep[labels], labels, 0))
