"""Choice of the probability and non-maximum suppression thresholds on validation images.

Candidates are predicted once per image. Greedy non-maximum suppression visits candidates by descending probability,
so the result at a higher probability threshold is the result at the lowest one without its less probable instances;
the same holds for the rendered label image. One suppression and one IoU matrix per image and NMS threshold therefore
serve all probability thresholds.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from karyoseg.core.matching import count_matches, find_overlap
from karyoseg.models.base import Prediction

logger = logging.getLogger(__name__)

PROB_GRID = np.round(np.arange(0.20, 0.91, 0.02), 2)
_FALLBACK = (0.5, 0.4)
_LENIENT_FROM = 0.5  # StarDist's own threshold


@dataclass(frozen=True)
class Thresholds:
    """Chosen thresholds and their score on the validation images.

    Parameters
    ----------
    prob : float
        Smallest object probability, 0..1.
    nms : float
        Largest overlap of two instances kept, 0..1.
    score : float
        Mean over the IoU thresholds of the pooled TP / (TP + FP + FN).
    """

    prob: float
    nms: float
    score: float


def search_thresholds(
    images: Iterable[tuple[np.ndarray, Callable[[float], Prediction]]],
    nms_grid: Sequence[float] = (0.3, 0.4, 0.5),
    prob_grid: np.ndarray = PROB_GRID,
    iou_thresholds: Sequence[float] = (0.3, 0.5, 0.7),
    tolerance: float = 0.005,
) -> Thresholds:
    """Find the thresholds with the best score, and prefer lower ones that are nearly as good.

    Annotators leave dim nuclei out, and a high threshold agrees with them; but in images unlike those of the training
    models are less certain, and nuclei would be missed.

    Parameters
    ----------
    images : iterable of (ndarray, callable)
        Per validation image the true labels, and what gives the prediction at prob_grid[0] for an NMS threshold.
        Images are gone through once, so that one is in memory at a time.
    nms_grid : sequence of float
        NMS thresholds to try.
    prob_grid : (P,) ndarray
        Probability thresholds to try, ascending.
    iou_thresholds : sequence of float
        IoU thresholds the score averages over, as in ``stardist.optimize_thresholds``.
    tolerance : float
        How much score is given for a lower probability threshold, not below 0.5; with 0 it is the best one.

    Returns
    -------
    Thresholds
        The best pair, of equal ones that in the middle of the plateau; or the lowest probability threshold beside it
        whose score is within the tolerance.
    """
    counts = np.zeros((len(nms_grid), len(iou_thresholds), len(prob_grid), 3), dtype=np.int64)  # tp, n_pred, n_true
    for truth, predict_at in images:
        for number, nms in enumerate(nms_grid):
            counts[number] += _count(truth, predict_at(nms), prob_grid, iou_thresholds)
    tp, n_pred, n_true = np.moveaxis(counts, -1, 0)
    scores = (tp / np.maximum(n_pred + n_true - tp, 1)).mean(axis=1)
    best, highest = Thresholds(*_FALLBACK, score=-1.0), -1.0
    for nms, score in zip(nms_grid, scores, strict=True):
        plateau = np.flatnonzero(score >= score.max() - 1e-3)
        middle = plateau[len(plateau) // 2]
        logger.info("Thresholds: nms %.2f -> best prob %.2f, score %.4f", nms, prob_grid[middle], score[middle])
        if score[middle] > highest:
            highest = score[middle]
            lenient = (score >= score.max() - tolerance) & (prob_grid >= _LENIENT_FROM)
            chosen = min(middle, np.flatnonzero(lenient)[0]) if tolerance and lenient.any() else middle
            best = Thresholds(float(prob_grid[chosen]), float(nms), float(score[chosen]))
    if best.score <= 0:
        logger.warning(
            "Thresholds: no validation instance was found at any threshold; using prob %.2f, nms %.2f. "
            "The model is hardly trained.",
            *_FALLBACK,
        )
        return Thresholds(*_FALLBACK, score=0.0)
    return best


def _count(
    truth: np.ndarray, prediction: Prediction, prob_grid: np.ndarray, iou_thresholds: Sequence[float]
) -> np.ndarray:
    """True positives, predicted and true instances, shape (IoU thresholds, prob thresholds, 3)."""
    overlap = find_overlap(truth, prediction.labels)
    # Instances in not annotated area are left out of the overlap, so its columns are looked up by label.
    prob = prediction.prob[overlap.pred_labels - 1]
    counts = np.zeros((len(iou_thresholds), len(prob_grid), 3), dtype=np.int64)
    for p, threshold in enumerate(prob_grid):
        kept = prob > threshold  # as StarDist: above, not at
        pairs = kept[overlap.cols]
        thinned = replace(overlap, rows=overlap.rows[pairs], cols=overlap.cols[pairs], pixels=overlap.pixels[pairs])
        counts[:, p, 0] = count_matches(thinned, iou_thresholds)["tp"]
        counts[:, p, 1:] = np.count_nonzero(kept), overlap.true_labels.size
    return counts
