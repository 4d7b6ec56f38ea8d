"""Train, validation and test splits: grouped, stratified, seeded."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Sequence
from fractions import Fraction
from math import ceil

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from karyoseg.core.errors import KaryosegError

logger = logging.getLogger(__name__)

TRAIN, VALIDATION, TEST = "train", "val", "test"
EXCLUDED = "excluded"
_MAX_FOLDS = 10
_DESCENDANT = "_aug"  # what names of samples made from another one go on with


def sample_groups(manifest: pd.DataFrame, pattern: str | None = None) -> pd.Series:
    """Tell which samples must stay together.

    Identical files always share a group, and what was made of a sample (``ID_aug...``) is in the group of that. With
    `pattern`, so do ids with the same match, or the same part of it, for example tiles of one slide. The rules chain:
    two slides that share an image are one group.

    Parameters
    ----------
    manifest : DataFrame
        Columns id, image_sha256.
    pattern : str, optional
        Regular expression searched in the id; the first of its capture groups that took part in the match counts, the
        whole match without any.

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
    ids = set(manifest["id"])

    def name(sample: str) -> str:
        # Names of originals may hold the word themselves.
        origins = (sample[: found.start()] for found in re.finditer(_DESCENDANT, sample))
        sample = next((origin for origin in origins if origin in ids), sample)
        found = re.search(pattern, sample) if pattern else None
        if found is None:
            return sample
        # Of alternatives, groups that did not take part are None.
        return next((part for part in found.groups() if part is not None), found.group(0))

    names = manifest["id"].map(name)
    name_code, unique_names = pd.factorize(names)
    hashes = manifest["image_sha256"].astype(object).fillna("")
    hash_code = len(unique_names) + pd.factorize(hashes)[0]
    known = (hashes != "").to_numpy()
    size = len(unique_names) + len(manifest)
    links = coo_array((np.ones(known.sum()), (name_code[known], hash_code[known])), shape=(size, size))
    _, component = connected_components(links, directed=False)
    return names.groupby(component[name_code]).transform("first")


def make_splits(
    manifest: pd.DataFrame,
    *,
    val_fraction: float,
    test_fraction: float,
    group_pattern: str | None = None,
    validation: Sequence[str] = (),
    seed: int = 0,
) -> pd.DataFrame:
    """Assign every labelled sample to train, val or test.

    A published test split stays as it is; only if there is none is one cut. Validation is cut from train, if neither
    published nor named. Groups are never divided: of a group that reaches into the published test split nothing else is
    used, and of one that reaches into a published or named validation split nothing is trained on. Strata are class,
    magnification and image size.

    Parameters
    ----------
    manifest : DataFrame
        Columns id, split, class, magnification, height, width, image_sha256, n_objects.
    val_fraction, test_fraction : float
        Share of the training samples, 0..1; `test_fraction` counts only without a published test split.
    group_pattern : str, optional
        See :func:`sample_groups`.
    validation : sequence of str
        Ids of the training samples to validate on; what was made of them (``ID_aug...``) is not trained on.
    seed : int
        Seed of the choice.

    Returns
    -------
    DataFrame
        Columns id, split, group; one row per labelled sample, in the order of `manifest`. Samples of a group that
        a published or named split has claimed have split ``excluded``.

    Raises
    ------
    KaryosegError
        If nothing is labelled, a named sample is not to train on, or too few samples remain for training or validation.
    """
    labelled = manifest[manifest["label_sha256"].fillna("").astype(bool)]
    if labelled.empty:
        raise KaryosegError(
            f"manifest: none of the {len(manifest)} samples has a label image; needed: labelled samples to train on. "
            f"Supply masks, or use the predict pipeline for images alone."
        )
    out = pd.DataFrame({"id": labelled["id"], "split": labelled["split"].fillna("").replace("", TRAIN)})
    _name_validation(out, validation)
    _check_pattern(group_pattern, list(labelled["id"]))
    out["group"] = sample_groups(labelled, group_pattern)
    strata = labelled[["class", "magnification", "height", "width"]].apply(lambda row: "|".join(map(str, row)), axis=1)
    rng = np.random.RandomState(seed)  # scikit-learn takes no Generator
    has_test, has_val = (out["split"] == TEST).any(), (out["split"] == VALIDATION).any()
    _exclude(out, TEST, (TRAIN, VALIDATION))
    _exclude(out, VALIDATION, (TRAIN,))
    cut_test = not has_test and test_fraction > 0
    _require_groups(out, wanted=[TRAIN, *[VALIDATION] * (not has_val), *[TEST] * cut_test])
    if cut_test:
        _cut(out, strata, TEST, test_fraction, rng, left=1 if has_val else 2)
    if not has_val:
        _cut(out, strata, VALIDATION, val_fraction, rng)
    return out.reset_index(drop=True)


