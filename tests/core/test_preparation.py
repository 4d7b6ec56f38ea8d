"""The recipe from raw image to network input."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage as ndi

from karyoseg.core.errors import KaryosegError
from karyoseg.core.normalise import normalise
from karyoseg.core.preparation import VERSION, ImageFacts, Preparation, scale_from_estimate
from karyoseg.core.size import estimate_diameter, resize_image
from karyoseg.core.synthetic import SAMPLE_CLASSES, NucleiScene, draw_scene, render_scene


def recipe(name: str, target: float = 0.0, **options: object) -> Preparation:
    return Preparation.from_dict({"rescale": {"name": name, "target": target}} | options)


def test_recipe_survives_json() -> None:
    original = recipe("diameter", 30, channels=(2, 0), colour="keep", pmin=2, joint=True)
    assert Preparation.from_dict(json.loads(json.dumps(original.to_dict()))) == original


def test_unknown_keys_of_other_versions_are_ignored() -> None:
    assert Preparation.from_dict({"pmin": 3, "from_the_future": 1}) == Preparation(pmin=3)


@pytest.mark.parametrize(
    ("name", "target", "facts", "expected"),
    [
        ("none", 0, ImageFacts(), 1.0),
        ("magnification", 20, ImageFacts(magnification=40), 0.5),
        ("pixel_size", 0.5, ImageFacts(pixel_size_um=0.25), 0.5),
        ("diameter", 30, ImageFacts(diameter=15), 2.0),
    ],
)
def test_scale_brings_to_the_target(name: str, target: float, facts: ImageFacts, expected: float) -> None:
    assert recipe(name, target).scale_for(facts) == expected


@pytest.mark.parametrize("name", ["magnification", "pixel_size", "diameter"])
@pytest.mark.parametrize("value", [None, float("nan"), 0.0, -2.0])
def test_unknown_size_is_refused(name: str, value: float | None) -> None:
    facts = ImageFacts("b.tif", magnification=value, pixel_size_um=value, diameter=value)
    with pytest.raises(KaryosegError, match=rf"b\.tif: {name.replace('_', ' ')} is unknown"):
        recipe(name, 20).scale_for(facts)


def test_absurd_scales_are_refused() -> None:
    with pytest.raises(KaryosegError, match=r"c\.tif: pixel size 500 and target 0\.5 .* Check the unit"):
        recipe("pixel_size", 0.5).scale_for(ImageFacts("c.tif", pixel_size_um=500))


def test_apply_selects_then_rescales_then_normalises(rng: np.random.Generator) -> None:
    raw = (4000 * ndi.gaussian_filter(rng.random((40, 60, 3)), (3, 3, 0))).astype(np.uint16)
    prepared = recipe("none", channels=(1,)).apply(raw, 0.5)
    assert prepared.shape == (20, 30)
    assert prepared.dtype == np.float32
    assert np.percentile(prepared, 1) == pytest.approx(0, abs=1e-6)
    assert np.percentile(prepared, 99.8) == pytest.approx(1, abs=1e-6)
    np.testing.assert_array_equal(recipe("none", channels=(1,)).apply(raw), normalise(raw[..., 1]))


def test_estimated_diameter_looks_at_the_chosen_channel(disks: np.ndarray) -> None:
    nuclei = (disks > 0) * 100.0
    other = np.random.default_rng(0).normal(500, 300, disks.shape)
    image = np.stack([other, nuclei], axis=-1)
    assert recipe("none", channels=(1,)).estimated_diameter(image) == estimate_diameter(nuclei)


def test_estimates_rescale_within_limits() -> None:
    assert scale_from_estimate(15, 30) == 2
    assert scale_from_estimate(1e4, 30) == 0.1
    assert scale_from_estimate(0.5, 30) == 4
    assert scale_from_estimate(float("nan"), 30) == 1


@pytest.mark.parametrize("kind", list(SAMPLE_CLASSES))
@pytest.mark.parametrize("scale", [0.6, 1.0, 1.7])
def test_sound_images_are_only_rescaled_and_stretched(kind: str, scale: float) -> None:
    rng = np.random.default_rng(5)
    scene, _ = draw_scene(kind, (128, 150), rng)
    image, _ = render_scene(replace(scene, photons=2000), rng)
    expected = normalise(image if scale == 1 else resize_image(image, scale))
    np.testing.assert_array_equal(Preparation().apply(image, scale), expected)


@pytest.mark.parametrize("scale", [0.5, 1.0, 2.0])
def test_an_empty_field_is_not_stretched(scale: float) -> None:
    dark = NucleiScene(shape=(160, 160), n_nuclei=0, debris=0, background=0.05, bit_depth=16, offset=300)
    prepared = Preparation().apply(render_scene(dark, np.random.default_rng(1))[0], scale)
    assert prepared.std() < 0.07
    assert prepared.max() < 0.5


def test_hot_pixels_change_nothing_else(rng: np.random.Generator) -> None:
    image, _ = render_scene(NucleiScene(shape=(128, 128), n_nuclei=8, bit_depth=12, photons=2000), rng)
    hot = image.copy()
    mask = rng.random(image.shape) < 0.004
    hot[mask] = 65535
    clean, found = Preparation().apply(image), Preparation().apply(hot)
    assert np.abs(found - clean)[~mask].max() < 0.02
    assert np.abs(found - clean)[mask].max() < 0.5


@pytest.mark.parametrize("scale", [0.5, 1.0])
def test_empty_margins_change_nothing_and_are_dark(scale: float, rng: np.random.Generator) -> None:
    scene = NucleiScene(shape=(96, 128), n_nuclei=8, bit_depth=12, offset=900, photons=2000)
    image, _ = render_scene(scene, rng)
    padded = Preparation().apply(np.pad(image, 32), scale)
    inner = tuple(slice(round(32 * scale), round((32 + n) * scale)) for n in image.shape)
    edge = 2 if scale < 1 else 0
    core = tuple(slice(edge, round(n * scale) - edge) for n in image.shape)
    np.testing.assert_allclose(padded[inner][core], Preparation().apply(image, scale)[core], atol=0.05)
    outside = np.ones(padded.shape, bool)
    outside[inner] = False
    assert not padded[outside].any()


def test_noise_is_smoothed_until_nuclei_stand_out(rng: np.random.Generator) -> None:
    scene = NucleiScene(shape=(160, 160), n_nuclei=12, photons=10, bit_depth=16, offset=300, exposure=0.002)
    image, labels = render_scene(scene, rng)
    nuclei = labels > 0
    prepared, plain = Preparation().apply(image), normalise(image)
    contrast = [(x[nuclei].mean() - x[~nuclei].mean()) / x[~nuclei].std() for x in (prepared, plain)]
    assert contrast[0] > 1.5 * contrast[1]


def test_dark_nuclei_become_bright(disks: np.ndarray) -> None:
    light, dark = np.array((235, 225, 240), np.uint8), np.array((90, 50, 140), np.uint8)
    image = np.where((disks > 0)[..., None], dark, light)
    prepared = replace(recipe("none"), white=255.0).apply(image)
    assert prepared.shape == disks.shape
    np.testing.assert_allclose(prepared[disks > 0], 1, atol=1e-5)
    np.testing.assert_allclose(prepared[disks == 0], 0, atol=1e-5)


@pytest.mark.parametrize("scale", [0.05, 0.3])
def test_content_of_few_pixels_survives_shrinking(scale: float) -> None:
    image = np.zeros((90, 200), np.uint8)
    image[88:, 196:] = 50
    assert np.isfinite(Preparation().apply(image, scale)).all()


def test_changed_results_have_a_new_version() -> None:
    """A change here means that images prepared before are not those of today: then raise `VERSION`, too."""
    rng = np.random.default_rng(5)
    y, x = np.mgrid[:180, :220]
    image = 300 + 40 * rng.normal(size=y.shape)
    for row in range(20, 180, 40):
        for column in range(20, 220, 40):
            image += 2000 * (np.hypot(y - row - rng.integers(-5, 5), x - column - rng.integers(-5, 5)) < 11)
    raw = image.clip(0, 65535).astype(np.uint16)
    size = recipe("diameter", 20.0)
    scale = scale_from_estimate(size.estimated_diameter(raw), 20.0)
    prepared = size.apply(raw, scale)
    measured = [scale, *prepared.shape, *np.percentile(prepared, [25, 75, 85, 95])]
    assert (VERSION, measured) == (4, pytest.approx([0.8839, 159, 194, 0.0233, 0.0492, 0.9568, 0.9783], abs=2e-3))
