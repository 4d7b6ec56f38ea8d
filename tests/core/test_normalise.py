"""Percentile normalisation against csbdeep, and channel selection."""

from __future__ import annotations

import numpy as np
import pytest
from skimage.color import rgb2gray

from karyoseg.core.errors import KaryosegError
from karyoseg.core.normalise import normalise, select_channels


@pytest.fixture(scope="module")
def csbdeep_normalize():
    """The reference; slow to import."""
    from csbdeep.utils import normalize

    return normalize


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32, np.int16, np.float32, np.float64])
@pytest.mark.parametrize("percentiles", [(1, 99.8), (0, 100), (3, 90)])
def test_gray_images_agree_with_csbdeep(rng, csbdeep_normalize, dtype, percentiles) -> None:
    image = (rng.gamma(2, 20, (57, 64)) + 5).clip(0, 255).astype(dtype)
    expected = csbdeep_normalize(image, *percentiles)
    found = normalise(image, *percentiles)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("joint", [True, False])
def test_colour_images_agree_with_csbdeep(rng, csbdeep_normalize, joint) -> None:
    image = (rng.random((40, 30, 3)) * [50, 100, 250]).astype(np.uint8)
    expected = csbdeep_normalize(image, 1, 99.8, axis=None if joint else (0, 1))
    np.testing.assert_allclose(normalise(image, joint=joint), expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int8, np.float32])
def test_constant_images_become_zeros(dtype) -> None:
    assert not normalise(np.ones((5, 6), dtype)).any()


def test_a_constant_channel_becomes_zeros_and_leaves_the_others(rng) -> None:
    image = np.stack([np.full((20, 20), 7), rng.integers(0, 255, (20, 20))], axis=-1).astype(np.uint8)
    found = normalise(image)
    assert not found[..., 0].any()
    np.testing.assert_array_equal(found[..., 1], normalise(image[..., 1]))


def test_a_few_bright_pixels_in_an_empty_field_survive() -> None:
    image = np.zeros((100, 100), np.uint16)
    image[3, 4] = 1000
    found = normalise(image)
    assert found[3, 4] == 1
    assert np.count_nonzero(found) == 1


def test_signed_bytes_do_not_overflow() -> None:
    image = np.array([[-128, 127]], np.int8)
    assert normalise(image, 0, 100).tolist() == [[0, 1]]


def test_result_does_not_depend_on_gain_and_offset(rng) -> None:
    image = rng.random((30, 30)).astype(np.float32)
    np.testing.assert_allclose(normalise(image * 40 + 3), normalise(image), atol=1e-5)


def test_the_input_is_not_changed(rng) -> None:
    image = rng.random((30, 30)).astype(np.float32)
    before = image.copy()
    normalise(image)
    np.testing.assert_array_equal(image, before)


def test_one_by_one_image() -> None:
    assert normalise(np.array([[7]], np.uint8)).tolist() == [[0]]


def test_gray_of_colour_agrees_with_a_luma_conversion(rng) -> None:
    image = rng.random((10, 10, 3)).astype(np.float32)
    gray = select_channels(image)
    assert gray.shape == (10, 10)
    assert np.abs(gray - rgb2gray(image)).max() < 0.15  # other weights (BT.709), same idea
    np.testing.assert_allclose(gray, image @ [0.299, 0.587, 0.114], rtol=1e-5)


def test_gray_saved_as_rgb_keeps_its_values_and_type(rng) -> None:
    gray = rng.integers(0, 255, (9, 9), dtype=np.uint8)
    found = select_channels(np.stack([gray] * 3, axis=-1))
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, gray)


def test_channels_are_picked_in_the_given_order(rng) -> None:
    image = rng.random((4, 5, 4))
    np.testing.assert_array_equal(select_channels(image, [2, 0], "keep"), image[..., [2, 0]])
    np.testing.assert_array_equal(select_channels(image, [3]), image[..., 3])
    np.testing.assert_allclose(select_channels(image, [0, 1]), image[..., :2].mean(axis=-1), rtol=1e-5)
    assert select_channels(image[..., 0], [0], "keep").shape == (4, 5)


def test_missing_channel_is_named() -> None:
    with pytest.raises(KaryosegError, match=r"a\.tif: channel 3 .* has 1 channel"):
        select_channels(np.zeros((3, 3)), [3], where="a.tif")
