"""From a raw image to what a network sees: channels, rescaling, normalisation.

The recipe travels with the model, so that prediction prepares a user's image exactly as training did.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np

from karyoseg.core.absorption import optical_density
from karyoseg.core.flaws import (
    blur_against_noise,
    content,
    least_span,
    noise_level,
    remove_hot_pixels,
    sampled_range,
    signal_range,
)
from karyoseg.core.io.image_files import ImageError
from karyoseg.core.normalise import Colour, normalise, select_channels
from karyoseg.core.size import estimate_diameter, resize_image

Contrast = Literal["auto", "bright", "dark"]

#: Raised when the same recipe gives an image other pixels or another scale.
VERSION = 4
#: Rescaling outside this range is almost surely a wrong pixel size or a failed size estimate.
SCALE_RANGE = (0.05, 10.0)
#: A size estimate may be wrong: it never rescales beyond this.
ESTIMATE_RANGE = (0.1, 4.0)

_LARGEST_BLUR = 2.0  # against noise [px of the prepared image]


@dataclass(frozen=True)
class ImageFacts:
    """What is known about an image besides its pixels; None = unknown.

    Parameters
    ----------
    where : str
        File or id, named in errors.
    magnification : float, optional
        Objective magnification [x].
    pixel_size_um : float, optional
        Pixel size [um].
    diameter : float, optional
        Typical nucleus diameter [px].
    contrast : {"auto", "bright", "dark"}
        Whether nuclei are brighter or darker than their surroundings; `auto` if it is not known.
    """

    where: str = "image"
    magnification: float | None = None
    pixel_size_um: float | None = None
    diameter: float | None = None
    contrast: Contrast = "auto"


@dataclass(frozen=True)
class Preparation:
    """Recipe that turns raw images into network input.

    Parameters
    ----------
    channels : tuple of int, optional
        Channels to keep; None = all.
    colour : {"gray", "keep"}
        What becomes of several channels, see :func:`karyoseg.core.normalise.select_channels`.
    pmin, pmax : float
        Percentiles mapped to 0 and 1 [%].
    joint : bool
        One intensity range for all channels.
    rescale : mapping
        ``{"name": "none"}``, or ``magnification`` [x], ``pixel_size`` [um] or ``diameter`` [px] with a ``target``.
    white : float, optional
        Nuclei are dark on a bright background, and this is the grey value of full light: the optical density is taken
        in place of the intensity. None: nuclei are bright.
    """

    channels: tuple[int, ...] | None = None
    colour: Colour = "gray"
    pmin: float = 1.0
    pmax: float = 99.8
    joint: bool = False
    rescale: Mapping[str, Any] = field(default_factory=lambda: {"name": "none"})
    white: float | None = None

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Preparation:
        """Build the recipe from its stored form; unknown keys are ignored."""
        known = {key: values[key] for key in cls.__dataclass_fields__ if key in values}
        if known.get("channels") is not None:
            known["channels"] = tuple(known["channels"])
        return cls(**known)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON-able form."""
        return asdict(self)

    def scale_for(self, facts: ImageFacts) -> float:
        """Return the scale that brings an image to the target of the recipe.

        Parameters
        ----------
        facts : ImageFacts
            What is known about the image.

        Returns
        -------
        float
            Prepared pixels per raw pixel.

        Raises
        ------
        ImageError
            If the needed fact is unknown, or the scale is absurd.
        """
        name = self.rescale["name"]
        if name == "none":
            return 1.0
        target = float(self.rescale["target"])
        value = {
            "magnification": facts.magnification,
            "pixel_size": facts.pixel_size_um,
            "diameter": facts.diameter,
        }[name]
        if value is None or not math.isfinite(value) or value <= 0:
            raise ImageError(
                facts.where,
                f"{name.replace('_', ' ')} is unknown",
                f"its value, to rescale to {target:g} (rescale: {name})",
                "Supply it with the data, or choose another rescale mode.",
            )
        scale = value / target if name == "pixel_size" else target / value
        if not SCALE_RANGE[0] <= scale <= SCALE_RANGE[1]:
            raise ImageError(
                facts.where,
                f"{name.replace('_', ' ')} {value:g} and target {target:g} ask for a rescaling by {scale:.3g}",
                f"{SCALE_RANGE[0]:g} to {SCALE_RANGE[1]:g}",
                "Check the unit of both.",
            )
        return scale

    @property
    def mixes_channels(self) -> bool:
        """Whether all channels of an image become one, although nobody said which to segment."""
        return self.channels is None and self.colour == "gray" and self.white is None

    def estimated_diameter(self, image: np.ndarray) -> float:
        """Estimate the nucleus diameter of a raw image on the channels of the recipe.

        Parameters
        ----------
        image : (Y, X) or (Y, X, C) ndarray
            Raw image of any real dtype.

        Returns
        -------
        float
            See :func:`karyoseg.core.size.estimate_diameter`.
        """
        return estimate_diameter(select_channels(image, self.channels))

    def select(self, image: np.ndarray, where: str = "image") -> np.ndarray:
        """Take the channels of the recipe from a raw image, nuclei brighter than their surroundings.

        Parameters
        ----------
        image : (Y, X) or (Y, X, C) ndarray
            Raw image of any real dtype.
        where : str
            File or id, named in errors.

        Returns
        -------
        (Y, X) or (Y, X, C) ndarray
            The dtype of the input, or float32 after mixing and for optical densities.
        """
        selected = select_channels(image, self.channels, self.colour, where=where)
        return selected if self.white is None else optical_density(selected, self.white)

    def apply(self, image: np.ndarray, scale: float = 1.0, where: str = "image") -> np.ndarray:
        """Prepare one image.

        Parameters
        ----------
        image : (Y, X) or (Y, X, C) ndarray
            Raw image of any real dtype.
        scale : float
            Prepared pixels per raw pixel.
        where : str
            File or id, named in errors.

        Returns
        -------
        (Y', X') or (Y', X', C') float32 ndarray
            Selected channels, rescaled, normalised.
        """
        selected = remove_hot_pixels(self.select(image, where))
        found = inspect(selected, scale)
        resized = selected if scale == 1 and not found.blur else resize_image(selected, scale, found.blur)
        out = np.zeros(resized.shape, np.float32)
        inner = found.inner
        out[inner] = normalise(resized[inner], self.pmin, self.pmax, joint=self.joint, least_span=found.least_span)
        return out


