"""Nodes of the augment pipeline."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from karyoseg.core.augment import Augmenter
from karyoseg.core.errors import KaryosegError
from karyoseg.core.lazy import Lazy
from karyoseg.core.plots import contact_sheet, random_patch
from karyoseg.core.splits import TRAIN
from karyoseg.params.augment import AugmentParams

Partitions = dict[str, Lazy[np.ndarray]]

POLICY_VERSION = 1


def build_policy(params: AugmentParams) -> dict[str, Any]:
    """Write the random changes that training makes to images down completely, defaults included.

    In: the list of transforms.
    Out: the policy that training follows and the model remembers.

    That it can be built is checked here, long before training needs it.
    """
    transforms = [transform.model_dump(mode="json") for transform in params.transforms]
    Augmenter(transforms)
    return {"version": POLICY_VERSION, "seed": params.seed, "transforms": transforms}


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
    train = splits.loc[splits["split"] == TRAIN, "id"].astype(str)
    ids = sorted(name for name in train if name in images and name in labels)
    if not ids:
        raise KaryosegError(
            "augment: the train split holds no prepared sample with labels; needed: at least one. Run preprocess."
        )
    sheet = params.contact_sheet
    rng = np.random.default_rng(params.seed)
    shown = sorted(rng.choice(len(ids), size=min(sheet.n_samples, len(ids)), replace=False))

    def patches() -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
        for index in shown:
            name, seed = ids[index], (params.seed, int(index))
            yield name, *random_patch(images[name](), labels[name](), sheet.patch_size, seed)

    return contact_sheet(patches(), Augmenter(policy["transforms"]), sheet.n_variants, policy["seed"])
