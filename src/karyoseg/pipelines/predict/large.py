"""Large images: from parameters to a prediction in blocks."""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path

import numpy as np

from karyoseg.core.blocks.grid import BlockGrid, choose_size
from karyoseg.core.blocks.run import LargePrediction
from karyoseg.core.blocks.tasks import BlockJob, find_around
from karyoseg.core.blocks.windows import WindowPreparation
from karyoseg.core.io.image_files import ImageError, is_url
from karyoseg.core.io.inputs import InputImage
from karyoseg.core.io.label_store import CHUNK
from karyoseg.core.io.large_images import open_large
from karyoseg.core.preparation import ImageFacts
from karyoseg.core.runs.privacy import public_url
from karyoseg.core.scale_check import centred_in, check_scale, check_windows
from karyoseg.core.size import polygon_diameters
from karyoseg.models.base import Segmenter
from karyoseg.models.shared import SharedModel
from karyoseg.params.predict import BlockParams, PredictParams

_LEAST_OVERLAP = 128  # px that the network sees
_NUCLEI = 4  # typical ones side by side, if that is more


def require_local_output(params: PredictParams, image_file: InputImage) -> None:
    """Refuse to write the result of a large image to a bucket: blocks go to their places in files.

    Parameters
    ----------
    params : PredictParams
        All parameters.
    image_file : InputImage
        A large image.

    Raises
    ------
    ImageError
        If results go to a URL.
    """
    if is_url(params.output):
        raise ImageError(
            image_file.path,
            f"is so large that it is predicted in blocks, and predict.output is {public_url(params.output)}",
            "a folder of a file system",
            "Predict it into such a folder and upload that.",
        )


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

    Raises
    ------
    ImageError
        If the image cannot be read, or results go to a URL.
    """
    require_local_output(params, image_file)
    source = image_file.path
    image, segmenter = open_large(source, params.axes), model()
    pixel_size = params.pixel_size_um or image.pixel_size_um
    facts = ImageFacts(source, params.magnification, pixel_size, params.diameter_px, params.contrast)
    channels = params.channels if params.channels is not None else segmenter.preparation.channels
    # Scale and intensity range are decided from a sample, which is the whole image if that is small.
    sample = image.sample(channels)
    picked = None if channels is None else range(len(channels))
    chosen = {"auto": None, "none": 1.0}.get(params.scale) if isinstance(params.scale, str) else params.scale
    plan = segmenter.plan(sample, facts=facts, scale=chosen, channels=picked)
    recipe, scale = plan.recipe, plan.scale

    @cache
    def job_at(scale: float) -> BlockJob:
        preparation = WindowPreparation.decide(sample, image.shape, recipe, scale)
        return BlockJob(
            source,
            params.axes,
            params.channels,
            channels,
            model,
            preparation,
            _grid(preparation, segmenter, params.blocks, scale),
            {"prob_thresh": params.prob_thresh, "nms_thresh": params.nms_thresh},
            pixel_size,
            params.min_area,
            Path(),
        )

    if plan.estimated and recipe.rescale["name"] == "diameter":
        scale = check_scale(lambda scale: _diameters(job_at(scale)), scale, float(recipe.rescale["target"]))
    job = job_at(scale)
    info = {
        "source": public_url(source),
        "model": public_url(params.model),
        "scale": scale,
        "pixel_size_um": pixel_size,
        "optical_density": recipe.white is not None,
        "merged_channels": image.has_stains and recipe.mixes_channels,
        "blocks": len(job.grid),
    }
    return LargePrediction(job, params.cluster.model_dump(), params.blocks.overlap != "auto", info, params.overlay)


def _grid(preparation: WindowPreparation, segmenter: Segmenter, blocks: BlockParams, scale: float) -> BlockGrid:
    overlap = math.ceil(max(_LEAST_OVERLAP, _NUCLEI * (segmenter.diameter or 0)) / scale)
    return BlockGrid(
        preparation.shape,
        preparation.prepared,
        choose_size(scale, CHUNK) if blocks.size == "auto" else blocks.size,
        overlap if blocks.overlap == "auto" else blocks.overlap,
        segmenter.context,
        segmenter.stride,
    )


def _diameters(job: BlockJob) -> np.ndarray:
    """Diameters of the objects by which the scale is checked [px of the image]."""
    found = [(window, find_around(job, window)) for window in check_windows(job.grid.shape)]
    return np.concatenate(
        [polygon_diameters(objects.polygons[centred_in([window], objects.points)]) for window, objects in found]
    )
