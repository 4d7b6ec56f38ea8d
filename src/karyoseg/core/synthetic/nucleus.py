"""One nucleus: its outline, its label mask and its light, on a patch of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import ndimage as ndi

from karyoseg.core.synthetic.scene import NucleiScene

Float = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
Kind = Literal["interphase", "mitotic", "apoptotic"]

_ANGLES = np.linspace(-np.pi, np.pi, 181)


@dataclass(frozen=True)
class Stamp:
    """A nucleus on its patch, ready to be placed.

    Parameters
    ----------
    kind : str
        interphase, mitotic or apoptotic.
    mask : (H, W) bool array
        Pixels of the nucleus.
    light : (H, W) float32 array
        Its light, reaching beyond the mask by its own blur.
    angle : float
        Direction of the long axis [rad], measured from x towards y.
    """

    kind: Kind
    mask: Mask
    light: Float
    angle: float

    def reach(self, direction: npt.NDArray[np.float64]) -> float:
        """Return how far the mask extends from the patch centre along a (y, x) unit vector [px]."""
        points = np.argwhere(self.mask) - (np.array(self.mask.shape) - 1) / 2
        return float((points @ direction).max())


def draw_nucleus(scene: NucleiScene, kind: Kind, axis: float, rng: np.random.Generator) -> Stamp:
    """Draw one nucleus.

    Parameters
    ----------
    scene : NucleiScene
        Sizes, texture and blur.
    kind : str
        interphase, mitotic or apoptotic.
    axis : float
        Preferred direction of the long axis [rad].
    rng : numpy.random.Generator
        Source of randomness.

    Returns
    -------
    Stamp
        The nucleus; its patch has odd side lengths and the nucleus in the middle.
    """
    angle = axis + (1 - scene.alignment) * rng.uniform(-np.pi / 2, np.pi / 2)
    size = float(np.exp(scene.diameter_spread * np.clip(rng.normal(), -2, 2)))
    # The amount of DNA varies less than the area it is spread over, so small nuclei are brighter.
    brightness = float(np.exp(scene.brightness_spread * np.clip(rng.normal(), -2, 2))) * size**-0.5
    blur = abs(rng.normal(0, scene.defocus)) if scene.defocus else 0.0
    diameter = scene.diameter * size
    profile: npt.NDArray[np.floating]
    if kind == "interphase":
        elongation = 1 + (scene.elongation - 1) * rng.lognormal(0, 0.5)
        rho, radius = rounded(diameter, elongation, angle, rng, roughness=scene.roughness, lobed=scene.lobed, blur=blur)
        profile = _interphase_light(rho, diameter, angle, scene, rng)
    elif kind == "mitotic":
        diameter *= rng.uniform(0.5, 0.65)
        rho, radius = rounded(diameter, rng.uniform(1.6, 2.6), angle, rng, roughness=0.08, blur=blur, squareness=2.6)
        # Chromosome arms stick out: a ragged outline and lumps of light.
        rho = rho * (1 + _noise(rho.shape, 0.09 * diameter, 0.09, rng))
        profile = (1 - 0.35 * np.minimum(rho, 1) ** 2) * np.exp(_noise(rho.shape, 0.09 * diameter, 0.25, rng))
        brightness *= rng.uniform(2.2, 4.5)
    else:
        rho, radius = _fragments(diameter * rng.uniform(0.45, 0.6), blur, rng)
        profile = np.sqrt(np.maximum(1.15 - np.minimum(rho, 1) ** 2, 0))
        brightness *= rng.uniform(1.8, 5.0)
    # An edge one pixel wide: the mask's own antialiasing, before any blur.
    edge = np.clip((1 - rho) * radius + 0.5, 0, 1)
    light = (brightness * np.clip(profile, 0.15, None) * edge).astype(np.float32)
    if blur > 0:
        light = ndi.gaussian_filter(light, blur, truncate=3)
    return Stamp(kind, rho <= 1, light, angle)


def _grid(reach: float, rng: np.random.Generator) -> tuple[Float, Float]:
    """Pixel coordinates of a patch around a centre that lies anywhere within the middle pixel."""
    half = int(np.ceil(reach)) + 2
    axis = np.arange(-half, half + 1, dtype=np.float32)
    dy, dx = rng.uniform(-0.5, 0.5, 2).astype(np.float32)
    return (axis - dy)[:, None], (axis - dx)[None, :]


def rounded(
    diameter: float,
    elongation: float,
    angle: float,
    rng: np.random.Generator,
    *,
    roughness: float,
    lobed: float = 0.0,
    blur: float = 0.0,
    squareness: float = 2.0,
) -> tuple[Float, float]:
    """Draw a smooth closed outline on a patch of its own.

    Parameters
    ----------
    diameter : float
        Of the circle of the same area [px].
    elongation : float
        Ratio of the axes, at least 1.
    angle : float
        Direction of the long axis [rad].
    rng : numpy.random.Generator
        Source of randomness.
    roughness : float
        Typical bump, as share of the radius.
    lobed : float
        Probability of a dent in one of the long sides [0..1].
    blur : float
        Blur of the light that will be drawn [px]; the patch has room for it.
    squareness : float
        2 for an ellipse, more for blunt ends.

    Returns
    -------
    rho : (H, W) float32 ndarray
        Distance from the centre relative to that of the outline: 1 on it, less inside.
    radius : float
        Half of `diameter`.
    """
    turned = _ANGLES - angle
    # A superellipse: an exponent of 2 is an ellipse, larger ones blunt the ends (chromosome plates).
    along, across = np.abs(np.cos(turned)) / np.sqrt(elongation), np.abs(np.sin(turned)) * np.sqrt(elongation)
    radius = (along**squareness + across**squareness) ** (-1 / squareness)
    for order in range(2, 6):
        amplitude = roughness * rng.normal() * (2 / order) ** 1.5
        radius = radius * (1 + amplitude * np.cos(order * _ANGLES + rng.uniform(0, 2 * np.pi)))
    if rng.random() < lobed:
        side = angle + np.pi / 2 + rng.normal(0, 0.3)
        apart = np.angle(np.exp(1j * (_ANGLES - side)))
        radius = radius * (1 - rng.uniform(0.12, 0.35) * np.exp(-((apart / rng.uniform(0.35, 0.7)) ** 2)))
    radius *= diameter / 2 / np.sqrt(np.mean(radius[:-1] ** 2))  # the area asked for
    y, x = _grid(radius.max() + 3 * blur, rng)
    outline = np.interp(np.arctan2(y, x), _ANGLES, radius)
    return (np.hypot(y, x) / outline).astype(np.float32), diameter / 2


def _fragments(diameter: float, blur: float, rng: np.random.Generator) -> tuple[Float, float]:
    """Return the same for a chain of overlapping balls, which leaves one piece."""
    centre, radius = np.zeros(2), diameter / 2 * rng.uniform(0.6, 0.9)
    balls = [(centre, radius)]
    for _ in range(rng.integers(1, 6)):
        direction = rng.uniform(0, 2 * np.pi)
        smaller = diameter / 2 * rng.uniform(0.35, 0.7)
        centre = balls[rng.integers(len(balls))][0]
        centre = centre + 0.85 * radius * np.array([np.sin(direction), np.cos(direction)])
        balls.append((centre, smaller))
    middle = np.mean([centre for centre, _ in balls], axis=0)
    reach = max(float(np.hypot(*(centre - middle))) + radius for centre, radius in balls)
    y, x = _grid(reach + 3 * blur, rng)
    rho = np.min([np.hypot(y - c[0] + middle[0], x - c[1] + middle[1]) / r for c, r in balls], axis=0)
    return rho.astype(np.float32), diameter / 4


def _interphase_light(rho: Float, diameter: float, angle: float, scene: NucleiScene, rng: np.random.Generator) -> Float:
    """Brightness inside an interphase nucleus: thickness, chromatin, spots, nucleoli and rim."""
    inside = np.minimum(rho, 1)
    light = 1 - scene.dome + scene.dome * np.sqrt(np.maximum(1 - inside**3, 0))
    grain = _noise(rho.shape, 0.025 * diameter, 1.0, rng)
    clumps = _noise(rho.shape, 0.065 * diameter, 1.0, rng)
    light = light * np.exp(scene.chromatin * (0.8 * grain + 0.6 * clumps))
    half = rho.shape[0] // 2
    y, x = np.mgrid[-half : half + 1, -half : half + 1].astype(np.float32)
    # Nuclei lie slightly tilted: one side is nearer to the focal plane.
    tilt = angle + rng.uniform(0, 2 * np.pi)
    light = light * (1 + 0.08 * rng.normal() * (y * np.sin(tilt) + x * np.cos(tilt)) / (diameter / 2))
    for _ in range(rng.poisson(scene.nucleoli)):
        light = light * (1 - rng.uniform(0.15, 0.5) * _spot(y, x, rho, diameter * rng.uniform(0.03, 0.08), rng))
    for _ in range(rng.poisson(scene.chromocentres)):
        light = light + rng.uniform(0.2, 0.9) * _spot(y, x, rho, diameter * rng.uniform(0.02, 0.045), rng)
    if scene.rim:
        light = light + scene.rim * rng.uniform(0.3, 1.2) * np.exp(-(((inside - 0.93) / 0.08) ** 2))
    return light.astype(np.float32)


def _spot(y: Float, x: Float, rho: Float, sigma: float, rng: np.random.Generator) -> Float:
    """Gaussian spot, slightly oval, centred on a random pixel well inside the outline."""
    candidates = np.flatnonzero(rho < 0.75)  # noqa: PLR2004
    centre = candidates[rng.integers(len(candidates))] if len(candidates) else rho.size // 2
    stretch = rng.uniform(0.75, 1.33)
    dy, dx = y - y.flat[centre], x - x.flat[centre]
    return np.exp(-((dy * stretch) ** 2 + (dx / stretch) ** 2) / (2 * sigma**2))


def _noise(shape: tuple[int, ...], sigma: float, contrast: float, rng: np.random.Generator) -> Float:
    """Smooth random field with mean 0 and standard deviation `contrast`."""
    field = ndi.gaussian_filter(rng.standard_normal(shape, dtype=np.float32), max(sigma, 0.5), mode="wrap")
    return contrast * (field - field.mean()) / max(float(field.std()), 1e-6)
