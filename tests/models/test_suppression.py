"""Suppression of candidates, beside StarDist's own."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from stardist.geometry import star_dist
from stardist.nms import non_maximum_suppression_inds
from stardist.utils import edt_prob

from karyoseg.models.stardist.suppression import Candidates, summits, survivors


def proposed(labels: np.ndarray, grid: int, rng: np.random.Generator, noise: float, steps: int = 0) -> Candidates:
    """What a network of some uncertainty would say; with equal probabilities, if these are told apart in `steps`."""
    prob = edt_prob(labels)[::grid, ::grid] * rng.uniform(0.8, 1.2)
    prob = prob + rng.normal(0, noise, prob.shape)
    if steps:
        prob = np.round(prob * steps) / steps
    dist = star_dist(labels, 32, mode="cpp", grid=(grid, grid))
    dist = dist * rng.normal(1, noise, dist.shape) + rng.normal(0, 3 * noise, (*dist.shape[:2], 1))
    cells = np.argwhere(prob > 0.3)
    rows, columns = cells.T
    found = np.maximum(dist[rows, columns], 1e-3).astype(np.float32)
    return Candidates(prob[rows, columns].astype(np.float32), found, cells * grid, (grid, grid))


def all_pairs(found: Candidates, nms_thresh: float) -> np.ndarray:
    """Compare every candidate with every other, as StarDist does."""
    order = np.argsort(found.prob, kind="stable")[::-1]
    arrays = found.dist[order], found.points[order], found.prob[order]
    return order[non_maximum_suppression_inds(*arrays, nms_thresh, verbose=0)]


@pytest.mark.parametrize("nms_thresh", [0.05, 0.3, 0.5, 0.8])
@pytest.mark.parametrize(("grid", "noise", "steps"), [(1, 0.02, 0), (2, 0.05, 0), (2, 0.15, 0), (2, 0.05, 12)])
def test_the_same_stay_as_if_all_were_compared(
    sample: Callable, nms_thresh: float, grid: int, noise: float, steps: int
) -> None:
    rng = np.random.default_rng(round(1000 * noise))
    for seed in range(3):
        found = proposed(sample(seed, shape=(150, 180))[1], grid, rng, noise, steps)
        assert len(found) > 300
        np.testing.assert_array_equal(survivors(found, nms_thresh), all_pairs(found, nms_thresh))


def test_most_candidates_need_not_be_compared(sample: Callable, rng: np.random.Generator) -> None:
    found = proposed(sample(3, shape=(150, 180))[1], 1, rng, 0.02)
    n_peaks = len(np.unique(summits(found)))
    assert n_peaks < len(found) / 5
    assert len(survivors(found, 0.4)) <= n_peaks


def test_nothing_proposed_leaves_nothing() -> None:
    nothing = Candidates(np.zeros(0, np.float32), np.zeros((0, 32), np.float32), np.zeros((0, 2), int), (2, 2))
    assert survivors(nothing, 0.4).shape == (0,)


def test_of_equally_probable_ones_the_later_is_the_summit() -> None:
    points = np.array([[2, 2], [2, 3], [3, 2], [3, 3], [9, 9]])
    assert summits(Candidates(np.full(5, 0.5), np.ones((5, 8)), points, (1, 1))).tolist() == [3, 3, 3, 3, 4]
