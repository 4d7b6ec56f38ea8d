"""Hot pixels, empty margins and noise: found where they are, and nowhere else."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage as ndi

from karyoseg.core.flaws import (
    blur_against_noise,
    content,
    hot_limits,
    least_span,
    noise_level,
    remove_hot_pixels,
    sampled_range,
    signal_range,
    without_margins,
)
from karyoseg.core.synthetic import SAMPLE_CLASSES, draw_scene, render_scene


@pytest.fixture(scope="module")
def sound() -> list[np.ndarray]:
    """Drawn images without flaws, of 8 and 16 bit."""
    rng = np.random.default_rng(3)
    scenes = [draw_scene(kind, (160, 192), rng, bits)[0] for kind in SAMPLE_CLASSES for bits in (8, 16)]
    return [render_scene(scene, rng)[0] for scene in scenes]


def add_hot(image: np.ndarray, rng: np.random.Generator, share: float) -> np.ndarray:
    hot = image.copy()
    hot[rng.random(image.shape) < share] = 65535
    return hot


def test_sound_images_are_returned_as_they_are(sound: list[np.ndarray]) -> None:
    for image in sound:
        assert remove_hot_pixels(image) is image
        assert content(image) == (slice(0, 160), slice(0, 192))


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.float32, np.float64])
@pytest.mark.parametrize("share", [0.0001, 0.003, 0.01])
def test_hot_pixels_are_replaced_and_the_rest_is_kept(dtype: type, share: float, rng: np.random.Generator) -> None:
    plain = (500 + 300 * ndi.gaussian_filter(rng.random((120, 140)), 3)).astype(dtype)
    hot = plain.copy()
    mask = rng.random(plain.shape) < share
    mask[50, 60] = True
    hot[mask] = 65535
    cleaned = remove_hot_pixels(hot)
    assert cleaned.dtype == plain.dtype
    assert cleaned.max() <= plain.max()
    np.testing.assert_array_equal(cleaned[~mask], plain[~mask])
    assert hot.max() == 65535  # the input is left alone


@pytest.mark.parametrize("photons", [0.1, 0.2, 0.3])
def test_single_photons_are_not_hot(photons: float, rng: np.random.Generator) -> None:
    y, x = np.mgrid[:512, :512]
    inside = np.hypot(y % 128 - 64, x % 128 - 64) < 16
    image = rng.poisson(np.where(inside, photons, photons / 50)).astype(np.uint16)
    assert remove_hot_pixels(image).sum() > 0.95 * image.sum()


def test_rare_small_nuclei_on_a_background_of_one_value_keep_their_corners() -> None:
    image = np.zeros((1000, 1000), np.uint16)
    for y, x in np.ndindex(8, 8):
        image[100 * y + 50 : 100 * y + 55, 100 * x + 50 : 100 * x + 55] = 800
    assert remove_hot_pixels(image) is image
    hot = image.copy()
    hot[500, 500] = 60000
    np.testing.assert_array_equal(remove_hot_pixels(hot), image)


@pytest.mark.parametrize(("radius", "blur"), [(3, 0.7), (3, 1), (5, 1)])
def test_rare_nuclei_in_noise_keep_their_rims(radius: int, blur: float, rng: np.random.Generator) -> None:
    y, x = np.mgrid[:1024, :1024]
    inside = np.zeros(y.shape, bool)
    for row, column in rng.integers(50, 950, (8, 2)):
        inside |= np.hypot(y - row, x - column) < radius
    image = rng.normal(100 + 2000 * ndi.gaussian_filter(inside.astype(float), blur), 10).astype(np.uint16)
    assert remove_hot_pixels(image) is image
    hot = image.copy()
    hot[rng.integers(0, 1024, 20), rng.integers(0, 1024, 20)] = 60000
    assert remove_hot_pixels(hot).max() < 3000


def test_dead_pixels_count_as_well(rng: np.random.Generator) -> None:
    image = rng.normal(2000, 3, (60, 60)).astype(np.uint16)
    image[20, 30] = 0
    assert remove_hot_pixels(image).min() > 1900


def test_limits_of_the_whole_hold_for_its_parts(rng: np.random.Generator) -> None:
    image = add_hot(rng.normal(300, 10, (90, 90, 2)).astype(np.uint16), rng, 0.002)
    whole = remove_hot_pixels(image)
    part = remove_hot_pixels(image[20:70, 10:80], hot_limits(image))
    np.testing.assert_array_equal(part[1:-1, 1:-1], whole[21:69, 11:79])


def test_margins_of_any_value_are_left_out(rng: np.random.Generator) -> None:
    image = rng.integers(1, 200, (30, 40), dtype=np.uint8)
    for value in (0, 255):
        padded = np.pad(image, ((5, 0), (7, 9)), constant_values=value)
        assert content(padded) == (slice(5, 35), slice(7, 47))
    assert content(np.zeros((4, 6))) == (slice(0, 4), slice(0, 6))


def test_a_background_of_one_value_is_no_margin(rng: np.random.Generator) -> None:
    nucleus = np.pad(np.hypot(*np.mgrid[-20:21, -20:21]) < 20, 50) * np.uint8(90)
    assert without_margins(nucleus) is nucleus
    camera = rng.integers(1, 200, (30, 40), dtype=np.uint8)
    assert without_margins(np.pad(camera, ((5, 0), (7, 9)))).shape == (30, 40)
    colour = np.stack([camera] * 3, axis=-1)
    assert without_margins(np.pad(colour, ((5, 5), (0, 9), (0, 0)))).shape == (30, 40, 3)


@pytest.mark.parametrize("side", [6, 20, 25])
@pytest.mark.parametrize("level", [900, 20000])
def test_few_bright_pixels_set_the_range(level: float, side: int, rng: np.random.Generator) -> None:
    field = rng.normal(100, 5, (600, 600))
    usual = sampled_range(field)
    assert signal_range(field, usual, 5) == usual
    field[200 : 200 + side, 300 : 300 + side] = level
    low, high = signal_range(field, sampled_range(field), 5)
    assert low == pytest.approx(usual[0], rel=0.01)
    assert high == pytest.approx(level, rel=0.01)


def test_what_is_brighter_than_many_nuclei_does_not_set_the_range(rng: np.random.Generator) -> None:
    field = rng.normal(100, 5, (300, 300))
    field[::20, :] = 400  # 5 % of the pixels
    field[50:58, 60:68] = 20_000
    usual = sampled_range(field)
    assert usual[1] == pytest.approx(400, abs=1)
    assert signal_range(field, usual, 5) == usual


@pytest.mark.parametrize("sigma", [2.0, 10.0, 50.0])
def test_noise_is_measured_whatever_the_objects(
    sigma: float, sound: list[np.ndarray], rng: np.random.Generator
) -> None:
    smooth = 3 * ndi.gaussian_filter(sound[0].astype(np.float32), 3)
    assert noise_level(smooth) < 0.5
    assert noise_level(smooth + rng.normal(0, sigma, smooth.shape)) == pytest.approx(sigma, rel=0.1)


def test_noise_of_images_too_small_to_tell_is_zero() -> None:
    assert noise_level(np.zeros((2, 50))) == 0
    assert remove_hot_pixels(np.eye(2)).tolist() == np.eye(2).tolist()


@pytest.mark.parametrize("noise", [5.0, 10.0, 20.0])
def test_the_blur_brings_noise_down_to_what_does_no_harm(noise: float, rng: np.random.Generator) -> None:
    field = rng.normal(0, noise, (300, 300))
    blur = blur_against_noise(noise, 100, limit=10)
    assert ndi.gaussian_filter(field, blur).std() <= 1.25 * 100 / 30
    assert least_span(noise, blur) <= 100.1


def test_little_noise_is_left_alone() -> None:
    assert blur_against_noise(3, 100, limit=2) == 0
    assert blur_against_noise(0, 0, limit=2) == 0
    assert blur_against_noise(50, 100, limit=2) == 2
