"""The generator draws what the scene asks for, and its labels are exact."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage as ndi

from karyoseg.core.synthetic import SAMPLE_CLASSES, NucleiScene, draw_scene, render_scene

PLAIN = NucleiScene(mitotic=0, apoptotic=0, brightness_spread=0.1)
CROSS = ndi.generate_binary_structure(2, 1)


def draw(kind: str, seed: int = 0, shape: tuple[int, int] = (192, 200), bit_depth: int = 8):
    rng = np.random.default_rng(seed)
    scene, _ = draw_scene(kind, shape, rng, bit_depth)
    return scene, *render_scene(scene, rng)


def touching(labels: np.ndarray) -> set[tuple[int, int]]:
    pairs = set()
    for a, b in ((labels[1:], labels[:-1]), (labels[:, 1:], labels[:, :-1])):
        meet = (a != b) & (a > 0) & (b > 0)
        pairs |= {tuple(sorted(map(int, pair))) for pair in zip(a[meet], b[meet], strict=True)}
    return pairs


def inner(labels: np.ndarray) -> np.ndarray:
    """Labels that do not reach the border."""
    border = np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))
    return np.setdiff1d(np.unique(labels), np.append(border, 0))


@pytest.mark.parametrize("kind", SAMPLE_CLASSES)
def test_same_seed_same_pixels(kind):
    first, again, other = draw(kind, 3), draw(kind, 3), draw(kind, 4)
    assert first[0] == again[0]
    np.testing.assert_array_equal(first[1], again[1])
    np.testing.assert_array_equal(first[2], again[2])
    assert first[0] != other[0]
    assert not np.array_equal(first[1], other[1])


@pytest.mark.parametrize("kind", SAMPLE_CLASSES)
@pytest.mark.parametrize("seed", range(3))
def test_labels_are_numbered_in_one_piece_each_and_bright(kind, seed):
    scene, image, labels = draw(kind, seed)
    n = labels.max()
    assert 0 < n <= scene.n_nuclei
    np.testing.assert_array_equal(np.unique(labels[labels > 0]), np.arange(1, n + 1))
    for label, window in enumerate(ndi.find_objects(labels), start=1):
        assert ndi.label(labels[window] == label, CROSS)[1] == 1
    # Pixels just outside belong to halos, so compare with what lies a little further away.
    outside = ndi.distance_transform_edt(labels == 0) > 4
    dark = np.median(image[outside])
    assert image[labels > 0].mean() - scene.offset > 2 * (dark - scene.offset)
    means = ndi.mean(image, labels, np.arange(1, n + 1))
    assert np.mean(means > dark) > 0.95


def test_sizes_are_those_asked_for():
    scene = replace(PLAIN, shape=(300, 300), n_nuclei=40, diameter=24, diameter_spread=0.1, clustering=0)
    _, labels = render_scene(scene, np.random.default_rng(0))
    diameters = np.sqrt(4 / np.pi * np.bincount(labels.ravel())[inner(labels)])
    assert len(diameters) > 20
    # Draws are cut at two standard deviations; pixels round a little.
    assert diameters.min() > 24 * np.exp(-0.2) * 0.97
    assert diameters.max() < 24 * np.exp(0.2) * 1.03
    assert np.median(diameters) == pytest.approx(24, rel=0.07)


def test_clustering_decides_who_touches():
    alone = replace(PLAIN, shape=(256, 256), n_nuclei=25, diameter=22, clustering=0)
    for clustering, check in ((0.0, lambda n: n == 0), (1.0, lambda n: n >= 20)):
        _, labels = render_scene(replace(alone, clustering=clustering), np.random.default_rng(1))
        assert labels.max() == 25
        assert check(len(touching(labels)))


def test_tissue_has_touching_pairs():
    assert len(touching(draw("tissue")[2])) >= 5


def test_overlap_limits_what_neighbours_cover():
    scene = replace(PLAIN, n_nuclei=30, diameter=26, diameter_spread=0, clustering=1)
    smallest = {}
    for overlap in (0.0, 0.4):
        _, labels = render_scene(replace(scene, overlap=overlap), np.random.default_rng(5))
        smallest[overlap] = np.bincount(labels.ravel())[inner(labels)].min() / (np.pi / 4 * 26**2)
    assert smallest[0.0] > 0.95
    assert 0.5 < smallest[0.4] < 0.9


def test_light_of_overlapping_nuclei_adds_up():
    scene = replace(
        PLAIN, shape=(150, 150), n_nuclei=12, diameter=40, diameter_spread=0, brightness_spread=0,
        clustering=1, overlap=0.3, chromatin=0, nucleoli=0, dome=0, haze=0, vignette=0, defocus=0,
        photons=1e6, debris=0, exposure=0.3,
    )  # fmt: skip
    image, labels = render_scene(scene, np.random.default_rng(2))
    single = np.median(image[labels > 0])
    assert single == pytest.approx(scene.offset + 0.3 * 255 * (1 + scene.background), rel=0.1)
    assert (image > 1.6 * single).sum() > 50


def test_mitotic_and_apoptotic_nuclei_are_small_and_bright():
    base = replace(PLAIN, n_nuclei=12, diameter=30, clustering=0, exposure=0.1)
    area, mean = {}, {}
    for name, scene in {
        "interphase": base,
        "mitotic": replace(base, mitotic=1),
        "apoptotic": replace(base, apoptotic=1),
    }.items():
        image, labels = render_scene(scene, np.random.default_rng(3))
        area[name] = np.median(np.bincount(labels.ravel())[inner(labels)])
        mean[name] = image[labels > 0].mean()
    for name in ("mitotic", "apoptotic"):
        assert area[name] < 0.5 * area["interphase"]
        assert mean[name] > 1.5 * mean["interphase"]


def test_empty_field_holds_background_only():
    scene = replace(PLAIN, n_nuclei=0, debris=0, ghosts=0, clustering=1)
    image, labels = render_scene(scene, np.random.default_rng(0))
    assert labels.max() == 0
    expected = scene.offset + scene.background * scene.exposure * 255
    assert image.mean() == pytest.approx(expected, rel=0.3)


@pytest.mark.parametrize(("bit_depth", "dtype"), [(8, np.uint8), (12, np.uint16), (16, np.uint16)])
def test_dtype_and_range_follow_the_camera(bit_depth, dtype):
    scene = replace(PLAIN, bit_depth=bit_depth, exposure=0.95, apoptotic=0.5)
    image, labels = render_scene(scene, np.random.default_rng(0))
    assert image.dtype == dtype
    assert labels.dtype == np.int32
    assert image.max() == 2**bit_depth - 1  # saturated


@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (7, 5), (63, 129)])
def test_odd_sizes(shape):
    image, labels = render_scene(replace(PLAIN, shape=shape, ghosts=2), np.random.default_rng(0))
    assert image.shape == labels.shape == shape


def test_nuclei_larger_than_the_field_do_not_hang():
    scene = replace(PLAIN, shape=(20, 20), n_nuclei=50, diameter=60)
    assert render_scene(scene, np.random.default_rng(0))[1].max() < 50


def test_more_photons_less_noise():
    flat = replace(PLAIN, n_nuclei=0, debris=0, gradient=0, vignette=0, background=1, read_noise=0, bit_depth=16)
    for photons in (25, 400):
        image, _ = render_scene(replace(flat, photons=photons), np.random.default_rng(0))
        signal = image.astype(float) - flat.offset
        assert signal.std() / signal.mean() == pytest.approx(1 / np.sqrt(photons), rel=0.05)


@pytest.mark.parametrize(
    "wrong",
    [
        {"clustering": 1.5},
        {"diameter": 0},
        {"n_nuclei": -1},
        {"shape": (0, 5)},
        {"bit_depth": 7},
        {"elongation": 0.5},
    ],
)
def test_values_out_of_range_are_named(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        NucleiScene(**wrong)


def test_magnification_goes_with_nucleus_size():
    scenes = [draw_scene(kind, (64, 64), np.random.default_rng(i)) for kind in SAMPLE_CLASSES for i in range(5)]
    micrometres = [scene.diameter * 6.45 / magnification for scene, magnification in scenes]
    assert 5 < min(micrometres) < max(micrometres) < 14
    assert {magnification for _, magnification in scenes} >= {10, 20, 40}
