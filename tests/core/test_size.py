"""Nucleus size: measuring, estimating, rescaling."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import tifffile
from benchmarks.accuracy.conditions import draw
from scipy import ndimage as ndi

from karyoseg.core.size import estimate_diameter, median_diameter, polygon_diameters, resize_image, resize_labels

ESTIMATED_WITHIN = 1.25


def draw_disks(diameter: float, side: int, *, touching: bool, noise: float, gradient: float, seed: int) -> np.ndarray:
    """Blurred disks of varied brightness on an uneven, noisy background."""
    rng = np.random.default_rng(seed)
    image = np.full((side, side), 0.1, np.float32)
    centres: list[np.ndarray] = []
    wanted = max(4, int(0.25 * side**2 / diameter**2))
    gap = 1.0 if touching else 1.2
    for _ in range(3000):
        if len(centres) == min(wanted, 60):
            break
        centre = rng.uniform(0, side, 2)
        if touching and centres:
            angle = rng.uniform(0, 2 * np.pi)
            centre = centres[rng.integers(len(centres))] + 1.001 * diameter * np.array([np.sin(angle), np.cos(angle)])
        if all(np.hypot(*(centre - other)) >= gap * diameter for other in centres) and (centre > 0).all():
            centres.append(centre)
            mask = np.zeros_like(image, np.uint8)
            y, x = (int(16 * value) for value in centre)
            cv2.circle(mask, (x, y), int(8 * diameter), 1, -1, cv2.LINE_8, 4)
            image[mask > 0] = rng.uniform(0.5, 1)
    image = cv2.GaussianBlur(image, (0, 0), 1.0) + gradient * np.linspace(0, 1, side)[:, None]
    return (200 * np.clip(image + rng.normal(0, noise, image.shape), 0, None)).astype(np.uint16)


@pytest.mark.parametrize("diameter", [10, 16, 30, 60, 120])
@pytest.mark.parametrize("touching", [False, True])
@pytest.mark.parametrize(("noise", "gradient"), [(0.02, 0), (0.1, 0), (0.02, 0.4)])
def test_estimate_on_disks(diameter: int, touching: bool, noise: float, gradient: float) -> None:
    image = draw_disks(
        diameter, max(256, 5 * diameter), touching=touching, noise=noise, gradient=gradient, seed=diameter
    )
    ratio = estimate_diameter(image) / diameter
    assert 1 / ESTIMATED_WITHIN < ratio < ESTIMATED_WITHIN


def test_estimate_ignores_gain_offset_and_type() -> None:
    image = draw_disks(24, 300, touching=False, noise=0.02, gradient=0, seed=1)
    expected = estimate_diameter(image)
    assert estimate_diameter(image * 30.0 + 500) == pytest.approx(expected, rel=0.02)
    assert estimate_diameter(np.stack([image] * 3, axis=-1)) == pytest.approx(expected, rel=0.02)


def test_estimate_scales_with_the_image() -> None:
    image = draw_disks(20, 300, touching=False, noise=0.01, gradient=0, seed=2)
    assert estimate_diameter(resize_image(image, 2)) == pytest.approx(2 * estimate_diameter(image), rel=0.12)


def test_estimate_of_a_large_image_looks_where_the_nuclei_are() -> None:
    image = np.full((3000, 5000), 20, np.uint16)
    image[1800:2700, 3000:3900] = draw_disks(20, 900, touching=False, noise=0.02, gradient=0, seed=3)
    assert estimate_diameter(image) == pytest.approx(20, rel=0.25)


def test_estimate_ignores_hot_pixels_and_margins(rng: np.random.Generator) -> None:
    image = draw_disks(24, 300, touching=False, noise=0.02, gradient=0, seed=1)
    expected = estimate_diameter(image)
    hot = image.copy()
    hot[rng.random(image.shape) < 0.003] = 65535
    assert estimate_diameter(hot) == pytest.approx(expected, rel=0.05)
    assert estimate_diameter(np.pad(image + 900, 200)) == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize("diameter", [16, 40, 100])
def test_estimate_of_one_nucleus_on_a_background_of_one_value(diameter: int) -> None:
    y, x = np.mgrid[:300, :300]
    disk = np.clip((diameter / 2 + 0.5 - np.hypot(y - 140, x - 170)) * 180, 0, 180).astype(np.uint8)
    assert estimate_diameter(disk) == pytest.approx(diameter, rel=0.2)


@pytest.mark.parametrize("brightness", [2000, 20000])
def test_estimate_of_one_nucleus_in_a_large_noisy_field(brightness: float, rng: np.random.Generator) -> None:
    y, x = np.mgrid[:768, :768]
    disk = 1 / (1 + np.exp(np.hypot(y - 300, x - 400) - 15))
    field = (200 + rng.normal(0, 10, disk.shape) + brightness * disk).astype(np.uint16)
    assert estimate_diameter(field) == pytest.approx(30, rel=0.25)


@pytest.mark.parametrize(("diameter", "noise"), [(4, 0.01), (5, 0.01), (16, 0.25), (40, 0.35)])
def test_estimate_of_tiny_and_of_dim_nuclei(diameter: int, noise: float) -> None:
    image = draw_disks(diameter, 256, touching=False, noise=noise, gradient=0, seed=diameter)
    assert 1 / 1.5 < estimate_diameter(image) / diameter < 1.5


@pytest.mark.parametrize(("scene", "seed", "zoom"), [("dim", 1, 4), ("dense", 0, 9)])
def test_estimate_of_large_nuclei_is_not_that_of_their_texture(scene: str, seed: int, zoom: int) -> None:
    image, labels = draw(scene, np.random.default_rng(seed))
    side = min(*image.shape, 1400 // zoom)
    large = cv2.resize(image[:side, :side].astype(np.float32), None, fx=zoom, fy=zoom, interpolation=cv2.INTER_CUBIC)
    assert 1 / 1.5 < estimate_diameter(large) / (zoom * median_diameter(labels[:side, :side])) < 1.5


def test_diameters_of_polygons() -> None:
    angles = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    circles = np.stack([np.array([r * np.sin(angles) + 40, r * np.cos(angles) - 7]) for r in (3, 20)])
    assert polygon_diameters(circles) == pytest.approx([6, 40], rel=0.01)
    assert polygon_diameters(np.zeros((0, 2, 32))).size == 0


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (8, 8), (64, 64)])
def test_estimate_of_nothing_is_nan(shape: tuple[int, int], rng: np.random.Generator) -> None:
    assert np.isnan(estimate_diameter(np.full(shape, 7, np.uint8)))
    assert np.isnan(estimate_diameter(rng.normal(100, 10, shape)))  # noise alone


def read_training_images(archive: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Images and labels of the training part; the test part is not for tuning."""
    with zipfile.ZipFile(archive) as file:
        table = pd.read_csv(io.BytesIO(file.read("image_description.csv")), sep=";", decimal=",")
        names = table.loc[table["Train-/Testset split"] == "train", "Image_Name"]

        def read(name: str) -> np.ndarray:
            return tifffile.imread(io.BytesIO(file.read(name)))

        return {name: (read(f"rawimages/{name}.tif"), read(f"groundtruth/{name}.tif")) for name in names}


