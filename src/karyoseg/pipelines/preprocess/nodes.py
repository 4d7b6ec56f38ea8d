"""Nodes of the preprocess pipeline."""

from __future__ import annotations

import logging
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from karyoseg.core.errors import KaryosegError, Problem, Problems
from karyoseg.core.labels import clean_labels, n_cleaned_away
from karyoseg.core.lazy import Lazy, Partitions, fingerprint
from karyoseg.core.preparation import VERSION, ImageFacts, Preparation, scale_from_estimate
from karyoseg.core.progress import Progress
from karyoseg.core.size import median_diameter
from karyoseg.core.splits import EXCLUDED, TEST, TRAIN, make_splits
from karyoseg.core.threads import map_completed, n_threads
from karyoseg.params.preprocess import PreprocessParams

logger = logging.getLogger(__name__)


def split_samples(manifest: pd.DataFrame, params: PreprocessParams) -> pd.DataFrame:
    """Divide the labelled samples into train, val and test.

    In: the manifest.
    Out: the split of each sample.

    A published test split stays as it is. Groups stay together, classes are
    spread evenly, and the same seed gives the same split.
    """
    splits = make_splits(manifest, **params.splits.model_dump())
    counts = splits["split"].value_counts()
    logger.info("Splits: %s", ", ".join(f"{name} {n}" for name, n in counts.items()))
    return splits


def measure_samples(
    manifest: pd.DataFrame,
    splits: pd.DataFrame,
    images: Partitions,
    labels: Partitions,
    params: PreprocessParams,
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Measure nucleus sizes and decide by how much each sample is scaled.

    In: images, labels and splits.
    Out: the manifest with diameter and scale; and the recipe of the
    preparation, which models keep that learn from these samples.

    Test images are measured as in prediction, without their labels. All samples
    that cannot be prepared are reported together, and so are nuclei that are too
    small to be learnt from.
    """
    recipe = params.preparation()
    table = manifest.merge(splits[["id", "split"]], on="id", suffixes=("_published", ""))
    table = table[table["split"] != EXCLUDED].drop(columns="split_published")
    records = [{str(key): value for key, value in row.items()} for row in table.to_dict("records")]

    def measure(row: dict[str, Any]) -> dict[str, Any] | Problem:
        key = row["id"]
        if key not in images or key not in labels:
            return Problem(key, "in the manifest, but its files are missing", "image and label", "Run download again.")
        try:
            return row | _measure(row, images[key](), labels[key](), recipe, params)
        except KaryosegError as error:
            return Problem(key, str(error), "a sample that can be prepared", "Mend or remove it.")

    measured = Progress(
        map_completed(measure, records, n_threads()), total=len(records), desc="measuring nuclei", unit="sample"
    )
    results = list(measured)
    problems = Problems()
    problems.extend(sorted((one for one in results if isinstance(one, Problem)), key=lambda one: one.where))
    problems.raise_if_any("preprocess: samples cannot be prepared")
    rows = {one["id"]: one for one in results if isinstance(one, dict)}
    lost = [(row.pop("n_lost"), row["id"], row["scale"]) for row in rows.values() if row["split"] != TEST]
    _report_lost(lost, params.min_area)
    return _with_consistent_channels(pd.DataFrame([rows[row["id"]] for row in records])), recipe.to_dict()


def _measure(
    row: dict[str, Any], image: np.ndarray, labels: np.ndarray, recipe: Preparation, params: PreprocessParams
) -> dict[str, Any]:
    """Return diameter and scale of one sample, the channels it has after preparation, and how many nuclei it loses."""
    if image.shape[:2] != labels.shape:
        raise KaryosegError(f"image is {image.shape[:2]}, label image is {labels.shape}; needed: the same size")
    sample = recipe.apply(image[:8, :8], where=row["id"])
    channels = 1 if sample.ndim == 2 else sample.shape[-1]  # noqa: PLR2004
    diameter = median_diameter(labels)
    if recipe.rescale["name"] != "diameter":
        scale = recipe.scale_for(ImageFacts(row["id"], row["magnification"], row["pixel_size_um"]))
    elif row["split"] == TRAIN and np.isfinite(diameter):
        scale = recipe.scale_for(ImageFacts(row["id"], diameter=diameter))
    else:  # as in prediction, which has no labels to measure
        scale = scale_from_estimate(recipe.estimated_diameter(image), float(recipe.rescale["target"]))
    known = {"diameter": diameter, "scale": scale, "prepared_channels": channels}
    if row["split"] == TEST:  # evaluation takes labels as published
        return known
    return known | {"n_lost": n_cleaned_away(labels, scale, fill=params.fill_holes, min_area=params.min_area)}


def _report_lost(lost: list[tuple[int, str, float]], min_area: int) -> None:
    """Say how many nuclei are not learnt from; of each image their number, its id and its scale are given."""
    most, key, scale = max(lost, default=(0, "", 1.0))
    if most:
        logger.warning(
            "%d nuclei in %d of %d training and validation images are left out: once rescaled they have less than "
            "preprocess.min_area=%d px (most, %d, in %s at scale %.3g). Lower it or rescale less if they are no specks",
            *(sum(n for n, *_ in lost), sum(n > 0 for n, *_ in lost), len(lost), min_area, most, key, scale),
        )


def _with_consistent_channels(table: pd.DataFrame) -> pd.DataFrame:
    counts = table["prepared_channels"].value_counts()
    if len(counts) > 1:
        usual = counts.index[0]
        odd = table.loc[table["prepared_channels"] != usual, ["id", "prepared_channels"]]
        problems = Problems()
        for row in odd.itertuples():
            problems.add(
                str(row.id),
                f"{row.prepared_channels} channels",
                f"{usual}",
                "Set 'channels', or colour: gray.",
            )
        problems.raise_if_any("preprocess: samples differ in their number of channels")
    return table


def prepare_images(manifest: pd.DataFrame, images: Partitions, params: PreprocessParams) -> Partitions:
    """Select channels, rescale and normalise the images: what the network gets to see.

    In: images as published, and their scales.
    Out: float32 images in which the low and the high percentile are 0 and 1.
    """
    recipe = params.preparation()

    def prepare(key: str, scale: float) -> np.ndarray:
        return recipe.apply(images[key](), scale, where=key)

    return {
        key: Lazy(partial(prepare, key, scale), fingerprint(images[key].fingerprint, recipe.to_dict(), VERSION, scale))
        for key, scale in _scales(manifest)
    }


def prepare_labels(manifest: pd.DataFrame, labels: Partitions, params: PreprocessParams) -> Partitions:
    """Bring the label images to the grid of the prepared images, and clean them.

    In: labels as published, and the scales of their images.
    Out: label images of the same size as the prepared images, without holes and
    tiny objects.

    They are for training; evaluation compares with the labels as published.
    """

    def prepare(key: str, scale: float) -> np.ndarray:
        return clean_labels(labels[key](), scale, fill=params.fill_holes, min_area=params.min_area)

    cleaning = params.fill_holes, params.min_area
    return {
        key: Lazy(partial(prepare, key, scale), fingerprint(labels[key].fingerprint, scale, *cleaning))
        for key, scale in _scales(manifest)
    }


def _scales(manifest: pd.DataFrame) -> list[tuple[str, float]]:
    """Id and scale of each sample."""
    return list(zip(manifest["id"].tolist(), manifest["scale"].tolist(), strict=True))
