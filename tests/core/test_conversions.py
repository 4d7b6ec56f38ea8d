"""From one form of images and labels to another."""

from __future__ import annotations

import numpy as np
import pytest

from karyoseg.core.conversions import (
    as_rgb8,
    decode_runs,
    encode_runs,
    labels_from_runs,
    object_masks,
    submission_rows,
    to_8bit,
)
from karyoseg.core.errors import KaryosegError


def reference_runs(mask: np.ndarray) -> str:
    """Count pixel by pixel, column after column, as the rules of the competition say."""
    runs: list[list[int]] = []
    position = 0
    for x in range(mask.shape[1]):
        for y in range(mask.shape[0]):
            position += 1
            if mask[y, x]:
                if runs and sum(runs[-1]) == position:
                    runs[-1][1] += 1
                else:
                    runs.append([position, 1])
    return " ".join(f"{start} {length}" for start, length in runs)


@pytest.mark.parametrize("shape", [(12, 9), (1, 7), (7, 1), (1, 1)])
def test_runs_are_those_of_the_rules_and_come_back(shape: tuple[int, int], rng: np.random.Generator) -> None:
    labels = rng.integers(-1, 4, shape).astype(np.int32)
    runs = encode_runs(labels)
    assert list(runs) == sorted(set(labels[labels > 0].tolist()))
    for label, text in runs.items():
        assert text == reference_runs(labels == label)
        np.testing.assert_array_equal(decode_runs(text, shape), labels == label)


def test_submission_and_back(disks: np.ndarray) -> None:
    table = submission_rows("a", disks)
    assert table["ImageId"].tolist() == ["a"] * 4
    np.testing.assert_array_equal(labels_from_runs(table["EncodedPixels"].tolist(), disks.shape), disks)
    empty = submission_rows("b", np.zeros_like(disks))
    assert empty.to_dict("records") == [{"ImageId": "b", "EncodedPixels": ""}]
    assert not labels_from_runs([""], (3, 4)).any()


@pytest.mark.parametrize("runs", ["1", "a b", "0 1", "5 2", "1 0", "-3 2", "1.5 2"])
def test_runs_that_do_not_fit_are_refused(runs: str) -> None:
    with pytest.raises(KaryosegError, match="run lengths"):
        decode_runs(runs, (1, 5))


def test_masks_are_one_object_each(disks: np.ndarray) -> None:
    masks = dict(object_masks(np.where(disks == 2, 0, disks)))
    assert list(masks) == [1, 3, 4]
    for label, mask in masks.items():
        assert mask.dtype == np.uint8
        np.testing.assert_array_equal(mask, 255 * (disks == label))


def test_8_bit_keeps_order_and_ignores_hot_pixels(rng: np.random.Generator) -> None:
    image = rng.normal(2000, 300, (80, 90)).clip(0).astype(np.uint16)
    image[3, 4] = 65535
    stretched = to_8bit(image)
    assert stretched.dtype == np.uint8
    assert np.ptp(stretched) == 255
    assert stretched.std() > 30
    order = np.argsort(image, axis=None)
    assert (np.diff(stretched.ravel()[order].astype(int)) >= 0).all()


def test_8_bit_stretches_each_channel_and_leaves_8_bit_images_alone(rng: np.random.Generator) -> None:
    image = rng.integers(0, 4000, (40, 40, 3)).astype(np.uint16) // np.array([1, 10, 4000], np.uint16)
    stretched = to_8bit(image)
    assert np.ptp(stretched[..., 0]) == np.ptp(stretched[..., 1]) == 255
    assert not stretched[..., 2].any()  # constant
    exact = rng.integers(20, 90, (5, 5)).astype(np.uint8)
    np.testing.assert_array_equal(to_8bit(exact), exact)


@pytest.mark.parametrize("channels", [None, 1, 2, 3, 4, 7])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_every_image_becomes_rgb(channels: int | None, dtype: type, rng: np.random.Generator) -> None:
    shape = (6, 8) if channels is None else (6, 8, channels)
    rgb = as_rgb8((rng.random(shape) * 250).astype(dtype))
    assert rgb.shape == (6, 8, 3)
    assert rgb.dtype == np.uint8
    assert rgb.flags.c_contiguous
    if channels in (None, 1):
        assert (rgb == rgb[..., :1]).all()
    if channels == 2:
        assert not rgb[..., 2].any()


def test_masks_of_large_ids() -> None:
    labels = np.array([[2_000_000_000, 0, -1], [7, 0, 2_000_000_000]], np.int32)
    assert [(label, mask.tolist()) for label, mask in object_masks(labels)] == [
        (7, [[0, 0, 0], [255, 0, 0]]),
        (2_000_000_000, [[255, 0, 0], [0, 0, 255]]),
    ]