@pytest.mark.shared
def test_estimate_on_real_images(shared_data: Path) -> None:
    pairs = read_training_images(shared_data / "bbbc038-fluorescence.zip")
    ratios = np.array([estimate_diameter(i) / median_diameter(labels) for i, labels in pairs.values()])
    assert len(ratios) == 431
    assert not np.isnan(ratios).any()
    assert 0.85 < np.median(ratios) < 1.15
    low, high = np.percentile(ratios, [2.5, 97.5])
    assert low > 0.75
    assert high < 1.45
    assert np.mean((ratios > 1 / 1.5) & (ratios < 1.5)) > 0.95
    assert ratios.min() > 0.3
    assert ratios.max() < 3


def test_median_diameter_of_disks(disks: np.ndarray) -> None:
    areas = np.sort([np.count_nonzero(disks == label) for label in range(1, 5)])
    assert median_diameter(disks) == pytest.approx(np.median(2 * np.sqrt(areas / np.pi)))
    assert np.isnan(median_diameter(np.zeros((4, 4), int)))
    assert np.isnan(median_diameter(np.full((4, 4), -1)))


def test_median_diameter_ignores_unused_and_negative_ids(disks: np.ndarray) -> None:
    sparse = np.where(disks > 0, disks * 1000, -3)
    assert median_diameter(sparse) == median_diameter(disks)


