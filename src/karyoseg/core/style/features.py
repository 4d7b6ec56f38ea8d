"""The look of an image in 248 classical numbers: intensities and textures of six colour channels.

The choice of features is that of nucleAIzer [1]_. Its slips are mended: the centre of mass is divided by the mass, and
a channel without contrast has no texture, rather than that of its rounding errors.

References
----------
.. [1] Hollandi et al., "nucleAIzer: a parameter-free deep learning framework for nucleus segmentation using image style
   transfer", Cell Systems 10 (2020), https://doi.org/10.1016/j.cels.2020.04.003
.. [2] Haralick et al., "Textural features for image classification", IEEE Transactions on Systems, Man, and Cybernetics
   3 (1973), https://doi.org/10.1109/TSMC.1973.4309314
"""

from __future__ import annotations

import numpy as np
from skimage.color import rgb2lab
from skimage.feature import graycomatrix

from karyoseg.core.conversions import as_rgb8

CHANNELS = ("red", "green", "blue", "lightness", "green_red", "blue_yellow")
SCALES = (3, 5)
_INTENSITY = (
    *(f"{part}{name}" for part in ("", "frame_") for name in ("sum", "mean", "std", "min", "max")),
    "mass_displacement",
)
HARALICK = (
    "energy",
    "contrast",
    "correlation",
    "variance",
    "inverse_difference_moment",
    "sum_average",
    "sum_variance",
    "sum_entropy",
    "entropy",
    "difference_variance",
    "difference_entropy",
    "information_1",
    "information_2",
)
_TEXTURE = tuple(f"{name}_{scale}" for scale in SCALES for name in (*HARALICK, "gabor_0", "gabor_90"))

#: Names of the features, in the order of :func:`style_features`.
FEATURES = ("width", "height", *(f"{channel}_{name}" for channel in CHANNELS for name in (*_INTENSITY, *_TEXTURE)))

#: Those of them that do not depend on how large an image is, nor on what is at its border or centre.
LOCAL_FEATURES = tuple(
    f"{channel}_{name}"
    for channel in CHANNELS
    for name in ("mean", "std", "min", "max", *(f"{name}_{scale}" for scale in SCALES for name in HARALICK))
)

_RGB = 3
_LEVELS = 8
_LONGEST = 1024  # side of what is described [px]
# Spans that nobody sees, half an 8-bit gray level or half a unit of CIELAB: what varies less is taken for constant.
_LEAST_SPAN = np.array([0.5 / 255] * _RGB + [0.5] * _RGB)


def style_features(image: np.ndarray) -> np.ndarray:
    """Describe how an image looks, not what is in it.

    Parameters
    ----------
    image : (Y, X) or (Y, X, C) ndarray
        Image of any real dtype; what is not of 8 bit is stretched, see :func:`karyoseg.core.conversions.as_rgb8`. NaN
        and infinity count as 0.

    Returns
    -------
    (248,) float64 ndarray
        Width and height [px], then for red, green and blue (0 to 1) and the three channels of CIELAB:

        - sum, mean, standard deviation, minimum and maximum, the same of the outermost pixels, and the distance from
          the centre of mass to the centre of the image [px];
        - at a distance of 3 px and of 5 px: the 13 texture features of Haralick [2]_ and the response to two Gabor
          filters.

        Named by :data:`FEATURES`; all are finite.
    """
    rgb = as_rgb8(np.where(np.isfinite(image), image, 0)) / 255
    channels = np.ascontiguousarray(np.moveaxis(np.concatenate([rgb, rgb2lab(rgb)], axis=-1), -1, 0))
    columns = [_intensity(channels), *(_texture(channels, scale) for scale in SCALES)]
    height, width = rgb.shape[:2]
    return np.concatenate([[width, height], np.concatenate(columns, axis=1).ravel()])


