"""How certain a model is at a size."""

from __future__ import annotations

import numpy as np
import pytest

from karyoseg.core.blocks.grid import Objects
from karyoseg.core.scale_search import busiest_part, certainty, search_scale


def test_sure_objects_of_the_size_looked_for_count_most() -> None:
    sizes, sure, unsure = np.full(4, 24.0), np.full(4, 0.9), np.full(4, 0.7)
    assert certainty(sizes, sure, 24) > certainty(sizes, unsure, 24)
    assert certainty(sizes, sure, 24) > max(certainty(sizes, sure, 12), certainty(sizes, sure, 48))
    assert certainty(sizes, sure, 24) > certainty(np.array([20.0]), np.array([0.92]), 20)  # one may be chance
    assert certainty(np.zeros(0), np.zeros(0), 24) == -np.inf


def test_debris_does_not_change_the_typical_size() -> None:
    sizes, sure = np.array([24.0] * 4 + [3.0] * 20), np.full(24, 0.9)
    assert certainty(sizes, sure, 24) > certainty(sizes, sure, 3)


def test_the_busiest_part_holds_what_there_is() -> None:
    image = np.zeros((2500, 1800, 3), np.uint8)
    image[2000:2400:7, 1200:1700] = 200
    y, x = busiest_part(image)
    assert y.stop - y.start == x.stop - x.start == 1024
    assert y.start <= 2000
    assert x.start <= 1200
    assert image[y, x].sum() == image.sum()
    assert busiest_part(np.eye(30)) == np.s_[0:1024, 0:1024]


def test_a_smaller_part_can_be_wanted() -> None:
    image = np.zeros((300, 400))
    image[200:240, 40:80] = 1 + np.eye(40)
    y, x = busiest_part(image, 100)
    assert image[y, x].sum() == image.sum()
    assert image[y, x].shape == (100, 100)


@pytest.mark.parametrize(
    ("number", "sure", "found"), [(9, 0.9, True), (2, 0.95, False), (9, 0.7, False), (0, 0, False)]
)
def test_another_scale_is_taken_if_several_objects_are_certain_there(number: int, sure: float, found: bool) -> None:
    def find(scale: float) -> Objects:
        n = number if scale == 0.5 else min(number, 1)
        angles = np.linspace(0, 2 * np.pi, 64, endpoint=False)
        circle = 20 * np.stack([np.sin(angles), np.cos(angles)])
        return Objects(np.zeros((n, 2)), np.full(n, sure), np.repeat(circle[np.newaxis], n, axis=0))

    assert search_scale(find, target=20) == (0.5 if found else None)
