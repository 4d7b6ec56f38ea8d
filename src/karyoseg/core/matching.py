"""Which objects of two label images match: sparse overlaps and optimal one-to-one assignment.

This is the engine of :mod:`karyoseg.core.metrics`, which states the conventions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import connected_components, min_weight_full_bipartite_matching

from karyoseg.core.errors import KaryosegError

COUNTS = ["tp", "fp", "fn", "sum_iou", "n_true", "n_pred"]

_ROUNDING = 1e-9  # an IoU equal to the threshold counts, whatever the last bit of the division says


@dataclass(frozen=True)
class Overlap:
    """Sparse overlap of the objects of two label images.

    Parameters
    ----------
    true_labels, pred_labels : (n_true,) and (n_pred,) int array
        Labels in ascending order.
    true_areas, pred_areas : (n_true,) and (n_pred,) int array
        Annotated pixels of each object.
    rows, cols : (n_pairs,) int array
        Index of the true and of the predicted object of each overlapping pair.
    pixels : (n_pairs,) int array
        Pixels shared by each pair, at least 1.
    """

    true_labels: NDArray[np.int64]
    pred_labels: NDArray[np.int64]
    true_areas: NDArray[np.int64]
    pred_areas: NDArray[np.int64]
    rows: NDArray[np.int64]
    cols: NDArray[np.int64]
    pixels: NDArray[np.int64]

    @property
    def union(self) -> NDArray[np.int64]:
        """Pixels of the union of each pair."""
        return self.true_areas[self.rows] + self.pred_areas[self.cols] - self.pixels

    @property
    def iou(self) -> NDArray[np.float64]:
        """Intersection over union of each pair."""
        return self.pixels / self.union


def find_overlap(y_true: ArrayLike, y_pred: ArrayLike) -> Overlap:
    """Find which objects overlap by how many pixels.

    Parameters
    ----------
    y_true : (Y, X) int array
        True labels: 0 background, negative not annotated.
    y_pred : (Y, X) int array
        Predicted labels: 0 (or negative) background.

    Returns
    -------
    Overlap
        Objects and overlapping pairs; memory grows with the number of objects, not with its square.

    Raises
    ------
    KaryosegError
        If the shapes differ or the labels are not integers.
    """
    true, pred, pixels = _label_pairs(_checked(y_true, "y_true"), _checked(y_pred, "y_pred"))
    annotated = true >= 0
    is_pred = pred > 0
    labels, index = np.unique(pred[is_pred], return_inverse=True)
    areas = np.bincount(index, pixels[is_pred], labels.size)
    seen = np.bincount(index, (pixels * annotated)[is_pred], labels.size)
    judged = 2 * seen >= areas
    pred_labels, pred_areas = labels[judged], seen[judged].astype(np.int64)

    is_true = true > 0
    true_labels, index = np.unique(true[is_true], return_inverse=True)
    true_areas = np.bincount(index, pixels[is_true], true_labels.size).astype(np.int64)
    pair = is_true & np.isin(pred, pred_labels)
    rows = np.searchsorted(true_labels, true[pair])
    cols = np.searchsorted(pred_labels, pred[pair])
    return Overlap(true_labels, pred_labels, true_areas, pred_areas, rows, cols, pixels[pair])


def iou_matrix(y_true: ArrayLike, y_pred: ArrayLike) -> NDArray[np.float64]:
    """Compute the intersection over union of every true with every predicted object.

    Parameters
    ----------
    y_true, y_pred : (Y, X) int array
        Label images, see :func:`find_overlap`, which also tells the labels of rows and columns.

    Returns
    -------
    (n_true, n_pred) float64 array
        Objects in ascending order of their labels, without those in not annotated area.

    Examples
    --------
    >>> iou_matrix([[7, 7, 0]], [[0, 3, 3]]).round(2).tolist()
    [[0.33]]
    """
    overlap = find_overlap(y_true, y_pred)
    iou = np.zeros((overlap.true_labels.size, overlap.pred_labels.size))
    iou[overlap.rows, overlap.cols] = overlap.iou
    return iou


def true_positives(iou: ArrayLike, threshold: float) -> int:
    """Count the pairs of the best one-to-one assignment with an IoU of at least the threshold.

    Parameters
    ----------
    iou : (n_true, n_pred) float array
        Intersection over union, from :func:`iou_matrix`.
    threshold : float
        0 to 1; at 0 every pair qualifies (see the module's conventions).

    Returns
    -------
    int
        True positives.

    Examples
    --------
    >>> true_positives([[0.6, 0.4], [0.0, 0.3]], 0.5), true_positives([[0.6, 0.4], [0.0, 0.3]], 0.3)
    (1, 2)
    """
    dense = np.asarray(iou, dtype=np.float64)
    if threshold <= 0:
        return min(dense.shape)
    rows, cols = np.nonzero(dense)
    return int(_assign(rows, cols, dense[rows, cols], threshold).size)


def count_matches(overlap: Overlap, thresholds: Sequence[float]) -> pd.DataFrame:
    """Count matches at several thresholds.

    Parameters
    ----------
    overlap : Overlap
        From :func:`find_overlap`.
    thresholds : sequence of float
        IoU thresholds.

    Returns
    -------
    DataFrame
        One row per threshold: threshold, tp, fp, fn, sum_iou (of the matched pairs), n_true, n_pred.
    """
    n_true, n_pred, iou = overlap.true_labels.size, overlap.pred_labels.size, overlap.iou
    rows = []
    for threshold in thresholds:
        matched = _assign(overlap.rows, overlap.cols, iou, threshold)
        tp = matched.size if threshold > 0 else min(n_true, n_pred)
        sum_iou = float(iou[matched].sum())
        rows.append((float(threshold), tp, n_pred - tp, n_true - tp, sum_iou, n_true, n_pred))
    return pd.DataFrame(rows, columns=["threshold", *COUNTS])


def match_objects(y_true: ArrayLike, y_pred: ArrayLike, threshold: float = 0.5) -> pd.DataFrame:
    """Say for every object whether it is matched, missed or false.

    Parameters
    ----------
    y_true, y_pred : (Y, X) int array
        Label images, see :func:`find_overlap`.
    threshold : float
        IoU threshold, above 0.

    Returns
    -------
    DataFrame
        Columns true, pred (labels, 0 where there is no partner), iou (of the matched pair, else 0) and
        outcome: ``tp``, ``fn`` (true object without match) or ``fp`` (predicted object without match).
    """
    overlap = find_overlap(y_true, y_pred)
    matched = _assign(overlap.rows, overlap.cols, overlap.iou, threshold)
    rows, cols = overlap.rows[matched], overlap.cols[matched]
    missed, false = np.delete(overlap.true_labels, rows), np.delete(overlap.pred_labels, cols)
    return pd.DataFrame(
        {
            "true": np.concatenate([overlap.true_labels[rows], missed, np.zeros_like(false)]),
            "pred": np.concatenate([overlap.pred_labels[cols], np.zeros_like(missed), false]),
            "iou": np.concatenate([overlap.iou[matched], np.zeros(missed.size + false.size)]),
            "outcome": ["tp"] * matched.size + ["fn"] * missed.size + ["fp"] * false.size,
        }
    )


def _checked(labels: ArrayLike, name: str) -> NDArray[Any]:
    array = np.asarray(labels)
    if not np.issubdtype(array.dtype, np.integer):
        raise KaryosegError(f"{name} has type {array.dtype}; needed: integer labels. Convert the label image first.")
    return array


def _label_pairs(y_true: NDArray[Any], y_pred: NDArray[Any]) -> tuple[NDArray[np.int64], ...]:
    """List each pair of labels that occurs at one pixel, and at how many."""
    if y_true.shape != y_pred.shape:
        raise KaryosegError(
            f"True labels have shape {y_true.shape}, predicted labels {y_pred.shape}; needed: the same "
            "shape. Map the prediction back to the grid of the original image."
        )
    true, pred = y_true.ravel(), y_pred.ravel()
    if true.size == 0:
        return (np.empty(0, np.int64),) * 3
    # Neighbouring pixels mostly carry the same pair: counting runs, not pixels, is far faster.
    change = (true[1:] != true[:-1]) | (pred[1:] != pred[:-1])
    start = np.concatenate([[0], np.flatnonzero(change) + 1])
    length = np.diff(np.append(start, true.size))
    true_values, true_index = np.unique(true[start], return_inverse=True)
    pred_values, pred_index = np.unique(pred[start], return_inverse=True)
    pair, index = np.unique(true_index * pred_values.size + pred_index, return_inverse=True)
    row, col = np.divmod(pair, pred_values.size)
    pixels = np.bincount(index, length).astype(np.int64)
    return true_values[row].astype(np.int64), pred_values[col].astype(np.int64), pixels


def _assign(
    rows: NDArray[np.int64], cols: NDArray[np.int64], iou: NDArray[np.float64], threshold: float
) -> NDArray[np.int64]:
    """Return the indices of the overlapping pairs that are matched."""
    hit = iou >= threshold - _ROUNDING
    competing = hit & (_is_repeated(rows, hit) | _is_repeated(cols, hit))
    if not competing.any():
        return np.flatnonzero(hit)  # always so above 0.5
    # Only groups of overlapping objects in which some compete are solved: time grows faster than the size of a group.
    n_rows, n_cols = int(rows.max()) + 1, int(cols.max()) + 1
    graph = coo_array((np.ones(rows.size), (rows, n_rows + cols)), shape=(n_rows + n_cols,) * 2)
    group = connected_components(graph, directed=False)[1][rows]
    open_pairs = np.flatnonzero(np.isin(group, group[competing]))
    matched = hit.copy()
    bonus = hit[open_pairs] * int(threshold > 0)
    matched[open_pairs] &= _solve(rows[open_pairs], cols[open_pairs], iou[open_pairs], bonus)
    return np.flatnonzero(matched)


def _is_repeated(ids: NDArray[np.int64], counted: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Tell for each pair whether its object is in several of the counted pairs."""
    return np.bincount(ids[counted], minlength=int(ids.max(initial=0)) + 1)[ids] > 1


def _solve(
    rows: NDArray[np.int64], cols: NDArray[np.int64], iou: NDArray[np.float64], bonus: NDArray[np.integer]
) -> NDArray[np.bool_]:
    """Tell which pairs the matching with the largest sum of bonus has, then of IoU."""
    rows, cols = (np.unique(side, return_inverse=True)[1] for side in (rows, cols))
    n_rows, n_cols = int(rows.max()) + 1, int(cols.max()) + 1
    # A private dummy column lets each row stay free, so that a full matching exists; the constant 1 keeps entries
    # non-zero and adds the same to every full matching.
    weight = 1 + bonus + iou / (2 * min(n_rows, n_cols))
    dummy = np.arange(n_rows)
    graph = csr_array(
        (
            np.concatenate([weight, np.ones(n_rows)]),
            (np.concatenate([rows, dummy]), np.concatenate([cols, n_cols + dummy])),
        ),
        shape=(n_rows, n_cols + n_rows),
    )
    row, col = min_weight_full_bipartite_matching(graph, maximize=True)
    partner = np.empty(n_rows, np.int64)
    partner[row] = col
    return np.asarray(partner[rows] == cols)
