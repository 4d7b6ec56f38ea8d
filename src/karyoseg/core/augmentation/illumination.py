"""Random changes of how an image was lit and recorded: uneven light, out-of-focus light, saturation, coarse noise."""

from __future__ import annotations

import cv2
import numpy as np

from karyoseg.core.augmentation.intensity import Range, log_uniform, uniform

_WAVES = 3
_WAVES_PER_SIDE = 0.7
_GLOW = (8.0, 36.0)  # px
_GRAIN = (2, 5)  # px


def background(image: np.ndarray, amplitude: Range, rng: np.random.Generator) -> np.ndarray:
    """Add light that changes slowly across the image.

    Parameters
    ----------
    image : (Y, X) or (Y, X, C) float32 ndarray
        Image.
    amplitude : (float, float)
        Range of the difference between the brightest and the darkest place [normalised intensity].
    rng : Generator
        Source of randomness.

    Returns
    -------
    float32 ndarray
        Image with a background.
    """
    return image + np.float32(uniform(rng, amplitude)) * _slow_field(image, rng)


def shading(image: np.ndarray, depth: Range, rng: np.random.Generator) -> np.ndarray:
    """Dim the image unevenly, as a vignette or a tilted lamp does.

    Parameters
    ----------
    image : (Y, X) or (Y, X, C) float32 ndarray
        Image.
    depth : (float, float)
        Range of the share of light that is lost at the darkest place, 0..1.
    rng : Generator
        Source of randomness.

    Returns
    -------
    float32 ndarray
        Shaded image.
    """
    return image * (1 - np.float32(uniform(rng, depth)) * _slow_field(image, rng))


def haze(image: np.ndarray, amount: Range, rng: np.random.Generator) -> np.ndarray:
    """Lay light from out of focus over the image, as thick samples show it around their nuclei.

    Parameters
    ----------
    image : (Y, X) or (Y, X, C) float32 ndarray
        Image.
    amount : (float, float)
        Range of the light from out of focus relative to that in focus.
    rng : Generator
        Source of randomness.

    Returns
    -------
    float32 ndarray
        Hazy image of the same overall brightness.
    """
    share = np.float32(uniform(rng, amount))
    glow = _smooth(image, uniform(rng, _GLOW))
    return (image + share * glow) / (1 + share)


def saturation(image: np.ndarray, level: Range, rng: np.random.Generator) -> np.ndarray:
    """Cut intensities off at a level and make that level 1, as a too long exposure does.

    Parameters
    ----------
    image : (Y, X) or (Y, X, C) float32 ndarray
        Image.
    level : (float, float)
        Range of the intensity at which the camera is full, above 0.
    rng : Generator
        Source of randomness.

    Returns
    -------
    float32 ndarray
        Image with no intensity above 1.
    """
    top = np.float32(log_uniform(rng, level))
    return np.minimum(image, top) / top


def grain(image: np.ndarray, sigma: Range, rng: np.random.Generator) -> np.ndarray:
    """Add noise of a few pixels' size, as it is in images that were enlarged or smoothed.

    Parameters
    ----------
    image : (Y, X) or (Y, X, C) float32 ndarray
        Image.
    sigma : (float, float)
        Range of the standard deviation before enlarging [normalised intensity].
    rng : Generator
        Source of randomness.

    Returns
    -------
    float32 ndarray
        Noisy image.
    """
    step = int(rng.integers(*_GRAIN))
    coarse = rng.standard_normal([-(-n // step) for n in image.shape[:2]], dtype=np.float32)
    noise = cv2.resize(coarse, image.shape[1::-1], interpolation=cv2.INTER_CUBIC)
    return image + np.float32(uniform(rng, sigma)) * _for_channels(noise, image)


def _slow_field(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Random field from 0 to 1 with less than a wave per side."""
    y, x = (np.linspace(0, 2 * np.pi, n, dtype=np.float32) for n in image.shape[:2])
    field = np.zeros(image.shape[:2], np.float32)
    for _ in range(_WAVES):
        along_y, along_x = rng.uniform(-_WAVES_PER_SIDE, _WAVES_PER_SIDE, 2)
        phase = rng.uniform(0, 2 * np.pi)
        field += np.cos(along_y * y[:, None] + along_x * x[None, :] + phase, dtype=np.float32)
    return _for_channels((field - field.min()) / max(float(np.ptp(field)), 1e-6), image)


def _smooth(image: np.ndarray, sigma: float) -> np.ndarray:
    """Blur widely: on a coarse copy, which is much faster and looks the same."""
    step = 4
    size = [max(1, n // step) for n in image.shape[1::-1]]
    coarse = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    coarse = cv2.GaussianBlur(coarse, (0, 0), sigma / step, borderType=cv2.BORDER_REFLECT_101)
    return cv2.resize(coarse, image.shape[1::-1], interpolation=cv2.INTER_LINEAR).reshape(image.shape)


def _for_channels(field: np.ndarray, image: np.ndarray) -> np.ndarray:
    return field.astype(np.float32).reshape(field.shape + (1,) * (image.ndim - 2))
