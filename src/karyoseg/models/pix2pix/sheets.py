"""Sheets of real and generated images beside the objects they shall show."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from karyoseg.core.previews import label_colours

_GAP = 4


def sample_sheet(
    images: Sequence[np.ndarray], labels: Sequence[np.ndarray], painted: Sequence[np.ndarray]
) -> Image.Image:
    """Show pairs of a training: real images above, their objects, and what the generator makes of those below.

    Parameters
    ----------
    images : sequence of (Y, X, 3) uint8 ndarray
        Real images of one size.
    labels : sequence of (Y, X) integer ndarray
        Their label images.
    painted : sequence of (Y, X, 3) uint8 ndarray
        Generated images of the same size.

    Returns
    -------
    Image
        RGB, one column per pair.
    """
    columns = []
    for image, label, made in zip(images, labels, painted, strict=True):
        coloured = label_colours(label)
        coloured[label <= 0] = 0
        columns.append(_join([image, coloured, made], axis=0))
    return Image.fromarray(_join(columns, axis=1))


def _join(parts: Sequence[np.ndarray], axis: int) -> np.ndarray:
    """Put pictures beside each other, with white between."""
    shape = list(parts[0].shape)
    shape[axis] = _GAP
    gap = np.full(shape, 255, np.uint8)
    return np.concatenate([part for picture in parts for part in (picture, gap)][:-1], axis=axis)
