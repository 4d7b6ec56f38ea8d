"""What the model that ships makes of flawed images and of wrong size estimates."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr
from scipy import ndimage as ndi

from dots import store
from karyoseg.core.errors import KaryosegError
from karyoseg.core.metrics import match_table
from karyoseg.core.preparation import ImageFacts
from karyoseg.core.size import median_diameter
from karyoseg.core.synthetic import NucleiScene, render_scene
from karyoseg.datasets import PredictionFolder
from karyoseg.models import load_segmenter
from karyoseg.models.base import Segmenter
from karyoseg.models.whole_image import segment_image
from karyoseg.params.predict import PredictParams
from karyoseg.pipelines.predict.nodes import find_inputs, predict_images

SCENE = NucleiScene(shape=(256, 256), n_nuclei=25, diameter=24, bit_depth=16, offset=300, exposure=0.1, photons=400)


@pytest.fixture(scope="module")
def model() -> Segmenter:
    """The default model."""
    return load_segmenter("nuclei-fluo")


def segment(model: Segmenter, image: np.ndarray) -> np.ndarray:
    prepared, scale = model.prepare(image)
    return model.predict(prepared, scale=scale, out_shape=(image.shape[0], image.shape[1])).labels


def predict(image: np.ndarray, folder: Path, suffix: str) -> np.ndarray:
    """Predict a file: TIFF as a whole, Zarr in blocks."""
    if suffix == ".tif":
        tifffile.imwrite(folder / "a.tif", image)
    else:
        store(image, folder / "a.zarr")
    params = PredictParams(input=str(folder / f"a{suffix}"), output=str(folder / "out"), overlay=False)
    PredictionFolder(path=params.output).save(predict_images(find_inputs(params), params))
    if suffix == ".tif":
        return tifffile.imread(folder / "out/a.tif")
    return np.asarray(zarr.open_array(folder / "out/a.ome.zarr/labels/nuclei/0", mode="r")[:])


def f1(truth: np.ndarray, found: np.ndarray) -> float:
    counts = match_table(truth, found, [0.5]).iloc[0]
    return float(2 * counts["tp"] / (2 * counts["tp"] + counts["fp"] + counts["fn"]))


@pytest.mark.parametrize("photons", [20, 40, 100])
def test_an_empty_field_of_camera_noise_has_no_objects(model: Segmenter, photons: float) -> None:
    dark = replace(SCENE, n_nuclei=0, debris=0, background=0.05, photons=photons)
    for seed in range(3):
        image, _ = render_scene(dark, np.random.default_rng(seed))
        assert segment(model, image).max() <= 1


@pytest.mark.parametrize("blur", [0.0, 1.0])
@pytest.mark.parametrize("level", [(1000, 28, np.uint16), (20, 3, np.uint8), (0, 1, np.float32)])
def test_noise_that_neighbours_share_is_no_stain(
    model: Segmenter, level: tuple[float, float, type], blur: float, rng: np.random.Generator
) -> None:
    noise = ndi.gaussian_filter(rng.normal(0, 1, (300, 300)), blur)
    offset, spread, dtype = level
    image = (offset + spread * noise / noise.std()).astype(dtype)
    found, recipe = segment_image(model, image, facts=ImageFacts())
    assert recipe.white is None
    assert found.labels.max() <= 1


@pytest.mark.parametrize("diameter", [20, 40, 80, 120])
def test_one_nucleus_on_a_background_of_one_value_is_found(model: Segmenter, diameter: int) -> None:
    y, x = np.mgrid[:300, :300]
    truth = (np.hypot(y - 140, x - 160) < diameter / 2).astype(np.int32)
    image = (150 * np.clip(diameter / 2 + 1 - np.hypot(y - 140, x - 160), 0, 1)).astype(np.uint8)
    assert f1(truth, segment(model, image)) == 1


@pytest.mark.parametrize("brightness", [2000, 20000])
@pytest.mark.parametrize("diameter", [20, 30])
def test_one_nucleus_in_a_large_field_has_its_outline(
    model: Segmenter, diameter: int, brightness: float, rng: np.random.Generator
) -> None:
    y, x = np.mgrid[:768, :768]
    distance = np.hypot(y - 300, x - 400) - diameter / 2
    image = (200 + rng.normal(0, 10, distance.shape) + brightness / (1 + np.exp(distance))).astype(np.uint16)
    found = segment(model, image)
    assert found.max() == 1
    truth = distance <= 0
    assert np.logical_and(found, truth).sum() / np.logical_or(found, truth).sum() > 0.75


@pytest.mark.parametrize("suffix", ["", ".tif", ".zarr"])
@pytest.mark.parametrize("seed", range(3))
def test_a_scale_bar_does_not_set_the_size(model: Segmenter, seed: int, suffix: str, tmp_path: Path) -> None:
    scene = replace(SCENE, shape=(400, 400), n_nuclei=20, diameter=30)
    image, labels = render_scene(scene, np.random.default_rng(seed))
    image //= 8
    image[380:388, 280:380] = 4 * image.max()
    labels[380:388, 280:380] = 0
    found = predict(image, tmp_path, suffix) if suffix else segment(model, image)
    assert f1(labels, found) > 0.7


def test_hot_pixels_and_margins_do_not_matter(model: Segmenter, rng: np.random.Generator) -> None:
    image, labels = render_scene(SCENE, rng)
    plain = segment(model, image)
    assert f1(labels, plain) > 0.8
    hot = image.copy()
    hot[rng.random(image.shape) < 0.003] = 65535
    assert f1(plain, segment(model, hot)) > 0.9
    assert f1(plain, segment(model, np.pad(image, 64))[64:-64, 64:-64]) > 0.9


@pytest.mark.parametrize("wrong", [0.4, 2.5])
def test_a_wrong_estimate_is_put_right_by_what_is_found(
    model: Segmenter, wrong: float, rng: np.random.Generator
) -> None:
    image, labels = render_scene(SCENE, rng)
    scale = wrong * model.preparation.rescale["target"] / median_diameter(labels)
    prepared, _ = model.prepare(image, scale=scale)
    blind, checked = (
        model.predict(prepared, scale=scale, out_shape=labels.shape, check_size=check).labels for check in (False, True)
    )
    assert f1(labels, checked) > max(0.8, f1(labels, blind) - 0.1)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_pixels_without_a_value_are_refused(model: Segmenter, value: float) -> None:
    image = np.ones((32, 32), np.float32)
    image[3, 4] = value
    with pytest.raises(KaryosegError, match=r"c\.tif: pixels that are NaN or infinite"):
        model.prepare(image, facts=ImageFacts("c.tif"))


def test_negative_and_tiny_values_are_segmented_as_others(model: Segmenter, rng: np.random.Generator) -> None:
    image, _ = render_scene(SCENE, rng)
    expected = segment(model, image)
    found = segment(model, image.astype(np.float32) * 1e-6 - 0.1)
    assert f1(expected, found) > 0.95
