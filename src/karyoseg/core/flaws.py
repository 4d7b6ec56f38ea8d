"""What cameras and stitching leave in an image besides the specimen: hot pixels, empty margins, noise.

Sound images pass through unchanged.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np

_MEDIAN_OF = (np.uint8, np.uint16, np.float32)  # what OpenCV filters as it is
_SPIKE = 3.0  # a hot pixel stands out by this many intensity ranges of its surroundings
_SAMPLE = 256  # px of a side: enough to know percentiles and noise
_QUIET = 1 / 30  # noise that does no harm, relative to the intensity range; images of BBBC038 have 1/100
_LEAST_BLUR = 0.4  # px; less changes next to nothing
_LAPLACE = np.outer((1, -2, 1), (1, -2, 1)).astype(np.float32)
_PERCENTILES = (1, 99.8)
_BACKGROUND = 0.01  # of the pixels
_WITHIN_NOISE = 10  # standard deviations: in noise alone the percentiles are 5 apart
_LEAST_BRIGHT, _FEW_BRIGHT = 12, 0.004  # px, share of an image
_BRIGHT_LEVEL = 80  # percentile


def remove_hot_pixels(image: np.ndarray, limits: Sequence[float] | None = None) -> np.ndarray:
    """Replace single pixels that stand out far from all around them by the median of their neighbourhood.

    A pixel counts as hot, or dead, when it differs from that median by three times the intensity range of the image:
    no light that went through a lens does.

    Parameters
    ----------
    image : (Y, X) or (Y, X, C) ndarray
        Image of any real dtype.
    limits : sequence of float, optional
        In place of three times the intensity range, for a part of an image: the :func:`hot_limits` of the whole.

    Returns
    -------
    ndarray
        The image itself if it has none, else a copy.

    Examples
    --------
    >>> image = np.tile(np.arange(8, dtype=np.uint16), (8, 1))
    >>> image[3, 4] = 65535
    >>> int(remove_hot_pixels(image)[3, 4])
    4
    """
    if min(image.shape[:2]) < 3:  # noqa: PLR2004 - no neighbourhood
        return image
    out = image
    for number, plane in enumerate(np.ndindex(image.shape[2:])):
        values, middle = _with_median(image[(..., *plane)])
        hot = cv2.absdiff(values, middle) > (_hot_limit(values, middle) if limits is None else limits[number])
        if hot.any():
            out = image.copy() if out is image else out
            out[(..., *plane)][hot] = middle[hot]
    return out


def hot_limits(image: np.ndarray) -> tuple[float, ...]:
    """Return by how much a pixel of each channel must differ from the median around it to count as hot.

    Parameters
    ----------
    image : (Y, X) or (Y, X, C) ndarray
        Image of any real dtype.
    """
    return tuple(_hot_limit(*_with_median(image[(..., *plane)])) for plane in np.ndindex(image.shape[2:]))


def _with_median(plane: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    values = np.ascontiguousarray(plane)
    values = values if values.dtype in _MEDIAN_OF else values.astype(np.float32)
    return values, cv2.medianBlur(values, 3)


def _hot_limit(values: np.ndarray, middle: np.ndarray) -> float:
    low, high = signal_range(middle, sampled_range(middle), noise_level(values))
    if low == high:  # what is bright is too rare for percentiles
        low, high = float(middle.min()), float(middle.max())
    return _SPIKE * (high - low)


def sampled_range(image: np.ndarray) -> tuple[float, float]:
    """Return the percentiles 1 and 99.8 of an image, from some of its pixels.

    Parameters
    ----------
    image : ndarray
        Image; channels are taken together.
    """
    step = -(-min(image.shape[:2]) // _SAMPLE)
    low, high = np.percentile(image[::step, ::step], _PERCENTILES)
    return float(low), float(high)


def signal_range(image: np.ndarray, usual: tuple[float, float], noise: float) -> tuple[float, float]:
    """Return the grey values of the background and of what is bright, even if that is less than 0.2 % of an image.

    Parameters
    ----------
    image : (Y, X) or (Y, X, C) ndarray
        Image without hot pixels and margins; channels are taken together.
    usual : tuple of float
        Its percentiles 1 and 99.8.
    noise : float
        Its :func:`noise_level`.

    Returns
    -------
    low, high : float
        The two percentiles. If hardly more than 0.2 % of the pixels stand out, the second lies in the noise or at the
        rim of what is bright: then it is the level of these pixels.
    """
    low, high = usual
    bright = image[image > low + max((high - low) / 2, _WITHIN_NOISE * noise)]
    if _LEAST_BRIGHT <= bright.size < _FEW_BRIGHT * image.size:
        high = max(high, float(np.percentile(bright, _BRIGHT_LEVEL)))
    return low, high


def content(image: np.ndarray) -> tuple[slice, slice]:
    """Find the part of an image within its empty margins: rows and columns at the border that repeat one value.

    Parameters
    ----------
    image : (Y, X) or (Y, X, C) ndarray
        Image.

    Returns
    -------
    tuple of slice
        Rows and columns; all of them if the whole image is constant.

    Examples
    --------
    >>> content(np.pad(np.eye(3), 2))
    (slice(2, 5, None), slice(2, 5, None))
    """
    sides = []
    for axis in (0, 1):
        lines = np.moveaxis(image, axis, 0)
        first = next((n for n, line in enumerate(lines) if not _constant(line)), 0)
        last = next((n for n, line in enumerate(lines[::-1]) if not _constant(line)), 0)
        sides.append(slice(first, len(lines) - last))
    return sides[0], sides[1]


def without_margins(image: np.ndarray) -> np.ndarray:
    """Cut empty margins off, unless their value is that of the background: then objects would be cut out.

    Parameters
    ----------
    image : (Y, X) or (Y, X, C) ndarray
        Image.

    Returns
    -------
    ndarray
        The part within its :func:`content`; all of it if pixels there, too, have the value of a margin.

    Examples
    --------
    >>> nucleus = np.pad(np.eye(3), 2)  # on a background of zeros
    >>> without_margins(nucleus).shape, without_margins(np.pad(np.eye(3) + 1, 2)).shape
    ((7, 7), (3, 3))
    """
    inner = image[content(image)]
    if inner.shape == image.shape:
        return image
    corners = (image[y, x] for y in (0, -1) for x in (0, -1))
    shares = [(inner == corner).reshape(*inner.shape[:2], -1).all(axis=-1).mean() for corner in corners]
    return image if max(shares) > _BACKGROUND else inner


def _constant(line: np.ndarray) -> bool:
    return bool((line == line[0]).all())


def noise_level(image: np.ndarray) -> float:
    """Estimate the standard deviation of the noise of single pixels.

    From a second difference along both axes [1]_, which light that went through a lens hardly has.

    Parameters
    ----------
    image : (Y, X) or (Y, X, C) ndarray
        Image as the camera gave it; channels are averaged.

    Returns
    -------
    float
        Grey values; 0 if the image is free of noise, or too small to tell.

    References
    ----------
    .. [1] Immerkaer, Fast noise variance estimation, Comput. Vis. Image Underst. 64 (1996), doi:10.1006/cviu.1996.0060
    """
    if min(image.shape[:2]) < 3:  # noqa: PLR2004
        return 0.0
    side = 2 * _SAMPLE
    top, left = (max(0, (n - side) // 2) for n in image.shape[:2])
    gray = image[top : top + side, left : left + side].astype(np.float32)
    gray = gray.mean(axis=-1) if gray.ndim == 3 else gray  # noqa: PLR2004
    curvature = np.abs(cv2.filter2D(gray, -1, _LAPLACE)[1:-1, 1:-1])
    # 0.6745: median of the absolute value of a standard normal variable; 6: norm of the filter
    return float(np.median(curvature[::2, ::2])) / (0.6745 * 6)


def blur_against_noise(noise: float, span: float, limit: float) -> float:
    """Return the blur that brings noise down to 1/30 of the intensity range.

    Parameters
    ----------
    noise : float
        Standard deviation of the noise of single pixels [grey values].
    span : float
        Intensity range [grey values].
    limit : float
        Largest blur [px].

    Returns
    -------
    float
        Standard deviation of a Gaussian [px]; 0 if the noise is low.

    Examples
    --------
    >>> blur_against_noise(1, 100, limit=2), round(blur_against_noise(10, 100, limit=2), 2)
    (0.0, 0.85)
    """
    if not noise > _QUIET * span:
        return 0.0
    needed = noise / (_QUIET * span * 2 * math.sqrt(math.pi)) if span > 0 else limit
    return min(needed, limit) if needed > _LEAST_BLUR else 0.0


def least_span(noise: float, blur: float) -> float:
    """Return the intensity range of which noise is 1/30: no image should be stretched to less.

    Parameters
    ----------
    noise : float
        Standard deviation of the noise of single pixels [grey values].
    blur : float
        Standard deviation of a Gaussian filter that the image goes through [px].
    """
    return noise * min(1.0, 1 / (2 * math.sqrt(math.pi) * max(blur, 1e-9))) / _QUIET
