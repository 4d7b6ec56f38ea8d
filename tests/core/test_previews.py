"""Small PNG previews."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from karyoseg.core.previews import preview_png, to_rgb8


def decode(png: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(png))))


@pytest.mark.parametrize("shape", [(1, 1), (20, 30), (20, 30, 1), (20, 30, 2), (20, 30, 3), (20, 30, 5)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, bool])
def test_any_image_becomes_rgb(rng: np.random.Generator, shape: tuple[int, ...], dtype: type) -> None:
    rgb = to_rgb8((rng.random(shape) * 200).astype(dtype))
    assert rgb.shape == (*shape[:2], 3)
    assert rgb.dtype == np.uint8


def test_stretch_uses_the_whole_range(rng: np.random.Generator) -> None:
    rgb = to_rgb8(rng.normal(1000, 5, (50, 50)))
    assert rgb.min() == 0
    assert rgb.max() == 255
    assert (rgb[..., 0] == rgb[..., 1]).all()


def test_nan_does_not_spoil_the_preview() -> None:
    image = np.linspace(0, 1, 400).reshape(20, 20)
    image[0, 0] = np.nan
    assert to_rgb8(image).max() == 255


def test_strip_holds_all_samples_side_by_side(rng: np.random.Generator) -> None:
    strip = decode(preview_png([rng.random((640, 320)), rng.random((50, 60))], labels=False, side=100))
    assert strip.shape == (100, 50 + 60 + 2 * 4, 3)


def test_each_instance_has_a_colour_and_background_is_black(disks: np.ndarray) -> None:
    strip = decode(preview_png([disks], labels=True))[: disks.shape[0], : disks.shape[1]]
    colours = {label: tuple(strip[disks == label][0]) for label in range(5)}
    assert colours[0] == (0, 0, 0)
    assert len(set(colours.values())) == 5


def test_not_annotated_pixels_and_empty_strips_are_no_error(disks: np.ndarray) -> None:
    disks[:5] = -1
    assert decode(preview_png([disks], labels=True)).ndim == 3
    assert decode(preview_png([], labels=False, side=10)).shape == (10, 1, 3)