def part_features(image: np.ndarray) -> np.ndarray:
    """Describe an image and its four quarters.

    How much the quarters differ tells how much features vary although the style is the same.

    Parameters
    ----------
    image : (Y, X) or (Y, X, C) ndarray
        Image of any real dtype. Of larger images and quarters only the middle is described, 1024 px long and wide: it
        shows the style as well, in bounded memory.

    Returns
    -------
    (5, 248) float64 ndarray
        Features of the image, then of its quarters: top left, top right, bottom left, bottom right.
    """
    halves = [(slice(0, max(1, size // 2)), slice(size // 2, size)) for size in image.shape[:2]]
    parts = [image, *(image[rows, columns] for rows in halves[0] for columns in halves[1])]
    return np.stack([style_features(_middle(part)) for part in parts])


def _middle(image: np.ndarray) -> np.ndarray:
    start = [max(0, (size - _LONGEST) // 2) for size in image.shape[:2]]
    return image[start[0] : start[0] + _LONGEST, start[1] : start[1] + _LONGEST]


def haralick_features(counts: np.ndarray) -> np.ndarray:
    """Compute the texture features of Haralick [2]_ from how often gray levels are neighbours.

    Parameters
    ----------
    counts : (levels, levels, n) ndarray
        Co-occurrence matrices, not necessarily symmetric.

    Returns
    -------
    (n, 13) float64 ndarray
        Named by :data:`HARALICK`, entropies in nats. Where they are not defined, the correlation is 1 and the measures
        of information are 0, as for a constant image; an image too narrow to have neighbours has only zeros.
    """
    total = counts.sum(axis=(0, 1))
    p = np.moveaxis(counts / np.maximum(total, 1), -1, 0)
    i, j = np.indices(p.shape[1:])
    rows, columns = p.sum(axis=2), p.sum(axis=1)
    levels = np.arange(p.shape[1])
    mean_i, mean_j = rows @ levels, columns @ levels
    var_i, var_j = rows @ levels**2 - mean_i**2, columns @ levels**2 - mean_j**2
    spread = np.sqrt(np.maximum(var_i * var_j, 0))
    covariance = (p * i * j).sum(axis=(1, 2)) - mean_i * mean_j
    varies = spread > np.finfo(float).eps
    correlation = np.where(varies, covariance / np.where(varies, spread, 1), 1.0)
    # How often each sum and each difference of two levels occurs.
    sums, differences = (
        np.stack([p[:, kind == value].sum(axis=1) for value in range(kind.max() + 1)], axis=1)
        for kind in (i + j, np.abs(i - j))
    )
    sum_average, sum_variance = _mean_and_variance(sums)
    _, difference_variance = _mean_and_variance(differences)
    entropy = _entropy(p)
    of_rows, of_columns = _entropy(rows), _entropy(columns)
    independent = rows[:, :, None] * columns[:, None, :]
    crossed = -np.sum(p * np.log(np.where(independent > 0, independent, 1)), axis=(1, 2))
    largest = np.maximum(of_rows, of_columns)
    features = np.stack(
        [
            (p**2).sum(axis=(1, 2)),
            (p * (i - j) ** 2).sum(axis=(1, 2)),
            correlation,
            var_i,
            (p / (1 + (i - j) ** 2)).sum(axis=(1, 2)),
            sum_average,
            sum_variance,
            _entropy(sums),
            entropy,
            difference_variance,
            _entropy(differences),
            np.where(largest > 0, (entropy - crossed) / np.where(largest > 0, largest, 1), 0.0),
            np.sqrt(np.clip(1 - np.exp(-2 * (_entropy(independent) - entropy)), 0, None)),
        ],
        axis=1,
    )
    return np.where(total[:, None] > 0, features, 0.0)


def _intensity(channels: np.ndarray) -> np.ndarray:
    """(n, 11) intensity features of (n, Y, X) channels."""
    flat = channels.reshape(len(channels), -1)
    frame = np.ones(channels.shape[1:], bool)
    frame[1:-1, 1:-1] = False
    statistics = [
        measure(values, axis=1)
        for values in (flat, channels[:, frame])
        for measure in (np.sum, np.mean, np.std, np.min, np.max)
    ]
    # Colours of CIELAB can be negative, which mass cannot be.
    mass = channels - np.minimum(flat.min(axis=1), 0)[:, None, None]
    total = mass.sum(axis=(1, 2))
    shifts = []
    for axis, other in ((1, 2), (2, 1)):
        offset = np.arange(channels.shape[axis]) - (channels.shape[axis] - 1) / 2
        shifts.append(mass.sum(axis=other) @ offset / np.where(total > 0, total, 1))
    return np.stack([*statistics, np.hypot(*shifts)], axis=1)


def _texture(channels: np.ndarray, scale: int) -> np.ndarray:
    """(n, 15) texture features of (n, Y, X) channels at a distance [px]."""
    low = channels.min(axis=(1, 2), keepdims=True)
    span = channels.max(axis=(1, 2), keepdims=True) - low
    flat = span < _LEAST_SPAN[:, None, None]
    scaled = np.where(flat, 0, (channels - low) / np.where(flat, 1, span))
    levels = np.minimum(scaled * _LEVELS, _LEVELS - 1).astype(np.uint8)
    # Not both directions: the matrix is not made symmetric.
    counts = [graycomatrix(channel, [scale], [0.0], levels=_LEVELS)[..., 0, 0] for channel in levels]
    visible = np.where(flat, low, channels)
    gabor = [gabor_responses(channel, scale) for channel in visible]
    return np.concatenate([haralick_features(np.stack(counts, axis=-1)), gabor], axis=1)


def gabor_responses(channel: np.ndarray, scale: int) -> tuple[float, float]:
    """Filter a whole image by two Gabor filters as large as the image.

    Parameters
    ----------
    channel : (Y, X) ndarray
        One channel; what the filters reach beyond it is black.
    scale : int
        Half a wavelength [px].

    Returns
    -------
    float, float
        Size of the response at the centre to waves along x and along y. A filter of mean 0 sees no constant image, but
        for what it reaches beyond the border.
    """
    height, width = channel.shape
    sigma = np.sqrt(height * width / np.pi) / 3
    reach = round(2.5 * sigma)
    offset = np.arange(-reach, reach + 1)
    bell = np.exp(-(offset**2) / (2 * sigma**2))
    wave = bell * np.exp(1j * np.pi * offset / scale)
    # The filter is a product of a function of y and one of x: no need to write it down in two dimensions.
    inside = [slice(max(0, reach - size // 2), reach - size // 2 + size) for size in (height, width)]
    start = [max(0, size // 2 - reach) for size in (height, width)]
    patch = channel[start[0] : start[0] + 2 * reach + 1, start[1] : start[1] + 2 * reach + 1]
    rows, columns = inside
    amplitude = 1000 / (2 * np.pi * sigma**2)
    mean = bell.sum() * wave.sum() / offset.size**2
    along_x = bell[rows] @ patch @ wave[columns] - mean * patch.sum()
    along_y = wave[rows] @ patch @ bell[columns] - mean * patch.sum()
    return float(amplitude * abs(along_x)), float(amplitude * abs(along_y))


def _mean_and_variance(p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Moments of (n, values) distributions over 0, 1, 2 ..."""
    values = np.arange(p.shape[1])
    mean = p @ values
    return mean, np.maximum(p @ values**2 - mean**2, 0)


def _entropy(p: np.ndarray) -> np.ndarray:
    """Entropy [nat] of n distributions of any shape."""
    terms = p * np.log(np.where(p > 0, p, 1))
    return -terms.reshape(len(p), -1).sum(axis=1)
