"""Weak labels of images unlike those a model has learnt from."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage as ndi

from karyoseg.core.presegment import Found, bright_view, contrasts, describe, presegment
from karyoseg.core.scale_search import DIAMETERS

LIGHT, DARK = (235, 225, 240), (90, 50, 140)


def stained(labels: np.ndarray, inside: tuple[int, int, int], outside: tuple[int, int, int]) -> np.ndarray:
    """Image of two colours."""
    return np.where((labels > 0)[..., None], np.uint8(inside), np.uint8(outside))


def threshold_model(known: float, asked: list[float | None] | None = None) -> object:
    """Stand in for a model: bright regions; it is the surer, the closer the size it is asked for is to `known` [px]."""

    def find(view: np.ndarray, diameter: float | None) -> Found:
        if asked is not None:
            asked.append(diameter)
        labels, n = ndi.label(view > (view.min() + view.max()) / 2)
        sure = 0.9 - 0.2 * abs(np.log((diameter or known) / known))
        return Found(labels.astype(np.int32), np.full(n, sure))

    return find


def test_dark_and_bright_nuclei_are_told_apart(disks: np.ndarray) -> None:
    assert contrasts(stained(disks, DARK, LIGHT)) == ("dark",)
    assert contrasts(stained(disks, LIGHT, DARK)) == ("bright",)
    assert contrasts(stained(disks, LIGHT, DARK), "dark") == ("dark",)


def test_an_image_that_does_not_tell_is_tried_both_ways() -> None:
    ramp = np.repeat(np.linspace(0, 255, 64).astype(np.uint8)[:, None, None], 3, axis=-1).repeat(40, axis=1)
    gamma = (255 * (ramp / 255) ** 1.6).astype(np.uint8)  # median at a third of the range
    assert contrasts(gamma) == ("bright", "dark")


def test_views_show_nuclei_brighter_than_their_surroundings(disks: np.ndarray) -> None:
    for contrast, image in (("dark", stained(disks, DARK, LIGHT)), ("bright", stained(disks, LIGHT, DARK))):
        view = bright_view(image, contrast)  # type: ignore[arg-type]
        assert view.dtype == np.float32
        assert view[disks > 0].min() > view[disks == 0].max()


def test_twice_the_stain_is_twice_as_bright() -> None:
    once, twice = (np.full((2, 2, 3), round(256 * np.exp(-stain)) - 1, np.uint8) for stain in (0.6, 1.2))
    assert bright_view(twice, "dark")[0, 0] == pytest.approx(2 * bright_view(once, "dark")[0, 0], rel=0.02)


@pytest.mark.parametrize(("inside", "outside"), [(DARK, LIGHT), (LIGHT, DARK)])
def test_nuclei_are_found_whether_dark_or_bright(
    disks: np.ndarray, inside: tuple[int, int, int], outside: tuple[int, int, int]
) -> None:
    labels = presegment(stained(disks, inside, outside), threshold_model(24))  # type: ignore[arg-type]
    np.testing.assert_array_equal(labels > 0, disks > 0)


def test_all_sizes_are_tried_for_dark_nuclei_and_the_known_one_wins(disks: np.ndarray) -> None:
    asked: list[float | None] = []
    image = stained(disks, DARK, LIGHT)
    presegment(image, threshold_model(28, asked))  # type: ignore[arg-type]
    assert asked == list(DIAMETERS)
    asked.clear()
    presegment(image, threshold_model(28, asked), diameter=30)  # type: ignore[arg-type]
    assert asked == [30]
    asked.clear()
    presegment(stained(disks, LIGHT, DARK), threshold_model(28, asked))  # type: ignore[arg-type]
    assert asked == [None]  # the model's own business


def test_of_a_large_image_the_size_is_chosen_on_a_part(disks: np.ndarray) -> None:
    asked: list[tuple[tuple[int, ...], float | None]] = []
    model = threshold_model(40)

    def find(view: np.ndarray, diameter: float | None) -> Found:
        asked.append((view.shape, diameter))
        return model(view, diameter)  # type: ignore[operator, no-any-return]

    large = np.zeros((1500, 1200), np.int32)
    large[1300:1396, 1000:1112] = disks
    labels = presegment(stained(large, DARK, LIGHT), find)
    assert {shape for shape, _ in asked[:-1]} == {(1024, 1024)}
    assert asked[-1] == ((1500, 1200), 40)
    np.testing.assert_array_equal(labels > 0, large > 0)


def test_colour_models_see_colour(disks: np.ndarray) -> None:
    image = stained(disks, DARK, LIGHT)

    def find(view: np.ndarray, diameter: float | None) -> Found:
        np.testing.assert_array_equal(view, image)
        return Found(disks, np.full(4, 0.9))

    np.testing.assert_array_equal(presegment(image, find, in_colour=True), disks)


def test_nothing_to_find_gives_empty_labels(disks: np.ndarray) -> None:
    def nothing(view: np.ndarray, diameter: float | None) -> Found:
        return Found(np.zeros(view.shape, np.int32), np.zeros(0))

    for image in (stained(disks, DARK, LIGHT), np.full((30, 40, 3), 255, np.uint8), np.zeros((1, 1, 3), np.uint8)):
        labels = presegment(image, nothing)
        assert labels.shape == image.shape[:2]
        assert not labels.any()


def test_description_of_what_was_found(disks: np.ndarray) -> None:
    found = describe(stained(disks, DARK, LIGHT), disks)
    assert (found["height"], found["width"], found["n_objects"], found["contrast"]) == (96, 112, 4, "dark")
    assert found["diameter"] * found["scale_to_40"] == pytest.approx(40)
    assert describe(stained(disks, LIGHT, DARK), disks)["contrast"] == "bright"
    empty = describe(stained(disks, DARK, LIGHT), np.zeros_like(disks))
    assert empty["n_objects"] == 0
    assert np.isnan(empty["diameter"])
    assert np.isnan(empty["scale_to_40"])
    assert empty["contrast"] == ""
