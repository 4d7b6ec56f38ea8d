"""Windows of an image are prepared as the whole is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import ndimage as ndi

from karyoseg.core.blocks.windows import WindowPreparation
from karyoseg.core.preparation import Preparation


@pytest.mark.parametrize("scale", [1.0, 0.37, 0.9, 1.3, 2.7])
@pytest.mark.parametrize("noise", [0, 25])
@pytest.mark.parametrize(("channels", "colour"), [((), "gray"), ((3,), "gray"), ((2,), "keep")])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("white", [None, 255])
def test_windows_equal_the_whole(
    scale: float, noise: float, channels: tuple[int, ...], colour: Any, dtype: Any, white: float | None
) -> None:
    rng = np.random.default_rng(0)
    image = ndi.gaussian_filter(rng.random((141, 97, *channels)), (2, 2, 0)[: 2 + len(channels)])
    image = (image - image.min()) / np.ptp(image) * 150 + rng.normal(0, noise, image.shape)
    image = np.clip(image, 0, 250).astype(dtype)
    image[:7] = 0  # an empty margin
    image[40, 20] = 255  # a hot pixel
    recipe = Preparation(colour=colour, white=white)
    whole = recipe.apply(image, scale)
    windows = WindowPreparation.decide(image, (141, 97), recipe, scale)
    assert windows.prepared == whole.shape[:2]
    for y in range(0, whole.shape[0], 40):
        for x in range(0, whole.shape[1], 40):
            window = (slice(y, min(y + 40, whole.shape[0])), slice(x, min(x + 40, whole.shape[1])))
            part = windows.apply(lambda where: image[where], window)
            np.testing.assert_allclose(part, whole[window], atol=1e-6)


def test_a_sample_decides_nearly_the_same() -> None:
    rng = np.random.default_rng(1)
    image = ndi.gaussian_filter(rng.random((600, 600)), 3) * 1000
    recipe = Preparation()
    whole = WindowPreparation.decide(image, image.shape, recipe, 1.0)
    sample = WindowPreparation.decide(image[:300], image.shape, recipe, 1.0)
    assert sample.prepared == whole.prepared
    assert sample.inner == (slice(0, 600), slice(0, 600))
    np.testing.assert_allclose(sample.span, whole.span, rtol=0.1)