@pytest.mark.parametrize("shape", [(1, 1), (7, 300), (48, 56), (96, 112), (200, 333)])
def test_resizing_labels_invents_none(disks: np.ndarray, shape: tuple[int, int]) -> None:
    labels = disks.copy()
    labels[:4] = -1
    labels[labels == 4] = 70_000
    resized = resize_labels(labels, shape)
    assert resized.shape == shape
    assert resized.dtype == labels.dtype
    assert set(np.unique(resized)) <= set(np.unique(labels))


@pytest.mark.parametrize("factor", [2, 3, 5])
def test_enlarged_labels_come_back_unchanged(disks: np.ndarray, factor: int) -> None:
    shape = (disks.shape[0] * factor, disks.shape[1] * factor)
    enlarged = resize_labels(disks, shape)
    assert np.array_equal(enlarged, np.kron(disks, np.ones((factor, factor), int)))
    assert np.array_equal(resize_labels(enlarged, disks.shape), disks)


@pytest.mark.parametrize("scale", [0.21, 0.5, 0.77, 1.3, 3.0])
def test_resizing_images_keeps_mean_and_range(rng: np.random.Generator, scale: float) -> None:
    image = ndi.gaussian_filter(rng.random((90, 120)), 3).astype(np.float32)
    resized = resize_image(image, scale)
    assert resized.dtype == np.float32
    assert resized.shape == (round(90 * scale), round(120 * scale))
    assert resized.mean() == pytest.approx(image.mean(), rel=0.01)
    assert image.min() - 1e-6 <= resized.min() <= resized.max() <= image.max() + 1e-6


def test_resizing_images_keeps_channels_apart(rng: np.random.Generator) -> None:
    image = rng.random((40, 50, 2))
    both = resize_image(image, 0.6)
    for channel in range(2):
        np.testing.assert_allclose(both[..., channel], resize_image(image[..., channel], 0.6), atol=1e-6)


def test_shrinking_filters_first() -> None:
    stripes = np.tile([0.0, 1.0], (64, 32))
    assert np.ptp(resize_image(stripes, 0.25)[:, 2:-2]) < 0.1  # without a filter: aliases of full contrast


@pytest.mark.parametrize("scale", [0.31, 0.5, 0.8, 1.7, 2.5])
def test_image_and_labels_stay_on_the_same_grid(disks: np.ndarray, scale: float) -> None:
    for label in (1, 2, 3):
        blob = (disks == label).astype(np.float32)
        image = resize_image(blob, scale)
        resized = resize_labels(disks, image.shape)
        from_image = np.array(ndi.center_of_mass(image))
        from_labels = np.array(ndi.center_of_mass(resized == label))
        expected = (np.array(ndi.center_of_mass(blob)) + 0.5) * np.divide(image.shape, blob.shape) - 0.5
        assert np.abs(from_image - from_labels).max() < 0.5
        assert np.abs(from_image - expected).max() < 0.1


def test_tiny_images_never_vanish() -> None:
    assert resize_image(np.ones((1, 1)), 0.1).shape == (1, 1)
    assert resize_image(np.ones((3, 200)), 0.1).shape == (1, 20)
