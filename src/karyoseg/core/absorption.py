"""Images in which nuclei absorb light, dark on a bright background: stained tissue, smears, bright field.

Models of fluorescence know bright nuclei on a dark background. The optical density shows them such an image as what
they know: it is the amount of stain, 0 where all light passes.
"""

from __future__ import annotations

import numpy as np

#: From this median brightness on, the background may be bright. Of 574 real images, those of fluorescence had up to
#: 0.19, tissue and brightfield from 0.48. Drawn images of one large nucleus reach 0.5, too: brightness alone cannot
#: decide.
_BRIGHT = 0.45

#: What absorbs takes away at least this share of the light. All of 97 images of tissue and brightfield have 0.43; noise
#: on a camera's offset has less.
_LEAST_ABSORPTION = 0.3
#: And light that nothing absorbs is bright, where the grey values tell: in these images 0.41 of the range of 8 bit.
_LEAST_LIGHT = 0.3 * 255

_PERCENTILES = (0.1, 99.9)
_STEPS = 255  # grey values that are told apart
_LOOKED_AT = 256  # px a side


def background_brightness(gray: np.ndarray) -> float:
    """Tell how bright most of an image is within its own range.

    Parameters
    ----------
    gray : (Y, X) ndarray
        Image of any real dtype; of larger ones only every so many-th pixel is looked at.

    Returns
    -------
    float
        Median, where the 0.1 and 99.9 percentiles are 0 and 1; 0 for a constant image.

    Examples
    --------
    >>> image = np.zeros((20, 20), np.uint8)
    >>> image[:5] = 200
    >>> background_brightness(image), background_brightness(255 - image)
    (0.0, 1.0)
    """
    some = _some(gray)
    low, high = np.percentile(some, _PERCENTILES)
    if low == high:  # nearly empty
        low, high = some.min(), some.max()
    return float(np.clip((np.median(some) - low) / (high - low), 0, 1)) if high > low else 0.0


def may_absorb(gray: np.ndarray) -> bool:
    """Tell whether the background of an image may be bright; a large nucleus that fills it looks alike.

    Parameters
    ----------
    gray : (Y, X) ndarray
        Image of any real dtype; grey values are amounts of light.
    """
    if background_brightness(gray) <= _BRIGHT:
        return False
    low, middle, high = np.percentile(_some(gray), (_PERCENTILES[0], 50, _PERCENTILES[1]))
    lit = gray.dtype != np.uint8 or middle >= _LEAST_LIGHT
    return bool(lit and 0 <= low <= (1 - _LEAST_ABSORPTION) * high)


def white_level(image: np.ndarray, gray: np.ndarray) -> float:
    """Find the grey value of light that nothing absorbs.

    Parameters
    ----------
    image : (Y, X) or (Y, X, C) ndarray
        Image of any real dtype.
    gray : (Y, X) ndarray
        What is made of it.

    Returns
    -------
    float
        255 for images of 8 bit, else the 99.9 percentile; above 0.
    """
    if image.dtype == np.uint8:
        return 255.0
    level = float(np.percentile(_some(gray), _PERCENTILES[1]))
    return level if level > 0 else 1.0


def is_dark(image: np.ndarray, labels: np.ndarray) -> bool:
    """Tell whether annotated nuclei are darker than what is around them.

    Parameters
    ----------
    image : (Y, X) or (Y, X, C) ndarray
        Image of any real dtype; channels are averaged.
    labels : (Y, X) integer ndarray
        Its label image; negative: not annotated.

    Returns
    -------
    bool
        False also if there is nothing to compare.

    Examples
    --------
    >>> is_dark(np.array([[200, 50]]), np.array([[0, 1]]))
    True
    """
    inside, outside = labels > 0, labels == 0
    gray = image if image.ndim == 2 else image.mean(axis=-1)  # noqa: PLR2004
    return bool(inside.any() and outside.any() and np.median(gray[inside]) < np.median(gray[outside]))


def _some(gray: np.ndarray) -> np.ndarray:
    """Every so many-th pixel of large images."""
    step = -(-max(gray.shape) // _LOOKED_AT)
    return gray[::step, ::step].astype(np.float32)


def optical_density(gray: np.ndarray, white: float) -> np.ndarray:
    """Return how much light is absorbed.

    Parameters
    ----------
    gray : (Y, X) ndarray
        Image of any real dtype.
    white : float
        Grey value of light that nothing absorbs; what is brighter counts as that.

    Returns
    -------
    (Y, X) float32 ndarray
        Natural logarithm of white over gray, from 0 to 5.5.

    Examples
    --------
    >>> optical_density(np.array([[255, 127, 0]], np.uint8), 255).round(2).tolist()
    [[0.0, 0.69, 5.55]]
    """
    share = np.clip(gray.astype(np.float32) / np.float32(white), 0, 1)
    density: np.ndarray = -np.log((share * _STEPS + 1) / (_STEPS + 1))
    return density
