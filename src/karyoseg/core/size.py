"""Nucleus size: measuring it, estimating it without labels, and rescaling images and labels."""

from __future__ import annotations

import numpy as np
from scipy import ndimage as ndi
from skimage.feature import peak_local_max
from skimage.filters import gaussian, threshold_otsu
from skimage.transform import resize

_MAX_SIDE = 1024  # the estimate is made on at most this many pixels a side
_MIN_PIXELS = 32


def median_diameter(labels: np.ndarray) -> float:
    """Median equivalent-circle diameter of the instances.

    Parameters
    ----------
    labels : (Y, X) integer ndarray
        Label image.

    Returns
    -------
    float
        ``median(2 * sqrt(area / pi))`` [px]; NaN without instances.

    Examples
    --------
    >>> round(median_diameter(np.ones((10, 10), int)), 2)
    11.28
    """
    areas = np.bincount(labels[labels > 0].ravel())
    areas = areas[areas > 0]
    return float(np.median(2 * np.sqrt(areas / np.pi))) if areas.size else float("nan")


def estimate_diameter(image: np.ndarray) -> float:
    """Estimate the typical nucleus diameter of a fluorescence image without labels.

    A cheap first pass: smooth, Otsu threshold on a square-root scale, distance transform; each peak of the distance
    transform is the inscribed radius of one nucleus, touching neighbours included. The area-weighted median of the
    peaks resists debris.

    Parameters
    ----------
    image : (Y, X) or (Y, X, C) ndarray
        Image with bright nuclei on a dark background; channels are averaged.

    Returns
    -------
    float
        Diameter [px of the given image]; NaN if nothing stands out.
    """
    gray = image.astype(np.float32)
    gray = gray.mean(axis=-1) if gray.ndim == 3 else gray  # noqa: PLR2004
    if min(gray.shape) < 8 or float(np.ptp(gray)) == 0:  # noqa: PLR2004
        return float("nan")
    shrink = max(1, int(np.ceil(max(gray.shape) / _MAX_SIDE)))
    if shrink > 1:
        gray = resize_image(gray, 1 / shrink)
    low, high = np.percentile(gray, [1, 99.8])
    gray = np.sqrt(np.clip((gray - low) / max(high - low, 1e-9), 0, 1))
    smooth = gaussian(gray, 1.0)
    foreground = ndi.binary_opening(smooth > threshold_otsu(smooth), iterations=2)
    foreground = ndi.binary_fill_holes(foreground)
    if np.count_nonzero(foreground) < _MIN_PIXELS:
        return float("nan")
    distance = gaussian(ndi.distance_transform_edt(np.pad(foreground, 1, mode="edge"))[1:-1, 1:-1], 1.0)
    peaks = peak_local_max(distance, min_distance=3, labels=foreground.astype(np.int32), exclude_border=False)
    radii = np.sort(distance[tuple(peaks.T)])
    if radii.size == 0:
        return float("nan")
    weight = np.cumsum(radii**2)
    radius = float(radii[np.searchsorted(weight, weight[-1] / 2)])
    return 2 * radius * shrink


def resize_image(image: np.ndarray, scale: float) -> np.ndarray:
    """Rescale an image with linear interpolation, low-pass filtered first when it shrinks.

    Parameters
    ----------
    image : (Y, X) or (Y, X, C) ndarray
        Image.
    scale : float
        Output pixels per input pixel, > 0.

    Returns
    -------
    float32 ndarray
        Rescaled image, at least 1 x 1.
    """
    if scale == 1:
        return image.astype(np.float32)
    shape = tuple(max(1, round(n * scale)) for n in image.shape[:2])
    out = resize(
        image.astype(np.float32),
        shape + image.shape[2:],
        order=1,
        mode="reflect",
        anti_aliasing=scale < 1,
        preserve_range=True,
    )
    return out.astype(np.float32)


def resize_labels(labels: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Resample a label image by nearest neighbour: no label value is ever invented.

    Parameters
    ----------
    labels : (Y, X) integer ndarray
        Label image.
    shape : tuple of int
        Wanted ``(Y, X)``.

    Returns
    -------
    (Y, X) ndarray
        Same dtype as the input.

    Examples
    --------
    >>> resize_labels(np.array([[1, 2]]), (2, 4)).tolist()
    [[1, 1, 2, 2], [1, 1, 2, 2]]
    """
    if labels.shape == tuple(shape):
        return labels
    rows, columns = (
        np.minimum(((np.arange(new) + 0.5) * old / new).astype(int), old - 1)
        for new, old in zip(shape, labels.shape, strict=True)
    )
    return labels[np.ix_(rows, columns)]
