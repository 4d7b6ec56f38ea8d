"""Nodes of the style_clusters pipeline."""

from __future__ import annotations

import logging

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from karyoseg.core.errors import KaryosegError
from karyoseg.core.lazy import Partitions
from karyoseg.core.progress import Progress
from karyoseg.core.style.features import FEATURES, part_features
from karyoseg.core.style.figure import clusters_figure
from karyoseg.core.style.styles_table import read_styles
from karyoseg.core.threads import map_completed, n_threads
from karyoseg.params.style_clusters import AutoClusters, StyleClustersParams

logger = logging.getLogger(__name__)

# With less, more than one cluster cannot be stable. How far two images are apart does not tell either: two of one
# style may differ more, in deviations of their quarters, than two of different styles.
_LEAST_TO_TELL = 4


def measure_styles(images: Partitions) -> pd.DataFrame:
    """Describe how each image and its quarters look.

    In: RGB images of 8 bit.
    Out: 248 features of intensity and texture; part 0 is the image, parts 1 to
    4 are its quarters.
    """
    measured = map_completed(lambda key: (key, part_features(images[key]())), images, n_threads())
    features = dict(Progress(measured, total=len(images), desc="measuring styles", unit="image"))
    tables = []
    for key in sorted(images):
        table = pd.DataFrame(features[key], columns=list(FEATURES))
        table.insert(0, "id", key)
        table.insert(1, "part", range(len(table)))
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def find_clusters(
    features: pd.DataFrame, manifest: pd.DataFrame, params: StyleClustersParams
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Group the images by style.

    In: features of the images, and what presegment found in them.
    Out: the cluster of each image, and the numbers of clusters that were tried.

    Images without nuclei make no clusters, for nothing could be learnt in one
    that has no others; they go to the nearest cluster.
    """
    # scikit-learn is slow to import.
    from karyoseg.core.style.clusters import cluster_by_distance, cluster_by_parts, cluster_table

    ids = features["id"].drop_duplicates().tolist()
    values = features[list(FEATURES)].to_numpy(float).reshape(len(ids), -1, len(FEATURES))
    usable = _with_nuclei(ids, manifest)
    method = params.method
    if isinstance(method, AutoClusters):
        clustering = cluster_by_parts(values, usable, **method.model_dump(exclude={"name"}), seed=params.seed)
        n_usable = int(usable.sum())
        if method.n_clusters is None and 1 < n_usable < _LEAST_TO_TELL and not clustering.labels.any():
            logger.warning(
                "%d images with nuclei are too few to tell styles apart; they are treated as one. If they are of "
                "different stains, run each stain by itself, or set style_clusters.method.n_clusters=%d",
                *(n_usable, n_usable),
            )
    else:
        styles = read_styles(method.styles, ids) if method.styles else None
        options = method.model_dump(exclude={"name", "styles"})
        clustering = cluster_by_distance(values, usable, styles=styles, **options, seed=params.seed)
    table = cluster_table(ids, clustering)
    sizes = table["cluster"].value_counts().sort_index()
    logger.info(
        "%d image(s) in %d cluster(s): %s",
        len(table),
        len(sizes),
        ", ".join(f"{name}: {size}" for name, size in sizes.items()),
    )
    if len(table) < len(ids):
        logger.warning("%d image(s) far from the centres of clusters are left out", len(ids) - len(table))
    _warn_of_mixtures(table, manifest)
    return table, clustering.tried


def _with_nuclei(ids: list[str], manifest: pd.DataFrame) -> np.ndarray:
    """Tell which images have nuclei to learn from."""
    found = manifest.set_index(manifest["id"].astype(str))["n_objects"].reindex(ids).fillna(0).to_numpy() > 0
    if not found.any():
        raise KaryosegError(
            f"style_clusters: presegment found no nuclei in any of the {len(ids)} image(s); needed: some in at least "
            f"one. Run presegment again, with another model or size of nuclei."
        )
    if not found.all():
        without = [key for key, any_found in zip(ids, found, strict=True) if not any_found]
        logger.warning(
            "%d image(s) without nuclei go to the nearest cluster: %s", len(without), ", ".join(without[:10])
        )
    return found


def _warn_of_mixtures(clusters: pd.DataFrame, manifest: pd.DataFrame) -> None:
    """Name clusters in which nothing may be learnt, since what shows bright nuclei hides dark ones."""
    contrast = manifest.set_index(manifest["id"].astype(str))["contrast"].reindex(clusters["id"].astype(str))
    counts = pd.crosstab(clusters["cluster"].to_numpy(), contrast.to_numpy())
    for cluster, bright, dark in counts.reindex(columns=["bright", "dark"], fill_value=0).itertuples():
        if bright and dark:
            logger.warning(
                "%s mixes %d image(s) with bright and %d with dark nuclei. Tell them apart with "
                "style_clusters.method.n_clusters, or run each kind by itself; if the nuclei are alike in all, state "
                "presegment.contrast",
                *(cluster, bright, dark),
            )


def draw_clusters(
    images: Partitions, clusters: pd.DataFrame, tried: pd.DataFrame, params: StyleClustersParams
) -> Figure:
    """Show what the clusters look like.

    In: images and clusters.
    Out: a sheet of images per cluster, the images by style in a plane, and how
    the number of clusters was chosen.
    """
    return clusters_figure(images, clusters, tried, n_columns=params.images_shown)
