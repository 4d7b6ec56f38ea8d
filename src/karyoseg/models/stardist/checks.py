"""What must be true of samples before the first epoch."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np

from karyoseg.core.errors import KaryosegError, Problems
from karyoseg.core.progress import Progress
from karyoseg.models.base import LabelledSamples

logger = logging.getLogger(__name__)


def check_samples(train: LabelledSamples, validation: LabelledSamples, options: Mapping[str, Any]) -> dict[str, int]:
    """Check before the first epoch that data and network fit together.

    Parameters
    ----------
    train, validation : LabelledSamples
        Prepared samples.
    options : mapping
        See :func:`karyoseg.models.stardist.fitting.fit`.

    Returns
    -------
    dict of str to int
        Number of nuclei per training sample.

    Raises
    ------
    KaryosegError
        With every problem found.
    """
    for name, samples in (("train", train), ("val", validation)):
        if not samples.ids:
            raise KaryosegError(f"training: no samples in split '{name}'; needed: at least one. Check splits.csv.")
    problems = Problems()
    wanted = options["config"]["n_channel_in"]
    sizes: dict[str, int] = {}
    small, validated = 0, False
    for name, samples in (("train", train), ("val", validation)):
        for key in Progress(samples.distinct, desc=f"checking {name} samples", unit="sample"):
            image, labels = samples.images[key](), samples.labels[key]()
            channels = 1 if image.ndim == 2 else image.shape[-1]  # noqa: PLR2004
            if image.shape[:2] != labels.shape:
                problems.add(
                    key,
                    f"image {image.shape[:2]}, labels {labels.shape}",
                    "equal sizes",
                    "Run preprocess again.",
                )
            if channels != wanted:
                problems.add(key, f"{channels} channel(s)", f"{wanted}", "Choose channels in preprocess.")
            if samples is train:
                sizes[key] = len(np.unique(labels[labels > 0]))
            else:
                validated |= bool((labels >= 0).any())
            small += any(have < want for have, want in zip(labels.shape, options["patch_size"], strict=True))
    problems.raise_if_any("training: samples do not fit the network")
    if not any(sizes.values()):
        raise KaryosegError(
            f"training: none of the {len(sizes)} training images holds a nucleus; needed: at least one. "
            f"Check the masks, and whether preprocess.min_area removes what preprocess.rescale makes small."
        )
    if not validated:
        raise KaryosegError(
            f"training: none of the {len(validation.ids)} validation images has an annotated pixel; needed: labels of "
            f"0 or more in one at least. Check the masks, or name other images in preprocess.splits.validation."
        )
    if small:
        logger.warning(
            "%d images are smaller than the patch of %s px; they are mirrored to that size. "
            "A smaller patch_size trains faster.",
            small,
            "x".join(map(str, options["patch_size"])),
        )
    return sizes
