"""Groups of images that look alike.

:func:`cluster_by_parts` is the default: it compares images by the features in which they differ more than their own
quarters do, chooses the number of clusters, and gives each image to one. :func:`cluster_by_distance` is how
nucleAIzer [1]_ does it, for comparison.

References
----------
.. [1] Hollandi et al., Cell Systems 10 (2020), https://doi.org/10.1016/j.cels.2020.04.003
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.metrics import silhouette_samples
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from karyoseg.core.style.distance import StyleDistance, pairs_of_parts, pairs_of_styles
from karyoseg.core.style.features import FEATURES, LOCAL_FEATURES
from karyoseg.core.style.kmeans import correlation_kmeans, has_silhouette, judge, kmeans, mean_silhouette, unit_rows

_LOCAL = [FEATURES.index(name) for name in LOCAL_FEATURES]
_VARIANCE = 0.98  # kept by the principal components; of the rest, quarters of few images do not tell what varies
_ROUNDING = 1e-6  # standardised features that vary less are constant
_LEAST = 2  # clusters, for there to be something to measure


@dataclass(frozen=True)
class Clustering:
    """Clusters of n images.

    Parameters
    ----------
    labels : (n,) int ndarray
        Cluster of each image, counted from 0; -1 for one that is left out.
    distance : (n,) float64 ndarray
        From the centre of the cluster.
    space : (n, m) float64 ndarray
        Where the images lie.
    tried : DataFrame
        One row per number of clusters that was tried: clusters, silhouette, stability, cost (NaN where not measured),
        chosen.
    """

    labels: np.ndarray
    distance: np.ndarray
    space: np.ndarray
    tried: pd.DataFrame


def cluster_by_parts(
    features: np.ndarray,
    usable: np.ndarray,
    *,
    n_clusters: int | None = None,
    max_clusters: int = 10,
    min_silhouette: float = 0.6,
    tolerance: float = 0.05,
    min_stability: float = 0.8,
    divide_from: int = 10,
    seed: int = 0,
) -> Clustering:
    """Group images by features in which they differ more than their own quarters do.

    Quarters of one image have the same style but other contents. Linear discriminant analysis, with the images as its
    classes, finds the combinations of features that tell images apart and quarters of one image not; there, k-means
    makes the clusters. Large clusters are then looked at again, each by itself: beside a style that is quite different,
    two that are only somewhat different look like one.

    Parameters
    ----------
    features : (n, 5, 248) ndarray
        From :func:`karyoseg.core.style.features.part_features`.
    usable : (n,) bool ndarray
        Images that the clusters are made of, at least one; the others go to the nearest cluster afterwards.
    n_clusters : int, optional
        As many clusters, at most as there are usable images; None chooses.
    max_clusters : int
        Largest number that is tried.
    min_silhouette : float
        Least mean silhouette of more than one cluster [-1..1].
    tolerance : float
        Of the numbers of clusters whose silhouette is at most this much below the best, the largest is chosen.
    min_stability : float
        Least agreement (adjusted Rand index) with the clusters that are found without every fifth image.
    divide_from : int
        Clusters of at least so many images are looked at again.
    seed : int
        Of all that is random.

    Returns
    -------
    Clustering
        Distances are in standard deviations of the quarters of an image; the numbers tried are those of the first
        division.
    """
    again = partial(
        cluster_by_parts,
        max_clusters=max_clusters,
        min_silhouette=min_silhouette,
        tolerance=tolerance,
        min_stability=min_stability,
        divide_from=divide_from,
        seed=seed,
    )
    space = _discriminant_space(features[:, 1:, _LOCAL], usable)
    points = space[usable]
    divide = n_clusters is None
    if n_clusters is None:
        tried = _try_numbers(points, max_clusters, seed)
        enough = tried[(tried["silhouette"] >= min_silhouette) & (tried["stability"] >= min_stability)]
        near_best = enough[enough["silhouette"] >= enough["silhouette"].max() - tolerance]
        n_clusters = int(near_best["clusters"].max()) if len(near_best) else 1
    else:
        n_clusters = min(n_clusters, len(np.unique(points, axis=0)))
        tried = pd.DataFrame([judge(points, n_clusters, seed)])
    tried["chosen"] = tried["clusters"] == n_clusters
    labels, distance = _nearest(space, kmeans(points, n_clusters, seed).cluster_centers_)
    if divide and n_clusters > 1:
        labels = _divided(labels, features, usable, again, divide_from)
        centres = [space[(labels == cluster) & usable].mean(axis=0) for cluster in range(labels.max() + 1)]
        distance = np.linalg.norm(space - np.array(centres)[labels], axis=1)
    return Clustering(labels, distance, space, tried)


def _divided(
    labels: np.ndarray,
    features: np.ndarray,
    usable: np.ndarray,
    again: Callable[[np.ndarray, np.ndarray], Clustering],
    divide_from: int,
) -> np.ndarray:
    """Look at each large cluster by itself; new clusters are numbered after those there are."""
    labels = labels.copy()
    for cluster in range(labels.max() + 1):
        inside = labels == cluster
        if (inside & usable).sum() >= divide_from:
            parts = again(features[inside], usable[inside]).labels
            labels[inside] = np.where(parts > 0, labels.max() + parts, cluster)
    return labels


def cluster_by_distance(
    features: np.ndarray,
    usable: np.ndarray,
    *,
    styles: Sequence[str] | None = None,
    images_per_cluster: Sequence[int] = (5, 6, 7, 8, 9, 10),
    keep: int | None = None,
    restarts: int = 30,
    max_pairs: int = 1000,
    seed: int = 0,
) -> Clustering:
    """Group images as nucleAIzer does: learnt distances to all images, correlation k-means.

    Parameters
    ----------
    features : (n, 5, 248) ndarray
        From :func:`karyoseg.core.style.features.part_features`.
    usable : (n,) bool ndarray
        Images that the clusters are made of, at least one; the others go to the nearest cluster afterwards.
    styles : sequence of str, optional
        Known style of each image to learn the distance from, empty where unknown; the distance then is that of all 248
        features, as published. None learns it from the quarters, by the features that do not depend on how large an
        image is: otherwise large and small images would be of different styles.
    images_per_cluster : sequence of int
        Mean sizes of clusters to try. The number with the smallest cost is taken, nearly always the largest one.
    keep : int, optional
        As many usable images next to the centre of each cluster are kept, the others are left out; nucleAIzer keeps 3.
    restarts : int
        Random beginnings of k-means.
    max_pairs : int
        Pairs of the same style, and of different ones, to learn from.
    seed : int
        Of all that is random.

    Returns
    -------
    Clustering
        Distances are 1 - correlation.
    """
    rows = _distance_rows(features, usable, styles, max_pairs, seed)
    space = unit_rows(rows)
    n_usable = int(usable.sum())
    numbers = sorted({max(1, round(n_usable / size)) for size in images_per_cluster})
    results = {k: correlation_kmeans(rows[usable], k, restarts=restarts, seed=seed) for k in numbers}
    tried = pd.DataFrame(
        {
            "clusters": numbers,
            "silhouette": [mean_silhouette(space[usable], results[k][0]) for k in numbers],
            "stability": np.nan,
            "cost": [results[k][2] for k in numbers],
        }
    )
    best = min(numbers, key=lambda k: results[k][2])
    tried["chosen"] = tried["clusters"] == best
    labels, apart = _nearest(space, results[best][1])
    distance = apart**2 / 2  # of unit vectors, 1 - correlation
    if keep is not None:
        for cluster in range(best):
            inside = np.flatnonzero((labels == cluster) & usable)
            nearest = inside[np.argsort(distance[inside], kind="stable")[:keep]]
            labels[np.setdiff1d(np.flatnonzero(labels == cluster), nearest)] = -1
    return Clustering(labels, distance, space, tried)


def cluster_table(ids: Sequence[str], clustering: Clustering) -> pd.DataFrame:
    """Name the clusters and list their images.

    Parameters
    ----------
    ids : sequence of str
        Of the images.
    clustering : Clustering
        Their clusters.

    Returns
    -------
    DataFrame
        One row per image that is not left out: id, cluster (``group_001`` is the largest), distance, silhouette (-1 to
        1, NaN without a second cluster), and x and y, the two main directions of the space, for figures.
    """
    labels = clustering.labels
    present, counts = np.unique(labels[labels >= 0], return_counts=True)
    by_size = present[np.argsort(-counts, kind="stable")]
    names = {int(label): f"group_{number:03d}" for number, label in enumerate(by_size, start=1)}
    silhouette = np.full(len(labels), np.nan)
    inside = labels >= 0
    if has_silhouette(labels[inside]):
        silhouette[inside] = silhouette_samples(clustering.space[inside], labels[inside])
    plane = _main_plane(clustering.space)
    table = pd.DataFrame(
        {
            "id": list(ids),
            "cluster": [names.get(int(label), "") for label in labels],
            "distance": clustering.distance,
            "silhouette": silhouette,
            "x": plane[:, 0],
            "y": plane[:, 1],
        }
    )
    return table[inside].sort_values(["cluster", "distance", "id"], ignore_index=True)


def _discriminant_space(parts: np.ndarray, usable: np.ndarray) -> np.ndarray:
    """(n, m) places of images where parts of one image, (n, parts, features), scatter with unit variance."""
    n_images, n_parts, _ = parts.shape
    flat = StandardScaler().fit(parts[usable].reshape(-1, parts.shape[2])).transform(parts.reshape(-1, parts.shape[2]))
    known = np.repeat(usable, n_parts)
    if usable.sum() < _LEAST or np.ptp(flat[known], axis=0).max() == 0:  # nothing to tell apart
        return np.zeros((n_images, 1))
    space = make_pipeline(PCA(_VARIANCE, svd_solver="full"))
    if flat.reshape(n_images, n_parts, -1)[usable].std(axis=1).max() > _ROUNDING:
        space.steps.append(("discriminants", LinearDiscriminantAnalysis()))
    images = np.repeat(np.arange(n_images), n_parts)
    placed = space.fit(flat[known], images[known]).transform(flat)
    return np.asarray(placed.reshape(n_images, n_parts, -1).mean(axis=1))


def _distance_rows(
    features: np.ndarray, usable: np.ndarray, styles: Sequence[str] | None, max_pairs: int, seed: int
) -> np.ndarray:
    """(n, usable) learnt distances of all images to the usable ones."""
    features = features[..., _LOCAL] if styles is None else features
    whole = features[:, 0]
    if usable.sum() < _LEAST and styles is None:
        return np.zeros((len(features), 1))
    distance = StyleDistance(seed)
    if styles is None:
        parts = features[usable]
        distance.fit(parts.reshape(-1, parts.shape[2]), pairs_of_parts(parts, max_pairs, seed))
    else:
        named = np.array([bool(style) for style in styles])
        known = [style for style in styles if style]
        distance.fit(whole[named], pairs_of_styles(known, max_pairs, seed))
    return distance.matrix(whole)[:, usable]


def _try_numbers(points: np.ndarray, max_clusters: int, seed: int) -> pd.DataFrame:
    distinct = len(np.unique(points, axis=0))
    numbers = range(_LEAST, min(max_clusters, len(points) - 1, distinct) + 1)
    columns = ["clusters", "silhouette", "stability", "cost"]
    return pd.DataFrame([judge(points, k, seed) for k in (1, *numbers)], columns=columns)


def _nearest(space: np.ndarray, centres: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Nearest centre of each point, and the distance to it."""
    apart = np.linalg.norm(space[:, None] - centres[None], axis=2)
    return apart.argmin(axis=1), apart.min(axis=1)


def _main_plane(space: np.ndarray) -> np.ndarray:
    plane = np.zeros((len(space), 2))
    if np.ptp(space, axis=0).any():
        n_axes = min(2, *space.shape)
        plane[:, :n_axes] = PCA(n_axes, svd_solver="full").fit_transform(space)
    return plane
