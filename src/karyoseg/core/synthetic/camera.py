"""Everything that is not a nucleus: background, debris, optics, noise and digitisation."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage as ndi

from karyoseg.core.synthetic.scene import NucleiScene

Float = npt.NDArray[np.float32]
_BYTE = 8


def surroundings(scene: NucleiScene, rng: np.random.Generator) -> Float:
    """Draw light without a label: debris and nuclei far out of focus.

    Parameters
    ----------
    scene : NucleiScene
        Number and size of the objects.
    rng : numpy.random.Generator
        Source of randomness.

    Returns
    -------
    (Y, X) float32 array
        Their light, relative to a typical nucleus.
    """
    light = np.zeros(scene.shape, np.float32)
    for _ in range(scene.ghosts):
        sigma = scene.diameter * rng.uniform(0.3, 0.6)
        _add_blob(light, rng.uniform(0, scene.shape), sigma, rng.uniform(0.05, 0.25), rng)
    for _ in range(scene.debris):
        centre = rng.uniform(0, scene.shape)
        grain = max(0.5, scene.diameter * rng.uniform(0.015, 0.04))
        brightness = rng.uniform(0.1, 0.7)
        for _ in range(rng.integers(1, 5)):
            where = centre + rng.normal(0, 2.5 * grain, 2)
            _add_blob(light, where, grain * rng.uniform(0.7, 1.3), brightness * rng.uniform(0.3, 1), rng)
    return light


def expose(light: Float, scene: NucleiScene, rng: np.random.Generator) -> npt.NDArray[np.uint8 | np.uint16]:
    """Take a camera image of a light distribution.

    Parameters
    ----------
    light : (Y, X) float32 array
        Light of all objects, relative to a typical nucleus.
    scene : NucleiScene
        Optics, background and camera.
    rng : numpy.random.Generator
        Source of randomness.

    Returns
    -------
    (Y, X) uint8 or uint16 array
        Grey values.
    """
    light = ndi.gaussian_filter(light, scene.psf_sigma) if scene.psf_sigma else light
    if scene.haze:
        near, far = _box_blur(light, 0.35 * scene.diameter), _box_blur(light, 1.5 * scene.diameter)
        light = ((light + scene.haze * (0.5 * near + far)) / (1 + 0.5 * scene.haze)).astype(np.float32)
    background = scene.background * np.maximum(1 + scene.gradient * _smooth_field(scene.shape, rng), 0)
    shade = (_smooth_field(scene.shape, rng) + 1) / 2
    electrons = scene.photons * (light + background) * (1 - scene.vignette * shade)
    # The running sums of a box filter can end a rounding error below zero.
    counts = rng.poisson(np.maximum(electrons, 0)) + rng.normal(0, scene.read_noise, scene.shape)
    full_scale = 2**scene.bit_depth - 1
    grey = scene.offset + counts * (scene.exposure * full_scale / scene.photons)
    dtype = np.uint8 if scene.bit_depth == _BYTE else np.uint16
    return np.clip(np.round(grey), 0, full_scale).astype(dtype)


def _add_blob(
    light: Float, centre: npt.NDArray[np.float64], sigma: float, brightness: float, rng: np.random.Generator
) -> None:
    """Add an oval Gaussian blob in place, computed on its bounding box only."""
    half = 3.5 * sigma
    first = np.clip(np.floor(centre - half), 0, light.shape).astype(int)
    last = np.clip(np.ceil(centre + half) + 1, 0, light.shape).astype(int)
    y = np.arange(first[0], last[0])[:, None] - centre[0]
    x = np.arange(first[1], last[1])[None, :] - centre[1]
    turn, stretch = rng.uniform(0, np.pi), rng.uniform(1, 1.4)
    along, across = y * np.sin(turn) + x * np.cos(turn), y * np.cos(turn) - x * np.sin(turn)
    blob = np.exp(-((along / stretch) ** 2 + (across * stretch) ** 2) / (2 * sigma**2))
    light[first[0] : last[0], first[1] : last[1]] += (brightness * blob).astype(np.float32)


def _box_blur(light: Float, sigma: float) -> Float:
    """Wide Gaussian blur, as three box filters: the cost does not grow with sigma."""
    width = max(round(2 * sigma), 1) | 1
    for _ in range(3):
        light = ndi.uniform_filter(light, width, mode="nearest")
    return light


def _smooth_field(shape: tuple[int, int], rng: np.random.Generator) -> Float:
    """Random field of a few slow waves across the image, from -1 to 1."""
    y, x = (np.linspace(0, 1, n, dtype=np.float32) for n in shape)
    field = np.zeros(shape, np.float32)
    for _ in range(4):
        fy, fx = rng.uniform(-0.7, 0.7, 2)
        phase = rng.uniform(0, 2 * np.pi)
        field += np.cos(2 * np.pi * (fy * y[:, None] + fx * x[None, :]) + phase).astype(np.float32)
    span = float(np.ptp(field))
    return (2 * (field - field.min()) / span - 1) if span else np.zeros(shape, np.float32)
