"""Nodes of the augment pipeline."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from karyoseg.core.absorption import is_dark, may_absorb, white_level
from karyoseg.core.augmentation.warps import Window
from karyoseg.core.errors import KaryosegError
from karyoseg.core.labels import clean_labels
from karyoseg.core.lazy import Lazy, Partitions, fingerprint
from karyoseg.core.plots import contact_sheet, random_window
from karyoseg.core.preparation import VERSION, ImageFacts, Preparation
from karyoseg.core.size import median_diameter
from karyoseg.core.splits import TRAIN
from karyoseg.params.augment import AugmentParams
from karyoseg.params.preprocess import PreprocessParams

POLICY_VERSION = 1


def build_policy(params: AugmentParams) -> dict[str, Any]:
    """Write the random changes that training makes to images down completely, defaults included.

    In: the list of transforms.
    Out: the policy that training follows and the model remembers.

    That it can be built is checked here, long before training needs it.
    """
    from karyoseg.core.augmentation.augmenter import Augmenter  # albumentations is slow to import

    transforms = [transform.model_dump(mode="json") for transform in params.transforms]
    Augmenter(transforms)
    policy = {"version": POLICY_VERSION, "seed": params.seed, "transforms": transforms}
    return policy | ({"style": {"share": params.style.share}} if params.style.use else {})


def draw_contact_sheet(
    policy: dict[str, Any],
    images: Partitions,
    labels: Partitions,
    splits: pd.DataFrame,
    params: AugmentParams,
) -> Figure:
    """Show what training will see of some samples of the train split.

    In: the policy and the prepared samples.
    Out: a figure, each sample on the left and random variants of it to the
    right.

    Look at it before a long training: shapes must stay plausible nuclei, and
    outlines must fit.
    """
    from karyoseg.core.augmentation.augmenter import Augmenter

    train = splits.loc[splits["split"] == TRAIN, "id"].astype(str)
    ids = sorted(name for name in train if name in images and name in labels)
    if not ids:
        raise KaryosegError(
            "augment: the train split holds no prepared sample with labels; needed: at least one. Run preprocess."
        )
    sheet = params.contact_sheet
    rng = np.random.default_rng(params.seed)
    shown = sorted(rng.choice(len(ids), size=min(sheet.n_samples, len(ids)), replace=False))

    def samples() -> Iterator[tuple[str, np.ndarray, np.ndarray, Window]]:
        for index in shown:
            image, labelled = images[ids[index]](), labels[ids[index]]()
            yield ids[index], image, labelled, random_window(labelled, sheet.patch_size, (params.seed, int(index)))

    return contact_sheet(samples(), Augmenter(policy["transforms"]), sheet.n_variants, policy["seed"])


def prepare_style_images(
    images: Partitions,
    labels: Partitions,
    painted: pd.DataFrame,
    preparation: dict[str, Any],
    params: AugmentParams,
) -> Partitions:
    """Bring synthetic images to the form of the training images, if they are to be used.

    In: the images that style transfer made, label images, the fingerprints of
    those that the images were painted from, and how training images were prepared.
    Out: float32 images, rescaled by the size of their nuclei and normalised
    as the real ones; those with dark nuclei as their optical density, unless
    augment.style.dark=keep. None with augment.style.use=false.
    """
    recipe = _style_recipe(preparation)

    def prepare(key: str) -> np.ndarray:
        image, found = images[key](), labels[key]()
        shown = _as_predicted(recipe, image, found) if params.style.dark == "density" else recipe
        return shown.apply(image, _style_scale(found, recipe, key), where=key)

    return {
        key: Lazy(
            partial(prepare, key),
            fingerprint(images[key].fingerprint, labels[key].fingerprint, recipe.to_dict(), VERSION, params.style.dark),
        )
        for key in _style_keys(images, labels, painted, recipe, params)
    }


def prepare_style_labels(
    images: Partitions,
    labels: Partitions,
    painted: pd.DataFrame,
    preparation: dict[str, Any],
    params: AugmentParams,
    preprocess: PreprocessParams,
) -> Partitions:
    """Bring the labels of synthetic images to the grid of the prepared ones, if they are to be used.

    In: as for their images, and how labels are cleaned.
    Out: label images of the same size as the prepared synthetic images.
    """
    recipe = _style_recipe(preparation)
    fill, min_area = preprocess.fill_holes, preprocess.min_area

    def prepare(key: str) -> np.ndarray:
        found = labels[key]()
        return clean_labels(found, _style_scale(found, recipe, key), fill=fill, min_area=min_area)

    return {
        key: Lazy(partial(prepare, key), fingerprint(labels[key].fingerprint, recipe.to_dict(), fill, min_area))
        for key in _style_keys(images, labels, painted, recipe, params)
    }


def _style_recipe(preparation: dict[str, Any]) -> Preparation:
    """Recipe of the training images, for images whose channels were chosen before."""
    return replace(Preparation.from_dict(preparation), channels=None)


def _as_predicted(recipe: Preparation, image: np.ndarray, labels: np.ndarray) -> Preparation:
    """Recipe by which `predict` would show an image to a model that knows bright nuclei."""
    gray = recipe.select(image)
    if gray.ndim > 2:  # noqa: PLR2004 - models of colour see colour
        return recipe
    dark = is_dark(gray, labels) if (labels > 0).any() else may_absorb(gray)
    return replace(recipe, white=white_level(image, gray)) if dark else recipe


def _style_scale(labels: np.ndarray, recipe: Preparation, key: str) -> float:
    """Scale of a synthetic pair: its labels say how large its nuclei are."""
    diameter = median_diameter(labels)
    if not np.isfinite(diameter):
        return 1.0  # background alone has no size
    return recipe.scale_for(ImageFacts(key, diameter=diameter))


def _style_keys(
    images: Partitions, labels: Partitions, painted: pd.DataFrame, recipe: Preparation, params: AugmentParams
) -> list[str]:
    """Ids of the synthetic pairs to use."""
    if not params.style.use:
        return []
    rescale = recipe.rescale["name"]
    if rescale not in ("none", "diameter"):
        raise KaryosegError(
            f"preprocess.rescale: is {rescale}, which synthetic images do not have; needed with augment.style.use: "
            f"none or diameter. Change it and run preprocess again."
        )
    keys = sorted(images)
    if not keys:
        raise KaryosegError(
            "augment.style.use: is true, but there are no synthetic images in 05_model_input/style/images; needed: "
            "those of a style that passed. Run `kedro run --pipeline style --params presegment.input=FOLDER`, and see "
            "08_reporting/style/quality.csv."
        )
    alone = [key for key in keys if key not in labels]
    if alone:
        raise KaryosegError(
            f"augment: synthetic images without their labels: {', '.join(alone[:5])}; needed: both, of the same run. "
            f"Run mask_synthesis and style_transfer again."
        )
    # Without the table the pairs are not from style_transfer: somebody put them there together.
    sources = dict(zip(painted["id"], painted["labels_fingerprint"], strict=True)) if len(painted) else None
    other = [key for key in keys if sources is not None and sources.get(key) != labels[key].fingerprint]
    if other:
        raise KaryosegError(
            f"augment: {len(other)} synthetic image(s), such as {other[0]}, were painted from other labels than those "
            f"in 05_model_input/style/labels now; needed: both of the same run. Run style_transfer again: it paints "
            f"what changed."
        )
    return keys
