"""Weak labels for images nobody annotated, by a model that learnt from images of another kind.

Models of fluorescence know bright nuclei of one size on a dark background. So other images are shown to them as what
they know: what absorbs light becomes bright, and the image is tried at several sizes. Of these, the one counts in which
the model is most sure of what it finds and finds it at the size it knows.

Measured on 83 annotated images of stained tissue, smears and brightfield (BBBC038, stage 1, not its test images), with
the model nuclei-fluo, mean over images of AP at IoU 0.5:

=======================================================  =====
what the model sees                                      AP
=======================================================  =====
inverted gray, size estimated as for fluorescence        0.28
inverted gray, nuclei of 28 px assumed                   0.49
optical density of gray, 28 px assumed                   0.51
haematoxylin (``skimage.color.rgb2hed``), 28 px assumed  0.51
objects of all sizes pooled, the surest first            0.45
haematoxylin, size chosen per image                      0.55
optical density of gray, size chosen per image           0.57
optical density of gray, best size by the annotation     0.62
=======================================================  =====

Choosing among several views of an image as well was worse (0.53), and so was dropping objects of other than the typical
size. What is left are images whose nuclei are taken for something smaller or larger, and pale nuclei.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from karyoseg.core.absorption import UNSURE, background_brightness, optical_density
from karyoseg.core.labels import n_objects
from karyoseg.core.normalise import LUMA
from karyoseg.core.preparation import Contrast
from karyoseg.core.report.tables import object_diameters
from karyoseg.core.scale_search import DIAMETERS, busiest_part, certainty
from karyoseg.core.size import median_diameter

_EXPECTED = 40.0  # px, the size that nucleAIzer brings nuclei to
_WHITE = 255


@dataclass(frozen=True)
class Found:
    """Objects that a model found in one view of an image.

    Parameters
    ----------
    labels : (Y, X) int32 ndarray
        Label image.
    prob : (n,) ndarray
        Certainty of the object of each label, 0..1.
    """

    labels: np.ndarray
    prob: np.ndarray


#: Finds objects of a diameter [px] in a view of an image; None leaves the size to the model.
Find = Callable[[np.ndarray, float | None], Found]


def contrasts(image: np.ndarray, contrast: Contrast = "auto") -> tuple[Contrast, ...]:
    """Decide whether nuclei are looked for as brighter or as darker than what is around them.

    Parameters
    ----------
    image : (Y, X, 3) uint8 ndarray
        Image.
    contrast : {"auto", "bright", "dark"}
        What is known.

    Returns
    -------
    tuple of str
        ``bright``, ``dark``, or both if the image does not tell.
    """
    if contrast != "auto":
        return (contrast,)
    brightness = background_brightness(_gray(image))
    if brightness < UNSURE[0]:
        return ("bright",)
    return ("dark",) if brightness > UNSURE[1] else ("bright", "dark")


def bright_view(image: np.ndarray, contrast: Contrast) -> np.ndarray:
    """Show an image as if its nuclei were bright.

    Parameters
    ----------
    image : (Y, X, 3) uint8 ndarray
        Image.
    contrast : {"bright", "dark"}
        Whether its nuclei are bright or dark.

    Returns
    -------
    (Y, X) float32 ndarray
        The gray image, or its optical density.

    Examples
    --------
    >>> bright_view(np.full((1, 1, 3), 255, np.uint8), "dark").tolist()
    [[0.0]]
    """
    gray = _gray(image)
    return gray if contrast == "bright" else optical_density(gray, _WHITE)


def presegment(
    image: np.ndarray,
    find: Find,
    contrast: Contrast = "auto",
    diameter: float | None = None,
    *,
    in_colour: bool = False,
) -> np.ndarray:
    """Find the nuclei of an image that may look unlike all that a model has seen.

    Parameters
    ----------
    image : (Y, X, 3) uint8 ndarray
        Image.
    find : callable
        The model.
    contrast : {"auto", "bright", "dark"}
        Whether nuclei are bright or dark, if it is known.
    diameter : float, optional
        Typical diameter of the nuclei, if it is known [px].
    in_colour : bool
        The model knows colour images: it gets the image as it is.

    Returns
    -------
    (Y, X) int32 ndarray
        Labels; all 0 if nothing is found.
    """
    if not np.ptp(image):
        return np.zeros(image.shape[:2], np.int32)
    views: dict[str, np.ndarray] = (
        {"colour": image} if in_colour else {name: bright_view(image, name) for name in contrasts(image, contrast)}
    )
    if list(views) == ["bright"] and diameter is None:
        return find(views["bright"], None).labels  # what models of fluorescence do by themselves
    choices = [(name, size) for name in views for size in (DIAMETERS if diameter is None else (diameter,))]
    if len(choices) == 1:
        (name, size), *_ = choices
        return find(views[name], size).labels
    part = busiest_part(image)
    best, (name, size), most = Found(np.zeros(image.shape[:2], np.int32), np.zeros(0)), choices[0], -np.inf
    for choice in choices:
        found = find(views[choice[0]][part], choice[1])
        score = certainty(object_diameters(found.labels), found.prob, choice[1])
        if score > most:
            best, (name, size), most = found, choice, score
    if best.labels.shape == image.shape[:2]:
        return best.labels
    return find(views[name], size).labels


def describe(image: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """Measure what was found in an image.

    Parameters
    ----------
    image : (Y, X, 3) uint8 ndarray
        Image.
    labels : (Y, X) integer ndarray
        Weak labels.

    Returns
    -------
    dict
        height, width [px], n_objects, diameter (median, of circles of the same area; NaN without objects) [px],
        scale_to_40 (by which nuclei become 40 px), contrast (``bright`` or ``dark`` nuclei; empty without objects).
    """
    diameter = median_diameter(labels)
    inside = labels > 0
    contrast = ""
    if inside.any() and not inside.all():
        gray = _gray(image)
        contrast = "dark" if np.median(gray[inside]) < np.median(gray[~inside]) else "bright"
    return {
        "height": labels.shape[0],
        "width": labels.shape[1],
        "n_objects": n_objects(labels),
        "diameter": diameter,
        "scale_to_40": _EXPECTED / diameter,
        "contrast": contrast,
    }


def _gray(image: np.ndarray) -> np.ndarray:
    gray: np.ndarray = image.astype(np.float32) @ np.asarray(LUMA, np.float32)
    return gray
