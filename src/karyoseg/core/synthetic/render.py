"""Draw a scene: place the nuclei, add their light, look at it through optics and camera."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from karyoseg.core.synthetic.camera import expose, surroundings
from karyoseg.core.synthetic.nucleus import Kind, Stamp, draw_nucleus
from karyoseg.core.synthetic.placement import Field
from karyoseg.core.synthetic.scene import NucleiScene

_TRIES = 12
_ANAPHASE = 0.25  # part of the mitotic nuclei that come in pairs
_FULL = 20  # nuclei without a place until the field counts as full


def render_scene(
    scene: NucleiScene, rng: np.random.Generator
) -> tuple[npt.NDArray[np.uint8 | np.uint16], npt.NDArray[np.int32]]:
    """Draw a scene as a camera image with its exact label image.

    Where nuclei overlap their light adds up, as in a transparent specimen, and the upper one owns the pixels
    in the label image. Every label is one connected piece.

    Parameters
    ----------
    scene : NucleiScene
        What to draw.
    rng : numpy.random.Generator
        Source of randomness; the same scene and state give the same pixels.

    Returns
    -------
    image : (Y, X) uint8 or uint16 array
        The camera image; uint8 if ``scene.bit_depth`` is 8.
    labels : (Y, X) int32 array
        0 background, nuclei numbered from 1.

    Examples
    --------
    >>> image, labels = render_scene(NucleiScene(shape=(64, 80), n_nuclei=3), np.random.default_rng(0))
    >>> image.shape, image.dtype, int(labels.max())
    ((64, 80), dtype('uint8'), 3)
    """
    field = Field(scene.shape, scene.overlap)
    axis = rng.uniform(0, np.pi)
    failures = 0
    while field.n_nuclei < scene.n_nuclei and failures < _FULL:
        stamp = draw_nucleus(scene, _draw_kind(scene, rng), axis, rng)
        if not _place(field, stamp, scene, rng):
            failures += 1
        elif stamp.kind == "mitotic" and field.n_nuclei < scene.n_nuclei and rng.random() < _ANAPHASE:
            field.put_beside(stamp, rng)
    light = field.light + surroundings(scene, rng)
    return expose(light, scene, rng), field.labels


def _draw_kind(scene: NucleiScene, rng: np.random.Generator) -> Kind:
    draw = rng.random()
    if draw < scene.mitotic:
        return "mitotic"
    return "apoptotic" if draw < scene.mitotic + scene.apoptotic else "interphase"


def _place(field: Field, stamp: Stamp, scene: NucleiScene, rng: np.random.Generator) -> bool:
    """Put a nucleus next to another one or on free ground; whichever was not drawn is the fallback."""
    in_contact = rng.random() < scene.clustering
    for attempt in range(4 * _TRIES):
        first_choice = attempt < 2 * _TRIES
        placed = field.put_in_contact(stamp, rng) if in_contact == first_choice else field.put_apart(stamp, rng)
        if placed:
            return True
    return False
