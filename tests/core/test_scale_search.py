"""How certain a model is at a size."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from scipy.ndimage import label
from stardist.matching import matching

from karyoseg.core.blocks.grid import Objects
from karyoseg.core.scale_search import agreement, busiest_part, certainty, right_scale, search_scale


def test_sure_objects_of_the_size_looked_for_count_most() -> None:
    sizes, sure, unsure = np.full(4, 24.0), np.full(4, 0.9), np.full(4, 0.7)
    assert certainty(sizes, sure, 24) > certainty(sizes, unsure, 24)
    assert certainty(sizes, sure, 24) > max(certainty(sizes, sure, 12), certainty(sizes, sure, 48))
    assert certainty(sizes, sure, 24) > certainty(np.array([20.0]), np.array([0.92]), 20)  # one may be chance
    assert certainty(np.zeros(0), np.zeros(0), 24) == -np.inf


def test_agreement_is_the_panoptic_quality_with_both_neighbours(rng: np.random.Generator) -> None:
    scales = [label(rng.random((60, 60)) > 0.6)[0]]
    for _ in range(3):
        scales.append(np.where(rng.random((60, 60)) > 0.1, scales[-1], 0))
    quality = [matching(a, b, thresh=0.5).panoptic_quality for a, b in pairwise(scales)]

    found = agreement(scales)

    np.testing.assert_allclose(found, [(a + b) / 2 for a, b in pairwise([0, *quality, 0])])
    np.testing.assert_allclose(agreement(scales[::-1]), found[::-1])
    assert 0 < min(quality) < max(quality) < 1


def test_nothing_found_agrees_with_nothing() -> None:
    empty = np.zeros((5, 5), int)
    assert agreement([empty, empty, empty]).tolist() == [0, 0, 0]
    assert agreement([empty]).tolist() == [0]


def test_debris_does_not_change_the_typical_size() -> None:
    sizes, sure = np.array([24.0] * 4 + [3.0] * 20), np.full(24, 0.9)
    assert certainty(sizes, sure, 24) > certainty(sizes, sure, 3)


def test_the_busiest_part_holds_what_there_is() -> None:
    image = np.zeros((2500, 1800, 3), np.uint8)
    image[2000:2400:7, 1200:1700] = 200
    y, x = busiest_part(image, 1024)
    assert y.stop - y.start == x.stop - x.start == 1024
    assert y.start <= 2000
    assert x.start <= 1200
    assert image[y, x].sum() == image.sum()
    assert busiest_part(np.eye(30), 1024) == np.s_[0:1024, 0:1024]


def test_a_smaller_part_can_be_wanted() -> None:
    image = np.zeros((300, 400))
    image[200:240, 40:80] = 1 + np.eye(40)
    y, x = busiest_part(image, 100)
    assert image[y, x].sum() == image.sum()
    assert image[y, x].shape == (100, 100)


def disks(n: int, diameter: float, sure: float = 0.9) -> Objects:
    """Round objects, all alike."""
    angles = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    circle = diameter / 2 * np.stack([np.sin(angles), np.cos(angles)])
    return Objects(np.zeros((n, 2)), np.full(n, sure), np.repeat(circle[np.newaxis], n, axis=0))


@pytest.mark.parametrize(
    ("number", "sure", "found"), [(9, 0.9, True), (2, 0.95, False), (9, 0.7, False), (0, 0, False)]
)
def test_another_scale_is_taken_if_several_objects_are_certain_there(number: int, sure: float, found: bool) -> None:
    def find(scale: float) -> Objects:
        return disks(number if scale == 0.5 else min(number, 1), 40, sure)

    assert search_scale(find, target=20) == (0.5 if found else None)


@pytest.mark.parametrize(("at", "found"), [(0, None), (300, 0.5)])
def test_parts_of_the_few_large_objects_that_are_known_are_no_reason(at: float, found: float | None) -> None:
    known = disks(1, 100)

    def find(scale: float) -> Objects:
        parts = disks(9 if scale == 0.5 else 0, 40)
        return replace(parts, points=parts.points + at)

    assert search_scale(find, target=20, known=known) == found


@pytest.mark.parametrize(("known", "brightness", "found"), [(0, 1.0, 0.5), (2, 1.0, 0.5), (3, 1.0, 2.0), (0, 0.4, 2.0)])
def test_sizes_are_searched_in_a_part_where_little_was_found_but_something_shows(
    known: int, brightness: float, found: float
) -> None:
    image = np.zeros((3000, 2000), np.float32)
    image[2500:2600, 100:300:2] = brightness
    prepared: list[tuple[float, tuple[int, ...]]] = []

    def prepare(scale: float, part: tuple[slice, ...] = ()) -> np.ndarray:
        prepared.append((scale, image[part].shape))
        assert image[part].sum() == image.sum()
        return image[part]

    def find(seen: np.ndarray, scale: float) -> Objects:
        return disks(9 if scale == 0.5 else 0, 40)

    assert right_scale(lambda _: np.full(known, 10.0), prepare, find, 2.0, target=20) == found
    whole = [scale for scale, shape in prepared if shape == image.shape]
    assert whole == ([] if known == 3 else [1.0])
    assert {shape for _, shape in prepared} <= {image.shape, (512, 512)}
