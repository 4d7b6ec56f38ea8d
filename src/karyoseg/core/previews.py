"""Small PNG previews of images and label images."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

import numpy as np
from PIL import Image
from skimage.color import label2rgb

from karyoseg.core.normalise import normalise

_COLOURS = 3


def to_rgb8(image: np.ndarray) -> np.ndarray:
    """Stretch an image to 8-bit RGB for display.

    Parameters
    ----------
    image : (Y, X) or (Y, X, C) ndarray
        Image of any real dtype; of more than three channels the first three are shown, of two their mean.

    Returns
    -------
    (Y, X, 3) uint8 ndarray
        The 0.5 and 99.8 percentiles become black and white.
    """
    stretched = np.clip(normalise(np.nan_to_num(image), 0.5, 99.8, joint=True), 0, 1)
    if stretched.ndim == 3:  # noqa: PLR2004
        stretched = stretched[..., :_COLOURS] if stretched.shape[-1] >= _COLOURS else stretched.mean(axis=-1)
    if stretched.ndim == 2:  # noqa: PLR2004
        stretched = np.repeat(stretched[..., None], _COLOURS, axis=-1)
    return (stretched * 255).astype(np.uint8)


def preview_png(samples: Sequence[np.ndarray], *, labels: bool, side: int = 320) -> str:
    """Draw samples side by side.

    Parameters
    ----------
    samples : sequence of ndarray
        Images ``(Y, X[, C])`` or label images ``(Y, X)``.
    labels : bool
        Whether they are label images: each instance gets a colour.
    side : int
        Height of the strip and largest width of each sample [px].

    Returns
    -------
    str
        PNG, base64.
    """
    tiles = []
    for sample in samples:
        rgb = (label2rgb(sample, bg_label=0) * 255).astype(np.uint8) if labels else to_rgb8(sample)
        tile = Image.fromarray(rgb)
        tile.thumbnail((side, side), Image.Resampling.NEAREST if labels else Image.Resampling.LANCZOS)
        tiles.append(tile)
    strip = Image.new("RGB", (sum(tile.width + 4 for tile in tiles) or 1, side), "white")
    left = 0
    for tile in tiles:
        strip.paste(tile, (left, 0))
        left += tile.width + 4
    buffer = io.BytesIO()
    strip.save(buffer, format="PNG")
    return base64.b64encode(buffer.getvalue()).decode()
