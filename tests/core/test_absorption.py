"""Dark nuclei on a bright background."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage as ndi

from karyoseg.core.absorption import background_brightness, may_absorb, optical_density, white_level


def test_a_constant_image_has_no_bright_background() -> None:
    assert background_brightness(np.full((5, 5), 99, np.uint8)) == 0


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_bright_backgrounds_are_seen_whatever_the_type(disks: np.ndarray, dtype: type) -> None:
    for scale in (1, 200) if dtype is not np.uint8 else (1,):
        dark = np.where(disks > 0, 60, 220).astype(dtype) * dtype(scale)
        assert may_absorb(dark)
        assert not may_absorb(dark.max() - dark)


@pytest.mark.parametrize("blur", [0, 1, 3])
@pytest.mark.parametrize("form", ["16 bit", "8 bit", "float"])
def test_noise_absorbs_no_light(form: str, blur: float, rng: np.random.Generator) -> None:
    noise = ndi.gaussian_filter(rng.normal(0, 1, (300, 300)), blur)
    noise /= noise.std()
    image = {
        "16 bit": (1000 + 28 * noise).astype(np.uint16),
        "8 bit": (20 + 3 * noise).astype(np.uint8),
        "float": noise.astype(np.float32),
    }[form]
    assert background_brightness(image) > 0.4
    assert not may_absorb(image)


def test_large_images_are_judged_by_some_pixels(disks: np.ndarray) -> None:
    large = np.tile(np.where(disks > 0, 60, 220), (25, 25))
    assert background_brightness(large) == pytest.approx(background_brightness(large[:500, :500]))


def test_twice_the_stain_is_twice_the_density() -> None:
    once, twice = (np.full((2, 2), 40_000 * np.exp(-stain)) for stain in (0.6, 1.2))
    assert optical_density(twice, 40_000)[0, 0] == pytest.approx(2 * optical_density(once, 40_000)[0, 0], rel=0.02)


def test_white_is_the_end_of_8_bit_and_the_background_of_other_images(disks: np.ndarray) -> None:
    image = np.where(disks > 0, 60, 220).astype(np.uint8)
    assert white_level(image, image) == 255
    bits16 = image.astype(np.uint16) * 100
    assert white_level(bits16, bits16) == 22_000
    density = optical_density(bits16, 22_000)
    assert density.dtype == np.float32
    assert density[disks == 0].max() == 0
    assert density[disks > 0].min() == pytest.approx(np.log(220 / 60), rel=0.02)
    assert white_level(np.zeros((3, 3), np.float32), np.zeros((3, 3), np.float32)) > 0
