"""The network, its loss and its targets."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import layers, ops
from scipy import ndimage as ndi

_HIGH, _LOW = 235 / 255, 20 / 255  # what foreground and background should become
_UNKNOWN = -1.0
_TINY = 1e-7


def build_unet(n_channels: int, depth: int, filters: int) -> keras.Model:
    """Build a U-Net with one probability per pixel.

    Two convolutions with batch normalisation per level; see [1]_ and, for this use, [2]_.

    Parameters
    ----------
    n_channels : int
        Channels of the image.
    depth : int
        Levels below the first; each halves the image, whose sides are multiples of ``2 ** depth`` px.
    filters : int
        Channels of the first level; each further one has twice as many.

    Returns
    -------
    keras.Model
        ``(B, Y, X, n_channels)`` to ``(B, Y, X, 1)``, 0..1.

    References
    ----------
    .. [1] Ronneberger et al., U-Net: convolutional networks for biomedical image segmentation, MICCAI (2015),
       doi:10.1007/978-3-319-24574-4_28
    .. [2] Hollandi et al., nucleAIzer, Cell Systems 10 (2020), doi:10.1016/j.cels.2020.04.003
    """
    inputs = x = keras.Input((None, None, n_channels))
    skips = []
    for level in range(depth):
        x = _two_convolutions(x, filters * 2**level)
        skips.append(x)
        x = layers.MaxPooling2D()(x)
    x = _two_convolutions(x, filters * 2**depth)
    for level, skip in reversed(list(enumerate(skips))):
        x = layers.Conv2DTranspose(filters * 2**level, 2, strides=2)(x)
        x = _two_convolutions(layers.Concatenate()([skip, x]), filters * 2**level)
    return keras.Model(inputs, layers.Conv2D(1, 1, activation="sigmoid")(x))


def _two_convolutions(x: Any, filters: int) -> Any:
    for _ in range(2):
        x = layers.Conv2D(filters, 3, padding="same", use_bias=False)(x)
        x = layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))
    return x


def jaccard_loss(y_true: Any, y_pred: Any) -> Any:
    """Compute 1 - intersection / union of a whole batch, without thresholds.

    Parameters
    ----------
    y_true : (B, Y, X, 1) tensor
        Target 0..1; negative where not annotated: such pixels do not count.
    y_pred : (B, Y, X, 1) tensor
        Prediction 0..1.

    Returns
    -------
    tensor
        One number, 0..1.
    """
    y_true = ops.convert_to_tensor(y_true)
    known = ops.cast(y_true >= 0, y_pred.dtype)
    x, y = ops.cast(y_true, y_pred.dtype) * known, y_pred * known
    both = ops.sum(x * y)
    return 1 - (both + _TINY) / (ops.sum(x) + ops.sum(y) - both + _TINY)


def foreground_target(labels: np.ndarray, sigma: float) -> np.ndarray:
    """Turn labels into what a network should predict: softened, and blurred.

    Parameters
    ----------
    labels : (Y, X) integer ndarray
        Label image; negative pixels are not annotated.
    sigma : float
        Standard deviation of the blur [px]; 0 for none.

    Returns
    -------
    (Y, X, 1) float32 ndarray
        0.08 in the background, 0.92 in objects, between them near their borders; -1 where not annotated.
    """
    target = np.where(labels > 0, _HIGH, _LOW).astype(np.float32)
    if sigma:
        target = ndi.gaussian_filter(target, sigma, mode="nearest")
    return np.where(labels < 0, np.float32(_UNKNOWN), target)[..., None]