@dataclass(frozen=True)
class Plan:
    """How one image is to be prepared.

    Parameters
    ----------
    recipe : Preparation
        With the channels to segment.
    scale : float
        Prepared pixels per raw pixel.
    estimated : bool
        Whether the scale follows an estimate of nucleus size, which what is found may correct; not one that was stated,
        nor one at which nuclei were searched already.
    """

    recipe: Preparation
    scale: float
    estimated: bool = False


@dataclass(frozen=True)
class Findings:
    """What the preparation of an image takes into account.

    Parameters
    ----------
    inner : tuple of slice
        The image without empty margins (Y, X) [px of the prepared image].
    blur : float
        Against noise, see :func:`karyoseg.core.size.resize_image` [px].
    least_span : float
        See :func:`karyoseg.core.normalise.normalise` [grey values].
    """

    inner: tuple[slice, slice]
    blur: float
    least_span: float


def inspect(image: np.ndarray, scale: float) -> Findings:
    """Look for empty margins and noise.

    Parameters
    ----------
    image : (Y, X) or (Y, X, C) ndarray
        Channels to prepare, without hot pixels.
    scale : float
        Prepared pixels per pixel.

    Returns
    -------
    Findings
        What was found.
    """
    inner = content(image)
    noise = noise_level(image[inner])
    usual = sampled_range(image[inner])
    low, high = signal_range(image[inner], usual, noise)
    blur = blur_against_noise(noise, high - low, _LARGEST_BLUR / scale)
    least = least_span(noise, max(blur, (1 / scale - 1) / 2))
    if high > usual[1]:
        least = max(least, high - low)
    y, x = (scaled(side, scale, n) for side, n in zip(inner, image.shape, strict=False))
    return Findings((y, x), blur, least)


def scaled(side: slice, scale: float, length: int) -> slice:
    """Return where a part of an image is after rescaling; at least one pixel.

    Parameters
    ----------
    side : slice
        Rows or columns [px].
    scale : float
        Pixels afterwards per pixel.
    length : int
        Of the whole image, in this direction [px].
    """
    start = min(round(side.start * scale), max(1, round(length * scale)) - 1)
    return slice(start, max(round(side.stop * scale), start + 1))


def scale_from_estimate(estimate: float, target: float) -> float:
    """Return the scale that brings an estimated diameter to a target, within `ESTIMATE_RANGE`.

    Parameters
    ----------
    estimate, target : float
        Diameters [px]; an estimate of NaN (nothing found) leaves the image as it is.

    Returns
    -------
    float
        Prepared pixels per raw pixel.

    Examples
    --------
    >>> scale_from_estimate(20, 30), scale_from_estimate(3, 30), scale_from_estimate(float("nan"), 30)
    (1.5, 4.0, 1.0)
    """
    if not math.isfinite(estimate):
        return 1.0
    return min(max(target / estimate, ESTIMATE_RANGE[0]), ESTIMATE_RANGE[1])
