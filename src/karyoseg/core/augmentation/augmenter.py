"""Random transforms of an image together with its labels, the only module that imports albumentations.

A policy is a JSON-able list of ``{"name": ..., parameters}``. An :class:`Augmenter` applies the warps in it first, all
in one, while it cuts the patch out of the image (:mod:`karyoseg.core.augmentation.warps`), then the others in their
order.
albumentations composes the transforms and offers flips and quarter turns. Its intensity transforms clip float
images to [0, 1] (and return NaN for the gamma of a negative value), which would cut off the bright tail that
percentile normalisation leaves on purpose: ours are in :mod:`karyoseg.core.augmentation.intensity` and
:mod:`karyoseg.core.augmentation.illumination`. Its ``Compose`` seeds
every transform alike, so that chances meant to be independent coincide: here all share one stream.
"""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from karyoseg.core.augmentation import illumination, intensity, warps
from karyoseg.core.augmentation.intensity import Range
from karyoseg.core.augmentation.warps import Coordinates, Warp, Window, find_sources, resample_image, resample_labels
from karyoseg.core.errors import KaryosegError

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


class _Cut(A.DualTransform):
    """Cut the wanted window out of the sample, warped."""

    def __init__(self, warps: Sequence[tuple[float, Warp]]):
        super().__init__(p=1)
        self.warps = warps

    @property
    def targets_as_params(self) -> list[str]:
        return ["window"]

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
        rng = self.random_generator
        drawn = [warp for p, warp in self.warps if rng.random() < p]
        return {"sources": find_sources(data["window"], params["shape"][:2], drawn, rng)}

    def apply(self, img: np.ndarray, sources: Coordinates, **params: Any) -> np.ndarray:
        return resample_image(img, sources)

    def apply_to_mask(self, mask: np.ndarray, sources: Coordinates, **params: Any) -> np.ndarray:
        return resample_labels(mask, sources)


class _Intensity(A.ImageOnlyTransform):
    """Apply a function of :mod:`~karyoseg.core.augmentation.intensity` or `illumination`."""

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
_WARPS: dict[str, Callable[..., tuple[float, Warp]]] = {
    "rotate": lambda degrees, p: (p, partial(warps.rotate, degrees=degrees)),
    "scale": lambda factor, p: (p, partial(warps.scale, factor=factor)),
    "elastic": lambda magnitude, spacing, p: (p, partial(warps.elastic, magnitude=magnitude, spacing=spacing)),
}
_TRANSFORMS: dict[str, Callable[..., list[Any]]] = {
    "flip": _flip,
    "rotate90": lambda p: [_RightAngle(p=p)],
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
TRANSFORM_NAMES: tuple[str, ...] = (*_WARPS, *_TRANSFORMS)


def _build(policy: Sequence[Mapping[str, Any]]) -> A.Compose:
    """Make the albumentations pipeline of a policy."""
    cut: list[tuple[float, Warp]] = []
    transforms: list[Any] = []
    for position, entry in enumerate(policy):
        settings = dict(entry)
        name = settings.pop("name", None)
        if name not in TRANSFORM_NAMES:
            raise KaryosegError(
                f"Augmentation policy, entry {position}: unknown transform {name!r}; needed: one of "
                f"{', '.join(TRANSFORM_NAMES)}. Correct the name in parameters augment.transforms."
            )
        try:
            if name in _WARPS:
                cut.append(_WARPS[name](**settings))
            else:
                transforms += _TRANSFORMS[name](**settings)
        except TypeError as error:
            raise KaryosegError(
                f"Augmentation policy, entry {position} ({name}): {error}. "
                "Run the augment pipeline again: it writes a complete policy."
            ) from error
    return A.Compose([_Cut(cut), *transforms])


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

    def __call__(
        self, image: np.ndarray, labels: np.ndarray, seed: Seed, window: Window | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Cut a patch out of a sample and change it.

        Parameters
        ----------
        image : (Y, X) or (Y, X, C) ndarray
            Normalised intensities; values outside [0, 1] are kept.
        labels : (Y, X) integer ndarray
            Instance ids; negative = not annotated.
        seed : int or sequence of int
            Equal seeds give equal results; use ``(policy seed, epoch, index of the sample)``.
        window : Window, optional
            The patch, which may reach beyond the image; all of it by default. Where warps would show what is beyond
            the border, it is moved into the image, as far as there is room.

        Returns
        -------
        image : float32 ndarray
            New array of the size of the window; beyond its border `image` is mirrored.
        labels : (Y, X) int32 ndarray
            New array, mirrored alike. Objects may be cut or split.

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
        result = compose(
            image=np.asarray(image, np.float32, order="C"),
            mask=np.asarray(labels, np.int32, order="C"),
            window=Window(0, 0, *labels.shape) if window is None else window,
        )
        return np.ascontiguousarray(result["image"]), np.ascontiguousarray(result["mask"])
