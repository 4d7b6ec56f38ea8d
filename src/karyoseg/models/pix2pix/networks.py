"""The two networks of pix2pix: a U-Net that paints, and a discriminator that judges patches.

They differ from the original in three things. Each image is normalised by its own statistics, in training and
afterwards: that is what batch normalisation does with batches of one image, and needs no running means. On the way up,
the U-Net enlarges by interpolation: after trainings as short as those for a processor, transposed convolutions leave a
grid in the images. And its last layers see the condition itself, so that outlines are drawn where the labels have them.
Nothing here depends on the backend of Keras.

References
----------
.. [1] Isola et al., "Image-to-Image Translation with Conditional Adversarial Networks", CVPR 2017.
   :doi:`10.1109/CVPR.2017.632`
"""

from __future__ import annotations

from typing import Any

import keras
from keras import layers

_MOST = 8  # times the filters of the first level
_SLOPE = 0.2
_STDDEV = 0.02


def build_generator(
    *, condition_channels: int, image_channels: int, filters: int, depth: int, dropout: float, seed: int
) -> keras.Model:
    """Build the U-Net from condition to image; its input may have any multiple of ``2 ** depth`` as size.

    Parameters
    ----------
    condition_channels, image_channels : int
        Channels of input and output.
    filters : int
        Filters of the first level; doubled at each level, up to 8 times as many (original: 64).
    depth : int
        Levels, each half as large as the one before (original: 8).
    dropout : float
        Share of values dropped on the way up, in the three deepest levels but never in the two finest, 0..1 (original:
        0.5).
    seed : int
        Seed of the weights.

    Returns
    -------
    keras.Model
        ``(B, Y, X, condition_channels)`` to ``(B, Y, X, image_channels)``, both -1..1.
    """
    widths = [filters * min(2**level, _MOST) for level in range(depth)]
    make = _Maker(seed)
    condition = keras.Input((None, None, condition_channels), name="condition")
    x, skips = condition, [condition]
    for level, width in enumerate(widths):
        plain = level in (0, depth - 1)  # neither the first nor the innermost is normalised
        x = x if level == 0 else layers.LeakyReLU(_SLOPE)(x)
        x = make.conv(width, stride=2, bias=plain)(x)
        x = x if plain else make.norm()(x)
        skips.append(x)
    skips.pop()
    dropped = range(max(2, depth - 4), depth - 1)
    for level in reversed(range(depth)):
        width = widths[level - 1] if level else filters // 2 or 1
        x = make.norm()(make.conv(width, size=3)(layers.ReLU()(x)))
        x = layers.UpSampling2D(interpolation="bilinear")(x)
        if dropout and level - 1 in dropped:
            x = layers.Dropout(dropout, seed=make.next_seed())(x)
        x = layers.Concatenate()([x, skips.pop()])
    x = make.norm()(make.conv(filters, size=3)(layers.ReLU()(x)))
    image = make.conv(image_channels, size=3, bias=True, activation="tanh")(layers.ReLU()(x))
    return keras.Model(condition, image, name="generator")


def build_discriminator(
    *, condition_channels: int, image_channels: int, filters: int, n_layers: int, seed: int
) -> keras.Model:
    """Build the discriminator, which judges each patch of an image with its condition.

    Parameters
    ----------
    condition_channels, image_channels : int
        Channels of its two inputs.
    filters : int
        Filters of the first layer (original: 64).
    n_layers : int
        Layers that halve the size; with 3 a patch has 70 px (original: 3).
    seed : int
        Seed of the weights.

    Returns
    -------
    keras.Model
        Condition and image to logits ``(B, Y', X', 1)``, positive for real.
    """
    make = _Maker(seed)
    condition = keras.Input((None, None, condition_channels), name="condition")
    image = keras.Input((None, None, image_channels), name="image")
    x = layers.Concatenate()([condition, image])
    for level in range(n_layers + 1):
        x = make.conv(filters * min(2**level, _MOST), stride=1 if level == n_layers else 2, bias=level == 0)(x)
        x = x if level == 0 else make.norm()(x)
        x = layers.LeakyReLU(_SLOPE)(x)
    return keras.Model([condition, image], make.conv(1, bias=True)(x), name="discriminator")


class _Maker:
    """Layers as both networks use them, each with a seed of its own."""

    def __init__(self, seed: int):
        self._seed = seed

    def next_seed(self) -> int:
        self._seed += 1
        return self._seed

    def conv(self, width: int, *, size: int = 4, stride: int = 1, bias: bool = False, **options: Any) -> layers.Layer:
        return layers.Conv2D(width, size, stride, "same", use_bias=bias, kernel_initializer=self._normal(), **options)

    def norm(self) -> layers.Layer:
        scale = keras.initializers.RandomNormal(1.0, _STDDEV, seed=self.next_seed())
        return layers.GroupNormalization(groups=-1, epsilon=1e-5, gamma_initializer=scale)

    def _normal(self) -> keras.initializers.Initializer:
        return keras.initializers.RandomNormal(0.0, _STDDEV, seed=self.next_seed())