def _name_validation(out: pd.DataFrame, names: Sequence[str]) -> None:
    """Move the named samples from train to validation."""
    training = out["split"] == TRAIN
    unknown = sorted(set(names) - set(out.loc[training, "id"]))
    if unknown:
        raise KaryosegError(
            f"preprocess.splits.validation: {len(unknown)} name(s) that no training sample has, such as {unknown[0]}; "
            f"needed: ids of labelled training samples, as in manifest.csv. Correct or remove them."
        )
    out.loc[training & out["id"].isin(names), "split"] = VALIDATION


def _check_pattern(pattern: str | None, ids: Sequence[str]) -> None:
    """Refuse a pattern that groups nothing: tiles of one slide would be in several splits unnoticed."""
    others = [sample for sample in ids if pattern and not re.search(pattern, sample)]
    if not others:
        return
    if len(others) == len(ids):
        raise KaryosegError(
            f"preprocess.splits.group_pattern: {pattern} is in none of the {len(ids)} ids, such as {ids[0]}; needed: a "
            f"pattern of ids, as in manifest.csv. Characters such as blanks are replaced in them. Correct it."
        )
    logger.warning(
        "preprocess.splits.group_pattern: %s is not in %d of %d ids, such as %s; each of these is a group by itself",
        *(pattern, len(others), len(ids), others[0]),
    )


def _exclude(out: pd.DataFrame, claimed_by: str, splits: tuple[str, ...]) -> None:
    """Take the rows of `splits` out of use whose group also has rows in the split `claimed_by`."""
    claimed = out["group"].isin(out.loc[out["split"] == claimed_by, "group"])
    out.loc[claimed & out["split"].isin(splits), "split"] = EXCLUDED


def _require_groups(out: pd.DataFrame, wanted: list[str]) -> None:
    """Refuse a data set with fewer groups to divide than splits to fill."""
    n_groups = out.loc[out["split"] == TRAIN, "group"].nunique()
    if n_groups < len(wanted):
        excluded = int((out["split"] == EXCLUDED).sum())
        claimed = f" ({excluded} excluded: a published split has others of their groups)" if excluded else ""
        without_test = ", or set test_fraction to 0 and evaluate on other data" if TEST in wanted else ""
        raise KaryosegError(
            f"splits: {len(out)} labelled samples leave {n_groups} group(s) to divide{claimed}; needed: at least "
            f"{len(wanted)}, one each for {', '.join(wanted)}. Add labelled samples{without_test}."
        )


def _cut(
    out: pd.DataFrame, strata: pd.Series, name: str, fraction: float, rng: np.random.RandomState, left: int = 1
) -> None:
    """Move about `fraction` of the training rows to split `name`, whole groups at a time; `left` groups stay."""
    pool = out[out["split"] == TRAIN]
    n_groups = pool["group"].nunique()
    # As few folds as come close to the fraction: the fewer, the rarer the strata that can be spread over them.
    folds = Fraction(fraction).limit_denominator(max(_MAX_FOLDS, ceil(1 / min(fraction, 1 - fraction)))).denominator
    for n_folds in (min(max(folds, 2), n_groups), n_groups):
        parts = _parts(pool, strata[pool.index], n_folds, rng)
        n_chosen = min(max(round(fraction * n_folds), 1), n_folds - 1)
        while n_chosen and pool.drop(pool.index[np.concatenate(parts[:n_chosen])])["group"].nunique() < left:
            n_chosen -= 1
        if n_chosen:
            break
    out.loc[pool.index[np.concatenate(parts[:n_chosen])], "split"] = name


def _parts(pool: pd.DataFrame, strata: pd.Series, n_parts: int, rng: np.random.RandomState) -> list[np.ndarray]:
    """Divide rows into parts of about the same size and strata; give the positions of each."""
    from sklearn.model_selection import StratifiedGroupKFold  # takes as long as most commands

    sizes = strata.map(strata.value_counts())
    stratum = strata.where(sizes >= n_parts, "rare")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # about rare strata, which go where there is room
        folds = StratifiedGroupKFold(n_parts, shuffle=True, random_state=rng)
        return [rows for _, rows in folds.split(pool, stratum, pool["group"])]
