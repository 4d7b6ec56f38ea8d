"""Large images: from parameters to a prediction in blocks."""

from __future__ import annotations

import math
from functools import cache

import numpy as np

from karyoseg.core.blocks.grid import BlockGrid, Objects, choose_size
from karyoseg.core.blocks.run import LargePrediction
from karyoseg.core.blocks.tasks import BlockJob, find_around
from karyoseg.core.blocks.windows import WindowPreparation
from karyoseg.core.io.decoders import MAX_VALUES
from karyoseg.core.io.image_files import ImageError, is_url
from karyoseg.core.io.inputs import InputImage
from karyoseg.core.io.label_store import CHUNK
from karyoseg.core.io.large_images import is_large, is_zarr, open_large
from karyoseg.core.runs.privacy import public_url
from karyoseg.core.scale_check import centred_in, check_windows
from karyoseg.core.scale_search import right_scale
from karyoseg.core.size import polygon_diameters
from karyoseg.models.base import Segmenter
from karyoseg.models.shared import SharedModel
from karyoseg.models.whole_image import preparing
from karyoseg.params.predict import BlockParams, PredictParams
from karyoseg.pipelines.predict.facts import image_facts, result_info

_LEAST_OVERLAP = 128  # px that the network sees
_NUCLEI = 4  # typical ones side by side, if that is more


def why_in_blocks(params: PredictParams, image_file: InputImage) -> tuple[str, str]:
    """Say why an image is predicted in blocks.

    Parameters
    ----------
    params : PredictParams
        All parameters.
    image_file : InputImage
        A large image.

    Returns
    -------
    reason : str
        Goes on after its name.
    advice : str
        What makes it be predicted as a whole.
    """
    if is_zarr(image_file.path):
        return "is a Zarr store", "Save it as TIFF"
    if not is_large(image_file.path, math.inf):
        return (
            f"has more than {params.blocks.above_megapixels:g} million pixels",
            "Raise predict.blocks.above_megapixels if there is memory for it",
        )
    return f"has more than {MAX_VALUES} values in all its channels", "Save the channels that are needed apart"


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
        reason, _ = why_in_blocks(params, image_file)
        raise ImageError(
            image_file.path,
            f"{reason}, so it is predicted in blocks, and predict.output is {public_url(params.output)}",
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
    facts = image_facts(params, source, image.pixel_size_um)
    channels = params.channels if params.channels is not None else segmenter.preparation.channels
    # Scale and intensity range are decided from a sample, which is the whole image if that is small.
    sample = image.sample(channels)
    picked = None if channels is None else range(len(channels))
    plan = segmenter.plan(sample, facts=facts, scale=params.fixed_scale, channels=picked)
    recipe, scale = plan.recipe, plan.scale
    thresholds = {"prob_thresh": params.prob_thresh, "nms_thresh": params.nms_thresh}

    @cache
    def job_at(scale: float) -> BlockJob:
        preparation = WindowPreparation.decide(sample, image.shape, recipe, scale)
        return BlockJob(
            source=source,
            axes=params.axes,
            channels=params.channels,
            network_channels=channels,
            open_model=model,
            preparation=preparation,
            grid=_grid(preparation, segmenter, params.blocks, scale),
            thresholds=thresholds,
            pixel_size_um=facts.pixel_size_um,
            min_area=params.min_area,
            stamp=image_file.stamp,
        )

    def find(seen: np.ndarray, scale: float) -> Objects:
        whole = (slice(0, seen.shape[0]), slice(0, seen.shape[1]))
        return segmenter.find(seen, origin=(0, 0), valid=whole, factor=(1 / scale, 1 / scale), **thresholds)

    if plan.estimated and recipe.rescale["name"] == "diameter":
        target = float(recipe.rescale["target"])
        with preparing(recipe, sample, source) as prepare:
            scale = right_scale(lambda scale: _diameters(job_at(scale)), prepare, find, scale, target)
    job = job_at(scale)
    info = result_info(params, facts, recipe, scale, has_stains=image.has_stains) | {"blocks": len(job.grid)}
    return LargePrediction(
        job,
        params.cluster.model_dump(),
        params.blocks.overlap != "auto",
        info,
        params.overlay,
        skip_if_bad=params.on_bad_image == "skip",
    )


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
