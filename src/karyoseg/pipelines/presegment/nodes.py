"""Nodes of the presegment pipeline."""

from __future__ import annotations

import logging
from functools import partial

import numpy as np
import pandas as pd

from karyoseg.core.conversions import as_rgb8
from karyoseg.core.errors import KaryosegError, Problem, Problems
from karyoseg.core.io.images import read_labels
from karyoseg.core.io.inputs import InputImage, find_images
from karyoseg.core.io.large_images import is_large
from karyoseg.core.io.storage import StorageError
from karyoseg.core.labels import fill_holes, relabel, remove_small
from karyoseg.core.lazy import Lazy, Partitions, fingerprint
from karyoseg.core.normalise import select_channels
from karyoseg.core.predicting import read_input
from karyoseg.core.preparation import ImageFacts
from karyoseg.core.presegment import describe
from karyoseg.core.progress import Progress
from karyoseg.core.runs.privacy import public_url
from karyoseg.core.threads import map_completed, n_threads
from karyoseg.models import load_segmenter
from karyoseg.models.base import PREDICTION_VERSION, Segmenter
from karyoseg.models.whole_image import segment_image
from karyoseg.params.presegment import PresegmentParams

logger = logging.getLogger(__name__)

_VERSION = 2  # raised when the same parameters give other labels


def find_inputs(params: PresegmentParams) -> list[InputImage]:
    """List the images without masks, and check that each can be used.

    In: where to look: a file, folder, pattern, zip archive or URL.
    Out: at least one image.

    All images that cannot be used, or lack one of the label images that were
    given, are reported together, or left out with on_bad_image=skip.
    """
    if params.input is None:
        raise KaryosegError(
            "presegment.input: nothing given; needed: an image, folder, pattern or zip. Run for example "
            "'kedro run --pipeline style --params presegment.input=FOLDER'."
        )
    if params.labels is None:
        load_segmenter(params.model)  # that it cannot be opened is said before images are read
    images = find_images(params.input)
    label_files = _find_labels(params)
    problems = Problems()
    bad = set()
    checked = map_completed(lambda image: (image, _find_problem(image, label_files, params)), images, n_threads())
    for image, problem in Progress(checked, total=len(images), desc="checking images", unit="image"):
        if problem is not None:
            problems.extend([problem])
            bad.add(image)
    if params.on_bad_image == "stop" or len(bad) == len(images):
        problems.raise_if_any("Some images cannot be used; presegment.on_bad_image=skip leaves them out")
    for problem in problems:
        logger.warning("Left out: %s", problem)
    good = [image for image in images if image not in bad]
    logger.info("%d image(s) without masks", len(good))
    return good


def read_images(inputs: list[InputImage], params: PresegmentParams) -> Partitions:
    """Bring the images to the one form that style transfer works with.

    In: the images as the microscope wrote them.
    Out: RGB images of 8 bit; other types are stretched per channel, gray
    becomes three equal channels.
    """
    options = params.axes, params.channels
    return {
        image.stem: Lazy(partial(_read, image, params), fingerprint(image.path, image.stamp, _VERSION, *options))
        for image in inputs
    }


def label_images(images: Partitions, params: PresegmentParams) -> Partitions:
    """Label the images with a model that was made for others, as well as it can; or take labels that were given.

    In: RGB images of 8 bit, and a model or label images.
    Out: weak label images; empty where nothing was found.

    As predict does it: dark nuclei are shown as bright ones to a model that knows
    bright ones only, and their size is searched.
    """
    label_files = _find_labels(params)
    if label_files is not None:
        logger.info("Labels of %s in place of weak ones", public_url(str(params.labels)))
        return {
            key: Lazy(
                partial(_read_given, file, params),
                fingerprint(file.path, file.stamp, _VERSION, params.axes, params.min_area),
            )
            for key, file in label_files.items()
            if key in images
        }
    segmenter = load_segmenter(params.model)
    runs_in = segmenter.use(params.engine, params.precision)
    logger.info("Weak labels by %s, in %s", public_url(params.model), runs_in)
    options = params.contrast, params.diameter_px, params.prob_thresh, params.min_area
    return {
        key: Lazy(
            partial(_label, image, segmenter, params),
            fingerprint(image.fingerprint, segmenter.fingerprint, runs_in, _VERSION, PREDICTION_VERSION, *options),
        )
        for key, image in images.items()
    }


