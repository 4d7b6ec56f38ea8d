"""Nucleus size: measuring it, estimating it without labels, and rescaling images and labels."""

from __future__ import annotations

import math

import cv2
import numpy as np
from scipy import ndimage as ndi
from skimage.filters import threshold_otsu
from skimage.transform import resize

from karyoseg.core.flaws import (
    blur_against_noise,
    noise_level,
    remove_hot_pixels,
    sampled_range,
    signal_range,
    without_margins,
)
from karyoseg.core.regions import find_regions

_MAX_SIDE = 2048  # the estimate is made on at most this many pixels a side
_MIN_SIDE = 9
_MIN_DIAMETER = 6.0  # what is smaller cannot be told from noise
_MIN_LIFT = 0.04  # brightness above the surroundings, share of the intensity range
_MAX_ROUNDS = 10
_ZOOMS = (1.0, 0.5, 2.0)  # tried until something is found: smaller has less noise, larger shows nuclei of few pixels
_TEXTURE = 6.0  # times smaller than what the first window shows: not nuclei, but what is inside large ones
_LARGEST_BLUR = 2.0  # against noise [px]
_CALIBRATION = 1.15  # equivalent over inscribed diameter: median of 431 real images (BBBC038, training part)
_CROSS = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))


def median_diameter(labels: np.ndarray) -> float:
    """Median equivalent-circle diameter of the instances.

    Parameters
    ----------
    labels : (Y, X) integer ndarray
        Label image; memory does not depend on how large its values are.

    Returns
    -------
    float
        ``median(2 * sqrt(area / pi))`` [px]; NaN without instances.

    Examples
    --------
    >>> round(median_diameter(np.ones((10, 10), int)), 2)
    11.28
    """
    areas = find_regions(labels).area
    return float(np.median(2 * np.sqrt(areas / np.pi))) if areas.size else float("nan")


def polygon_diameters(polygons: np.ndarray) -> np.ndarray:
    """Diameters of the circles that have the area of polygons.

    Parameters
    ----------
    polygons : (n, 2, vertices) ndarray
        Outlines (y, x) [px].

    Returns
    -------
    (n,) ndarray
        Diameters [px].

    Examples
    --------
    >>> polygon_diameters(np.array([[[0, 0, 10, 10], [0, 10, 10, 0]]])).round(2).tolist()
    [11.28]
    """
    y, x = polygons[:, 0].astype(np.float64), polygons[:, 1].astype(np.float64)
    doubled = np.abs((y * np.roll(x, -1, axis=1) - x * np.roll(y, -1, axis=1)).sum(axis=1))
    diameters: np.ndarray = np.sqrt(2 * doubled / np.pi)
    return diameters


def typical_diameter(diameters: np.ndarray) -> float:
    """Return the diameter of which half of the area is smaller and half larger, so that debris has little say.

    Parameters
    ----------
    diameters : (n,) ndarray
        Of at least one object, in any unit.

    Examples
    --------
    >>> typical_diameter(np.array([2, 2, 2, 2, 20, 20]))
    20.0
    """
    ordered = np.sort(diameters)
    area = np.cumsum(ordered**2)
    return float(ordered[np.searchsorted(area, area[-1] / 2)])


def estimate_diameter(image: np.ndarray) -> float:
    """Estimate the typical nucleus diameter of a fluorescence image without labels.

    A cheap first pass. Nuclei are what is brighter than a global threshold and than the mean of a window around; each
    peak of the distance transform is the inscribed radius of one nucleus, touching neighbours included. The window
    starts at half the image and shrinks to twice the size found until that is stable: so tissue whose background
    varies is divided into its nuclei, and large nuclei stay whole. Empty margins and hot pixels are left out, noise is
    smoothed. If nothing stands out, the image is looked at in other sizes; what is found there counts, unless it is far
    smaller than what the first window showed: then it is the texture of large nuclei.

    Images with dark nuclei on a bright background (stained tissue, phase contrast) give a number without meaning:
    state the diameter there.

    Parameters
    ----------
    image : (Y, X) or (Y, X, C) ndarray
        Image with bright nuclei on a dark background; channels are averaged. Of a side longer than 2048 px only the
        part with most contrast is looked at.

    Returns
    -------
    float
        Diameter [px]; NaN if nothing of at least 3 px stands out.
    """
    image = without_margins(image)
    largest = float("nan")
    for zoom in _ZOOMS:
        gray = remove_hot_pixels(_busiest_part(image, round(_MAX_SIDE / max(zoom, 1))))
        if zoom > 1 and _noise_blur(gray):
            break  # enlarged noise looks like nuclei
        size = tuple(max(1, round(n * zoom)) for n in gray.shape[::-1])
        diameter, in_first = _diameter(gray if zoom == 1 else cv2.resize(gray, size, interpolation=cv2.INTER_AREA))
        if not math.isnan(diameter):
            return largest if diameter / zoom < largest / _TEXTURE else diameter / zoom
        if zoom <= 1:  # enlarged, noise has something to find in the first window
            largest = float(np.fmax(largest, in_first / zoom))
    return largest


