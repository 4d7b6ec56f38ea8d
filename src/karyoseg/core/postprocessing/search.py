"""Search for the parameters of the post-processing that score best on validation images."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from karyoseg.core.metrics import dsb_score
from karyoseg.core.postprocessing.combine import WHOLE, PostProcessing, combine
from karyoseg.core.progress import Progress, duration

if TYPE_CHECKING:  # imported only when it is needed
    from optuna import Study, Trial
    from optuna.trial import FrozenTrial

logger = logging.getLogger(__name__)

Ranges = Mapping[str, tuple[float, float]]

#: Where each parameter is searched, ends included. Published are the ranges of `min_run_area`, both radii and
#: `min_area`. The others reach further, for other rules of painting and maps of fewer networks; published are 0.5 to
#: 0.8 for `max_occupied`, 10 to 30 for `large_nuclei`, 0.47 to 1 for `foreground`, 21 to 41 for `min_corrected_area`,
#: and 0 to 0.002 for `min_overlap`.
RANGES: Ranges = MappingProxyType(
    {
        "max_occupied": (0.2, 0.8),
        "large_nuclei": (0, 30),
        "min_run_area": (8, 13),
        "foreground": (0.25, 1.0),
        "erosion_radius": (0, 2),
        "dilation_radius": (0, 2),
        "min_corrected_area": (11, 41),
        "min_overlap": (0.0, 0.5),
        "min_area": (10, 30),
    }
)
#: The published vector to start from.
START = PostProcessing(
    max_occupied=0.75,
    large_nuclei=20,
    min_run_area=11,
    foreground=0.9375,
    erosion_radius=1,
    dilation_radius=1,
    min_corrected_area=22,
    min_overlap=0.0012,
    min_area=17,
)
_OF_THE_MAP = ("foreground", "erosion_radius", "dilation_radius", "min_overlap")


@dataclass(frozen=True)
class Case:
    """A validation image: its true objects, and what the post-processing makes objects of.

    Parameters
    ----------
    truth : (Y, X) integer ndarray
        True label image; negative pixels are not annotated.
    first, second : (Y, X) integer ndarray
        Mended label images of the two runs.
    foreground : (Y, X) float ndarray or None
        Probability of being nucleus, 0..1.
    """

    truth: np.ndarray
    first: np.ndarray
    second: np.ndarray
    foreground: np.ndarray | None = None

    def score(self, parameters: PostProcessing) -> float:
        """Return the DSB score of this image, 0..1."""
        return dsb_score(self.truth, combine(self.first, self.second, self.foreground, parameters))


@dataclass(frozen=True)
class SearchResult:
    """What a search found.

    Parameters
    ----------
    best : PostProcessing
        The parameters with the best score; of several the first.
    score : float
        Its mean DSB score over the images, 0..1.
    trials : DataFrame
        One row per trial that was finished, in their order: trial, the nine parameters, score, seconds.
    """

    best: PostProcessing
    score: float
    trials: pd.DataFrame


def objective(parameters: PostProcessing, cases: Iterable[Case]) -> float:
    """Return what the search makes small: 1 - mean DSB score over the images.

    Parameters
    ----------
    parameters : PostProcessing
        The nine parameters.
    cases : iterable of Case
        At least one image.

    Returns
    -------
    float
        0 (all right) to 1.
    """
    return 1 - float(np.mean([case.score(parameters) for case in cases]))


def search(
    cases: Sequence[Case],
    *,
    n_trials: int,
    seconds: float,
    seed: int,
    ranges: Ranges = RANGES,
) -> SearchResult:
    """Search with a tree-structured Parzen estimator.

    The default parameters and the published start vector are tried first, so that the result is no worse than either.
    Parameters that have no influence without a foreground map keep their defaults if there is none.

    Parameters
    ----------
    cases : sequence of Case
        At least one image.
    n_trials : int
        Largest number of trials.
    seconds : float
        Time limit [s]. A trial that is running then is given up; only the first one is always finished.
    seed : int
        Seed; the trials are the same again, unless the time limit ends them.
    ranges : mapping of str to (low, high)
        Where each parameter is searched, ends included.

    Returns
    -------
    SearchResult
        The best parameters and all trials.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    searched = {
        name: limits
        for name, limits in ranges.items()
        if name not in _OF_THE_MAP or any(case.foreground is not None for case in cases)
    }
    started = time.monotonic()

    def out_of_time() -> bool:
        return time.monotonic() - started > seconds

    def in_time(trial: Trial) -> Iterator[Case]:
        for case in cases:
            if trial.number and out_of_time():
                raise optuna.TrialPruned
            yield case

    def evaluate(trial: Trial) -> float:
        return objective(_suggest(trial, searched), in_time(trial))

    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed, multivariate=True))
    for known in (PostProcessing(), START):
        values = asdict(known)
        study.enqueue_trial({name: min(max(values[name], low), high) for name, (low, high) in searched.items()})
    durations: list[float] = []
    with Progress(total=n_trials, desc="searching", unit="trial") as bar:

        def after_trial(study: Study, trial: FrozenTrial) -> None:
            bar.update()
            durations.append(time.monotonic() - started - sum(durations))
            if out_of_time():
                study.stop()

        study.optimize(evaluate, n_trials=n_trials, callbacks=[after_trial])
    table = _trials_table(study, durations)
    best = table.iloc[table["score"].to_numpy().argmax()]
    logger.info(
        "Best of %d trials in %s: score %.4f, where the default parameters have %.4f",
        len(table),
        duration(time.monotonic() - started),
        best["score"],
        table["score"].iloc[0],
    )
    parameters = PostProcessing.from_values(study.trials[int(best["trial"])].params)
    return SearchResult(parameters, float(best["score"]), table)


def _trials_table(study: Study, durations: Sequence[float]) -> pd.DataFrame:
    """One row per finished trial; those still waiting come last and took no time."""
    return pd.DataFrame(
        {
            "trial": trial.number,
            **asdict(PostProcessing.from_values(trial.params)),
            "score": 1 - trial.value,
            "seconds": seconds,
        }
        for trial, seconds in zip(study.trials, durations, strict=False)
        if trial.value is not None
    )


def _suggest(trial: Trial, ranges: Ranges) -> PostProcessing:
    for name, (low, high) in ranges.items():
        if name in WHOLE:
            trial.suggest_int(name, int(low), int(high))
        else:
            trial.suggest_float(name, low, high)
    return PostProcessing.from_values(trial.params)
