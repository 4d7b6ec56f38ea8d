"""Encoding and decoding of the project's own TIFF files."""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
import tifffile

_MAX_UINT16 = np.iinfo(np.uint16).max
_COLOUR_CHANNELS = 3
_UM_PER_CM = 1e4
_PREDICTED_BELOW = 8  # bytes; of integers as large no predictor is defined


def encode_image(image: np.ndarray) -> bytes:
    """Encode an image as a deflate-compressed TIFF.

    Parameters
    ----------
    image : (Y, X) or (Y, X, C) ndarray
        Image of any real dtype.

    Returns
    -------
    bytes
        The file.
    """
    buffer = io.BytesIO()
    colour = image.ndim == 3 and image.shape[-1] == _COLOUR_CHANNELS and image.dtype.kind == "u"  # noqa: PLR2004
    tifffile.imwrite(
        buffer,
        image,
        compression="zlib",
        predictor=image.dtype.kind == "f" or image.dtype.itemsize < _PREDICTED_BELOW,
        photometric="rgb" if colour else "minisblack",
        planarconfig="contig" if image.ndim == 3 else None,  # noqa: PLR2004
        metadata=None,
    )
    return buffer.getvalue()


def encode_labels(labels: np.ndarray, pixel_size_um: float | None = None) -> bytes:
    """Encode a label image in the smallest integer type that holds it.

    Parameters
    ----------
    labels : (Y, X) integer ndarray
        Label image.
    pixel_size_um : float, optional
        Side of a pixel [um]; written as resolution per centimetre, which Fiji and QuPath show as um.

    Returns
    -------
    bytes
        TIFF of uint16, of uint32 above 65535, or of int32 with negative (not annotated) values.
    """
    if labels.size and labels.min() < 0:
        stored: np.ndarray = labels.astype(np.int32)
    else:
        stored = labels.astype(np.uint16 if labels.max(initial=0) <= _MAX_UINT16 else np.uint32)
    scale: dict[str, Any] = {}
    if pixel_size_um:
        scale = {"resolution": (_UM_PER_CM / pixel_size_um,) * 2, "resolutionunit": "CENTIMETER"}
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, stored, compression="zlib", photometric="minisblack", metadata=None, **scale)
    return buffer.getvalue()


def decode_image(content: bytes) -> np.ndarray:
    """Decode a file of :func:`encode_image`.

    Parameters
    ----------
    content : bytes
        The file.

    Returns
    -------
    (Y, X) or (Y, X, C) ndarray
        The image.

    Raises
    ------
    ValueError
        If the file is damaged.
    """
    return _read(content)


def decode_labels(content: bytes) -> np.ndarray:
    """Decode a file of :func:`encode_labels`.

    Parameters
    ----------
    content : bytes
        The file.

    Returns
    -------
    (Y, X) int32 ndarray
        The label image.

    Raises
    ------
    ValueError
        If the file is damaged.
    """
    return _read(content).astype(np.int32)


def _read(content: bytes) -> np.ndarray:
    try:
        return tifffile.imread(io.BytesIO(content))
    except (ValueError, RuntimeError, KeyError, IndexError, struct.error) as error:
        # imagecodecs raises RuntimeErrors of its own for damaged data.
        raise ValueError(f"not a whole TIFF file: {error}") from error