def _diameter(gray: np.ndarray) -> tuple[float, float]:
    """Estimate without trying other zooms; and what is found in the first window. NaN is for nothing."""
    if min(gray.shape) < _MIN_SIDE or not np.ptp(gray) > 0:
        return float("nan"), float("nan")
    blur = _noise_blur(gray)
    gray = cv2.GaussianBlur(gray, (0, 0), blur) if blur else gray
    low, high = np.percentile(gray[::2, ::2], [1, 99.8])
    low, high = signal_range(gray, (low, high), noise_level(gray))
    # The square root brings dim and bright nuclei closer together.
    stretched = np.sqrt(np.clip((gray - low) / max(high - low, 1e-9), 0, 1))
    smooth = cv2.GaussianBlur(stretched, (0, 0), 1.0)
    bright = smooth > threshold_otsu(smooth[::2, ::2])
    window, diameter, first = min(gray.shape) / 2, math.inf, math.inf
    for number in range(_MAX_ROUNDS):
        found = _median_peak(bright, smooth, window)
        if math.isnan(found):
            break
        stable = math.isfinite(diameter) and found > 0.85 * diameter
        diameter = min(found, diameter)
        first = found if number == 0 else first
        if stable and window < 3 * diameter:
            break
        window = max(window / 2, 2 * diameter, _MIN_SIDE)
    least = _MIN_DIAMETER * max(1.0, blur)  # spots of smoothed noise grow with the blur
    typical, in_first = (
        _CALIBRATION * one if least <= _CALIBRATION * one < math.inf else float("nan") for one in (diameter, first)
    )
    return typical, in_first


def _noise_blur(gray: np.ndarray) -> float:
    noise = noise_level(gray)
    low, high = signal_range(gray, sampled_range(gray), noise)
    return blur_against_noise(noise, high - low, _LARGEST_BLUR)


def _busiest_part(image: np.ndarray, most: int) -> np.ndarray:
    """Gray float32 image, cut to the part of largest variance if a side is longer than `most`."""
    step = -(-max(image.shape[:2]) // most)
    if step > 1:
        coarse = np.sqrt(np.maximum(_gray(image[::step, ::step]), 0))
        coarse = np.minimum(coarse, np.percentile(coarse, 99.8))  # a few hot pixels are not contrast
        side = most // step
        mean, square = (cv2.blur(values, (side, side)) for values in (coarse, coarse**2))
        y, x = np.unravel_index(int(np.argmax(square - mean**2)), coarse.shape)
        top, left = (
            int(np.clip(centre * step - most // 2, 0, max(0, length - most)))
            for centre, length in zip((y, x), image.shape[:2], strict=True)
        )
        image = image[top : top + most, left : left + most]
    return _gray(image)


def _gray(image: np.ndarray) -> np.ndarray:
    gray = image.astype(np.float32)
    return gray.mean(axis=-1) if gray.ndim == 3 else gray  # noqa: PLR2004


def _median_peak(bright: np.ndarray, smooth: np.ndarray, window: float) -> float:
    """Diameter of the median peak of the distance transform, weighted by radius and contrast; NaN without peaks."""
    size = int(window) | 1
    lift = smooth - cv2.blur(smooth, (size, size), borderType=cv2.BORDER_REFLECT)
    mask = cv2.morphologyEx((bright & (lift > _MIN_LIFT)).astype(np.uint8), cv2.MORPH_OPEN, _CROSS, iterations=2)
    _, holes, boxes, _ = cv2.connectedComponentsWithStats(1 - mask, connectivity=4)
    nucleolus = boxes[:, cv2.CC_STAT_WIDTH : cv2.CC_STAT_HEIGHT + 1].max(axis=1) < window / 4
    mask = np.where(nucleolus[holes], 1, mask).astype(np.uint8)
    if mask.all():
        return float("nan")
    padded = cv2.copyMakeBorder(mask, 1, 1, 1, 1, cv2.BORDER_REPLICATE)
    distance = cv2.GaussianBlur(cv2.distanceTransform(padded, cv2.DIST_L2, 5)[1:-1, 1:-1], (0, 0), 1.0)
    peaks = (distance == cv2.dilate(distance, np.ones((7, 7), np.uint8))) & (mask > 0)
    radii = distance[peaks]
    if not radii.size:
        return float("nan")
    order = np.argsort(radii)
    weight = np.cumsum((radii * np.maximum(lift[peaks], _MIN_LIFT))[order])
    return 2 * float(radii[order][np.searchsorted(weight, weight[-1] / 2)])


def resize_image(image: np.ndarray, scale: float, blur: float = 0.0) -> np.ndarray:
    """Rescale an image with linear interpolation, low-pass filtered first when it shrinks.

    Parameters
    ----------
    image : (Y, X) or (Y, X, C) ndarray
        Image.
    scale : float
        Output pixels per input pixel, > 0.
    blur : float
        Least standard deviation of that filter, a Gaussian [px of the input].

    Returns
    -------
    float32 ndarray
        Rescaled image, at least 1 x 1.
    """
    image = image.astype(np.float32)
    if blur > max(0.0, (1 / scale - 1) / 2):
        image = ndi.gaussian_filter(image, (blur, blur, 0)[: image.ndim], mode="mirror")
        return image if scale == 1 else _resample(image, scale, smooth=False)
    return image if scale == 1 else _resample(image, scale, smooth=scale < 1)


def _resample(image: np.ndarray, scale: float, *, smooth: bool) -> np.ndarray:
    shape = tuple(max(1, round(n * scale)) for n in image.shape[:2])
    out = resize(image, shape + image.shape[2:], order=1, mode="reflect", anti_aliasing=smooth, preserve_range=True)
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
