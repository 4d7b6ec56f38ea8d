"""Scales that are corrected by the objects found."""

from __future__ import annotations

import numpy as np
import pytest

from karyoseg.core.scale_check import centred_in, check_scale, check_windows, scale_correction


def test_corrections_go_by_what_covers_the_area() -> None:
    assert scale_correction(np.array([]), 28) == 1
    assert scale_correction(np.array([5.0]), 28) == 1  # one alone may be a fragment
    assert scale_correction(np.array([14.0, 14, 14, 2, 2, 2, 2, 2]), 28) == 2
    assert scale_correction(np.array([25.0, 28, 33]), 28) == 1
    assert scale_correction(np.full(5, 1000.0), 28) == 0.25
    assert scale_correction(np.full(5, 0.1), 28) == 4


@pytest.mark.parametrize("scale", [0.6, 1.0, 3.9])
def test_objects_of_one_size_get_the_size_they_should_have(scale: float) -> None:
    right = check_scale(lambda _: np.full(9, 14.0), scale, target=28)
    assert max(right / 2, 2 / right) < 1.4


def test_a_right_scale_is_tried_once() -> None:
    tried: list[float] = []

    def diameters(scale: float) -> np.ndarray:
        tried.append(scale)
        return np.full(9, 14.0)

    assert check_scale(diameters, 2.2, target=28) == 2.2
    assert tried == [2.2]


@pytest.mark.parametrize("again", [[], [200.0] * 5, [100.0]])
def test_a_correction_that_makes_it_no_better_is_not_taken(again: list[float]) -> None:
    assert check_scale(lambda scale: np.array([14.0] * 5 if scale == 1 else again), 1.0, target=28) == 1.0


def test_estimates_never_enlarge_beyond_their_range() -> None:
    assert check_scale(lambda _: np.full(9, 5.0), 3.0, target=28) == 4.0


def test_objects_of_large_images_are_looked_at_in_parts(rng: np.random.Generator) -> None:
    assert check_windows((2048, 2048)) == [(slice(0, 2048), slice(0, 2048))]
    windows = check_windows((9000, 5000))
    points = rng.uniform(0, [9000, 5000], (2000, 2))
    assert 0.04 < centred_in(windows, points).mean() < 0.2
    inside = centred_in([(slice(0, 10), slice(5, 9))], np.array([[-0.5, 4.5], [9.4, 8.4], [9.5, 6], [3, 4.4]]))
    assert inside.tolist() == [True, True, False, False]
