"""From one form of images and labels to another: 8 bit, RGB, masks of one object each, run lengths."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from karyoseg.core.errors import KaryosegError
from karyoseg.core.labels import object_boxes
from karyoseg.core.normalise import normalise

_RGB = 3
_PERCENTILES = (0.1, 99.9)  # a few hot or dead pixels do not decide the range


def to_8bit(image: np.ndarray) -> np.ndarray:
    """Stretch each channel to 8 bit, from its 0.1 to its 99.9 percentile.

    For images, never for labels: values that differ may become equal.

    Parameters
    ----------
    image : (Y, X) or (Y, X, C) ndarray
        Image of any real dtype, finite.

    Returns
    -------
    uint8 ndarray
        Same shape. 8-bit images are returned as they are; a constant channel of another type becomes 0.

    Examples
    --------
    >>> to_8bit(np.array([[100, 600, 1100]], np.uint16)).tolist()
    [[0, 127, 255]]
    """
    if image.dtype == np.uint8:
        return image
    stretched = normalise(image, *_PERCENTILES)
    np.clip(stretched, 0, 1, out=stretched)
    stretched *= 255
    return stretched.astype(np.uint8)


def as_rgb8(image: np.ndarray) -> np.ndarray:
    """Bring an image to the one form of all images in style transfer: three channels of 8 bit.

    Parameters
    ----------
    image : (Y, X) or (Y, X, C) ndarray
        Image of any real dtype, finite.

    Returns
    -------
    (Y, X, 3) uint8 ndarray
        Of gray images three equal channels, of two channels these as red and green, of more than three the first three.
        8-bit values stay as they are, others are stretched per channel, see :func:`to_8bit`.

    Examples
    --------
    >>> as_rgb8(np.array([[7]], np.uint8)).tolist()
    [[[7, 7, 7]]]
    """
    stretched = to_8bit(image)
    channels = stretched[..., None] if stretched.ndim == 2 else stretched[..., :_RGB]  # noqa: PLR2004
    if channels.shape[-1] == 1:
        return np.repeat(channels, _RGB, axis=-1)
    missing = _RGB - channels.shape[-1]
    return np.ascontiguousarray(np.pad(channels, ((0, 0), (0, 0), (0, missing))))


def object_masks(labels: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Give each object of a label image as a mask of its own, as the Data Science Bowl 2018 stores them.

    Parameters
    ----------
    labels : (Y, X) integer ndarray
        Label image; negative values are background.

    Yields
    ------
    tuple of int and (Y, X) uint8 ndarray
        Label, and an image that is 255 inside the object and 0 elsewhere; in ascending order.
    """
    for label, box in object_boxes(labels):
        mask = np.zeros(labels.shape, np.uint8)
        mask[box][labels[box] == label] = 255
        yield label, mask


def encode_runs(labels: np.ndarray) -> dict[int, str]:
    """Write each object as run lengths, as submissions to the Data Science Bowl 2018 do.

    Parameters
    ----------
    labels : (Y, X) integer ndarray
        Label image; negative values are background.

    Returns
    -------
    dict of int to str
        By label: ``start length start length ...``; pixels are counted from 1, down the first column, then the second.

    Examples
    --------
    >>> encode_runs(np.array([[1, 0, 5], [1, 1, 5]]))
    {1: '1 2 4 1', 5: '5 2'}
    """
    flat = labels.T.ravel()
    starts = np.flatnonzero(np.diff(flat, prepend=flat[:1] - 1))
    lengths = np.diff(starts, append=flat.size)
    values = flat[starts]
    runs: dict[int, list[str]] = {int(label): [] for label in np.unique(values[values > 0])}
    for start, length, label in zip(starts + 1, lengths, values, strict=True):
        if label > 0:
            runs[int(label)].append(f"{start} {length}")
    return {label: " ".join(parts) for label, parts in runs.items()}


def decode_runs(runs: str, shape: tuple[int, int]) -> np.ndarray:
    """Read run lengths back into a mask.

    Parameters
    ----------
    runs : str
        From :func:`encode_runs`; empty for an empty mask.
    shape : tuple of int
        Size of the image (Y, X) [px].

    Returns
    -------
    (Y, X) bool ndarray
        True inside the object.

    Raises
    ------
    KaryosegError
        If they are no pairs of whole numbers, or run out of the image.

    Examples
    --------
    >>> decode_runs("1 2 4 1", (2, 2)).tolist()
    [[True, False], [True, True]]
    """
    flat = np.zeros(shape[0] * shape[1], bool)
    for pixels in _parse_runs(runs, shape):
        flat[pixels] = True
    return flat.reshape(shape[::-1]).T


def _parse_runs(runs: str, shape: tuple[int, int]) -> list[slice]:
    """Return the runs of pixels, counted from 0 down the columns."""
    try:
        numbers = np.array(runs.split(), np.int64).reshape(-1, 2)
    except ValueError as error:
        raise KaryosegError(
            f"run lengths {runs[:40]!r}: not pairs of whole numbers; needed: 'start length start length ...'. "
            "Check the table."
        ) from error
    size = shape[0] * shape[1]
    if len(numbers) and (numbers[:, 0].min() < 1 or numbers[:, 1].min() < 1 or numbers.sum(axis=1).max() > size + 1):
        raise KaryosegError(
            f"run lengths {runs[:40]!r}: reach out of an image of {shape[0]} x {shape[1]} px; needed: pixels 1 to "
            f"{size}. Check that the table and the image belong together."
        )
    return [slice(start - 1, start - 1 + length) for start, length in numbers.tolist()]


def submission_rows(image_id: str, labels: np.ndarray) -> pd.DataFrame:
    """List the objects of an image as rows of a submission to the Data Science Bowl 2018.

    Parameters
    ----------
    image_id : str
        Name of the image there.
    labels : (Y, X) integer ndarray
        Label image.

    Returns
    -------
    DataFrame
        Columns ImageId and EncodedPixels; an image without objects is one row with an empty EncodedPixels.
    """
    return pd.DataFrame({"ImageId": image_id, "EncodedPixels": list(encode_runs(labels).values()) or [""]})


def labels_from_runs(runs: Sequence[str], shape: tuple[int, int]) -> np.ndarray:
    """Combine the objects of one image of a submission into a label image.

    Parameters
    ----------
    runs : sequence of str
        One per object.
    shape : tuple of int
        Size of the image (Y, X) [px].

    Returns
    -------
    (Y, X) int32 ndarray
        Object i has label i + 1; of objects that overlap the later one keeps its pixels.
    """
    flat = np.zeros(shape[0] * shape[1], np.int32)
    for label, text in enumerate(runs, start=1):
        for pixels in _parse_runs(text, shape):
            flat[pixels] = label
    return np.ascontiguousarray(flat.reshape(shape[::-1]).T)
