"""Nodes of the predict pipeline."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import chain

import numpy as np
import pandas as pd

from karyoseg.core.blocks.run import LargePrediction
from karyoseg.core.errors import KaryosegError, Problem, Problems
from karyoseg.core.io.image_files import ImageError, is_url
from karyoseg.core.io.inputs import InputImage, find_images
from karyoseg.core.io.large_images import is_large, open_large
from karyoseg.core.io.storage import StorageError
from karyoseg.core.labels import relabel, remove_small
from karyoseg.core.lazy import Lazy, fingerprint
from karyoseg.core.measure import measure_objects
from karyoseg.core.normalise import select_channels
from karyoseg.core.predicting import PredictionResult, read_input
from karyoseg.core.preparation import ESTIMATE_RANGE, ImageFacts
from karyoseg.core.progress import Progress
from karyoseg.core.runs.privacy import public_url
from karyoseg.core.spooled_table import SpooledTable
from karyoseg.core.threads import map_completed, n_threads
from karyoseg.datasets.prediction_folder import PlannedPrediction, StoredPrediction
from karyoseg.models import load_segmenter
from karyoseg.models.base import PREDICTION_VERSION, Segmenter
from karyoseg.models.shared import SharedModel
from karyoseg.models.summary import summary
from karyoseg.models.two_scales import open_foreground
from karyoseg.models.whole_image import segment_image
from karyoseg.params.predict import PredictParams
from karyoseg.pipelines.predict.facts import image_facts, result_info
from karyoseg.pipelines.predict.full import FullMode, read_rules, refuse_large
from karyoseg.pipelines.predict.large import plan_large, require_local_output

Outcome = PredictionResult | LargePrediction | Problem

logger = logging.getLogger(__name__)

#: Not in the fingerprint of a result: they do not change it, or are in it in another form, as the model itself is.
_NOT_RESULTS = {"input", "output", "model", "on_bad_image", "engine", "precision", "cluster", "mode", "full"}
_NAMED = 10


def find_inputs(params: PredictParams) -> list[InputImage]:
    """List the images and, unless bad ones are to be skipped, check all of them.

    In: where to look: a file, folder, pattern, zip archive or URL.
    Out: at least one image.

    Results of earlier runs are not taken for images. All
    images that cannot be segmented are reported together, before the first is:
    those that cannot be read, and those that the model cannot take.
    """
    if params.input is None:
        raise KaryosegError(
            "predict.input: nothing given; needed: an image, folder, pattern or zip. Run for example "
            "'kedro run --pipeline predict --params predict.input=FOLDER,predict.output=FOLDER'."
        )
    images = find_images(params.input, exclude=params.output, skip_results=True)
    segmenter = load_segmenter(params.model)
    if (params.engine, params.precision) != ("auto", "auto"):
        segmenter.use(params.engine, params.precision)  # what cannot be used is said before images are read
    if params.mode == "full":
        read_rules(params.full.postprocessing)
        open_foreground(params.full.foreground_model, segmenter)
    problems = Problems()
    if params.on_bad_image == "stop":
        check = partial(_find_problems, segmenter, params)
        checked = map_completed(check, images, n_threads())
        found = list(chain(*Progress(checked, total=len(images), desc="checking images", unit="image")))
        problems.extend(sorted(found, key=lambda problem: problem.where))
    problems.raise_if_any("Some images cannot be predicted; predict.on_bad_image=skip predicts the others")
    logger.info("%d image(s) to predict", len(images))
    return images


def predict_images(inputs: list[InputImage], params: PredictParams) -> dict[str, PlannedPrediction]:
    """Segment each image and lay out the result in the files that Fiji and QuPath open.

    In: the images and a model folder; neither data nor parameters of the
    training are needed.
    Out: per image a label image, ImageJ ROIs, GeoJSON and an overlay, on the
    grid of the image.

    Images are computed while they are saved, as many at once as there are
    cores, and finished ones are skipped when the run is repeated.
    """
    segmenter = load_segmenter(params.model)
    runs_in = segmenter.use(params.engine, params.precision)
    line = summary(
        public_url(params.model),
        segmenter.describe(),
        runs_in,
        prob_thresh=params.prob_thresh,
        nms_thresh=params.nms_thresh,
        scale=params.scale,
        diameter=params.diameter_px,
        second_scale=params.full.second_scale if params.mode == "full" else None,
    )
    logger.info("%s", line)
    options = params.model_dump(mode="json", exclude=_NOT_RESULTS)
    full = FullMode.open(params, segmenter) if params.mode == "full" else None
    if full:
        options |= {"full": full.identity}
    in_blocks = partial(plan_large, SharedModel.of(segmenter, params.model, runs_in), params)
    segment = partial(_segment, segmenter, params, full, in_blocks)
    segment_large = partial(refuse_large, params) if full else in_blocks
    return {
        image.stem: PlannedPrediction(
            partial(_predict_one, segment, segment_large, image, params),
            fingerprint(image.path, image.stamp, segmenter.fingerprint, runs_in, PREDICTION_VERSION, options),
            public_url(image.path),
        )
        for image in inputs
    }


def collect_objects(
    predictions: dict[str, Lazy[StoredPrediction]], inputs: list[InputImage]
) -> tuple[SpooledTable, SpooledTable]:
    """Put the measurements of all finished images in the output folder into one table.

    In: the output folder, results of earlier runs included.
    Out: one row per object with its image, size, shape and intensity; the same
    table as CSV and as Parquet. However many objects there are, few are in memory.
    """
    earlier = sorted(predictions.keys() - {image.stem for image in inputs})
    if earlier:
        logger.warning(
            "objects.csv also has %d image(s) of earlier runs in this folder: %s", len(earlier), _some(earlier)
        )
    dark: list[str] = []
    merged: list[str] = []

    def measured() -> Iterator[pd.DataFrame]:
        for stem, lazy in Progress(predictions.items(), desc="collecting objects", unit="image"):
            stored = lazy()
            if stored.info.get("optical_density"):
                dark.append(stem)
            if stored.info.get("merged_channels"):
                merged.append(stem)
            stored.table.insert(0, "image", pd.Series([stem] * len(stored.table), dtype="str"))
            yield stored.table

    objects = SpooledTable(measured() if predictions else [pd.DataFrame({"image": [], "label": []})])
    logger.info("%d objects in %d image(s)", len(objects), len(predictions))
    if dark:
        logger.info(
            "%d image(s) with dark nuclei on a bright background were shown as optical density: %s. Where nuclei are "
            "bright, say so: predict.contrast=bright",
            len(dark),
            _some(dark),
        )
    if merged:
        logger.warning(
            "%d image(s) have several channels, and the model takes one: it was shown their mixture (%s). To segment "
            "one, say which: predict.channels=[0]",
            len(merged),
            _some(merged),
        )
    return objects, objects


def _some(names: list[str]) -> str:
    return ", ".join(names[:_NAMED]) + (" ..." if len(names) > _NAMED else "")


def _is_large(source: InputImage, params: PredictParams) -> bool:
    return is_large(source.path, params.blocks.above_megapixels)


def _becomes_large(
    segmenter: Segmenter, params: PredictParams, source: InputImage, image: np.ndarray, facts: ImageFacts
) -> bool:
    """Tell whether an image is too large once it is enlarged for small nuclei, and can be predicted in blocks."""
    limit, n_pixels = params.blocks.above_megapixels * 1e6, image.shape[0] * image.shape[1]
    may_be_enlarged = n_pixels * max(params.fixed_scale or ESTIMATE_RANGE[1], 1) ** 2 > limit
    if not may_be_enlarged or is_url(params.output) or not is_large(source.path, 0):
        return False
    plan = segmenter.plan(image, facts=facts, scale=params.fixed_scale, channels=params.channels)
    return n_pixels * plan.scale**2 > limit


def _check(segmenter: Segmenter, params: PredictParams, source: InputImage) -> None:
    """Raise if an image cannot be read, of a large one a corner, or if the model cannot take it."""
    if _is_large(source, params):
        if params.mode == "full":
            refuse_large(params, source)
        require_local_output(params, source)
        large = open_large(source.path, params.axes)
        corner, pixel_size = large.read((slice(0, 2), slice(0, 2))), large.pixel_size_um
    else:
        file = read_input(source.path, params.axes)
        corner, pixel_size = file.array[:2, :2], file.pixel_size_um
    # Whether nuclei are dark is not to be asked of the network yet.
    facts = replace(image_facts(params, source.path, pixel_size), contrast="bright")
    segmenter.plan(corner, facts=facts, scale=params.fixed_scale, channels=params.channels)


def _predict_one(
    segment: Callable[[InputImage], Outcome],
    segment_large: Callable[[InputImage], Outcome],
    source: InputImage,
    params: PredictParams,
) -> Outcome:
    try:
        return segment_large(source) if _is_large(source, params) else segment(source)
    except StorageError:
        raise
    except KaryosegError as error:
        if params.on_bad_image == "stop":
            raise
        return _problem(source, error)


def _segment(
    segmenter: Segmenter,
    params: PredictParams,
    full: FullMode | None,
    segment_large: Callable[[InputImage], LargePrediction],
    source: InputImage,
) -> PredictionResult | LargePrediction:
    file = read_input(source.path, params.axes)
    image = select_channels(file.array, params.channels, "keep", where=source.path)
    facts = image_facts(params, source.path, file.pixel_size_um)
    if full:
        labels, scale, recipe = full.segment(segmenter, file.array, params, facts=facts, scale=params.fixed_scale)
    elif _becomes_large(segmenter, params, source, file.array, facts):
        return segment_large(source)
    else:
        found, recipe = segment_image(
            segmenter,
            file.array,
            facts=facts,
            scale=params.fixed_scale,
            channels=params.channels,
            prob_thresh=params.prob_thresh,
            nms_thresh=params.nms_thresh,
        )
        labels, scale = found.labels, found.scale
    if params.min_area:
        labels = relabel(remove_small(labels, params.min_area))
    info = result_info(params, facts, recipe, scale, has_stains=file.has_stains)
    table = measure_objects(labels, image, facts.pixel_size_um)
    return PredictionResult(labels, image, table, facts.pixel_size_um, info, params.overlay)


def _find_problems(segmenter: Segmenter, params: PredictParams, source: InputImage) -> list[Problem]:
    try:
        _check(segmenter, params, source)
    except StorageError:  # would be the same for every image
        raise
    except KaryosegError as error:
        return [_problem(source, error)]
    return []


def _problem(source: InputImage, error: KaryosegError) -> Problem:
    if isinstance(error, ImageError):
        return error.problem
    found = str(error).removeprefix(f"{source.path}: ")
    return Problem(source.path, found, "an image this model can segment", "See the message.")
