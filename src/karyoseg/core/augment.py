"""Random transforms of an image together with its labels, the only module that imports albumentations.

A policy is a JSON-able list of ``{"name": ..., parameters}``; an :class:`Augmenter` applies it in that order.
albumentations composes the transforms and offers flips and quarter turns. Its intensity transforms clip float
images to [0, 1] (and return NaN for the gamma of a negative value), which would cut off the bright tail that
percentile normalisation leaves on purpose: ours are in :mod:`karyoseg.core.intensity` and
:mod:`karyoseg.core.illumination`. Its ``Compose`` seeds
every transform alike, so that chances meant to be independent coincide: here all share one stream.
"""

from __future__ import annotations

import os
import random
import threading
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from skimage.measure import label as connected_parts

from karyoseg.core import illumination, intensity
from karyoseg.core.errors import KaryosegError
from karyoseg.core.intensity import Range, log_uniform

# albumentations asks a server for newer versions while it is imported, unless told not to.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

import albumentations as A
import cv2

Seed = int | Sequence[int]
IntensityChange = Callable[[np.ndarray, Range, np.random.Generator], np.ndarray]


class _RightAngle(A.RandomRotate90):
    """Turn by 90, 180 or 270 degrees; a patch that is not square only by 180, so that its shape stays."""

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
        height, width = params["shape"][:2]
        return {"factor": int(self.random_generator.integers(1, 4)) if height == width else 2}


