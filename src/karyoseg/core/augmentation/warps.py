"""Where the pixels of a training patch come from: any part of the image, turned, zoomed and bent.

All warps of a patch are one coordinate map, so that it is resampled once, from the whole image: zooming out shows more
of the image instead of an invented border.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import cv2
import numpy as np

from karyoseg.core.augmentation.intensity import Range, log_uniform, uniform

#: Coordinates (y, x) [px] about the centre of a patch; arrays that broadcast to its shape.
Coordinates = tuple[np.ndarray, np.ndarray]
#: Draws a warp and returns where pixels come from, given where they go.
Warp = Callable[[Coordinates, np.random.Generator], Coordinates]

_TOO_LARGE = np.iinfo(np.int16).max  # side of an image that OpenCV does not resample [px]


class Window(NamedTuple):
    """A rectangle of an image, which may reach beyond it."""

    top: int
    left: int
    height: int
    width: int


def rotate(coordinates: Coordinates, rng: np.random.Generator, degrees: Range) -> Coordinates:
    """Turn about the centre.

    Parameters
    ----------
    coordinates : tuple of ndarray
        Where pixels go.
    rng : Generator
        Source of randomness.
    degrees : (float, float)
        Range of the angle.

    Returns
    -------
    tuple of ndarray
        Where they come from.
    """
    y, x = coordinates
    angle = np.deg2rad(uniform(rng, degrees))
    return np.cos(angle) * y + np.sin(angle) * x, np.cos(angle) * x - np.sin(angle) * y


def scale(coordinates: Coordinates, rng: np.random.Generator, factor: Range) -> Coordinates:
    """Zoom about the centre.

    Parameters
    ----------
    coordinates : tuple of ndarray
        Where pixels go.
    rng : Generator
        Source of randomness.
    factor : (float, float)
        Range of the factor, drawn on a logarithmic scale; above 1 objects grow.

    Returns
    -------
    tuple of ndarray
        Where they come from.
    """
    y, x = coordinates
    drawn = log_uniform(rng, factor)
    return y / drawn, x / drawn


def elastic(coordinates: Coordinates, rng: np.random.Generator, magnitude: float, spacing: float) -> Coordinates:
    """Move the knots of a coarse grid and interpolate between them: cheaper than blurring dense noise.

    Parameters
    ----------
    coordinates : tuple of ndarray
        Where pixels go.
    rng : Generator
        Source of randomness.
    magnitude : float
        Largest displacement of a knot along each axis [px].
    spacing : float
        Distance of the knots [px].

    Returns
    -------
    tuple of ndarray
        Where they come from.
    """
    y, x = coordinates
    height, width = np.broadcast_shapes(y.shape, x.shape)
    knots = [max(2, round(size / spacing) + 1) for size in (height, width)]
    moves = rng.uniform(-magnitude, magnitude, (*knots, 2)).astype(np.float32)
    dense = cv2.resize(moves, (width, height), interpolation=cv2.INTER_CUBIC)
    return y + dense[..., 0], x + dense[..., 1]


def find_sources(window: Window, shape: tuple[int, int], warps: list[Warp], rng: np.random.Generator) -> Coordinates:
    """Tell for each pixel of a patch which place of the image it shows.

    Parameters
    ----------
    window : Window
        Where the patch lies before it is warped.
    shape : (int, int)
        Size of the image.
    warps : list of callable
        The first acts on the image first.
    rng : Generator
        Source of randomness.

    Returns
    -------
    y, x : float32 ndarray
        Positions in the image [px], arrays that broadcast to the shape of the window. They are moved to lie within
        the image, or where it is too small for that, about its middle.
    """
    sizes = window.height, window.width
    y, x = (np.arange(size, dtype=np.float32) - (size - 1) / 2 for size in sizes)
    coordinates: Coordinates = y[:, None], x[None, :]
    for warp in reversed(warps):
        coordinates = warp(coordinates, rng)
    corner = window.top, window.left
    moved = [
        _within(along + (start + (size - 1) / 2), limit)
        for along, start, size, limit in zip(coordinates, corner, sizes, shape, strict=True)
    ]
    return moved[0], moved[1]


def _within(along: np.ndarray, size: int) -> np.ndarray:
    low, high = float(along.min()), float(along.max())
    shift = max(0.0, -low) - max(0.0, high - (size - 1))
    if high - low > size - 1:
        # By whole pixels: what needs no interpolation shall get none.
        shift = float(round((size - 1) / 2 - (low + high) / 2))
    return (along + shift).astype(np.float32)


def resample_image(image: np.ndarray, sources: Coordinates) -> np.ndarray:
    """Cut a patch out of an image.

    Beyond its border the image is mirrored, for an edge to black would teach something that no microscope makes.

    Parameters
    ----------
    image : (Y, X) or (Y, X, C) float32 ndarray
        Image; interpolated linearly.
    sources : (y, x) ndarrays
        Positions in the image [px], which broadcast to the shape (H, W) of the patch.

    Returns
    -------
    (H, W) or (H, W, C) float32 ndarray
        The patch.
    """
    image, y, x = _within_reach(image, sources)
    patch = cv2.remap(image, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    return patch.reshape(*y.shape, *image.shape[2:])


def resample_labels(labels: np.ndarray, sources: Coordinates) -> np.ndarray:
    """Cut a patch out of a label image.

    Beyond its border it is mirrored as the image is: the nuclei that the patch shows there look like any other, and
    without them and those that the border cuts, images smaller than a patch would teach little.

    Parameters
    ----------
    labels : (Y, X) int32 ndarray
        Label image; the nearest pixel is taken.
    sources : (y, x) ndarrays
        Positions in the image [px], which broadcast to the shape (H, W) of the patch.

    Returns
    -------
    (H, W) int32 ndarray
        The patch.

    Examples
    --------
    >>> resample_labels(np.array([[1, 0, 3, 3]], np.int32), (np.zeros((1, 1)), np.arange(6)[None] - 2)).tolist()
    [[3, 0, 1, 0, 3, 3]]
    """
    labels, y, x = _within_reach(labels, sources)
    # Not every OpenCV resamples int32, but all move four bytes as they are.
    as_bytes = np.ascontiguousarray(labels).view(np.uint8).reshape(*labels.shape, 4)
    moved = cv2.remap(as_bytes, x, y, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REFLECT_101)
    return np.ascontiguousarray(moved).view(np.int32)[..., 0]


def _within_reach(image: np.ndarray, sources: Coordinates) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Bring positions into the form that OpenCV takes; of images too large for it, cut out where they lie."""
    y, x = np.broadcast_arrays(*sources)
    if max(image.shape[:2]) >= _TOO_LARGE:
        y, x = (_mirrored_into(along, size) for along, size in zip((y, x), image.shape, strict=False))
        top, left = int(y.min()), int(x.min())
        image = image[top : int(y.max()) + 2, left : int(x.max()) + 2]
        y, x = y - top, x - left
    return image, np.ascontiguousarray(y, np.float32), np.ascontiguousarray(x, np.float32)


def _mirrored_into(along: np.ndarray, size: int) -> np.ndarray:
    """Replace positions beyond the border by those whose pixels are seen there."""
    last = size - 1
    return last - np.abs(along.astype(np.float64) % (2 * last) - last) if last else np.zeros_like(along)
