"""The learnt distance of styles separates what it was taught to separate."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from karyoseg.core.errors import KaryosegError
from karyoseg.core.style.distance import Pairs, StyleDistance, pairs_of_parts, pairs_of_styles
from karyoseg.core.style.styles_table import read_styles


@pytest.fixture
def two_styles(rng: np.random.Generator) -> np.ndarray:
    """Features of 20 images, of which the first 10 differ from the others in one of six."""
    features = rng.normal(size=(20, 6))
    features[10:, 2] += 12
    return features


def as_set(pairs: Pairs) -> set[tuple[int, int, bool]]:
    return {(int(a), int(b), bool(d)) for a, b, d in zip(pairs.first, pairs.second, pairs.different, strict=True)}


def test_distance_is_small_within_and_large_between_styles(two_styles: np.ndarray, rng: np.random.Generator) -> None:
    pairs = pairs_of_styles(["a"] * 10 + ["b"] * 10, 1000, 0)
    distance = StyleDistance(0).fit(two_styles, pairs)
    others = rng.normal(size=(8, 6))
    others[4:, 2] += 12
    matrix = distance.matrix(others)
    same = np.zeros((8, 8), bool)
    same[:4, :4] = same[4:, 4:] = True
    assert matrix[same].max() < 0.4
    assert matrix[~same].min() > 0.6
    np.testing.assert_array_equal(matrix, matrix.T)
    assert matrix.min() >= 0
    assert matrix.max() <= 1


def test_distance_is_the_mean_of_three_classifiers(two_styles: np.ndarray) -> None:
    distance = StyleDistance(0).fit(two_styles, pairs_of_styles(["a"] * 10 + ["b"] * 10, 50, 0))
    differences = np.abs(two_styles[[3]] - two_styles[[15]])
    each = [classifier.predict_proba(differences)[0, 1] for classifier in distance._classifiers]
    assert len(each) == 3
    assert distance.matrix(two_styles)[3, 15] == pytest.approx(np.mean(each))


def test_same_seed_same_distance(two_styles: np.ndarray) -> None:
    pairs = pairs_of_styles(["a"] * 10 + ["b"] * 10, 100, 3)
    first, second = (StyleDistance(5).fit(two_styles, pairs).matrix(two_styles) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_all_pairs_of_a_table_are_used_if_there_are_few() -> None:
    pairs = pairs_of_styles(["x", "y", "x"], 100, 0)
    assert as_set(pairs) == {(0, 1, True), (0, 2, False), (1, 2, True)}


def test_pairs_are_limited_for_each_kind() -> None:
    pairs = pairs_of_styles(["x"] * 30 + ["y"] * 30, 40, 0)
    assert np.bincount(pairs.different).tolist() == [40, 40]
    assert as_set(pairs) == as_set(pairs_of_styles(["x"] * 30 + ["y"] * 30, 40, 0))


@pytest.mark.parametrize(
    ("styles", "message"), [(["a", "a"], "different styles"), (["a", "b"], "the same style"), ([], "style")]
)
def test_a_table_without_both_kinds_of_pairs_is_refused(styles: list[str], message: str) -> None:
    with pytest.raises(KaryosegError, match=message):
        pairs_of_styles(styles, 10, 0)


def test_parts_of_one_image_are_alike_and_those_of_far_images_are_not(rng: np.random.Generator) -> None:
    features = rng.normal(size=(6, 5, 3))
    features[3:] += 50
    pairs = pairs_of_parts(features, 1000, 0)
    first, second = pairs.first // 5, pairs.second // 5
    assert (first == second).tolist() == (~pairs.different).tolist()
    assert ((first < 3) != (second < 3))[pairs.different].all()
    assert (~pairs.different).sum() == 6 * 10


def test_two_images_are_enough_for_pairs(rng: np.random.Generator) -> None:
    pairs = pairs_of_parts(rng.normal(size=(2, 5, 3)), 10, 0)
    assert set(pairs.different.tolist()) == {True, False}


def test_styles_are_read_in_the_order_of_the_images(tmp_path: Path) -> None:
    table = tmp_path / "styles.csv"
    table.write_text("style,id,remark\nH&E,007,x\nNA,b,\n")
    assert read_styles(str(table), ["b", "c", "007"]) == ["NA", "", "H&E"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,style\na,b\n", "found the columns name, style"),
        ("id,style\nz,1\n", "not there"),
        ("id,style\na,1\na,2\n", "named before"),
        ("", "cannot be read"),
        (None, "cannot be read"),
    ],
)
def test_tables_of_styles_that_cannot_be_used(tmp_path: Path, text: str | None, message: str) -> None:
    table = tmp_path / "styles.csv"
    if text is not None:
        table.write_text(text)
    with pytest.raises(KaryosegError, match=message):
        read_styles(str(table), ["a", "b"])
