"""The search for parameters of the post-processing, on cases whose best parameters are known."""

from __future__ import annotations

from dataclasses import asdict, fields
from types import SimpleNamespace

import numpy as np
import pytest

from karyoseg.core.metrics import dsb_score
from karyoseg.core.postprocessing.combine import PostProcessing, combine
from karyoseg.core.postprocessing.search import RANGES, START, Case, objective, search


def squares(*sides: int, shape: tuple[int, int] = (40, 120)) -> np.ndarray:
    """Squares of these sides, side by side."""
    labels = np.zeros(shape, np.int32)
    for index, side in enumerate(sides, start=1):
        labels[5 : 5 + side, 20 * index - 15 : 20 * index - 15 + side] = index
    return labels


@pytest.fixture
def cases() -> list[Case]:
    """True nuclei of 12 px; debris of 5 px only in the prediction; a true one of 5 px where nothing else is."""
    truth, found = squares(12, 12, 12), squares(12, 12, 12, 5, 5)
    return [Case(truth, found, found * 0), Case(truth, found, found), Case(squares(), squares(), squares())]


def test_objective_is_one_minus_the_mean_score_and_pure(cases: list[Case]) -> None:
    lenient = PostProcessing(min_run_area=0, min_corrected_area=0, min_area=0)
    assert objective(lenient, cases) == pytest.approx(1 - (0.6 + 0.6 + 1) / 3)
    assert objective(PostProcessing(min_area=26), cases) == 0
    assert objective(lenient, cases) == objective(lenient, cases)
    assert cases[0].score(lenient) == dsb_score(cases[0].truth, combine(cases[0].first, cases[0].second, None, lenient))


def test_the_best_is_found_and_every_trial_is_listed(cases: list[Case]) -> None:
    # Between 23 and 25 px debris stays with the defaults' least area, and with the start vector.
    truth = [Case(case.truth, case.first, case.second) for case in cases]
    ranges = {**RANGES, "min_area": (0, 40), "min_corrected_area": (0, 24), "min_run_area": (0, 24)}
    found = search(truth, n_trials=30, seconds=60, seed=1, ranges=ranges)
    assert found.score == 1
    assert objective(found.best, truth) == 0
    assert found.best.min_area > 25
    names = [field.name for field in fields(PostProcessing)]
    assert found.trials.columns.tolist() == ["trial", *names, "score", "seconds"]
    assert len(found.trials) == 30
    assert found.trials["score"].max() == found.score
    for row in found.trials.head(3).to_dict("records"):
        tried = PostProcessing(**{name: row[name] for name in names})
        assert 1 - objective(tried, truth) == pytest.approx(row["score"])
    for name, (low, high) in ranges.items():
        assert found.trials[name].between(low, high).all() or found.trials[name].nunique() == 1


def test_defaults_and_start_vector_come_first(cases: list[Case]) -> None:
    with_map = [Case(case.truth, case.first, case.second, case.truth > 0) for case in cases]
    trials = search(with_map, n_trials=2, seconds=60, seed=1).trials
    assert [PostProcessing(**{k: row[k] for k in asdict(START)}) for row in trials.to_dict("records")] == [
        PostProcessing(),
        START,
    ]


def test_parameters_of_the_map_are_left_alone_without_one(cases: list[Case]) -> None:
    trials = search(cases, n_trials=6, seconds=60, seed=1).trials
    for name in ("foreground", "erosion_radius", "dilation_radius", "min_overlap"):
        assert (trials[name] == getattr(PostProcessing(), name)).all()
    assert trials["min_area"].nunique() > 1


def test_same_seed_same_trials(cases: list[Case]) -> None:
    one, same, other = (search(cases, n_trials=15, seconds=60, seed=seed) for seed in (3, 3, 4))
    assert one.trials.drop(columns="seconds").equals(same.trials.drop(columns="seconds"))
    assert not one.trials["max_occupied"].equals(other.trials["max_occupied"])


@pytest.mark.parametrize(
    ("seconds", "n_finished", "n_scored"), [(1, 1, 3), (3, 1, 4), (6, 2, 7), (7, 2, 8), (8, 3, 9), (100, 10, 30)]
)
def test_the_time_limit_holds_and_one_trial_is_always_finished(
    cases: list[Case], monkeypatch: pytest.MonkeyPatch, seconds: float, n_finished: int, n_scored: int
) -> None:
    """A clock that goes on by a second per scored image, of which each trial has three."""
    now = 0

    def score(case: Case, parameters: PostProcessing) -> float:
        nonlocal now
        now += 1
        return 0.5

    monkeypatch.setattr(Case, "score", score)
    monkeypatch.setattr("karyoseg.core.postprocessing.search.time", SimpleNamespace(monotonic=lambda: now))
    found = search(cases, n_trials=10, seconds=seconds, seed=1)
    assert len(found.trials) == n_finished
    assert now == n_scored  # of a trial that is given up, the images left are not scored
    assert found.best == PostProcessing()
