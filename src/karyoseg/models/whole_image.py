"""Objects of an image that is segmented as a whole, prepared as the model asks for."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from karyoseg.core.preparation import ImageFacts, Preparation
from karyoseg.core.threads import PIXELS_SEEN
from karyoseg.models.base import Prediction, Segmenter


def segment_image(
    segmenter: Segmenter,
    image: np.ndarray,
    *,
    facts: ImageFacts,
    scale: float | None = None,
    channels: Sequence[int] | None = None,
    **thresholds: float | None,
) -> tuple[Prediction, Preparation]:
    """Prepare an image and find its objects.

    Parameters
    ----------
    segmenter : Segmenter
        The model.
    image : (Y, X) or (Y, X, C) ndarray
        Raw image of any real dtype.
    facts : ImageFacts
        What is known about it.
    scale : float, optional
        Prepared pixels per pixel; None derives it from `facts`, or estimates the size of nuclei and corrects the
        estimate by what is found.
    channels : sequence of int, optional
        Channels to segment.
    **thresholds : float, optional
        ``prob_thresh`` and ``nms_thresh`` of the prediction.

    Returns
    -------
    prediction : Prediction
        Objects on the grid of `image`.
    recipe : Preparation
        How the image was prepared.

    Raises
    ------
    KaryosegError
        If the image has other channels than the model, or its size cannot be derived.
    """
    plan = segmenter.plan(image, facts=facts, scale=scale, channels=channels)
    prepare = partial(plan.recipe.apply, image, where=facts.where)
    prepared = prepare(plan.scale)
    with PIXELS_SEEN.take(prepared.size):
        found = segmenter.predict(
            prepared,
            scale=plan.scale,
            out_shape=(image.shape[0], image.shape[1]),
            check_size=plan.estimated,
            prepare=prepare,
            **thresholds,
        )
    return found, plan.recipe
