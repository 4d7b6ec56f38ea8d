"""Channel selection and percentile normalisation of intensities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from karyoseg.core.io.image_files import ImageError

Colour = Literal["gray", "keep"]

#: ITU-R BT.601 luma weights, the usual RGB to gray conversion.
LUMA = (0.299, 0.587, 0.114)
_RGB = 3
_BLOCK = 1_000_000  # pixels counted together: bounds the memory


def normalise(
    image: np.ndarray, pmin: float = 1.0, pmax: float = 99.8, *, joint: bool = False, least_span: float = 0.0
) -> np.ndarray:
    """Map the percentiles `pmin` and `pmax` of an image to 0 and 1, without clipping.

    Parameters
    ----------
    image : (Y, X) or (Y, X, C) ndarray
        Image of any real dtype.
    pmin, pmax : float
        Percentiles, 0 <= pmin < pmax <= 100 [%].
    joint : bool
        One range for all channels instead of one per channel.
    least_span : float
        Where the two percentiles are closer than this, they are not stretched to 1: see
        :class:`karyoseg.core.preparation.Preparation` [grey values].

    Returns
    -------
    float32 ndarray
        Same shape. A constant image (or channel) becomes all zeros.

    Examples
    --------
    >>> normalise(np.array([[0, 5, 10]], dtype=np.uint8), 0, 100).tolist()
    [[0.0, 0.5, 1.0]]
    """
    low, span = intensity_range(image, pmin, pmax, joint=joint)
    values = image.astype(np.float32)
    values -= low
    values /= np.maximum(span, np.float32(least_span))
    return values


def intensity_range(
    image: np.ndarray, pmin: float = 1.0, pmax: float = 99.8, *, joint: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Find what :func:`normalise` subtracts, and by what it divides.

    Parameters
    ----------
    image, pmin, pmax, joint
        See :func:`normalise`.

    Returns
    -------
    low, span : float32 ndarray
        One number, or one per channel.

    Examples
    --------
    >>> [float(value) for value in intensity_range(np.array([[2, 5, 10]], dtype=np.uint8), 0, 100)]
    [2.0, 8.0]
    """
    if image.ndim == 2 or joint:  # noqa: PLR2004
        low, high, top = np.array(_range(image, pmin, pmax), np.float32)
    else:
        channels = [_range(image[..., c], pmin, pmax) for c in range(image.shape[-1])]
        low, high, top = np.array(channels, np.float32).T
    # Nearly all pixels equal (sparse fields): fall back to the full range, so that the few bright ones survive.
    span = np.where(high > low, high - low, top - low)
    return low, np.where(span > 0, span, np.float32(1))


def _range(image: np.ndarray, pmin: float, pmax: float) -> tuple[np.float32, np.float32, np.float32]:
    """Two percentiles and the maximum."""
    if image.dtype not in (np.uint8, np.uint16):
        exact = image.astype(np.float32, copy=False)
        low, high = np.percentile(exact, [pmin, pmax])
        return np.float32(low), np.float32(high), np.float32(exact.max())
    # Counting is much faster than sorting.
    counts = np.zeros(np.iinfo(image.dtype).max + 1, np.int64)
    for block in np.array_split(image.reshape(-1), max(1, image.size // _BLOCK)):
        counts += np.bincount(block, minlength=counts.size)
    up_to = np.cumsum(counts)
    # As np.percentile: linear between the two values whose ranks are next to the one wanted.
    ranks = np.array([pmin, pmax]) / 100 * (image.size - 1)
    below, above = (np.searchsorted(up_to, rank, side="right") for rank in (np.floor(ranks), np.ceil(ranks)))
    low, high = below + (above - below) * (ranks - np.floor(ranks))
    return np.float32(low), np.float32(high), np.float32(np.flatnonzero(counts)[-1])


def select_channels(
    image: np.ndarray, channels: Sequence[int] | None = None, colour: Colour = "gray", *, where: str = "image"
) -> np.ndarray:
    """Pick channels and decide what becomes of colour.

    Parameters
    ----------
    image : (Y, X) or (Y, X, C) ndarray
        Image of any real dtype.
    channels : sequence of int, optional
        Channel indices to keep, in this order; counts from 0. None keeps all.
    colour : {"gray", "keep"}
        ``gray`` turns what is left of several channels into one: three channels by luma weights (or as they are when
        all are equal), other numbers by their mean. ``keep`` leaves them.
    where : str
        File or id named in errors.

    Returns
    -------
    ndarray
        ``(Y, X)`` for a single channel, else ``(Y, X, C)``; the dtype of the input, or float32 after mixing.

    Raises
    ------
    ImageError
        If a channel does not exist.
    """
    if image.ndim == 2:  # noqa: PLR2004
        image = image[..., None]
    if channels is not None:
        missing = [c for c in channels if not 0 <= c < image.shape[-1]]
        if missing:
            raise ImageError(
                where,
                f"channel {missing[0]} was asked for, but the image has {image.shape[-1]} channel(s), counted from 0",
                "existing channels",
                "Change the parameter 'channels'.",
            )
        image = image[..., list(channels)]
    n_channels = image.shape[-1]
    if n_channels == 1:
        return image[..., 0]
    if colour == "keep":
        return image
    if all(np.array_equal(image[..., 0], image[..., c]) for c in range(1, n_channels)):
        return image[..., 0]
    weights = LUMA if n_channels == _RGB else (1 / n_channels,) * n_channels
    return image.astype(np.float32) @ np.asarray(weights, np.float32)
