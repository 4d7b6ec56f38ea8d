"""Nodes of the evaluate pipeline."""

from __future__ import annotations

import logging
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from karyoseg.core.errors import KaryosegError, Problems
from karyoseg.core.lazy import Lazy, Partitions, fingerprint
from karyoseg.core.metrics import ALL_IMAGES, ap_curve, class_scores, image_scores, score_image, summarise
from karyoseg.core.preparation import Preparation
from karyoseg.core.progress import Progress
from karyoseg.core.threads import PIXELS_SEEN, map_completed, n_threads
from karyoseg.models.base import PREDICTION_VERSION, Segmenter
from karyoseg.params.evaluate import EvaluateParams

logger = logging.getLogger(__name__)

_NO_CLASS = "unclassified"
_SHOWN = [
    "n_images",
    "n_true",
    "n_pred",
    "f1",
    "iou",
    "map",
    "ap_mean",
    "precision",
    "recall",
    "pq",
    "aji",
    "dice",
]


def predict_split(
    model: Segmenter,
    primary_images: Partitions,
    primary_manifest: pd.DataFrame,
    splits: pd.DataFrame,
    preparation: dict[str, Any],
    params: EvaluateParams,
) -> Partitions:
    """Segment the samples of one split, the test split by default.

    In: the model, the prepared images, and how they were prepared.
    Out: one label image per sample on the grid of the image as published, so
    that it can be compared with the labels as published.
    """
    check_preparation(model, Preparation.from_dict(preparation))
    rows = _rows_of_split(primary_manifest, splits, params.split)
    thresholds = {"prob_thresh": params.prob_thresh, "nms_thresh": params.nms_thresh}
    runs_in = model.use(params.engine, params.precision)
    problems = Problems()
    predictions: Partitions = {}
    for row in rows.to_dict("records"):
        key = row["id"]
        if key not in primary_images:
            problems.add(key, "listed in the manifest, but there is no prepared image", "one", "Run preprocess.")
            continue
        image = primary_images[key]
        grid = {"out_shape": (int(row["height"]), int(row["width"])), "scale": float(row["scale"])}
        predictions[key] = Lazy(
            partial(_predict, model, image, **grid, **thresholds),
            fingerprint(model.fingerprint, runs_in, PREDICTION_VERSION, image.fingerprint, grid, thresholds),
        )
    problems.raise_if_any(f"evaluate: samples of the {params.split} split cannot be predicted")
    return predictions


def check_preparation(model: Segmenter, have: Preparation) -> None:
    """Refuse a model that learnt from images prepared in another way: its scores on these would be wrong.

    Parameters
    ----------
    model : Segmenter
        The model.
    have : Preparation
        How the images in 03_primary were prepared.

    Raises
    ------
    KaryosegError
        If the model knows that it learnt from other ones.
    """
    known = model.describe()["training"].get("preparation")
    wanted = known and Preparation.from_dict(known)
    if wanted and wanted != have:
        fields = [name for name in vars(have) if getattr(wanted, name) != getattr(have, name)]
        found, needed = (", ".join(f"{n}={getattr(recipe, n)}" for n in fields) for recipe in (have, wanted))
        raise KaryosegError(
            f"The images in 03_primary are prepared with {found}; needed: {needed}, as for this model. "
            f"Set it in preprocess and run preprocess again, or train a model on the images as they are."
        )


def _predict(model: Segmenter, image: Lazy[np.ndarray], **options: Any) -> np.ndarray:
    prepared = image()
    with PIXELS_SEEN.take(prepared.size):
        return model.predict(prepared, **options).labels


def _rows_of_split(manifest: pd.DataFrame, splits: pd.DataFrame, split: str) -> pd.DataFrame:
    """Return the manifest rows of a split; refuse an empty split and samples that cannot be scored."""
    ids = splits.loc[splits["split"] == split, "id"].astype(str)
    if ids.empty:
        sizes = splits["split"].value_counts().to_dict()
        raise KaryosegError(
            f"evaluate: the {split} split holds no samples (splits.csv: {sizes or 'no rows'}); needed: at "
            f"least one. Set preprocess.splits, or choose another split with evaluate.split."
        )
    table = manifest.assign(id=manifest["id"].astype(str)).set_index("id", drop=False)
    labels = table["label_sha256"].fillna("")
    problems = Problems()
    for key in ids:
        if key not in table.index:
            problems.add(key, "in splits.csv, but not in the manifest", "both", "Run preprocess again.")
        elif not labels[key]:
            problems.add(key, "no label image", "one to compare with", "Add it, or use the predict pipeline.")
    problems.raise_if_any(f"evaluate: samples of the {split} split cannot be scored")
    return table.loc[ids.tolist()]


def match_images(
    test_labels_pred: Partitions, intermediate_labels: Partitions, manifest: pd.DataFrame
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Match predicted with true objects, image by image.

    In: predicted and published labels.
    Out: true positives, false positives and false negatives of each image at
    each IoU threshold; and its numbers of pixels for the pixel-wise scores.

    All metrics follow from these two tables.
    """
    classes = manifest.set_index(manifest["id"].astype(str))["class"].fillna("").astype(str)
    problems = Problems()
    comparable = []
    for key in test_labels_pred:
        if key in intermediate_labels and key in classes:
            comparable.append(key)
        else:
            problems.add(key, "predicted, but its label image is missing", "one to compare with", "Run download.")

    def score(key: str) -> tuple[str, tuple[pd.DataFrame, dict[str, int]] | KaryosegError]:
        try:
            return key, score_image(intermediate_labels[key](), test_labels_pred[key]())
        except KaryosegError as error:
            return key, error

    scored = map_completed(score, comparable, n_threads())
    scores = dict(Progress(scored, total=len(comparable), desc="matching", unit="image"))
    tables, pixels = [], []
    for key in comparable:
        result = scores[key]
        if isinstance(result, KaryosegError):
            problems.add(key, str(result), "labels that can be compared", "Predict the image anew.")
            continue
        matches, counts = result
        name = {"id": key, "class": classes[key] or _NO_CLASS}
        tables.append(pd.DataFrame([name] * len(matches)).join(matches))
        pixels.append(name | counts)
    problems.raise_if_any("Some predictions cannot be scored")
    return pd.concat(tables, ignore_index=True), pd.DataFrame(pixels)


def summarise_metrics(
    matches: pd.DataFrame, pixel_counts: pd.DataFrame
) -> tuple[dict[str, Any], pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Compute the metrics of the split, of each image and of each class, and log them.

    In: the matches.
    Out: ``metrics.json`` with the scores of the whole split, the same by image
    and by class, and the scores over the IoU threshold.
    """
    metrics = summarise(matches, pixel_counts)
    per_class = class_scores(metrics)
    overall = pd.DataFrame([metrics | {"class": ALL_IMAGES}])
    has_classes = set(per_class["class"]) != {_NO_CLASS}
    shown = (pd.concat([per_class, overall]) if has_classes else overall)[["class", *_SHOWN]]
    logger.info("Metrics:\n%s", shown.to_string(index=False, float_format="{:.3f}".format, na_rep="-"))
    empty = per_class.loc[per_class["map"].isna(), "class"].tolist()
    if empty:
        logger.warning("No annotated objects in %s: left out of map.", ", ".join(empty))
    return metrics, image_scores(matches, pixel_counts), per_class, ap_curve(matches)
