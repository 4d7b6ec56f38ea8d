"""Preparing parts of an image that does not fit in memory as :class:`~karyoseg.core.preparation.Preparation` would
prepare the whole."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
from scipy import ndimage as ndi

from karyoseg.core.blocks.grid import Window
from karyoseg.core.flaws import hot_limits, remove_hot_pixels
from karyoseg.core.normalise import intensity_range
from karyoseg.core.preparation import Preparation, inspect
from karyoseg.core.size import resize_image

#: Gives the pixels of a window of an image, (Y, X) or (Y, X, C).
Read = Callable[[Window], np.ndarray]


@dataclass(frozen=True)
class WindowPreparation:
    """A recipe with everything decided that depends on the whole image.

    Parameters
    ----------
    recipe : Preparation
        How images are prepared; its channels are those of what is read.
    shape, prepared : tuple of int
        Size of the image and of the prepared image (Y, X) [px].
    limits : sequence of float
        Of hot pixels, see :func:`karyoseg.core.flaws.hot_limits`.
    blur : float
        Against noise [px].
    inner : tuple of slice
        The prepared image without empty margins (Y, X) [px].
    low, span : ndarray
        What is subtracted from the intensities, and by what they are divided.
    """

    recipe: Preparation
    shape: tuple[int, int]
    prepared: tuple[int, int]
    limits: Sequence[float]
    blur: float
    inner: Window
    low: np.ndarray
    span: np.ndarray

    @classmethod
    def decide(cls, sample: np.ndarray, shape: tuple[int, int], recipe: Preparation, scale: float) -> WindowPreparation:
        """Decide from a sample of an image.

        Parameters
        ----------
        sample : (Y, X) or (Y, X, C) ndarray
            Parts of the image, one below the other; or all of it: then windows are what `recipe` itself would make.
        shape : tuple of int
            Size of the image (Y, X) [px].
        recipe : Preparation
            How images are prepared.
        scale : float
            Prepared pixels per pixel of the image.

        Returns
        -------
        WindowPreparation
            For windows of the image.
        """
        recipe = replace(recipe, channels=None)
        selected = recipe.select(sample)
        limits = hot_limits(selected)
        selected = remove_hot_pixels(selected, limits)
        found = inspect(selected, scale)
        resized = selected if scale == 1 and not found.blur else resize_image(selected, scale, found.blur)
        low, span = intensity_range(resized[found.inner], recipe.pmin, recipe.pmax, joint=recipe.joint)
        prepared = max(1, round(shape[0] * scale)), max(1, round(shape[1] * scale))
        inner = found.inner if sample.shape[:2] == shape else (slice(0, prepared[0]), slice(0, prepared[1]))
        span = np.maximum(span, np.float32(found.least_span))
        return cls(recipe, shape, prepared, limits, found.blur, inner, low, span)

    def apply(self, read: Read, window: Window) -> np.ndarray:
        """Prepare a window.

        Parameters
        ----------
        read : callable
            Reads the image.
        window : tuple of slice
            Part of the prepared image (Y, X) [px].

        Returns
        -------
        (Y, X) or (Y, X, C) float32 ndarray
            The part.
        """
        resized = self._resized(read, window)
        out = np.zeros_like(resized)
        inner = tuple(
            slice(max(part.start, side.start) - side.start, max(min(part.stop, side.stop) - side.start, 0))
            for part, side in zip(self.inner, window, strict=True)
        )
        values = resized[inner]
        values -= self.low
        values /= self.span
        out[inner] = values
        return out

    def _resized(self, read: Read, window: Window) -> np.ndarray:
        """What :func:`karyoseg.core.size.resize_image` would give there."""
        steps = np.divide(self.shape, self.prepared)
        shrunken = np.maximum(0, (steps - 1) / 2)
        sigma = np.full(2, self.blur) if self.blur > shrunken.max() else shrunken
        starts = [(side.start + 0.5) * step - 0.5 for side, step in zip(window, steps, strict=True)]
        stops = [(side.stop - 0.5) * step - 0.5 for side, step in zip(window, steps, strict=True)]
        source = [
            # SciPy's Gaussian ends at four standard deviations; hot pixels are told by their neighbours.
            slice(max(0, math.floor(start) - around), min(length, math.ceil(stop) + around + 1))
            for start, stop, around, length in zip(
                starts, stops, (math.ceil(4 * width) + 2 for width in sigma), self.shape, strict=True
            )
        ]
        raw = remove_hot_pixels(self.recipe.select(read(cast(Window, tuple(source)))), self.limits)
        planes = raw.astype(np.float32).reshape(*raw.shape[:2], -1)
        size = tuple(side.stop - side.start for side in window)
        shift = [start - side.start for start, side in zip(starts, source, strict=True)]
        out = np.empty((*size, planes.shape[-1]), np.float32)
        for c in range(planes.shape[-1]):
            plane = ndi.gaussian_filter(planes[..., c], sigma, mode="mirror") if sigma.any() else planes[..., c]
            if (steps == 1).all():
                out[..., c] = plane[tuple(slice(int(a), int(a) + n) for a, n in zip(shift, size, strict=True))]
            else:
                ndi.affine_transform(plane, steps, shift, size, out[..., c], order=1, mode="mirror")
        return out[..., 0] if raw.ndim == 2 else out  # noqa: PLR2004
