"""What was found in images nobody annotated, by a model that learnt from images of another kind."""

from __future__ import annotations

from typing import Any

import numpy as np

from karyoseg.core.labels import n_objects
from karyoseg.core.normalise import LUMA
from karyoseg.core.size import median_diameter


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
        contrast (``bright`` or ``dark`` nuclei; empty without objects).
    """
    diameter = median_diameter(labels)
    inside = labels > 0
    contrast = ""
    if inside.any() and not inside.all():
        gray = image @ np.asarray(LUMA, np.float32)
        contrast = "dark" if np.median(gray[inside]) < np.median(gray[~inside]) else "bright"
    return {
        "height": labels.shape[0],
        "width": labels.shape[1],
        "n_objects": n_objects(labels),
        "diameter": diameter,
        "contrast": contrast,
    }
