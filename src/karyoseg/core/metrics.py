"""Instance segmentation metrics: match objects per image, pool the counts over images, divide last.

Notes
-----
Matching
    A true and a predicted object match at threshold t when their IoU is at least t; among all one-to-one
    assignments the one with the most matches counts, ties go to the larger sum of IoU. At t = 0 every pair
    qualifies, even one that does not overlap, so that TP = min(n_true, n_pred): the behaviour of
    ``stardist.matching``, against which the tests compare every number.
Not annotated (negative true labels)
    Such pixels are left out of both images. A predicted object with more than half of its pixels there is
    neither right nor wrong: it is left out of every number.
Nothing to count
    Truth without objects and prediction without objects agree: every ratio is 1. As soon as one side has
    objects, a ratio without any match is 0. No number is ever NaN.
"Average precision"
    ``ap_t`` = TP / (TP + FP + FN), the definition of the 2018 Data Science Bowl (elsewhere: accuracy, Jaccard
    index of detections). ``map`` is an area below a precision-recall curve and a different quantity.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from karyoseg.core.matching import (
    COUNTS,
    count_matches,
    find_overlap,
    iou_matrix,
    match_objects,
    true_positives,
)

__all__ = [
    "ALL_IMAGES",
    "ALL_THRESHOLDS",
    "AP_THRESHOLDS",
    "MAP_THRESHOLDS",
    "PIXEL_COUNTS",
    "ap_curve",
    "class_scores",
    "dsb_score",
    "image_scores",
    "iou_matrix",
    "match_objects",
    "match_table",
    "pooled_ap",
    "score_image",
    "summarise",
    "true_positives",
]

ALL_IMAGES = "all"
"""What stands in the place of a class for the scores of all images."""

AP_THRESHOLDS: tuple[float, ...] = tuple(round(0.5 + 0.05 * i, 2) for i in range(10))
"""IoU thresholds of ``ap_50`` ... ``ap_95``, ``ap_mean`` and ``dsb_score``."""

MAP_THRESHOLDS: tuple[float, ...] = tuple(float(t) for t in np.linspace(0, 1, 20))
"""IoU thresholds of ``map``."""

ALL_THRESHOLDS: tuple[float, ...] = tuple(sorted({*AP_THRESHOLDS, *MAP_THRESHOLDS}))
"""Every threshold that :func:`summarise` needs."""

PIXEL_COUNTS = ["pixels_true", "pixels_pred", "pixels_both", "aji_intersection", "aji_union"]

_DIGITS = 6  # thresholds may come back from a CSV file: compared after rounding


def match_table(y_true: ArrayLike, y_pred: ArrayLike, thresholds: Sequence[float] = ALL_THRESHOLDS) -> pd.DataFrame:
    """Match the objects of two label images at several thresholds.

    Parameters
    ----------
    y_true : (Y, X) int array
        True labels: 0 background, negative not annotated.
    y_pred : (Y, X) int array
        Predicted labels.
    thresholds : sequence of float
        IoU thresholds, 0 to 1.

    Returns
    -------
    DataFrame
        One row per threshold: threshold, tp, fp, fn, sum_iou (of the matched pairs), n_true, n_pred.

    Examples
    --------
    >>> match_table([[1, 1, 0, 2]], [[5, 5, 5, 0]], [0.5]).iloc[0].to_dict()["tp"]
    1.0
    """
    return count_matches(find_overlap(y_true, y_pred), thresholds)


def dsb_score(y_true: ArrayLike, y_pred: ArrayLike) -> float:
    """Compute the score of one image in the 2018 Data Science Bowl: the mean of its AP at AP_THRESHOLDS.

    Parameters
    ----------
    y_true, y_pred : (Y, X) int array
        Label images.

    Returns
    -------
    float
        0 to 1; ``dsb_score`` of :func:`summarise` is its mean over images.
    """
    table = match_table(y_true, y_pred, AP_THRESHOLDS)
    return float(_ratio(table["tp"], table[["tp", "fp", "fn"]].sum(axis=1), table).mean())


def pooled_ap(tables: Iterable[pd.DataFrame]) -> pd.Series:
    """Compute the AP of the objects of several images together.

    Parameters
    ----------
    tables : iterable of DataFrame
        :func:`match_table` of each image, at the same thresholds.

    Returns
    -------
    Series
        AP, 0 to 1, by threshold in ascending order.

    Examples
    --------
    >>> empty = match_table([[0, 0]], [[0, 0]], [0.5])
    >>> pooled_ap([empty, match_table([[1, 2]], [[1, 0]], [0.5])]).to_dict(), pooled_ap([empty]).to_dict()
    ({0.5: 0.5}, {0.5: 1.0})
    """
    return _pooled(pd.concat(tables))["ap"]


def score_image(y_true: ArrayLike, y_pred: ArrayLike) -> tuple[pd.DataFrame, dict[str, int]]:
    """Count everything that the scores of one image, and of a whole test set, are made of.

    Parameters
    ----------
    y_true, y_pred : (Y, X) int array
        Label images, see :func:`match_table`.

    Returns
    -------
    matches : DataFrame
        :func:`match_table` at all thresholds of :func:`summarise`.
    pixels : dict of str to int
        The counts of pixel Dice (pixels_true, pixels_pred, pixels_both) and of the aggregated Jaccard index
        (aji_intersection, aji_union). The latter follows [1]_: every true object takes the predicted object
        with the largest IoU; predicted objects that nobody took are added to the union.

    References
    ----------
    .. [1] Kumar et al., A dataset and a technique for generalized nuclear segmentation for computational
       pathology, IEEE Trans. Med. Imaging 36 (2017), doi:10.1109/TMI.2017.2677499
    """
    overlap = find_overlap(y_true, y_pred)
    order = np.lexsort((-overlap.iou, overlap.rows))
    rows, first = np.unique(overlap.rows[order], return_index=True)
    best = order[first]  # the favourite of each true object that overlaps anything
    lone_areas = np.delete(overlap.true_areas, rows).sum() + np.delete(overlap.pred_areas, overlap.cols[best]).sum()
    counts = {
        "pixels_true": overlap.true_areas.sum(),
        "pixels_pred": overlap.pred_areas.sum(),
        "pixels_both": overlap.pixels.sum(),
        "aji_intersection": overlap.pixels[best].sum(),
        "aji_union": overlap.union[best].sum() + lone_areas,
    }
    return count_matches(overlap, ALL_THRESHOLDS), {name: int(count) for name, count in counts.items()}


def summarise(matches: pd.DataFrame, per_image: pd.DataFrame) -> dict[str, Any]:
    """Turn the counts of a test set into its metrics.

    Parameters
    ----------
    matches : DataFrame
        Columns id, class and those of :func:`match_table`, at all thresholds, for every image.
    per_image : DataFrame
        Columns id, class and the pixel counts of :func:`score_image`, one row per image; further columns are
        ignored, so the table of :func:`image_scores` serves as well.

    Returns
    -------
    dict
        Plain numbers, over all images:

        - ``f1``, ``precision``, ``recall`` and ``pq`` [1]_ at IoU 0.5; ``iou`` is ``ap_50``;
        - ``ap_50`` ... ``ap_95`` and their mean ``ap_mean``;
        - ``dsb_score``: mean over images of each image's own ``ap_mean``;
        - ``dice`` (of pixels, not of objects) and ``aji``;
        - ``map``: mean over classes of the sum over MAP_THRESHOLDS of precision_i * (recall_i - recall_i+1);
          the recall after the last threshold is 0 (else a perfect prediction would score 0). A class without
          true objects has no recall: its ``map`` is None and stays out of the mean;
        - ``n_images``, ``n_true``, ``n_pred``;
        - ``by_class``: the same numbers for each class.

    References
    ----------
    .. [1] Kirillov et al., Panoptic segmentation, CVPR (2019), doi:10.1109/CVPR.2019.00963. Here a pair
       matches at IoU >= 0.5, not > 0.5, as everywhere in this module.
    """
    pixels = per_image.set_index("class")
    by_class = {str(name): _scores(group, pixels.loc[[name]]) for name, group in matches.groupby("class", sort=True)}
    overall = _scores(matches, pixels)
    values = [scores["map"] for scores in by_class.values() if scores["map"] is not None]
    overall["map"] = float(np.mean(values)) if values else float(overall["n_pred"] == 0)
    return {**overall, "by_class": by_class}


def image_scores(matches: pd.DataFrame, pixels: pd.DataFrame) -> pd.DataFrame:
    """Compute the scores of every image.

    Parameters
    ----------
    matches, pixels : DataFrame
        As for :func:`summarise`.

    Returns
    -------
    DataFrame
        One row per image, in the order of `pixels`: id, class, the scores of :func:`summarise` except ``map``
        and ``dsb_score`` (they describe sets of images), n_true, n_pred and the pixel counts.
    """
    groups = dict(iter(matches.groupby("id", sort=False)))
    rows = []
    for row in pixels.to_dict("records"):
        scores = _scores(groups[row["id"]], pd.DataFrame([row]))
        kept = {name: value for name, value in scores.items() if name not in {"map", "dsb_score", "n_images"}}
        rows.append({"id": row["id"], "class": row["class"], **kept, **{name: row[name] for name in PIXEL_COUNTS}})
    return pd.DataFrame(rows)


def class_scores(metrics: dict[str, Any]) -> pd.DataFrame:
    """Lay out ``by_class`` of :func:`summarise` as a table.

    Parameters
    ----------
    metrics : dict
        Result of :func:`summarise`.

    Returns
    -------
    DataFrame
        One row per class; column class, then the scores.
    """
    table = pd.DataFrame.from_dict(metrics["by_class"], orient="index")
    return table.rename_axis("class").reset_index()


def ap_curve(matches: pd.DataFrame) -> pd.DataFrame:
    """Compute the scores over the IoU threshold, for each class and for all images.

    Parameters
    ----------
    matches : DataFrame
        As for :func:`summarise`.

    Returns
    -------
    DataFrame
        Columns class (``all`` for all images), threshold (ascending in each class), tp, fp, fn, ap, precision,
        recall, f1.
    """
    parts: list[tuple[Hashable, pd.DataFrame]] = [(ALL_IMAGES, matches), *matches.groupby("class", sort=True)]
    curves = [_pooled(group).assign(**{"class": str(name)}) for name, group in parts]
    columns = ["class", "threshold", "tp", "fp", "fn", "ap", "precision", "recall", "f1"]
    return pd.concat(curves).reset_index()[columns]


def _scores(matches: pd.DataFrame, pixels: pd.DataFrame) -> dict[str, Any]:
    """Scores of one group of images; ``map`` as if they were one class."""
    curve = _pooled(matches)
    half = curve.loc[[0.5]].to_dict("records")[0]
    ap = curve.loc[list(AP_THRESHOLDS), "ap"]
    n_true, n_pred = int(half["n_true"]), int(half["n_pred"])
    area: dict[str, float] = {name: float(pixels[name].sum()) for name in PIXEL_COUNTS}
    strict = matches[matches["threshold"].round(_DIGITS).isin(AP_THRESHOLDS)]
    return {
        "f1": float(half["f1"]),
        "iou": float(half["ap"]),
        "map": _area_below_curve(curve) if n_true else None,
        **{f"ap_{round(100 * t)}": float(value) for t, value in zip(AP_THRESHOLDS, ap, strict=True)},
        "ap_mean": float(ap.mean()),
        "precision": float(half["precision"]),
        "recall": float(half["recall"]),
        "pq": _fraction(half["sum_iou"], half["tp"] + (half["fp"] + half["fn"]) / 2),
        "aji": _fraction(area["aji_intersection"], area["aji_union"]),
        "dice": _fraction(2 * area["pixels_both"], area["pixels_true"] + area["pixels_pred"]),
        "dsb_score": float(_ratio(strict["tp"], strict[["tp", "fp", "fn"]].sum(axis=1), strict).mean()),
        "n_images": len(pixels),
        "n_true": n_true,
        "n_pred": n_pred,
    }


def _pooled(matches: pd.DataFrame) -> pd.DataFrame:
    """Add up counts per threshold (the index, rounded) and compute the ratios."""
    table = matches.groupby(matches["threshold"].round(_DIGITS))[COUNTS].sum()
    tp, fp, fn = table["tp"], table["fp"], table["fn"]
    return table.assign(
        ap=_ratio(tp, tp + fp + fn, table),
        precision=_ratio(tp, tp + fp, table),
        recall=_ratio(tp, tp + fn, table),
        f1=_ratio(2 * tp, 2 * tp + fp + fn, table),
    )


def _area_below_curve(curve: pd.DataFrame) -> float:
    points = curve.loc[[round(threshold, _DIGITS) for threshold in MAP_THRESHOLDS]]
    recall = points["recall"].to_numpy()
    return float(np.sum(points["precision"].to_numpy() * (recall - np.append(recall[1:], 0.0))))


def _ratio(numerator: pd.Series, denominator: pd.Series, counts: pd.DataFrame) -> pd.Series:
    """Divide; where there is nothing to divide by, 1 if both sides are empty, else 0."""
    empty = (counts[["tp", "fp", "fn"]].sum(axis=1) == 0).astype(float)
    return (numerator / denominator.where(denominator > 0)).fillna(empty)


def _fraction(numerator: float, denominator: float) -> float:
    return float(numerator / denominator) if denominator else 1.0
