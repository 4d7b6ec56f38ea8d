"""Images with dark nuclei on a bright background: what a model is shown, and at which size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from skimage.filters import threshold_otsu

from karyoseg.core.absorption import is_dark, may_absorb, white_level
from karyoseg.core.preparation import ImageFacts, Plan
from karyoseg.core.progress import Progress
from karyoseg.core.scale_search import DIAMETERS, agreement, busiest_part, certainty
from karyoseg.core.size import polygon_diameters
from karyoseg.models.base import LabelledSamples, Prediction

if TYPE_CHECKING:
    from karyoseg.models.stardist.segmenter import StarDistSegmenter

_FEW = 0.05  # of the training images
#: Of 28 images with dark nuclei, all were surer than this at their best size. In fluorescence images cut so small that
#: nuclei fill most of them, what is between them mostly makes the model less sure.
_SURE = 0.68
#: Of the bright pixels: what is taken for bright nuclei covered at most 0.66 of them in 98 images with dark nuclei (by
#: either model that ships), and 0.78 to 1 in most images that bright nuclei nearly fill.
_EXPLAINED = 0.75
#: The part on which the size is chosen [px a side]. Not :func:`karyoseg.core.scale_search.search_scale`, which looks at
#: less and asks for more: here views compete with the image as it is, and the numbers below were measured like this.
_SEARCHED = 1024
_LOOKED_AT = 100  # training images


def plan_contrast(model: StarDistSegmenter, image: np.ndarray, facts: ImageFacts, usual: Plan) -> Plan:
    """Decide how an image whose nuclei may be dark is shown to a model.

    A model that has learnt from bright nuclei only gets its optical density, any other the image as it is. Their size
    cannot be estimated as that of bright nuclei: the size counts at which the model is most certain of what it finds,
    and finds the same again at sizes next to it.
    Where it is not known whether nuclei are dark, that decides, too, provided that the background may be bright and is
    not found to consist of bright nuclei, which may nearly fill an image. Models that have learnt from dark nuclei at
    their natural sizes take images as they are.

    Measured on 83 annotated images of stained tissue, smears and brightfield (BBBC038, stage 1, not its test images),
    with an earlier nuclei-fluo, mean over images of AP at IoU 0.5:

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

    Choosing among several views of an image as well was worse (0.53), and so was dropping objects of other than the
    typical size. What is left are images whose nuclei are taken for something smaller or larger, and pale nuclei.

    Parameters
    ----------
    model : StarDistSegmenter
        The model.
    image : (Y, X) or (Y, X, C) ndarray
        Raw image of any real dtype, or a sample of a large one.
    facts : ImageFacts
        What is known about it.
    usual : Plan
        How it would be prepared if its nuclei were bright.

    Returns
    -------
    Plan
        The same, or with the grey value of full light and another scale.
    """
    recipe = usual.recipe
    share_dark = model.training.get("share_dark")
    if facts.contrast == "bright" or (facts.contrast == "auto" and share_dark is None):
        return usual
    selected = recipe.select(image)
    gray = selected if selected.ndim == 2 else selected.mean(axis=-1)  # noqa: PLR2004
    if facts.contrast == "auto" and not may_absorb(gray.astype(image.dtype, copy=False)):
        return usual
    knows_dark = recipe.colour == "keep" or (share_dark or 0) >= _FEW
    shown = recipe if knows_dark else replace(recipe, white=white_level(image, gray))
    size = float(recipe.rescale.get("target", model.diameter or 0))
    if not usual.estimated or not size:
        scales = [usual.scale]
    elif knows_dark and recipe.rescale["name"] == "none":
        scales = [1.0]  # the estimate is for bright nuclei
    else:
        scales = [size / diameter for diameter in DIAMETERS]
    views = [Plan(shown, scale) for scale in scales]
    if len(views) == 1 and (facts.contrast == "dark" or knows_dark):
        return views[0]
    where = busiest_part(gray, _SEARCHED)
    part = image[where]
    bright = _find(model, part, usual)
    if facts.contrast == "auto" and _share_found(bright.labels, gray[where]) > _EXPLAINED:
        return usual
    found = [_find(model, part, view) for view in views]
    sure = np.array([_certainty(model, seen, view) for seen, view in zip(found, views, strict=True)])
    if facts.contrast == "auto" and sure.max() < max(_SURE, _certainty(model, bright, usual)):
        return usual
    return views[int(np.argmax(sure + agreement([seen.labels for seen in found])))]


def _find(model: StarDistSegmenter, image: np.ndarray, plan: Plan) -> Prediction:
    shape, scale = (image.shape[0], image.shape[1]), plan.scale
    return model.predict(plan.recipe.apply(image, scale), scale=scale, out_shape=shape, check_size=False)


def _share_found(labels: np.ndarray, gray: np.ndarray) -> float:
    """Share of the bright pixels that objects cover, 0..1."""
    bright = gray > threshold_otsu(gray)
    return float(np.mean(labels[bright] > 0))


def _certainty(model: StarDistSegmenter, found: Prediction, plan: Plan) -> float:
    return certainty(polygon_diameters(found.polygons), found.prob, (model.diameter or 1) / plan.scale)


def contrast_facts(samples: LabelledSamples) -> Mapping[str, Any]:
    """Find out whether training images show bright nuclei or dark ones.

    Parameters
    ----------
    samples : LabelledSamples
        Prepared samples; some of them are looked at.

    Returns
    -------
    mapping
        ``share_dark``: the share of images whose nuclei are darker than what is around them, 0..1.
    """
    some = samples.ids[:: -(-len(samples.ids) // _LOOKED_AT)]
    dark = [
        is_dark(samples.images[key](), samples.labels[key]())
        for key in Progress(some, desc="looking at contrast", unit="sample")
    ]
    return {"share_dark": round(float(np.mean(dark)), 3)}