class _Warp(A.DualTransform):
    """Resample image (linear) and labels (nearest) on one coordinate map.

    What lies beyond the border is mirrored in both, so that every label is true for what the image shows
    there; a constant border would teach the network an edge that no microscope makes.
    """

    @abstractmethod
    def maps(self, y: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return where pixels come from, given centred coordinates [px] of shape (Y, 1) and (1, X)."""

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
        height, width = params["shape"][:2]
        cy, cx = (height - 1) / 2, (width - 1) / 2
        y, x = self.maps(np.arange(height)[:, None] - cy, np.arange(width)[None, :] - cx)
        outside = (np.abs(y) > height / 2) | (np.abs(x) > width / 2)
        map_y, map_x = np.broadcast_arrays((y + cy).astype(np.float32), (x + cx).astype(np.float32))
        return {"map_y": map_y.copy(), "map_x": map_x.copy(), "mirrored": outside}

    def apply(self, img: np.ndarray, map_y: np.ndarray, map_x: np.ndarray, **params: Any) -> np.ndarray:
        moved = cv2.remap(img, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
        return moved.reshape(img.shape)

    def apply_to_mask(
        self, mask: np.ndarray, map_y: np.ndarray, map_x: np.ndarray, mirrored: np.ndarray, **params: Any
    ) -> np.ndarray:
        # Not every OpenCV resamples int32, but all move four bytes as they are.
        as_bytes = mask.view(np.uint8).reshape(*mask.shape, 4)
        moved = cv2.remap(as_bytes, map_x, map_y, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REFLECT_101)
        return _name_mirrored(np.ascontiguousarray(moved).view(np.int32)[..., 0], mirrored)


class _Rotate(_Warp):
    def __init__(self, degrees: Range, p: float):
        super().__init__(p=p)
        self.degrees = degrees

    def maps(self, y: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        angle = np.deg2rad(self.random_generator.uniform(*self.degrees))
        return np.cos(angle) * y + np.sin(angle) * x, np.cos(angle) * x - np.sin(angle) * y


class _Scale(_Warp):
    def __init__(self, factor: Range, p: float):
        super().__init__(p=p)
        self.factor = factor

    def maps(self, y: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        factor = log_uniform(self.random_generator, self.factor)
        return y / factor, x / factor


class _Elastic(_Warp):
    """Move the knots of a coarse grid and interpolate between them: cheaper than blurring dense noise."""

    def __init__(self, magnitude: float, spacing: float, p: float):
        super().__init__(p=p)
        self.magnitude, self.spacing = magnitude, spacing

    def maps(self, y: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        knots = [max(2, round(size / self.spacing) + 1) for size in (y.size, x.size)]
        moves = self.random_generator.uniform(-self.magnitude, self.magnitude, (*knots, 2))
        dense = cv2.resize(moves.astype(np.float32), (x.size, y.size), interpolation=cv2.INTER_CUBIC)
        return y + dense[..., 0], x + dense[..., 1]


class _Intensity(A.ImageOnlyTransform):
    """Apply a function of :mod:`karyoseg.core.intensity` or :mod:`karyoseg.core.illumination`."""

    def __init__(self, change: IntensityChange, values: Range, p: float):
        super().__init__(p=p)
        self.change, self.values = change, values

    def apply(self, img: np.ndarray, **params: Any) -> np.ndarray:
        return self.change(img, self.values, self.random_generator).astype(np.float32, copy=False)


class _ObjectBrightness(A.ImageOnlyTransform):
    """Multiply each object's light above the background by a factor of its own."""

    def __init__(self, factor: Range, p: float):
        super().__init__(p=p)
        self.factor = factor

    @property
    def targets_as_params(self) -> list[str]:
        return ["mask"]

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
        ids, inverse = np.unique(np.maximum(data["mask"], 0), return_inverse=True)
        factors = np.exp(self.random_generator.uniform(*np.log(self.factor), ids.size)).astype(np.float32)
        factors[ids == 0] = 1
        # Blurred, for a step in brightness would draw the outline.
        return {"factors": cv2.GaussianBlur(factors[inverse.reshape(data["mask"].shape)], (0, 0), 1.5)}

    def apply(self, img: np.ndarray, factors: np.ndarray, **params: Any) -> np.ndarray:
        floor = np.float32(np.percentile(img[::4, ::4], 20))
        return floor + (img - floor) * factors.reshape(factors.shape + (1,) * (img.ndim - 2))


def _flip(axes: str, p: float) -> list[Any]:
    mirrors = {"y": A.VerticalFlip, "x": A.HorizontalFlip}
    return [mirrors[axis](p=p) for axis in axes]


# One entry per name that params/augment.py allows; keyword arguments are the fields of its model.
_TRANSFORMS: dict[str, Callable[..., list[Any]]] = {
    "flip": _flip,
    "rotate90": lambda p: [_RightAngle(p=p)],
    "rotate": lambda degrees, p: [_Rotate(degrees, p)],
    "scale": lambda factor, p: [_Scale(factor, p)],
    "elastic": lambda magnitude, spacing, p: [_Elastic(magnitude, spacing, p)],
    "brightness": lambda factor, p: [_Intensity(intensity.brightness, factor, p)],
    "object_brightness": lambda factor, p: [_ObjectBrightness(factor, p)],
    "background": lambda amplitude, p: [_Intensity(illumination.background, amplitude, p)],
    "shading": lambda depth, p: [_Intensity(illumination.shading, depth, p)],
    "haze": lambda amount, p: [_Intensity(illumination.haze, amount, p)],
    "saturation": lambda level, p: [_Intensity(illumination.saturation, level, p)],
    "contrast": lambda factor, p: [_Intensity(intensity.contrast, factor, p)],
    "gamma": lambda gamma, p: [_Intensity(intensity.gamma, gamma, p)],
    "intensity_shift": lambda offset, p: [_Intensity(intensity.shift, offset, p)],
    "channel_shift": lambda offset, p: [_Intensity(intensity.channel_shift, offset, p)],
    "gaussian_blur": lambda sigma, p: [_Intensity(intensity.gaussian_blur, sigma, p)],
    "gaussian_noise": lambda sigma, p: [_Intensity(intensity.gaussian_noise, sigma, p)],
    "poisson_noise": lambda photons, p: [_Intensity(intensity.poisson_noise, photons, p)],
    "grain": lambda sigma, p: [_Intensity(illumination.grain, sigma, p)],
}

#: Names a policy may use.
TRANSFORM_NAMES: tuple[str, ...] = tuple(_TRANSFORMS)


def _build(policy: Sequence[Mapping[str, Any]]) -> A.Compose:
    """Make the albumentations pipeline of a policy."""
    transforms: list[Any] = []
    for position, entry in enumerate(policy):
        settings = dict(entry)
        name = settings.pop("name", None)
        if name not in _TRANSFORMS:
            raise KaryosegError(
                f"Augmentation policy, entry {position}: unknown transform {name!r}; needed: one of "
                f"{', '.join(TRANSFORM_NAMES)}. Correct the name in parameters augment.transforms."
            )
        try:
            transforms += _TRANSFORMS[name](**settings)
        except TypeError as error:
            raise KaryosegError(
                f"Augmentation policy, entry {position} ({name}): {error}. "
                "Run the augment pipeline again: it writes a complete policy."
            ) from error
    return A.Compose(transforms)


def _name_mirrored(labels: np.ndarray, mirrored: np.ndarray) -> np.ndarray:
    """Give objects that lie wholly in the mirrored border ids of their own.

    Otherwise an object and its mirror image would count as one object in two places. Objects cut by the
    border keep their id: they continue into their mirror image, as the image does.
    """
    if not mirrored.any():
        return labels
    parts = connected_parts(np.maximum(labels, 0), connectivity=1)
    keeps_id = np.zeros(parts.max() + 1, dtype=bool)
    keeps_id[0] = True
    keeps_id[parts[~mirrored]] = True
    copies = np.flatnonzero(~keeps_id)
    used = np.unique(labels)
    fresh = np.setdiff1d(np.arange(1, used.size + copies.size + 1), used)[: copies.size]
    renamed = np.zeros(keeps_id.size, dtype=np.int32)
    renamed[copies] = fresh
    return np.where(keeps_id[parts], labels, renamed[parts])


class Augmenter:
    """A policy ready to be applied.

    It carries no random state from call to call, may be shared by threads and sent to other processes.

    Parameters
    ----------
    policy : sequence of dict
        Transforms in order, each with its `name` and all fields of its model in ``karyoseg.params.augment``;
        empty for none.

    Raises
    ------
    KaryosegError
        If a name is unknown or parameters are missing.

    Examples
    --------
    >>> flip = Augmenter([{"name": "flip", "axes": "x", "p": 1.0}])
    >>> image, labels = flip(np.array([[0.0, 2.5]]), np.array([[0, 9]]), seed=(1, 0, 0))
    >>> image.tolist(), labels.tolist()
    ([[2.5, 0.0]], [[9, 0]])
    """

    def __init__(self, policy: Sequence[Mapping[str, Any]]):
        self.policy = [dict(entry) for entry in policy]
        self._local = threading.local()
        self._local.compose = _build(self.policy)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.policy,)

    def __call__(self, image: np.ndarray, labels: np.ndarray, seed: Seed) -> tuple[np.ndarray, np.ndarray]:
        """Transform one pair.

        Parameters
        ----------
        image : (Y, X) or (Y, X, C) ndarray
            Normalised intensities; values outside [0, 1] are kept.
        labels : (Y, X) integer ndarray
            Instance ids; negative = not annotated.
        seed : int or sequence of int
            Equal seeds give equal results; use ``(policy seed, epoch, index of the sample)``.

        Returns
        -------
        image : float32 ndarray
            New array of the shape of `image`.
        labels : (Y, X) int32 ndarray
            New array. Objects may be cut or split; one mirrored at the border gets an unused id.

        Raises
        ------
        KaryosegError
            If image and labels differ in height or width.
        """
        if image.shape[:2] != labels.shape:
            raise KaryosegError(
                f"Image {image.shape} and labels {labels.shape} differ in size; needed: the same (Y, X)."
            )
        if not hasattr(self._local, "compose"):  # another thread than the one that made this object
            self._local.compose = _build(self.policy)
        compose = self._local.compose
        sequence = np.random.SeedSequence(seed)
        # Not Compose.set_random_seed, which starts the same stream anew in each transform.
        compose.set_random_state(
            np.random.default_rng(sequence),
            random.Random(int(sequence.generate_state(1)[0])),  # noqa: S311
        )
        # Copies, so that a caller may change the result even if no transform was drawn.
        result = compose(image=np.array(image, np.float32, order="C"), mask=np.array(labels, np.int32, order="C"))
        return np.ascontiguousarray(result["image"]), np.ascontiguousarray(result["mask"])
