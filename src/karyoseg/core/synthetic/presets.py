"""Typical scenes and how they vary from image to image."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from karyoseg.core.synthetic.scene import NucleiScene

CAMERA_PIXEL_UM = 6.45  # a common interline CCD; the pixel in the specimen is this over the magnification
_BYTE = 8

# Standard deviation of the logarithm of each value from one image to the next.
_VARIATION = {
    "clustering": 0.3,
    "brightness_spread": 0.25,
    "chromatin": 0.3,
    "nucleoli": 0.5,
    "chromocentres": 1.0,
    "haze": 0.5,
    "background": 0.6,
    "gradient": 0.4,
    "vignette": 0.4,
    "photons": 0.6,
    "exposure": 0.45,
    "mitotic": 0.5,
    "apoptotic": 0.5,
}


@dataclass(frozen=True)
class SceneKind:
    """A kind of specimen on a microscope.

    Parameters
    ----------
    preparation : str
        What a laboratory would call it.
    magnifications : tuple of int
        Objectives in use.
    nucleus_um : float
        Median nucleus diameter [um].
    coverage : float
        Typical part of the field covered by nuclei.
    psf_um : float
        Blur by optics and focus error (sigma) [um].
    defocus_um : float
        Scale of the extra blur of each nucleus (sigma) [um].
    scene : NucleiScene
        Everything else.
    """

    preparation: str
    magnifications: tuple[int, ...]
    nucleus_um: float
    coverage: float
    psf_um: float
    defocus_um: float
    scene: NucleiScene


SAMPLE_CLASSES: dict[str, SceneKind] = {
    "culture": SceneKind(
        preparation="cell culture", magnifications=(20,), nucleus_um=8.5, coverage=0.19,
        psf_um=0.32, defocus_um=0.2,
        scene=NucleiScene(
            elongation=1.35, roughness=0.045, clustering=0.22, mitotic=0.03, apoptotic=0.03,
            chromocentres=0.7, haze=0.4, background=0.05, photons=180.0, exposure=0.28,
        ),
    ),
    "tissue": SceneKind(
        preparation="tissue cryosection", magnifications=(20,), nucleus_um=7.5, coverage=0.33,
        psf_um=0.36, defocus_um=0.35,
        scene=NucleiScene(
            diameter_spread=0.2, elongation=1.45, roughness=0.05, lobed=0.15, alignment=0.4,
            clustering=0.55, overlap=0.2, mitotic=0.01, apoptotic=0.02, brightness_spread=0.35,
            chromatin=0.12, nucleoli=0.5, dome=0.7, haze=0.6, background=0.12, gradient=0.5,
            debris=6, ghosts=5, photons=80.0, exposure=0.22,
        ),
    ),
    "large": SceneKind(
        preparation="cytospin", magnifications=(40, 40, 40, 63), nucleus_um=8.0, coverage=0.32,
        psf_um=0.14, defocus_um=0.07,
        scene=NucleiScene(
            diameter_spread=0.15, elongation=1.45, roughness=0.05, lobed=0.25, clustering=0.35,
            overlap=0.1, mitotic=0.02, apoptotic=0.02, brightness_spread=0.17, chromatin=0.14,
            chromocentres=1.0, nucleoli=2.5, rim=0.15, dome=0.3, haze=0.35, background=0.06,
            photons=150.0, exposure=0.3,
        ),
    ),
    "small": SceneKind(
        preparation="cell culture overview", magnifications=(10,), nucleus_um=9.0, coverage=0.13,
        psf_um=0.5, defocus_um=0.2,
        scene=NucleiScene(
            diameter_spread=0.18, elongation=1.3, roughness=0.045, clustering=0.22, mitotic=0.02,
            apoptotic=0.03, brightness_spread=0.3, nucleoli=0.7, dome=0.5, haze=0.4, background=0.06,
            gradient=0.6, vignette=0.25, debris=8, photons=200.0, exposure=0.28,
        ),
    ),
}  # fmt: skip


def draw_scene(
    kind: str, shape: tuple[int, int], rng: np.random.Generator, bit_depth: int = 8
) -> tuple[NucleiScene, int]:
    """Draw one image's parameters around a preset.

    Parameters
    ----------
    kind : str
        Key of :data:`SAMPLE_CLASSES`.
    shape : tuple of int
        Height and width [px].
    rng : numpy.random.Generator
        Source of randomness.
    bit_depth : int
        Bits per pixel of the camera.

    Returns
    -------
    scene : NucleiScene
        What to render.
    magnification : int
        The objective; the pixel in the specimen measures ``CAMERA_PIXEL_UM / magnification`` [um].
    """
    preset = SAMPLE_CLASSES[kind]
    magnification = int(rng.choice(preset.magnifications))
    pixel = CAMERA_PIXEL_UM / magnification
    diameter = preset.nucleus_um * rng.lognormal(0, 0.08) / pixel
    area = np.pi / 4 * diameter**2
    coverage = preset.coverage * np.exp(0.35 * np.clip(rng.normal(), -2, 2))
    varied = {
        name: getattr(preset.scene, name) * float(np.exp(spread * np.clip(rng.normal(), -2, 2)))
        for name, spread in _VARIATION.items()
    }
    for name in ("clustering", "mitotic", "apoptotic", "exposure", "vignette"):
        varied[name] = min(varied[name], 0.95)
    scene = replace(
        preset.scene,
        shape=shape,
        n_nuclei=max(round(coverage * shape[0] * shape[1] / area), 3),
        diameter=float(diameter),
        elongation=1 + (preset.scene.elongation - 1) * float(rng.lognormal(0, 0.3)),
        psf_sigma=float(preset.psf_um / pixel * rng.uniform(0.8, 1.4)),
        defocus=float(preset.defocus_um / pixel * rng.uniform(0.5, 1.5)),
        debris=int(rng.poisson(preset.scene.debris)),
        ghosts=int(rng.poisson(preset.scene.ghosts)),
        bit_depth=bit_depth,
        offset=float(rng.uniform(1, 6) if bit_depth == _BYTE else rng.uniform(60, 150)),
        **varied,
    )
    return scene, magnification
