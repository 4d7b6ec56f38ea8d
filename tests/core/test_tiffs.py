"""The project's own TIFF files."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest
import tifffile

from karyoseg.core.io.tiffs import decode_image, decode_labels, encode_image, encode_labels


@pytest.mark.parametrize(
    "dtype", [np.uint8, np.uint16, np.uint32, np.int16, np.int64, np.uint64, np.float32, np.float64]
)
@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (7, 1), (13, 17), (13, 17, 2), (13, 17, 3), (13, 17, 4), (1, 9, 2)])
def test_images_come_back_exactly(rng: np.random.Generator, dtype: type, shape: tuple[int, ...]) -> None:
    image = (rng.random(shape) * 100).astype(dtype)
    found = decode_image(encode_image(image))
    assert found.dtype == image.dtype
    np.testing.assert_array_equal(found, image)


def test_values_outside_0_to_1_and_extremes_survive() -> None:
    image = np.array([[-3.5, 0, 7e30]], np.float32)
    np.testing.assert_array_equal(decode_image(encode_image(image)), image)


@pytest.mark.parametrize(
    ("values", "stored"),
    [
        ([0, 0, 0], np.uint16),
        ([0, 1, 65535], np.uint16),
        ([0, 65536, 3_000_000], np.uint32),
        ([-1, 0, 70_000], np.int32),
    ],
)
def test_labels_use_the_smallest_type_and_come_back_as_int32(values: list[int], stored: type) -> None:
    labels = np.array([values], np.int64)
    content = encode_labels(labels)
    assert tifffile.imread(io.BytesIO(content)).dtype == stored
    found = decode_labels(content)
    assert found.dtype == np.int32
    np.testing.assert_array_equal(found, labels)


def test_label_files_are_small() -> None:
    labels = np.zeros((512, 512), np.int32)
    labels[100:200, 100:200] = 1
    assert len(encode_labels(labels)) < 10_000


def test_equal_images_give_equal_files(rng: np.random.Generator) -> None:
    image = rng.random((20, 20))
    assert encode_image(image) == encode_image(image.copy())  # no date inside: DVC and checksums rely on it


@pytest.mark.parametrize("decode", [decode_image, decode_labels])
@pytest.mark.parametrize("kept", [0, 4, 30, 0.5, 0.95])
def test_damaged_files_raise_a_value_error(rng: np.random.Generator, decode: Callable, kept: float) -> None:
    content = encode_image(rng.integers(0, 9, (64, 64)).astype(np.uint16))
    with pytest.raises(ValueError, match="not a whole TIFF"):
        decode(content[: kept if isinstance(kept, int) else int(kept * len(content))])
    with pytest.raises(ValueError, match="not a whole TIFF"):
        decode(b"something else")
