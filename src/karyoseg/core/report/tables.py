"""Tables and choices behind the report: which images to show, what the data set holds, how training went."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

import numpy as np
import pandas as pd

from karyoseg.core.errors import Problems
from karyoseg.core.metrics import ALL_IMAGES
from karyoseg.core.regions import find_regions
from karyoseg.core.splits import TEST, TRAIN, VALIDATION

SPLITS = (TRAIN, VALIDATION, TEST)


def select_cases(
    per_image: pd.DataFrame, rank_by: str, n_worst: int, n_best: int, ids: Sequence[str] = ()
) -> dict[str, list[str]]:
    """Choose the images to show.

    Parameters
    ----------
    per_image : DataFrame
        Columns id and `rank_by`; ap_mean, where present, decides between equals, then the id.
    rank_by : str
        Score, higher is better.
    n_worst, n_best : int
        How many from each end. No image is in both; if there are too few, the worst get the larger half.
    ids : sequence of str
        Further images asked for by id.

    Returns
    -------
    dict of str to list of str
        Ids of ``worst`` (worst first), ``best`` (best first) and ``chosen``.

    Raises
    ------
    ProblemReport
        If an id was not evaluated; names similar ones.
    """
    known = per_image["id"].astype(str).tolist()
    problems = Problems()
    for name in dict.fromkeys(ids):
        if name not in known:
            close = difflib.get_close_matches(name, known, n=3) or known[:3]
            problems.add(
                f"visualize.ids: {name!r}",
                "not among the evaluated images",
                "the id of one",
                f"Perhaps: {', '.join(close)}. All of them are in metrics_per_image.csv.",
            )
    problems.raise_if_any("visualize: unknown images")
    keys = [column for column in dict.fromkeys((rank_by, "ap_mean", "id")) if column in per_image]
    ranked = per_image.sort_values(keys)["id"].astype(str).tolist()
    worst = ranked[: min(n_worst, (len(ranked) + 1) // 2 if n_best else len(ranked))]
    rest = ranked[len(worst) :]
    return {"worst": worst, "best": rest[::-1][:n_best], "chosen": list(dict.fromkeys(ids))}


def count_samples(manifest: pd.DataFrame, splits: pd.DataFrame) -> pd.DataFrame:
    """Count images and objects per class and split.

    Parameters
    ----------
    manifest : DataFrame
        Columns id, class, n_objects.
    splits : DataFrame
        Columns id, split; samples that are missing here count as ``unused``.

    Returns
    -------
    DataFrame
        Columns class, split, images, objects; train before val before test, and a last row ``all`` per split.
    """
    table = manifest[["id", "class", "n_objects"]].copy()
    table["class"] = table["class"].fillna("").astype(str).replace("", "unclassified")
    split_of = dict(zip(splits["id"].astype(str), splits["split"].astype(str), strict=True))
    table["split"] = [split_of.get(str(name), "unused") for name in table["id"]]
    table["n_objects"] = pd.to_numeric(table["n_objects"]).fillna(0)
    order = [*SPLITS, *sorted(set(table["split"]) - set(SPLITS))]
    table["split"] = pd.Categorical(table["split"], order, ordered=True)
    parts = [table.sort_values("class"), table.assign(**{"class": ALL_IMAGES})]
    counts = [
        part.groupby(["class", "split"], observed=True)["n_objects"].agg(images="size", objects="sum") for part in parts
    ]
    return pd.concat([part.reset_index() for part in counts]).astype({"split": str, "objects": int})


def training_facts(history: pd.DataFrame) -> dict[str, str]:
    """Say in words how training went.

    Parameters
    ----------
    history : DataFrame
        One row per epoch; any of epoch, loss, val_loss.

    Returns
    -------
    dict of str to str
        Facts.
    """
    facts = {"epochs": str(len(history))}
    if "val_loss" in history and history["val_loss"].notna().any():
        best = int(np.nanargmin(history["val_loss"].to_numpy()))
        number = f", epoch {history['epoch'].iloc[best]:g}" if "epoch" in history else ""
        facts["best validation loss"] = f"{history['val_loss'].iloc[best]:.4f}{number}"
    if "loss" in history and len(history):
        facts["last training loss"] = f"{history['loss'].iloc[-1]:.4f}"
    return facts


def pick_examples(manifest: pd.DataFrame, n: int) -> list[str]:
    """Choose example images, spread over the classes.

    Parameters
    ----------
    manifest : DataFrame
        Columns id, class, n_objects.
    n : int
        How many at most.

    Returns
    -------
    list of str
        Ids, class by class in turn; within a class those with a typical number of objects first.
    """
    table = manifest[["id", "class"]].astype({"id": str}).fillna({"class": ""})
    objects = pd.to_numeric(manifest["n_objects"]).fillna(0)
    table["distance"] = (objects - objects.groupby(table["class"]).transform("median")).abs()
    table = table.sort_values(["distance", "id"])
    table["turn"] = table.groupby("class").cumcount()
    # With more classes than places the large classes come first.
    table["size"] = -table.groupby("class")["id"].transform("size")
    chosen = table.sort_values(["turn", "size", "class"]).head(n)
    return chosen.sort_values(["class", "turn"])["id"].tolist()


def object_diameters(labels: np.ndarray) -> np.ndarray:
    """Measure how large the objects are.

    Parameters
    ----------
    labels : (Y, X) integer ndarray
        Label image; only positive labels count.

    Returns
    -------
    (n,) float64 ndarray
        Diameters of circles of the same area [px], in ascending order of the labels.

    Examples
    --------
    >>> object_diameters(np.array([[3, 3, 0, -1], [3, 3, 0, 8]])).round(2).tolist()
    [2.26, 1.13]
    """
    return 2 * np.sqrt(find_regions(labels).area / np.pi)
