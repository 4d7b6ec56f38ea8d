"""Nodes of the style_transfer pipeline."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from karyoseg.core.errors import KaryosegError
from karyoseg.core.lazy import Lazy, Partitions, fingerprint
from karyoseg.core.plots.transfer import TransferRow, transfer_sheet
from karyoseg.core.previews import spread
from karyoseg.core.progress import Progress
from karyoseg.models.base import LabelledSamples
from karyoseg.models.pix2pix import StyleGenerator, deferred_training
from karyoseg.models.pix2pix.tiles import Pairs, Tiles, judging_side, take_pairs, tile_side
from karyoseg.params.style_transfer import StyleTransferParams

logger = logging.getLogger(__name__)


_SHOWN = 3
_SEPARATE = (
    "Tell them apart with style_clusters.method.n_clusters, or run each kind by itself; if the nuclei are alike in "
    "all, state presegment.contrast."
)
_LOOK = "Look at the labels of presegment; another model or a lower threshold may find more."
_VERSION = 2  # raised when the same generator paints other images
_NO_OBJECTS = "presegmentation found no objects in any of its images"
_NO_MASKS = "it has no synthetic masks"
_MIXES = "it mixes"


def gather_samples(
    images: Partitions, labels: Partitions, clusters: pd.DataFrame, manifest: pd.DataFrame
) -> pd.DataFrame:
    """Put together what is known of the images of all clusters.

    In: images, weak labels, clusters, and what presegment measured.
    Out: per image its cluster, size, number of objects, and whether they are
    bright or dark.
    """
    known = set(manifest["id"])
    missing = [key for key in clusters["id"] if key not in images or key not in labels or key not in known]
    if missing:
        raise KaryosegError(
            f"style_transfer: {', '.join(missing[:5])} in clusters.csv, but without image, labels or row in "
            f"manifest.csv; needed: all three. Run presegment and style_clusters again."
        )
    facts = manifest[["id", "height", "width", "n_objects", "contrast"]]
    return clusters[["id", "cluster"]].astype({"cluster": str}).merge(facts, on="id")


def check_clusters(
    *,
    images: Partitions,
    labels: Partitions,
    samples: pd.DataFrame,
    synthetic_labels: Partitions,
    masks: pd.DataFrame,
    params: StyleTransferParams,
) -> pd.DataFrame:
    """Find the clusters whose images would fail whatever a generator learns, before the long training.

    In: images with weak labels, and synthetic label images.
    Out: per cluster the reason to leave it out, or nothing.
    """
    from karyoseg.models.pix2pix.visibility import learn_objects  # scikit-learn is slow to import

    def reason(cluster: str) -> str:
        if not (samples.loc[samples["cluster"] == cluster, "n_objects"] > 0).any():
            return _NO_OBJECTS
        if not _mask_keys(synthetic_labels, masks, cluster):
            return _NO_MASKS
        found = learn_objects(_real_pairs(images, labels, samples, cluster, params), params.seed)[-1]
        return found and found + _mixture(samples, cluster)

    clusters = sorted(samples["cluster"].unique())
    reasons = [reason(cluster) for cluster in Progress(clusters, desc="checking", unit="cluster")]
    return pd.DataFrame({"cluster": clusters, "why": reasons})


def train_generators(
    images: Partitions, labels: Partitions, samples: pd.DataFrame, checks: pd.DataFrame, params: StyleTransferParams
) -> dict[str, Lazy[StyleGenerator]]:
    """Train a generator for each cluster on its images and weak labels.

    In: images, weak labels and their table, and which clusters to leave out.
    Out: per cluster a generator, trained when it is stored.

    Images without objects take no part: what was missed there would be learnt
    as background. Clusters that are trained already are skipped, a killed
    training continues from its last checkpoint.
    """
    jobs = {}
    for cluster, why in checks.itertuples(index=False):
        if why:
            logger.warning("%s is left out: %s%s", cluster, why, f". {_SEPARATE}" if _MIXES in why else "")
            continue
        members, shapes = _members(images, labels, samples, cluster)
        jobs[cluster] = deferred_training(
            Path(params.workspace) / cluster, members, shapes, params.model_dump(mode="json")
        )
    if not jobs:
        mixed = checks["why"].str.contains(_MIXES)
        advice = [_SEPARATE] * bool(mixed.any()) + [_LOOK] * (not mixed.all())
        raise KaryosegError(
            f"style_transfer: no cluster can be learnt ({_listing(checks)}); needed: one with objects that stand out, "
            f"and synthetic masks. {' '.join(advice)}"
        )
    return jobs


def judge_generators(
    *,
    models: dict[str, StyleGenerator],
    images: Partitions,
    labels: Partitions,
    samples: pd.DataFrame,
    checks: pd.DataFrame,
    synthetic_labels: Partitions,
    masks: pd.DataFrame,
    params: StyleTransferParams,
) -> pd.DataFrame:
    """Decide which generators are good enough, by a few images of each.

    In: generators, real images with weak labels, which clusters were left out
    and why, synthetic label images.
    Out: per cluster the measures, and whether and why it passed or failed.
    """
    from karyoseg.models.pix2pix.quality import Verdict, judge  # scikit-learn is slow to import

    rows = []
    for cluster, why in Progress(list(checks.itertuples(index=False)), desc="judging", unit="cluster"):
        facts: dict[str, Any] = {}
        if why:
            verdict = Verdict(np.nan, np.nan, np.nan, np.nan, False, why)
        else:
            facts = models[cluster].training
            real = _real_pairs(images, labels, samples, cluster, params)
            keys = spread(_mask_keys(synthetic_labels, masks, cluster), params.quality.n_images)
            made = _judged_tiles(models[cluster], synthetic_labels, keys, real.images.shape[1], params)
            verdict = judge(real, take_pairs(made, params.seed), params.quality.model_dump(), params.seed)
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
) -> tuple[Partitions, pd.DataFrame]:
    """Make an image for each synthetic label image of the clusters that passed.

    In: generators, synthetic label images, and which clusters passed.
    Out: images, with the ids of their label images; and the fingerprint of the
    labels that each was painted from, for a later run gives the same ids to
    other labels. Both are empty if no cluster passed: images of an earlier run
    must not stay.
    """
    passed = quality.loc[quality["passed"].astype(bool), "cluster"].astype(str).tolist()
    sources = {key: cluster for cluster in passed for key in _mask_keys(synthetic_labels, masks, cluster)}
    made = {
        key: Lazy(
            partial(_paint, models[cluster], synthetic_labels[key], key, params),
            fingerprint(
                *(models[cluster].fingerprint, synthetic_labels[key].fingerprint),
                *(params.generation, params.seed, key, _VERSION),
            ),
        )
        for key, cluster in sources.items()
    }
    painted = [(key, synthetic_labels[key].fingerprint) for key in made]
    return made, pd.DataFrame(painted, columns=["id", "labels_fingerprint"])


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


def require_passed(quality: pd.DataFrame, painted: pd.DataFrame) -> None:
    """Stop if no cluster passed, now that the images of an earlier run are gone.

    In: which clusters passed and why others did not, and the table of images,
    which is written last.
    Out: nothing.
    """
    if not quality["passed"].any():
        raise KaryosegError(
            f"style_transfer: no cluster passed the quality test ({_listing(quality)}); needed: at least one. Look at "
            f"the sample sheets of the generators; train longer, or change the limits in style_transfer.quality."
        )


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


def _real_pairs(
    images: Partitions, labels: Partitions, samples: pd.DataFrame, cluster: str, params: StyleTransferParams
) -> Pairs:
    """Tiles of the images of a cluster, to judge them or others by."""
    members, shapes = _members(images, labels, samples, cluster)
    trained = tile_side(shapes, params.tile_size, 2 * 2**params.generator.depth)
    return take_pairs(Tiles(members, shapes, judging_side(shapes, trained), params.seed), params.seed)


def _mixture(samples: pd.DataFrame, cluster: str) -> str:
    """Say so if a cluster has both images with bright and with dark nuclei: what shows the ones hides the others."""
    contrast = samples.loc[samples["cluster"] == cluster, "contrast"]
    bright, dark = ((contrast == kind).sum() for kind in ("bright", "dark"))
    return f"; {_MIXES} {bright} image(s) with bright and {dark} with dark nuclei" if bright and dark else ""


def _listing(reasons: pd.DataFrame) -> str:
    return "; ".join(f"{row.cluster}: {row.why}" for row in reasons.itertuples())


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
