"""Objects of an image at two scales, nuclei at the size a model was trained at and larger, and its foreground map."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from skimage.transform import resize

from karyoseg.core.errors import KaryosegError
from karyoseg.core.postprocessing.rules import mend
from karyoseg.core.preparation import ESTIMATE_RANGE, ImageFacts, Preparation
from karyoseg.core.size import median_diameter
from karyoseg.models import load_foreground
from karyoseg.models.base import Prediction, Segmenter
from karyoseg.models.unet import ForegroundModel
from karyoseg.models.whole_image import preparing

logger = logging.getLogger(__name__)

_CLOSE = 1.1  # scales that differ by less give the same
_LONGEST = 6000  # side of what the network sees [px]


@dataclass(frozen=True)
class TwoScales:
    """What a model finds at two scales.

    Parameters
    ----------
    first : (Y, X) int32 ndarray
        Label image of the run with nuclei at the trained size; rule A is applied.
    second : (Y, X) int32 ndarray
        Likewise at the larger size, or as near to it as an image of that size allows; nothing if that is no larger.
    foreground : (Y, X) float32 ndarray or None
        Probability of being nucleus, 0..1.
    scale : float
        Of the first run [prepared px per px].
    recipe : Preparation
        How the image was prepared.
    """

    first: np.ndarray
    second: np.ndarray
    foreground: np.ndarray | None
    scale: float
    recipe: Preparation


def segment_at_two_scales(
    segmenter: Segmenter,
    image: np.ndarray,
    *,
    facts: ImageFacts,
    second_scale: float,
    foreground: ForegroundModel | None = None,
    scale: float | None = None,
    channels: Sequence[int] | None = None,
    **thresholds: float | None,
) -> TwoScales:
    """Segment an image with nuclei at the size a model was trained at, and larger.

    Parameters
    ----------
    segmenter : Segmenter
        The model.
    image : (Y, X) or (Y, X, C) ndarray
        Raw image of any real dtype.
    facts : ImageFacts
        What is known about it.
    second_scale : float
        How much larger nuclei are in the second run, above 1.
    foreground : ForegroundModel, optional
        Model that maps where nuclei are, at the scale of the first run; see :func:`open_foreground`.
    scale : float, optional
        Of the first run [prepared px per px]; None takes it from `facts`, or from the nuclei that a first prediction
        finds: their median diameter becomes that of the training.
    channels : sequence of int, optional
        Channels to segment.
    **thresholds : float, optional
        ``prob_thresh`` and ``nms_thresh`` of the prediction.

    Returns
    -------
    TwoScales
        Label images on the grid of `image`.
    """
    shape = (image.shape[0], image.shape[1])
    plan = segmenter.plan(image, facts=facts, scale=scale, channels=channels)

    def predict(scale: float, *, check_size: bool = False) -> Prediction:
        with preparing(plan.recipe, image, facts.where) as prepare:
            options: dict[str, Any] = {"out_shape": shape, "check_size": check_size, **thresholds}
            return segmenter.predict(prepare(scale), scale=scale, prepare=prepare, **options)

    first = predict(plan.scale, check_size=plan.estimated)
    wanted = _scale_from(first.labels, segmenter.diameter, first.scale) if plan.estimated else plan.scale
    wanted = min(wanted, max(first.scale, _LONGEST / max(shape)))
    if max(wanted / first.scale, first.scale / wanted) > _CLOSE:
        first = predict(wanted)
    larger = _limited(second_scale * first.scale, first.scale, shape, facts.where)
    second = predict(larger).labels if larger else np.zeros_like(first.labels)
    nuclei = None
    if foreground:
        with preparing(plan.recipe, image, facts.where) as prepare:
            seen = foreground.predict(prepare(first.scale))
            nuclei = resize(seen, shape, order=1, mode="edge", anti_aliasing=first.scale > 1)
    return TwoScales(mend(first.labels), mend(second), nuclei, first.scale, plan.recipe)


def open_foreground(model: str | None, segmenter: Segmenter) -> ForegroundModel | None:
    """Open a foreground model that is to work beside a segmenter.

    Parameters
    ----------
    model : str or None
        As for :func:`karyoseg.models.load_foreground`; None for no model.
    segmenter : Segmenter
        The model that finds the objects.

    Returns
    -------
    ForegroundModel or None
        The model.

    Raises
    ------
    KaryosegError
        If there is no such model, or it has learnt from images prepared in another way than the segmenter.
    """
    if model is None:
        return None
    opened = load_foreground(model)
    if opened.preparation != segmenter.preparation:
        raise KaryosegError(
            f"{model}: has learnt from images prepared with {opened.preparation}; needed: {segmenter.preparation}, as "
            f"for the model beside it. Train both on the same prepared images."
        )
    return opened


def _limited(wanted: float, first: float, shape: tuple[int, int], where: str) -> float | None:
    """Scale of the second run as far as the network can see the image; None if that is hardly more than the first."""
    possible = _LONGEST / max(shape)
    if wanted <= possible:
        return wanted
    far_enough = possible > _CLOSE * first
    logger.warning(
        "%s: %d px at scale %.2f are more than %d px; %s",
        where,
        max(shape),
        wanted,
        _LONGEST,
        f"the second run is at {possible:.2f}" if far_enough else "there is no second run, only the first",
    )
    return possible if far_enough else None


def _scale_from(labels: np.ndarray, trained: float | None, scale: float) -> float:
    """Scale at which the objects found have the median diameter of the training."""
    diameter = median_diameter(labels)
    if trained is None or math.isnan(diameter):
        return scale
    return min(max(trained / diameter, ESTIMATE_RANGE[0]), ESTIMATE_RANGE[1])
