"""The judge of generated images tells good from bad, by known cases."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from scipy import ndimage as ndi

from karyoseg.models.pix2pix import quality
from karyoseg.models.pix2pix.quality import Verdict, judge, kernel_distance, texture_features, two_colours
from karyoseg.models.pix2pix.tiles import Pairs
from karyoseg.models.pix2pix.visibility import learn_objects

LIMITS = {"max_kid_ratio": 0.8, "min_contrast": 0.5, "max_accuracy": 1.0}


def make_pairs(seed: int, n: int = 12, side: int = 64) -> Pairs:
    """Tiles of dark, speckled nuclei on a bright, noisy background."""
    rng = np.random.default_rng(seed)
    y, x = np.ogrid[:side, :side]
    images, labels = np.empty((n, side, side, 3), np.uint8), np.zeros((n, side, side), np.int32)
    for image, label in zip(images, labels, strict=True):
        for index in range(1, 7):
            cy, cx = rng.uniform(0, side, 2)
            label[np.hypot(y - cy, x - cx) < rng.uniform(5, 9)] = index
        texture = ndi.gaussian_filter(rng.normal(size=(side, side, 3)), (1, 1, 0)) * 60
        image[:] = np.clip(np.where(label[..., None] > 0, (90, 50, 140), (200, 180, 220)) + texture, 0, 255)
    return Pairs(images, labels, [str(index // 2) for index in range(n)])


REAL, AGAIN = make_pairs(0), make_pairs(1)


def verdict(images: np.ndarray, labels: np.ndarray = AGAIN.labels, **limits: Any) -> Verdict:
    return judge(REAL, Pairs(images, labels, AGAIN.groups), LIMITS | limits, seed=0)


def test_other_images_of_the_same_kind_pass() -> None:
    found = verdict(AGAIN.images)
    assert found.passed
    assert found.why == "ok"
    assert found.kid_ratio < 0.1
    assert found.contrast > 0.95
    assert found.accuracy < 0.85


def test_painted_labels_fail_by_their_texture_though_the_objects_show() -> None:
    found = verdict(two_colours(REAL, AGAIN.labels))
    assert not found.passed
    assert found.kid_ratio == pytest.approx(1)
    assert found.contrast > 0.9
    assert "KID is 1.00 times that of painted labels" in found.why


def test_images_that_do_not_show_their_objects_fail() -> None:
    found = verdict(AGAIN.images[::-1])
    assert not found.passed
    assert found.kid_ratio < 0.1  # each is fine by itself
    assert found.contrast < 0.3
    assert "objects show" in found.why


@pytest.mark.parametrize("kind", ["noise", "one colour"])
def test_collapsed_generators_fail(kind: str) -> None:
    shape = AGAIN.images.shape
    noise = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    found = verdict(noise if kind == "noise" else np.full(shape, 128, np.uint8))
    assert not found.passed
    assert found.kid_ratio > 1
    assert ("the images are empty" in found.why) == (kind == "one colour")


def test_blur_can_be_told_by_the_classifier_which_decides_only_if_asked() -> None:
    blurred = ndi.gaussian_filter(AGAIN.images, (0, 1.2, 1.2, 0))
    assert verdict(blurred).accuracy > 0.9
    assert "can be told" not in verdict(blurred).why
    assert "of the tiles can be told from real ones, 75% allowed" in verdict(blurred, max_accuracy=0.75).why


def test_a_verdict_is_the_same_again() -> None:
    assert verdict(AGAIN.images) == verdict(AGAIN.images)


def test_what_cannot_be_judged_fails_and_says_why() -> None:
    single = Pairs(AGAIN.images[:1], AGAIN.labels[:1], ["0"])
    found = judge(REAL, single, LIMITS, seed=0)
    assert not found.passed
    assert "too few tiles" in found.why
    empty = verdict(AGAIN.images, np.zeros_like(AGAIN.labels))
    assert "synthetic masks hold only objects or only background" in empty.why
    shifted = Pairs(REAL.images, REAL.labels[::-1], REAL.groups)  # as of a presegmentation that found anything
    assert "do not stand out in the real images" in judge(shifted, AGAIN, LIMITS, seed=0).why


def test_a_classifier_that_fails_in_every_fold_is_no_sign_of_likeness(monkeypatch: pytest.MonkeyPatch) -> None:
    scores = iter([[np.nan, np.nan], [np.nan, 0.75]])
    monkeypatch.setattr(quality, "cross_val_score", lambda *args, **options: np.array(next(scores)))
    found = verdict(AGAIN.images)
    assert np.isnan(found.accuracy)
    assert not found.passed
    assert found.why == "no classifier could be trained to tell the tiles from real ones"
    assert verdict(AGAIN.images).accuracy == 0.75


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        (REAL.labels, ""),
        (REAL.labels[::-1], "the objects of the weak masks do not stand out in the real images"),
        (np.ones_like(REAL.labels), "the weak masks hold only objects or only background"),
    ],
)
def test_what_the_real_images_decide_is_known_before_any_is_generated(labels: np.ndarray, reason: str) -> None:
    real = Pairs(REAL.images, labels, REAL.groups)
    assert learn_objects(real, seed=0)[-1] == reason
    assert reason in judge(real, AGAIN, LIMITS, seed=0).why


def test_one_real_image_can_be_judged() -> None:
    found = judge(Pairs(REAL.images[:4], REAL.labels[:4], ["a"] * 4), AGAIN, LIMITS, seed=0)
    assert np.isfinite([found.kid, found.contrast, found.accuracy]).all()


def test_kernel_distance_is_the_textbook_formula(rng: np.random.Generator) -> None:
    a, b = rng.normal(size=(7, 5)), rng.normal(0.5, 2, size=(6, 5))
    centre, spread = a.mean(0), a.std(0) + 1e-3
    x, y = [(row - centre) / spread for row in a], [(row - centre) / spread for row in b]

    def mean_kernel(pairs: Any) -> float:
        return float(np.mean([(np.dot(p, q) / 5 + 1) ** 3 for p, q in pairs]))

    expected = (
        mean_kernel(itertools.permutations(x, 2))
        + mean_kernel(itertools.permutations(y, 2))
        - 2 * mean_kernel(itertools.product(x, y))
    )
    assert kernel_distance(a, b) == pytest.approx(expected)


def test_features_describe_texture_not_position() -> None:
    tile = AGAIN.images[:1]
    variants = (tile, np.roll(tile, 20, axis=2), ndi.gaussian_filter(tile, (0, 1.2, 1.2, 0)))
    here, moved, blurred = (texture_features(variant)[0] for variant in variants)
    assert np.abs(here - moved).mean() < np.abs(here - blurred).mean() / 2
