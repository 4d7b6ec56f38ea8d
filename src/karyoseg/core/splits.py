"""Train, validation and test splits: grouped, stratified, seeded."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
from sklearn.model_selection import GroupShuffleSplit, StratifiedGroupKFold

from karyoseg.core.errors import KaryosegError

TRAIN, VALIDATION, TEST = "train", "val", "test"
_MIN_GROUPS = 2


def sample_groups(manifest: pd.DataFrame, pattern: str | None = None) -> pd.Series:
    """Tell which samples must stay together.

    Identical images always share a group. With `pattern`, so do ids with the same first capture group (or the same
    match), for example tiles of one slide.

    Parameters
    ----------
    manifest : DataFrame
        Columns id, image_sha256.
    pattern : str, optional
        Regular expression searched in the id.

    Returns
    -------
    Series of str
        Group name per row, index of `manifest`.

    Examples
    --------
    >>> table = pd.DataFrame({"id": ["s1_a", "s1_b", "s2_a"], "image_sha256": ["x", "y", "z"]})
    >>> sample_groups(table, r"^(s[0-9]+)_").tolist()
    ['s1', 's1', 's2']
    """

    def name(sample: str) -> str:
        found = re.search(pattern, sample) if pattern else None
        if found is None:
            return sample
        return found.group(1) if found.groups() else found.group(0)

    groups = manifest["id"].map(name)
    first = groups.groupby(manifest["image_sha256"]).transform("first")
    return first.where(manifest["image_sha256"].astype(bool), groups)


def make_splits(
    manifest: pd.DataFrame,
    *,
    val_fraction: float,
    test_fraction: float,
    group_pattern: str | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """Assign every labelled sample to train, val or test.

    A published test split stays as it is; only if there is none is one cut. Validation is always cut from train.
    Groups are never divided, and a group that reaches into the published test split is kept out of validation and
    training. Strata are class, magnification and image size.

    Parameters
    ----------
    manifest : DataFrame
        Columns id, split, class, magnification, height, width, image_sha256, n_objects.
    val_fraction, test_fraction : float
        Share of the training samples, 0..1; `test_fraction` counts only without a published test split.
    group_pattern : str, optional
        See :func:`sample_groups`.
    seed : int
        Seed of the choice.

    Returns
    -------
    DataFrame
        Columns id, split, group; one row per labelled sample, in the order of `manifest`. Training samples that
        duplicate a test sample have split ``excluded``.

    Raises
    ------
    KaryosegError
        If nothing is labelled, or too few samples remain for training or validation.
    """
    labelled = manifest[manifest["label_sha256"].fillna("").astype(bool)]
    if labelled.empty:
        raise KaryosegError(
            f"manifest: none of the {len(manifest)} samples has a label image; needed: labelled samples to train on. "
            f"Supply masks, or use the predict pipeline for images alone."
        )
    out = pd.DataFrame({"id": labelled["id"], "split": labelled["split"].fillna("").replace("", TRAIN)})
    out["group"] = sample_groups(labelled, group_pattern)
    strata = labelled[["class", "magnification", "height", "width"]].apply(lambda row: "|".join(map(str, row)), axis=1)
    rng = np.random.RandomState(seed)  # scikit-learn takes no Generator
    if not (out["split"] == TEST).any():
        _cut(out, strata, TEST, test_fraction, rng)
    leaking = (out["split"] == TRAIN) & out["group"].isin(out.loc[out["split"] == TEST, "group"])
    out.loc[leaking, "split"] = "excluded"
    if not (out["split"] == VALIDATION).any():
        _cut(out, strata, VALIDATION, val_fraction, rng)
    for split, fraction in ((TRAIN, "val_fraction"), (VALIDATION, "val_fraction")):
        if not (out["split"] == split).any():
            raise KaryosegError(
                f"splits: no sample is left for '{split}' of {len(out)} labelled ones; needed: at least one group of "
                f"samples each for train and val. Add labelled samples or change {fraction}."
            )
    return out.reset_index(drop=True)


def _cut(out: pd.DataFrame, strata: pd.Series, name: str, fraction: float, rng: np.random.RandomState) -> None:
    """Move about `fraction` of the training rows to split `name`, whole groups at a time."""
    pool = out[out["split"] == TRAIN]
    n_groups = pool["group"].nunique()
    if fraction <= 0 or n_groups < _MIN_GROUPS:
        return
    n_folds = min(max(round(1 / fraction), _MIN_GROUPS), n_groups)
    common = strata[pool.index].map(strata[pool.index].value_counts()) >= n_folds
    stratum = strata[pool.index].where(common, "rare")
    if fraction <= 0.5 and stratum.value_counts().min() >= n_folds:  # noqa: PLR2004
        splitter = StratifiedGroupKFold(n_folds, shuffle=True, random_state=rng)
        _, chosen = next(iter(splitter.split(pool, stratum, pool["group"])))
    else:
        splitter = GroupShuffleSplit(1, test_size=fraction, random_state=rng)
        _, chosen = next(iter(splitter.split(pool, groups=pool["group"])))
    out.loc[pool.index[chosen], "split"] = name
