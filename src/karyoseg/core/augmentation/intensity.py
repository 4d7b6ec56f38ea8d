"""Random changes of intensities, on float32 images whose values may lie outside [0, 1]."""

from __future__ import annotations

import cv2
import numpy as np

Range = tuple[float, float]


def uniform(rng: np.random.Generator, values: Range) -> float:
    """Draw a value between two bounds.

    Parameters
    ----------
    rng : Generator
        Source of randomness.
    values : (float, float)
        Smallest and largest value.

    Returns
    -------
    float
        The value.
    """
    return float(rng.uniform(*values))


def log_uniform(rng: np.random.Generator, values: Range) -> float:
    """Draw a factor between two positive bounds; halving is as likely as doubling.

    Parameters
    ----------
    rng : Generator
        Source of randomness.
    values : (float, float)
        Smallest and largest factor, above 0.

    Returns
    -------
    float
        The factor.
    """
    return float(np.exp(rng.uniform(*np.log(values))))


def brightness(image: np.ndarray, factor: Range, rng: np.random.Generator) -> np.ndarray:
    """Multiply all intensities by one factor.

    Parameters
    ----------
    image : (Y, X) or (Y, X, C) float32 ndarray
        Image.
    factor : (float, float)
        Range of the factor.
    rng : Generator
        Source of randomness.

    Returns
    -------
    float32 ndarray
        Changed image.
    """
    return image * np.float32(log_uniform(rng, factor))


def contrast(image: np.ndarray, factor: Range, rng: np.random.Generator) -> np.ndarray:
    """Spread or squeeze intensities about the mean of each channel.

    Parameters
    ----------
    image : (Y, X) or (Y, X, C) float32 ndarray
        Image.
    factor : (float, float)
        Range of the factor.
    rng : Generator
        Source of randomness.

    Returns
    -------
    float32 ndarray
        Changed image, of the same mean.
    """
    mean = image.mean(axis=(0, 1), dtype=np.float64).astype(np.float32)
    return (image - mean) * np.float32(log_uniform(rng, factor)) + mean


def gamma(image: np.ndarray, exponent: Range, rng: np.random.Generator) -> np.ndarray:
    """Raise positive intensities to a power.

    Parameters
    ----------
    image : (Y, X) or (Y, X, C) float32 ndarray
        Image.
    exponent : (float, float)
        Range of the exponent.
    rng : Generator
        Source of randomness.

    Returns
    -------
    float32 ndarray
        Changed image. Values below 0 stay, since a power has no meaning there; the curve is continuous.
    """
    power = np.float32(log_uniform(rng, exponent))
    return np.where(image > 0, np.power(np.maximum(image, 0), power), image)


def shift(image: np.ndarray, offset: Range, rng: np.random.Generator) -> np.ndarray:
    """Add one offset to all intensities.

    Parameters
    ----------
    image : (Y, X) or (Y, X, C) float32 ndarray
        Image.
    offset : (float, float)
        Range of the offset [normalised intensity].
    rng : Generator
        Source of randomness.

    Returns
    -------
    float32 ndarray
        Changed image.
    """
    return image + np.float32(uniform(rng, offset))


def channel_shift(image: np.ndarray, offset: Range, rng: np.random.Generator) -> np.ndarray:
    """Add an offset of its own to each channel.

    Parameters
    ----------
    image : (Y, X) or (Y, X, C) float32 ndarray
        Image.
    offset : (float, float)
        Range of the offsets [normalised intensity].
    rng : Generator
        Source of randomness.

    Returns
    -------
    float32 ndarray
        Changed image.
    """
    return image + rng.uniform(offset[0], offset[1], size=image.shape[2:]).astype(np.float32)


def gaussian_blur(image: np.ndarray, sigma: Range, rng: np.random.Generator) -> np.ndarray:
    """Blur with a Gaussian, mirrored at the border.

    Parameters
    ----------
    image : (Y, X) or (Y, X, C) float32 ndarray
        Image.
    sigma : (float, float)
        Range of the standard deviation [px].
    rng : Generator
        Source of randomness.

    Returns
    -------
    float32 ndarray
        Blurred image.
    """
    width = uniform(rng, sigma)
    if width <= 0:
        return image
    return cv2.GaussianBlur(image, (0, 0), width, borderType=cv2.BORDER_REFLECT_101).reshape(image.shape)


def gaussian_noise(image: np.ndarray, sigma: Range, rng: np.random.Generator) -> np.ndarray:
    """Add independent normal noise.

    Parameters
    ----------
    image : (Y, X) or (Y, X, C) float32 ndarray
        Image.
    sigma : (float, float)
        Range of the standard deviation [normalised intensity].
    rng : Generator
        Source of randomness.

    Returns
    -------
    float32 ndarray
        Noisy image.
    """
    return image + np.float32(uniform(rng, sigma)) * rng.standard_normal(image.shape, dtype=np.float32)


def poisson_noise(image: np.ndarray, photons: Range, rng: np.random.Generator) -> np.ndarray:
    """Add photon shot noise.

    Parameters
    ----------
    image : (Y, X) or (Y, X, C) float32 ndarray
        Image.
    photons : (float, float)
        Range of the number of photons that make intensity 1.
    rng : Generator
        Source of randomness.

    Returns
    -------
    float32 ndarray
        Noisy image; pixels of 0 and below get no noise.
    """
    full = log_uniform(rng, photons)
    expected = np.maximum(image, 0) * full
    return image + ((rng.poisson(expected) - expected) / full).astype(np.float32)
