"""Nodes of the tune_postprocessing pipeline."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd

from karyoseg.core.errors import KaryosegError, Problems
from karyoseg.core.lazy import Partitions
from karyoseg.core.postprocessing.search import Case, search
from karyoseg.core.preparation import ImageFacts
from karyoseg.core.progress import Progress
from karyoseg.core.threads import map_completed, n_threads
from karyoseg.models import load_segmenter
from karyoseg.models.two_scales import open_foreground, segment_at_two_scales
from karyoseg.params.tune_postprocessing import TunePostprocessingParams

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Runs:
    """What the search starts from.

    Parameters
    ----------
    cases : list of Case
        One per image.
    info : dict
        JSON-able facts: model, scale of the second run, images.
    """

    cases: list[Case]
    info: dict[str, Any]


def predict_runs(
    *,
    images: Partitions,
    labels: Partitions,
    manifest: pd.DataFrame,
    splits: pd.DataFrame,
    params: TunePostprocessingParams,
) -> Runs:
    """Segment validation images at two scales, as the full mode of predict does.

    In: images and labels as published, their splits, and a model.
    Out: the objects of both scales beside the true ones.

    Hole filling and the merging of fragments have no parameters: they are done
    here, once.
    """
    rows = _choose(manifest, splits, params)
    problems = Problems()
    for key in rows["id"]:
        if key not in images or key not in labels:
            problems.add(key, "in splits.csv, but its files are missing", "image and label", "Run download again.")
    problems.raise_if_any(f"tune_postprocessing: samples of the {params.split} split are missing")
    segmenter = load_segmenter(params.model)
    runs_in = segmenter.use(params.engine, params.precision)
    foreground = open_foreground(params.foreground_model, segmenter)

    def predict(row: Mapping[Hashable, Any]) -> tuple[str, Case]:
        key = row["id"]
        facts = ImageFacts(key, row["magnification"], row["pixel_size_um"])
        found = segment_at_two_scales(
            segmenter,
            images[key](),
            facts=facts,
            second_scale=params.second_scale,
            foreground=foreground,
        )
        return key, Case(labels[key](), found.first, found.second, found.foreground)

    predicted = map_completed(predict, rows.to_dict("records"), n_threads())
    cases = dict(Progress(predicted, total=len(rows), desc="predicting", unit="image"))
    info = {
        "model": params.model,
        "fingerprint": segmenter.fingerprint,
        "runs_in": runs_in,
        "foreground_model": params.foreground_model,
        "foreground_fingerprint": foreground and foreground.fingerprint,
        "second_scale": params.second_scale,
        "images": sorted(cases),
    }
    return Runs([cases[key] for key in sorted(cases)], info)


def search_parameters(runs: Runs, params: TunePostprocessingParams) -> tuple[dict[str, Any], pd.DataFrame]:
    """Search the parameters of the post-processing that score best.

    In: the objects found at two scales, and the true ones.
    Out: the best parameters with their score, for ``predict.full``; and all
    that were tried.
    """
    found = search(
        runs.cases,
        n_trials=params.n_trials,
        seconds=60 * params.minutes,
        seed=params.seed,
        ranges=dict(params.ranges),
    )
    logger.info("Use it: kedro run --pipeline predict --params predict.mode=full,predict.full.postprocessing=FILE")
    result = {"parameters": asdict(found.best), "dsb_score": found.score, "n_trials": len(found.trials)}
    return result | runs.info, found.trials


def _choose(manifest: pd.DataFrame, splits: pd.DataFrame, params: TunePostprocessingParams) -> pd.DataFrame:
    """Return the manifest rows of the images to search on, not more than asked for."""
    ids = splits.loc[splits["split"] == params.split, "id"]
    rows = manifest[manifest["id"].isin(ids)].sort_values("id")
    if rows.empty:
        sizes = splits["split"].value_counts().to_dict()
        raise KaryosegError(
            f"tune_postprocessing: the {params.split} split holds no samples (splits.csv: {sizes or 'no rows'}); "
            f"needed: at least one. Set preprocess.splits, or tune_postprocessing.split."
        )
    return rows.sample(min(params.n_images, len(rows)), random_state=params.seed)
