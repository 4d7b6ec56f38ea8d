"""Drawing polygons: the pixels of scikit-image."""

from __future__ import annotations

import numpy as np
import pytest
from skimage.draw import polygon

from karyoseg.core import polygons
from karyoseg.core.polygons import fill_polygons


def drawn_one_by_one(corners: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Reference."""
    canvas = np.zeros(shape, np.int32)
    for index, (y, x) in enumerate(corners, start=1):
        canvas[polygon(y, x, shape)] = index
    return canvas


def stars(rng: np.random.Generator, n: int, n_rays: int, step: float) -> np.ndarray:
    """Star-convex polygons on and beyond an image of 300 x 400 px; distances are multiples of `step`."""
    angles = np.linspace(0, 2 * np.pi, n_rays, endpoint=False)
    dist = rng.uniform(3, 14, (n, 1)) * rng.uniform(0.6, 1.3, (n, n_rays))
    dist = np.round(dist / step) * step
    points = rng.integers(-9, (309, 409), (n, 2))
    points[points == 0] = 1  # there, rounding errors of the angles are corners beside the grid
    return (points[..., None] + dist[:, None] * np.stack([np.sin(angles), np.cos(angles)])).astype(np.float32)


@pytest.mark.parametrize("n_rays", [3, 8, 32])
@pytest.mark.parametrize("step", [1e-6, 1 / 16, 1.0])
def test_stars(rng: np.random.Generator, n_rays: int, step: float, monkeypatch: pytest.MonkeyPatch) -> None:
    corners = stars(rng, 400, n_rays, step)
    expected = drawn_one_by_one(corners, (300, 400))
    np.testing.assert_array_equal(fill_polygons(corners, (300, 400)), expected)
    monkeypatch.setattr(polygons, "_ROWS", 100)  # block by block
    np.testing.assert_array_equal(fill_polygons(corners, (300, 400)), expected)


def test_corners_and_edges_on_pixel_centres(rng: np.random.Generator) -> None:
    top, left = rng.integers(-3, 40, (2, 60))
    down, right = rng.integers(1, 9, (2, 60))
    boxes = np.stack(
        [np.stack([top, top, top + down, top + down], 1), np.stack([left, left + right, left + right, left], 1)], 1
    )
    diamonds = np.stack(
        [
            np.stack([top, top + down, top + 2 * down, top + down], 1),
            np.stack([left, left + down, left, left - down], 1),
        ],
        1,
    )
    for corners in (boxes, diamonds, boxes[:, ::-1], boxes + 0.5):
        np.testing.assert_array_equal(fill_polygons(corners, (40, 44)), drawn_one_by_one(corners, (40, 44)))


@pytest.mark.parametrize("shape", [(0, 5), (1, 1), (7, 3)])
def test_nothing_to_draw_and_small_images(rng: np.random.Generator, shape: tuple[int, int]) -> None:
    assert not fill_polygons(np.zeros((0, 2, 32)), shape).any()
    corners = stars(rng, 50, 16, 0.1) / 20
    np.testing.assert_array_equal(fill_polygons(corners, shape), drawn_one_by_one(corners, shape))
