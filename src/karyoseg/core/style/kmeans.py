"""Dividing points into a given number of clusters, and judging the result."""

from __future__ import annotations

import numpy as np
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score, silhouette_score

_STARTS = 10
_TRIALS, _LEFT_OUT = 10, 0.2  # how the stability is measured
_ROUNDING = 1e-12


def kmeans(points: np.ndarray, k: int, seed: int) -> KMeans:
    """Divide points into clusters by Euclidean distance.

    Parameters
    ----------
    points : (n, m) ndarray
        Points, at least `k` different ones.
    k : int
        Number of clusters.
    seed : int
        Of the beginnings.

    Returns
    -------
    KMeans
        The best of 10 beginnings.
    """
    return KMeans(k, n_init=_STARTS, random_state=seed).fit(points)


def judge(points: np.ndarray, k: int, seed: int) -> dict[str, float]:
    """Measure how well points fall into k clusters.

    Parameters
    ----------
    points : (n, m) ndarray
        Points, at least `k` different ones.
    k : int
        Number of clusters.
    seed : int
        Of all that is random.

    Returns
    -------
    dict of str to float
        ``clusters``; mean ``silhouette``; ``stability``, the mean agreement (adjusted Rand index) with the clusters
        that are found without every fifth point; ``cost``, the sum of squared distances. What is not defined is NaN.
    """
    fitted = kmeans(points, k, seed)
    silhouette = mean_silhouette(points, fitted.labels_)
    stability = _stability(points, fitted.labels_, k, seed) if np.isfinite(silhouette) else np.nan
    return {"clusters": k, "silhouette": silhouette, "stability": stability, "cost": float(fitted.inertia_)}


def _stability(points: np.ndarray, labels: np.ndarray, k: int, seed: int) -> float:
    rng = np.random.default_rng(seed)
    n_left = max(k, len(points) - max(1, round(_LEFT_OUT * len(points))))
    scores = []
    for _ in range(_TRIALS):
        subset = np.sort(rng.permutation(len(points))[:n_left])
        distinct = len(np.unique(points[subset], axis=0))
        found = kmeans(points[subset], min(k, distinct), seed).labels_
        scores.append(adjusted_rand_score(labels[subset], found))
    return float(np.mean(scores))


def mean_silhouette(points: np.ndarray, labels: np.ndarray) -> float:
    """Measure how much nearer points are to their own cluster than to the next one.

    Parameters
    ----------
    points : (n, m) ndarray
        Points.
    labels : (n,) int ndarray
        Their clusters.

    Returns
    -------
    float
        Mean over the points [-1..1]; NaN for one cluster, and if each point is one.
    """
    return float(silhouette_score(points, labels)) if has_silhouette(labels) else np.nan


def has_silhouette(labels: np.ndarray) -> bool:
    """Tell whether there are several clusters, and one of several points.

    Parameters
    ----------
    labels : (n,) int ndarray
        Clusters of n points.
    """
    return 1 < len(np.unique(labels)) < len(labels)


def correlation_kmeans(
    rows: np.ndarray, k: int, *, restarts: int = 30, max_iter: int = 10_000, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, float]:
    """Divide rows into k clusters by their correlation with the centres.

    Parameters
    ----------
    rows : (n, m) ndarray
        Vectors; one without variation correlates with nothing.
    k : int
        Number of clusters, 1 to n.
    restarts : int
        Random beginnings, of which the one with the smallest cost counts.
    max_iter : int
        Longest way from each.
    seed : int
        Of the beginnings.

    Returns
    -------
    labels : (n,) int ndarray
        Cluster of each row; none is empty.
    centres : (k, m) ndarray
        Of mean 0 and length 1.
    cost : float
        Sum of 1 - correlation with the centre.
    """
    if not (restarts > 0 and 1 <= k <= len(rows)):
        raise ValueError(f"{restarts} restarts and {k} clusters of {len(rows)} rows make no sense")
    unit = unit_rows(rows)
    rng = np.random.default_rng(seed)
    best: tuple[np.ndarray, np.ndarray, float] = np.empty(0), np.empty(0), np.inf
    for _ in range(restarts):
        centres = unit[rng.choice(len(unit), k, replace=False)]
        labels = np.full(len(unit), -1)
        for _ in range(max_iter):
            similarity = unit @ centres.T
            nearest = similarity.argmax(axis=1)
            for empty in np.setdiff1d(np.arange(k), nearest):  # takes what fits worst, from a cluster that has others
                shared = np.bincount(nearest, minlength=k)[nearest] > 1
                worst = np.where(shared, similarity[np.arange(len(unit)), nearest], np.inf).argmin()
                nearest[worst] = empty
            if np.array_equal(nearest, labels):
                break
            labels = nearest
            centres = unit_rows(np.stack([unit[labels == cluster].sum(axis=0) for cluster in range(k)]))
        cost = float(np.sum(1 - np.einsum("ij,ij->i", unit, centres[labels])))
        if cost < best[2] - _ROUNDING:
            best = labels, centres, cost
    return best


def unit_rows(rows: np.ndarray) -> np.ndarray:
    """Bring rows to mean 0 and length 1, so that their products are correlations.

    Parameters
    ----------
    rows : (n, m) ndarray
        Vectors.

    Returns
    -------
    (n, m) float64 ndarray
        A row without variation becomes 0.
    """
    centred = rows - rows.mean(axis=1, keepdims=True)
    length = np.linalg.norm(centred, axis=1, keepdims=True)
    varies = length > _ROUNDING
    return np.where(varies, centred / np.where(varies, length, 1), 0.0)
