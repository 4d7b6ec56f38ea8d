"""Style features agree with their definitions, and are finite whatever the image."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from scipy.ndimage import center_of_mass
from skimage.color import rgb2lab
from skimage.feature import graycomatrix, graycoprops

from karyoseg.core.style.features import (
    CHANNELS,
    FEATURES,
    HARALICK,
    LOCAL_FEATURES,
    gabor_responses,
    haralick_features,
    part_features,
    style_features,
)


@pytest.fixture
def image(rng: np.random.Generator) -> np.ndarray:
    """Smooth enough for neighbours to be related, and neither square nor even."""
    rough = rng.integers(0, 256, (12, 15, 3))
    return np.kron(rough, np.ones((4, 4, 1))).astype(np.uint8)[:45, :58]


def named(image: np.ndarray) -> dict[str, float]:
    return dict(zip(FEATURES, style_features(image), strict=True))


def co_occurrence(levels: np.ndarray, distance: int) -> np.ndarray:
    """Count pixel by pixel what is `distance` to the right of what."""
    counts = np.zeros((8, 8))
    for row in levels:
        for left, right in zip(row[:-distance], row[distance:], strict=True):
            counts[left, right] += 1
    return counts / counts.sum()


def haralick_by_definition(p: np.ndarray) -> dict[str, float]:
    """Haralick's sums, written as loops over pairs of levels."""
    n = range(len(p))
    px, py = p.sum(axis=1), p.sum(axis=0)
    mx, my = sum(i * px[i] for i in n), sum(j * py[j] for j in n)
    vx, vy = sum((i - mx) ** 2 * px[i] for i in n), sum((j - my) ** 2 * py[j] for j in n)
    plus = {k: sum(p[i, j] for i in n for j in n if i + j == k) for k in range(2 * len(p) - 1)}
    minus = {k: sum(p[i, j] for i in n for j in n if abs(i - j) == k) for k in n}

    def entropy(values: list[float]) -> float:
        return -sum(v * np.log(v) for v in values if v > 0)

    average = sum(k * v for k, v in plus.items())
    apart = sum(k * v for k, v in minus.items())
    hxy, hx, hy = entropy(list(p.ravel())), entropy(list(px)), entropy(list(py))
    hxy1 = -sum(p[i, j] * np.log(px[i] * py[j]) for i in n for j in n if p[i, j] > 0)
    hxy2 = entropy([px[i] * py[j] for i in n for j in n])
    return {
        "energy": sum(v**2 for v in p.ravel()),
        "contrast": sum((i - j) ** 2 * p[i, j] for i in n for j in n),
        "correlation": sum((i - mx) * (j - my) * p[i, j] for i in n for j in n) / np.sqrt(vx * vy),
        "variance": vx,
        "inverse_difference_moment": sum(p[i, j] / (1 + (i - j) ** 2) for i in n for j in n),
        "sum_average": average,
        "sum_variance": sum((k - average) ** 2 * v for k, v in plus.items()),
        "sum_entropy": entropy(list(plus.values())),
        "entropy": hxy,
        "difference_variance": sum((k - apart) ** 2 * v for k, v in minus.items()),
        "difference_entropy": entropy(list(minus.values())),
        "information_1": (hxy - hxy1) / max(hx, hy),
        "information_2": np.sqrt(1 - np.exp(-2 * (hxy2 - hxy))),
    }


def test_there_are_248_with_names_of_their_own() -> None:
    assert len(FEATURES) == len(set(FEATURES)) == 248
    assert set(LOCAL_FEATURES) < set(FEATURES)


@pytest.mark.parametrize("scale", [3, 5])
@pytest.mark.parametrize("channel", range(6))
def test_texture_is_that_of_haralick(image: np.ndarray, channel: int, scale: int) -> None:
    rgb = image / 255
    values = (rgb if channel < 3 else rgb2lab(rgb))[..., channel % 3]
    levels = np.minimum(8 * (values - values.min()) / np.ptp(values), 7).astype(int)
    found = named(image)
    for name, expected in haralick_by_definition(co_occurrence(levels, scale)).items():
        assert found[f"{CHANNELS[channel]}_{name}_{scale}"] == pytest.approx(expected, abs=1e-9), name


def test_texture_agrees_with_scikit_image(rng: np.random.Generator) -> None:
    counts = graycomatrix(rng.integers(0, 8, (40, 50), dtype=np.uint8), [3], [0.0], levels=8)[..., 0]
    found = dict(zip(HARALICK, haralick_features(counts)[0], strict=True))
    for ours, theirs in {
        "energy": "ASM",
        "contrast": "contrast",
        "correlation": "correlation",
        "inverse_difference_moment": "homogeneity",
        "variance": "variance",
        "entropy": "entropy",
    }.items():
        assert found[ours] == pytest.approx(float(graycoprops(counts[..., None], theirs)[0, 0])), ours


