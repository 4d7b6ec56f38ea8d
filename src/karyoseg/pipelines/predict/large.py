"""Large images: from parameters to a prediction in blocks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from karyoseg.core.block_run import LargePrediction
from karyoseg.core.block_tasks import BlockJob
from karyoseg.core.blocks import BlockGrid, choose_size
from karyoseg.core.inputs import InputImage
from karyoseg.core.label_store import CHUNK
from karyoseg.core.large_images import LargeImage, open_large
from karyoseg.core.preparation import ESTIMATE_RANGE, ImageFacts, Preparation, scale_correction
from karyoseg.core.privacy import public_url
from karyoseg.core.size import polygon_diameters
from karyoseg.core.windows import WindowPreparation
from karyoseg.models.base import Segmenter
from karyoseg.models.shared import SharedModel
from karyoseg.params.predict import PredictParams

_LEAST_OVERLAP = 128  # px that the network sees
_TRIAL = 4e6  # px that are segmented to see whether the scale is right
_NUCLEI = 4  # typical ones side by side, if that is more


def plan_large(model: SharedModel, params: PredictParams, image_file: InputImage) -> LargePrediction:
    """Decide how a large image is predicted; what depends on the whole image is decided here, once.

    Parameters
    ----------
    model : SharedModel
        The model.
    params : PredictParams
        All parameters.
    image_file : InputImage
        Where the image is.

    Returns
    -------
    LargePrediction
        Ready to be written.
    """
    source = image_file.path
    image, segmenter = open_large(source, params.axes), model()
    pixel_size = params.pixel_size_um or image.pixel_size_um
    facts = ImageFacts(source, params.magnification, pixel_size, params.diameter_px)
    channels = params.channels if params.channels is not None else segmenter.preparation.channels
    preparation = _prepare(image, segmenter, facts, params, channels)
    scale = preparation.prepared[0] / image.shape[0]
    overlap = params.blocks.overlap
    grid = BlockGrid(
        image.shape,
        preparation.prepared,
        choose_size(scale, CHUNK) if params.blocks.size == "auto" else params.blocks.size,
        _overlap(segmenter, scale) if overlap == "auto" else overlap,
        segmenter.context,
        segmenter.stride,
    )
    job = BlockJob(
        source,
        params.axes,
        params.channels,
        channels,
        model,
        preparation,
        grid,
        {"prob_thresh": params.prob_thresh, "nms_thresh": params.nms_thresh},
        pixel_size,
        params.min_area,
        Path(),
    )
    info = {
        "source": public_url(source),
        "model": public_url(params.model),
        "scale": scale,
        "pixel_size_um": pixel_size,
        "blocks": len(grid),
    }
    return LargePrediction(job, params.cluster.model_dump(), overlap != "auto", info, params.overlay)


def _prepare(
    image: LargeImage, segmenter: Segmenter, facts: ImageFacts, params: PredictParams, channels: Sequence[int] | None
) -> WindowPreparation:
    """Decide scale and intensity range from a sample, which is the whole image if that is small."""
    sample = image.sample(channels)
    picked = None if channels is None else range(len(channels))
    chosen = {"auto": None, "none": 1.0}.get(params.scale) if isinstance(params.scale, str) else params.scale
    recipe, scale = segmenter.plan(sample, facts=facts, scale=chosen, channels=picked)
    recipe = replace(recipe, channels=None)
    if chosen is None and params.diameter_px is None and recipe.rescale["name"] == "diameter":
        scale *= _correction(image.sample(channels, _TRIAL), segmenter, recipe, scale)
    return WindowPreparation.decide(sample, image.shape, recipe, scale)


def _correction(sample: np.ndarray, segmenter: Segmenter, recipe: Preparation, scale: float) -> float:
    """Factor by which the nuclei that are found say that the scale should change; 1 if that makes it no better."""

    def wanted(scale: float) -> float:
        prepared = recipe.apply(sample, scale)
        shape = (sample.shape[0], sample.shape[1])
        found = segmenter.predict(prepared, scale=scale, out_shape=shape, check_size=False)
        return scale_correction(polygon_diameters(found.polygons) * scale, float(recipe.rescale["target"]))

    factor = min(wanted(scale), max(1.0, ESTIMATE_RANGE[1] / scale))
    return factor if factor != 1 and abs(math.log(wanted(scale * factor))) < abs(math.log(factor)) else 1.0


def _overlap(segmenter: Segmenter, scale: float) -> int:
    return math.ceil(max(_LEAST_OVERLAP, _NUCLEI * (segmenter.diameter or 0)) / scale)
