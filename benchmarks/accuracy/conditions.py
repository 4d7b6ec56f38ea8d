"""Images unlike those that models learn from: drawn scenes, and changes to given images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np

from karyoseg.core.size import resize_image, resize_labels
from karyoseg.core.synthetic import NucleiScene, render_scene

Pair = tuple[np.ndarray, np.ndarray]
Change = Callable[[np.ndarray, np.ndarray, np.random.Generator], Pair]

SIZES = (8, 12, 20, 40, 80, 120, 180)  # px
_ORDINARY = NucleiScene(bit_depth=16, offset=300.0, exposure=0.1, photons=200.0, debris=3)


def _scene(diameter: float = 28, coverage: float = 0.25, side: int | None = None, **values: float) -> NucleiScene:
    """Nuclei of one size whose blur and number follow from it."""
    side = side or int(np.clip(7 * diameter, 192, 1000))
    return replace(
        _ORDINARY,
        shape=(side, side),
        diameter=diameter,
        n_nuclei=max(2, round(coverage * side**2 / (np.pi / 4 * diameter**2))),
        psf_sigma=0.4 + 0.02 * diameter,
        defocus=0.02 * diameter,
        **values,
    )


#: Drawn scenes by condition.
SCENES: dict[str, NucleiScene] = {
    "ordinary": _scene(side=320),
    **{f"{size} px": _scene(size) for size in SIZES},
    "63x textured": _scene(140, 0.4, chromatin=0.25, nucleoli=5, chromocentres=8, rim=0.3),
    "low contrast": _scene(side=320, exposure=0.002, offset=900.0, background=0.5, photons=60.0),
    "dim": _scene(side=320, photons=12.0, read_noise=4.0, exposure=0.002),
    "saturated": _scene(side=320, exposure=1.6),
    "very unequal": _scene(side=320, brightness_spread=0.9),
    "dense": _scene(side=320, coverage=0.75, clustering=0.9, overlap=0.25, diameter_spread=0.25),
    "clusters": _scene(side=400, coverage=0.2, clustering=0.97, overlap=0.25),
    "uneven": _scene(side=400, background=0.6, gradient=0.9, vignette=0.7),
    "haze": _scene(side=320, haze=2.5, ghosts=12, background=0.3),
    "mitotic": _scene(side=320, mitotic=0.3, apoptotic=0.1),
    "debris": _scene(side=320, debris=60, apoptotic=0.1),
    "sparse": _scene(side=512, coverage=0.02),
    "one nucleus": _scene(side=400, coverage=0.0001),
    "empty, 16 bit": _scene(side=320, background=0.05, debris=0, photons=40.0),
    "empty, debris": _scene(side=320, background=0.05, debris=6, photons=100.0),
    "empty, uneven": _scene(side=320, background=1.0, gradient=0.9, vignette=0.5, debris=0),
}


def draw(name: str, rng: np.random.Generator) -> Pair:
    """Draw one image of a condition with its labels."""
    scene = SCENES[name]
    if name == "one nucleus":
        scene = replace(scene, n_nuclei=1)
    if name.startswith("empty"):
        scene = replace(scene, n_nuclei=0)
    return render_scene(scene, rng)


def _as_float(image: np.ndarray) -> np.ndarray:
    """Gray values from 0 (darkest) to 1 (brightest)."""
    gray = image.astype(np.float32)
    gray = gray.mean(axis=-1) if gray.ndim == 3 else gray
    return (gray - gray.min()) / max(float(np.ptp(gray)), 1e-6)


def _camera(offset: float, span: float, noise: float, gamma: float = 1.0) -> Change:
    """Digitise anew with 16 bits: `span` grey values above `offset`, with read noise."""

    def change(image: np.ndarray, labels: np.ndarray, rng: np.random.Generator) -> Pair:
        grey = offset + span * _as_float(image) ** gamma + rng.normal(0, noise, labels.shape)
        return np.clip(np.round(grey), 0, 65535).astype(np.uint16), labels

    return change


def _resize(factor: float) -> Change:
    def change(image: np.ndarray, labels: np.ndarray, rng: np.random.Generator) -> Pair:
        resized = resize_image(image, factor)
        return resized.round().astype(image.dtype), resize_labels(labels, resized.shape[:2])

    return change


def _gradient(image: np.ndarray, labels: np.ndarray, rng: np.random.Generator) -> Pair:
    """Background that rises across the field to the brightness of the nuclei, under uneven illumination."""
    y, x = (np.linspace(-1, 1, n, dtype=np.float32) for n in labels.shape)
    angle = rng.uniform(0, 2 * np.pi)
    slope = (np.sin(angle) * y[:, None] + np.cos(angle) * x[None, :] + 1.42) / 2.84
    gray = _as_float(image)
    level = np.percentile(gray[labels > 0], 50) if labels.any() else 0.5
    return ((gray * (1 - 0.6 * slope) + level * slope) * 20_000).astype(np.uint16), labels


def _saturate(image: np.ndarray, labels: np.ndarray, rng: np.random.Generator) -> Pair:
    gray = _as_float(image)
    top = np.percentile(gray[labels > 0], 30) if labels.any() else 1
    return (255 * np.minimum(gray / max(top, 1e-6), 1)).astype(np.uint8), labels


def _hot(image: np.ndarray, labels: np.ndarray, rng: np.random.Generator) -> Pair:
    grey = (100 + 3000 * _as_float(image)).astype(np.uint16)
    grey[rng.random(labels.shape) < 0.003] = 65535
    return grey, labels


def _pad(image: np.ndarray, labels: np.ndarray, rng: np.random.Generator) -> Pair:
    """Zeros around: a mosaic with missing tiles."""
    margins = [(n // 2, n // 2) for n in labels.shape]
    return np.pad(image, [*margins, *[(0, 0)] * (image.ndim - 2)]), np.pad(labels, margins)


def _one(image: np.ndarray, labels: np.ndarray, rng: np.random.Generator) -> Pair:
    """Crop around one nucleus."""
    areas = np.bincount(labels.ravel())
    areas[0] = 0
    if not areas.any():
        return image, labels
    ids = np.flatnonzero(areas >= np.median(areas[areas > 0]))
    rows, columns = np.nonzero(labels == rng.choice(ids))
    half = 1.3 * np.sqrt(rows.size)
    box = tuple(
        slice(max(0, int(v.mean() - half)), min(n, int(v.mean() + half)))
        for v, n in zip((rows, columns), labels.shape, strict=True)
    )
    return image[box], labels[box]


def _blur(image: np.ndarray, labels: np.ndarray, rng: np.random.Generator) -> Pair:
    areas = np.bincount(labels.ravel())[1:]
    diameter = np.sqrt(np.median(areas[areas > 0])) if areas.any() else 20
    return cv2.GaussianBlur(image, (0, 0), 0.12 * diameter), labels


#: Changes of given images by condition.
CHANGES: dict[str, Change] = {
    "as it is": lambda image, labels, rng: (image, labels),
    **{f"x{factor:g}": _resize(factor) for factor in (0.25, 0.5, 2.0, 4.0)},
    "16 bit, offset 100": _camera(100, 4000, 10),
    "16 bit, low contrast": _camera(2000, 150, 8),
    "dim, noisy": _camera(100, 60, 10),
    "gamma 0.5": _camera(100, 4000, 10, 0.5),
    "gamma 2": _camera(100, 4000, 10, 2.0),
    "gradient": _gradient,
    "saturated": _saturate,
    "hot pixels": _hot,
    "out of focus": _blur,
    "one nucleus": _one,
    "padded": _pad,
}
