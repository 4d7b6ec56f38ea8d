"""Nodes of the style_transfer pipeline."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from karyoseg.core.errors import KaryosegError
from karyoseg.core.lazy import Lazy, fingerprint
from karyoseg.core.plots.transfer import TransferRow, transfer_sheet
from karyoseg.core.previews import spread
from karyoseg.core.progress import Progress
from karyoseg.models.base import LabelledSamples
from karyoseg.models.pix2pix import StyleGenerator, deferred_training
from karyoseg.models.pix2pix.tiles import Tiles, judging_side, take_pairs
from karyoseg.params.style_transfer import StyleTransferParams

logger = logging.getLogger(__name__)

Partitions = dict[str, Lazy[np.ndarray]]

_SHOWN = 3
_NO_OBJECTS = "presegmentation found no objects in any of its images"
_NO_MASKS = "it has no synthetic masks"


def measure_samples(images: Partitions, labels: Partitions, clusters: pd.DataFrame) -> pd.DataFrame:
    """Look at the label images of all clusters before the long training begins.

    In: images, weak labels and clusters.
    Out: per image its cluster, size and number of objects.
    """
    missing = [key for key in clusters["id"] if key not in images or key not in labels]
    if missing:
        raise KaryosegError(
            f"style_transfer: {', '.join(missing[:5])} in clusters.csv, but without image or labels; needed: both. Run "
            f"presegment and style_clusters again."
        )
    rows = []
    for sample in Progress(list(clusters[["id", "cluster"]].itertuples(index=False)), desc="counting", unit="image"):
        label = labels[sample.id]()
        n_objects = len(np.unique(label[label > 0]))
        rows.append((sample.id, str(sample.cluster), *label.shape, n_objects))
    return pd.DataFrame(rows, columns=["id", "cluster", "height", "width", "n_objects"])


def train_generators(
    images: Partitions, labels: Partitions, samples: pd.DataFrame, params: StyleTransferParams
) -> dict[str, Lazy[StyleGenerator]]:
    """Train a generator for each cluster on its images and weak labels.

    In: images, weak labels and their table.
    Out: per cluster a generator, trained when it is stored.

    Images without objects take no part: what was missed there would be learnt
    as background. Clusters that are trained already are skipped, a killed
    training continues from its last checkpoint.
    """
    jobs = {}
    for cluster in sorted(samples["cluster"].unique()):
        members, shapes = _members(images, labels, samples, cluster)
        if shapes:
            jobs[cluster] = deferred_training(
                Path(params.workspace) / cluster, members, shapes, params.model_dump(mode="json")
            )
        else:
            logger.warning("%s is left out: %s", cluster, _NO_OBJECTS)
    if not jobs:
        raise KaryosegError(
            "style_transfer: no cluster has an image with objects; needed: at least one. Look at the labels of "
            "presegment; another model or a lower threshold may find more."
        )
    return jobs


def judge_generators(
    *,
    models: dict[str, StyleGenerator],
    images: Partitions,
    labels: Partitions,
    samples: pd.DataFrame,
    synthetic_labels: Partitions,
    masks: pd.DataFrame,
    params: StyleTransferParams,
) -> pd.DataFrame:
    """Decide which generators are good enough, by a few images of each.

    In: generators, real images with weak labels, synthetic label images.
    Out: per cluster the measures, and whether and why it passed or failed.
    """
    from karyoseg.models.pix2pix.quality import Verdict, judge  # scikit-learn is slow to import

    rows = []
    for cluster in Progress(sorted(samples["cluster"].unique()), desc="judging", unit="cluster"):
        keys = _mask_keys(synthetic_labels, masks, cluster)
        model = models.get(cluster)
        if model is None or not keys:
            verdict = Verdict(np.nan, np.nan, np.nan, np.nan, False, _NO_MASKS if model else _NO_OBJECTS)
        else:
            members, shapes = _members(images, labels, samples, cluster)
            side = judging_side(shapes, model.training["tile_size"])
            real = Tiles(members, shapes, side, params.seed)
            made = _judged_tiles(model, synthetic_labels, spread(keys, params.quality.n_images), side, params)
            verdict = judge(
                take_pairs(real, params.seed), take_pairs(made, params.seed), params.quality.model_dump(), params.seed
            )
        facts = model.training if model else {}
        rows.append(
            {"cluster": cluster, "n_tiles": facts.get("n_tiles", 0), "steps": facts.get("steps", 0)} | verdict.row()
        )
        logger.info("%s %s: %s", cluster, "passed" if verdict.passed else "FAILED", verdict.why)
    return pd.DataFrame(rows)


def generate_images(
    models: dict[str, StyleGenerator],
    synthetic_labels: Partitions,
    masks: pd.DataFrame,
    quality: pd.DataFrame,
    params: StyleTransferParams,
) -> Partitions:
    """Make an image for each synthetic label image of the clusters that passed.

    In: generators, synthetic label images, and which clusters passed.
    Out: images, with the ids of their label images.
    """
    passed = quality.loc[quality["passed"].astype(bool), "cluster"].astype(str).tolist()
    if not passed:
        reasons = "; ".join(f"{row.cluster}: {row.why}" for row in quality.itertuples())
        raise KaryosegError(
            f"style_transfer: no cluster passed the quality test ({reasons}); needed: at least one. Look at the sample "
            f"sheets of the generators; train longer, or change the limits in style_transfer.quality."
        )
    return {
        key: Lazy(
            partial(_paint, models[cluster], synthetic_labels[key], key, params),
            fingerprint(
                models[cluster].fingerprint, synthetic_labels[key].fingerprint, params.generation, params.seed, key
            ),
        )
        for cluster in passed
        for key in _mask_keys(synthetic_labels, masks, cluster)
    }


def draw_samples(
    *,
    images: Partitions,
    labels: Partitions,
    samples: pd.DataFrame,
    synthetic_images: Partitions,
    synthetic_labels: Partitions,
    masks: pd.DataFrame,
    quality: pd.DataFrame,
) -> Figure:
    """Show real images beside generated ones, for each cluster.

    In: real and generated images with their labels, and the quality.
    Out: a figure, a row per cluster.
    """

    def shown(cluster: str) -> TransferRow:
        members, _ = _members(images, labels, samples, cluster)
        keys = [key for key in _mask_keys(synthetic_labels, masks, cluster) if key in synthetic_images]
        row = quality.loc[quality["cluster"].astype(str) == cluster].iloc[0]
        return TransferRow(
            f"{cluster}: {'passed' if row['passed'] else row['why']}",
            [(members.images[key](), members.labels[key]()) for key in spread(members.ids, _SHOWN)],
            [(synthetic_images[key](), synthetic_labels[key]()) for key in spread(keys, _SHOWN)],
        )

    return transfer_sheet([shown(cluster) for cluster in sorted(samples["cluster"].unique())], _SHOWN)


def _members(
    images: Partitions, labels: Partitions, samples: pd.DataFrame, cluster: str
) -> tuple[LabelledSamples, dict[str, tuple[int, int]]]:
    """Images of a cluster that hold objects, and their sizes."""
    rows = samples[(samples["cluster"] == cluster) & (samples["n_objects"] > 0)]
    shapes = {
        str(key): (int(height), int(width))
        for key, height, width in rows[["id", "height", "width"]].itertuples(index=False)
    }
    return LabelledSamples({key: images[key] for key in shapes}, {key: labels[key] for key in shapes}), shapes


def _mask_keys(synthetic_labels: Partitions, masks: pd.DataFrame, cluster: str) -> list[str]:
    keys = masks.loc[masks["cluster"].astype(str) == cluster, "id"].astype(str)
    return sorted(key for key in keys if key in synthetic_labels)


def _judged_tiles(
    model: StyleGenerator, synthetic_labels: Partitions, keys: list[str], side: int, params: StyleTransferParams
) -> Tiles:
    labels = {key: synthetic_labels[key]() for key in keys}
    painted = {key: _paint(model, synthetic_labels[key], key, params) for key in keys}
    made = LabelledSamples(
        {key: Lazy(partial(painted.__getitem__, key), key) for key in keys},
        {key: Lazy(partial(labels.__getitem__, key), key) for key in keys},
    )
    return Tiles(made, {key: (label.shape[0], label.shape[1]) for key, label in labels.items()}, side, params.seed)


def _paint(model: StyleGenerator, labels: Lazy[np.ndarray], key: str, params: StyleTransferParams) -> np.ndarray:
    """Paint with a seed that depends on the id alone, not on what else is painted."""
    seed = int(fingerprint(params.seed, key)[:8], 16)
    return model.paint(labels(), seed, dropout=params.generation.dropout)