def test_intensities_are_the_statistics_of_image_and_frame(image: np.ndarray) -> None:
    found = named(image)
    red = image[..., 0] / 255
    frame = np.concatenate([red[0], red[-1], red[1:-1, 0], red[1:-1, -1]])
    for prefix, values in (("red_", red), ("red_frame_", frame)):
        for name in ("sum", "mean", "std", "min", "max"):
            assert found[prefix + name] == pytest.approx(getattr(values, name)())
    y, x = center_of_mass(red)
    assert found["red_mass_displacement"] == pytest.approx(np.hypot(y - 22, x - 28.5))
    assert (found["width"], found["height"]) == (58, 45)


def test_mass_displacement_of_colours_is_inside_the_image(image: np.ndarray) -> None:
    found = named(image)
    displacements = [found[f"{channel}_mass_displacement"] for channel in CHANNELS]
    assert max(displacements) < np.hypot(22, 29)


@pytest.mark.parametrize("shape", [(45, 58), (20, 90), (91, 20), (64, 64)])
@pytest.mark.parametrize("scale", [3, 5])
def test_gabor_is_the_sum_over_kernel_and_image(rng: np.random.Generator, shape: tuple[int, int], scale: int) -> None:
    channel = rng.random(shape)
    sigma = np.sqrt(channel.size / np.pi) / 3
    reach = round(2.5 * sigma)
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    padded = np.pad(channel, reach)
    cy, cx = shape[0] // 2 + reach, shape[1] // 2 + reach
    patch = padded[cy - reach : cy + reach + 1, cx - reach : cx + reach + 1]
    expected = []
    for along in (x, y):
        kernel = (
            1000 / (2 * np.pi * sigma**2) * np.exp(-(x**2 + y**2) / (2 * sigma**2) + 2j * np.pi * along / (2 * scale))
        )
        expected.append(abs(np.sum((kernel - kernel.mean()) * patch)))
    assert gabor_responses(channel, scale) == pytest.approx(expected)


def test_gabor_sees_waves_of_its_length_and_direction() -> None:
    wave = 0.5 + 0.5 * np.cos(np.pi * np.arange(60) / 3) * np.ones((60, 1))
    along_x, along_y = gabor_responses(wave, 3)
    assert along_x > 50 * along_y
    assert along_x > 50 * gabor_responses(wave, 5)[0]


ODD = {
    "constant": np.full((40, 50, 3), 200, np.uint8),
    "black": np.zeros((40, 50), np.uint8),
    "one pixel": np.full((1, 1), 7, np.uint8),
    "narrow": np.arange(200, dtype=np.uint8).reshape(100, 2),
    "two channels": np.arange(600, dtype=np.uint16).reshape(10, 30, 2),
    "five channels": np.arange(1500).reshape(10, 30, 5).astype(np.float32),
    "16 bit": np.arange(300, dtype=np.uint16).reshape(10, 30) * 200,
    "not a number": np.full((30, 30), np.nan),
    "infinite": np.where(np.eye(30) > 0, np.inf, np.arange(30.0)),
}


@pytest.mark.parametrize("name", ODD)
def test_features_of_odd_images_are_finite(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        features = part_features(ODD[name])
    assert features.shape == (5, 248)
    assert np.isfinite(features).all()


def test_gray_images_have_the_same_features_with_one_channel_and_with_three(image: np.ndarray) -> None:
    gray = image[..., 1]
    np.testing.assert_array_equal(style_features(gray), style_features(np.stack([gray] * 3, axis=-1)))


def test_colours_of_a_gray_image_have_no_texture(image: np.ndarray) -> None:
    found = named(image[..., 1])
    assert found["green_red_energy_3"] == found["blue_yellow_energy_5"] == 1
    assert found["lightness_energy_3"] < 1


def test_parts_are_the_image_and_its_quarters(image: np.ndarray) -> None:
    parts = part_features(image)
    np.testing.assert_array_equal(parts[0], style_features(image))
    np.testing.assert_array_equal(parts[2], style_features(image[:22, 29:]))
    np.testing.assert_array_equal(parts[3], style_features(image[22:, :29]))


def test_of_large_images_the_middle_is_described(rng: np.random.Generator) -> None:
    image = rng.integers(0, 256, (8, 2000), dtype=np.uint8)
    assert part_features(image)[0][0] == 1024
    np.testing.assert_array_equal(part_features(image)[0], style_features(image[:, 488:1512]))