def describe_images(inputs: list[InputImage], images: Partitions, labels: Partitions) -> pd.DataFrame:
    """Measure what was found, and refuse to go on if that is nothing.

    In: the images and their weak labels.
    Out: source and size of each image, number and size of its nuclei, whether
    they are bright or dark.
    """
    rows = []
    for image in Progress(inputs, desc="measuring nuclei", unit="image"):
        pixels, found = images[image.stem](), labels[image.stem]()
        rows.append({"id": image.stem, "source": public_url(image.path)} | describe(pixels, found))
    table = pd.DataFrame(rows).sort_values("id", ignore_index=True)
    empty = table.loc[table["n_objects"] == 0, "id"].tolist()
    if len(empty) == len(table):
        raise KaryosegError(
            f"presegment: no nuclei found in any of the {len(table)} image(s); needed: some in at least one. Look at "
            f"03_primary/style/images; state presegment.contrast or presegment.diameter_px, lower "
            f"presegment.prob_thresh, or use another presegment.model."
        )
    if empty:
        logger.warning("No nuclei found in %d of %d image(s): %s", len(empty), len(table), ", ".join(empty[:10]))
    logger.info(
        "%d nuclei in %d image(s), median diameter %.1f px; dark ones in %d image(s)",
        table["n_objects"].sum(),
        len(table) - len(empty),
        table["diameter"].median(),
        (table["contrast"] == "dark").sum(),
    )
    return table


def _find_labels(params: PresegmentParams) -> dict[str, InputImage] | None:
    """Label images that were given, by stem."""
    return None if params.labels is None else {file.stem: file for file in find_images(params.labels)}


def _find_problem(
    image: InputImage, label_files: dict[str, InputImage] | None, params: PresegmentParams
) -> Problem | None:
    try:
        if is_large(image.path, params.max_megapixels):
            raise KaryosegError(f"more than {params.max_megapixels:g} million px, or a Zarr store")
        height, width = _select(image, params).shape[:2]
        if height * width > params.max_megapixels * 1e6:
            raise KaryosegError(f"{height} x {width} px; presegment.max_megapixels is {params.max_megapixels:g}")
        return None if label_files is None else _find_label_problem(image, (height, width), label_files, params)
    except StorageError:  # would be the same for every image
        raise
    except KaryosegError as error:
        known = getattr(error, "problem", None)
        return known or Problem(image.path, str(error), "a field of view", "Cut fields of some 1000 px out of it.")


def _find_label_problem(
    image: InputImage, shape: tuple[int, int], label_files: dict[str, InputImage], params: PresegmentParams
) -> Problem | None:
    file = label_files.get(image.stem)
    if file is None:
        needed = f"a label image {image.stem}.* in {params.labels}"
        return Problem(image.path, "has no label image", needed, "Add it, or take the image away.")
    height, width = read_labels(file.path, params.axes).shape
    if (height, width) == shape:
        return None
    needed = f"{shape[0]} x {shape[1]} px, as {image.path}"
    return Problem(file.path, f"{height} x {width} px", needed, "Export the labels at the size of the image.")


def _select(image: InputImage, params: PresegmentParams) -> np.ndarray:
    return select_channels(read_input(image.path, params.axes).array, params.channels, "keep", where=image.path)


def _read(image: InputImage, params: PresegmentParams) -> np.ndarray:
    return as_rgb8(_select(image, params))


def _read_given(file: InputImage, params: PresegmentParams) -> np.ndarray:
    # Generators know no "not annotated": it becomes background.
    return relabel(remove_small(np.maximum(read_labels(file.path, params.axes), 0), params.min_area))


def _label(image: Lazy[np.ndarray], segmenter: Segmenter, params: PresegmentParams) -> np.ndarray:
    facts = ImageFacts(diameter=params.diameter_px, contrast=params.contrast)
    found, _ = segment_image(segmenter, image(), facts=facts, prob_thresh=params.prob_thresh)
    return relabel(remove_small(fill_holes(found.labels), params.min_area))
