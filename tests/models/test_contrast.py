"""Dark nuclei on a bright background, and a model that has learnt from bright ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest
import tifffile
import zarr
from kedro.io import DataCatalog, MemoryDataset
from kedro.runner import SequentialRunner
from scipy import ndimage as ndi

from dots import store
from karyoseg.core.absorption import may_absorb
from karyoseg.core.lazy import Lazy
from karyoseg.core.metrics import match_table
from karyoseg.core.normalise import normalise
from karyoseg.core.preparation import ImageFacts, Plan
from karyoseg.core.synthetic import NucleiScene, render_scene
from karyoseg.datasets import CSVDataset, ParquetDataset, PredictionFolder
from karyoseg.models import load_segmenter
from karyoseg.models.base import LabelledSamples
from karyoseg.models.stardist import StarDistSegmenter
from karyoseg.models.stardist.contrast import contrast_facts
from karyoseg.params.predict import PredictParams
from karyoseg.pipelines.predict import create_pipeline

SCENE = NucleiScene(shape=(240, 300), n_nuclei=22, diameter=26)


@pytest.fixture(scope="module")
def model() -> StarDistSegmenter:
    """The default model."""
    return cast(StarDistSegmenter, load_segmenter("nuclei-fluo"))


@pytest.fixture(scope="module")
def scene() -> tuple[np.ndarray, np.ndarray]:
    """Fluorescence, and its labels."""
    return render_scene(SCENE, np.random.default_rng(3))


def stained(image: np.ndarray) -> np.ndarray:
    """What a stain that absorbs green most would look like on a bright ground; RGB of 8 bit."""
    stain = np.clip(normalise(image), 0, 1.2)[..., None] * np.array([0.7, 1.2, 0.4])
    return (240 * np.exp(-stain)).astype(np.uint8)


def f1(truth: np.ndarray, found: np.ndarray) -> float:
    counts = match_table(truth, found, [0.5]).iloc[0]
    return float(2 * counts["tp"] / (2 * counts["tp"] + counts["fp"] + counts["fn"]))


@pytest.mark.parametrize("form", ["RGB", "gray", "16 bit"])
def test_dark_nuclei_are_found_as_bright_ones_are(model: StarDistSegmenter, scene: Any, form: str) -> None:
    image, labels = scene
    colour = stained(image)
    seen = {"RGB": colour, "gray": colour[..., 1], "16 bit": colour[..., 1].astype(np.uint16) * 37}[form]
    plan = model.plan(seen)
    assert plan.recipe.white is not None
    assert not plan.estimated
    found = model.predict(plan.recipe.apply(seen, plan.scale), scale=plan.scale, out_shape=labels.shape).labels
    assert f1(labels, found) > 0.8


def test_fluorescence_stays_as_it_is(model: StarDistSegmenter, scene: Any) -> None:
    image, labels = scene
    known = model.plan(image, facts=ImageFacts(contrast="bright"))
    assert model.plan(image) == known
    assert known.recipe.white is None
    assert known.estimated
    # Nuclei fill more than half of a small part: brightness alone would say that the background is bright.
    y, x = np.argwhere(labels == labels[labels > 0][0]).mean(axis=0).astype(int)
    assert model.plan(image[max(y - 8, 0) : y + 8, max(x - 8, 0) : x + 8]).recipe.white is None


@pytest.mark.parametrize(("pitch", "diameter"), [(21, 20), (128, 115)])
def test_fields_full_of_bright_nuclei_stay_as_they_are(
    model: StarDistSegmenter, rng: np.random.Generator, pitch: int, diameter: int
) -> None:
    side = max(1, 200 // pitch) * pitch
    y, x = np.mgrid[:side, :side]
    inside = np.hypot(y % pitch - pitch / 2, x % pitch - pitch / 2) < diameter / 2
    labels = np.where(inside, 1 + y // pitch * 100 + x // pitch, 0)
    image = ndi.gaussian_filter(200 + 1800.0 * inside, 1) + rng.normal(0, 25, inside.shape)
    image = image.clip(0).astype(np.uint16)
    assert may_absorb(image)
    plan = model.plan(image)
    assert plan.recipe.white is None
    found = model.predict(plan.recipe.apply(image, plan.scale), scale=plan.scale, out_shape=labels.shape).labels
    assert f1(labels, found) > 0.9


def test_nothing_certain_stays_as_it_is(model: StarDistSegmenter, rng: np.random.Generator) -> None:
    empty = (np.linspace(60, 220, 150) ** 0.5 * 16 + rng.normal(0, 3, (120, 150))).astype(np.uint8)
    assert may_absorb(empty)
    assert model.plan(empty).recipe.white is None
    assert model.plan(empty, facts=ImageFacts(contrast="dark")).recipe.white == 255


def test_a_stated_contrast_or_size_is_not_searched(
    model: StarDistSegmenter, scene: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = stained(scene[0])
    monkeypatch.setattr(model, "predict", lambda *_, **__: pytest.fail("nothing has to be tried"))
    assert model.plan(seen, facts=ImageFacts(contrast="bright")).recipe.white is None
    plan = model.plan(seen, facts=ImageFacts(contrast="dark", diameter=26))
    assert plan.recipe.white == 255
    assert plan.scale == pytest.approx(20 / 26)
    assert model.plan(seen, facts=ImageFacts(contrast="dark"), scale=0.5).scale == 0.5


def test_models_that_know_dark_nuclei_see_images_as_they_are_at_the_surest_size(
    model: StarDistSegmenter, scene: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = scene[0]
    monkeypatch.setattr(model, "training", model.training | {"share_dark": 0.4})
    monkeypatch.setattr("karyoseg.models.stardist.contrast.may_absorb", lambda gray: True)
    monkeypatch.setattr(model, "_estimated_scale", lambda *_: 4.0)  # an estimate without meaning
    for contrast in ("auto", "dark"):
        plan = model.plan(image, facts=ImageFacts(contrast=contrast))  # type: ignore[arg-type]
        assert plan.recipe.white is None
        assert plan.scale == pytest.approx(20 / 26, rel=0.3)
    assert model.plan(image, facts=ImageFacts(contrast="bright")).scale == 4


def test_dark_nuclei_of_natural_sizes_are_seen_as_they_are(
    model: StarDistSegmenter, scene: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    natural = {"share_dark": 1.0, "preparation": model.training["preparation"] | {"rescale": {"name": "none"}}}
    monkeypatch.setattr(model, "training", model.training | natural)
    monkeypatch.setattr(model, "_estimated_scale", lambda *_: 4.0)  # an estimate without meaning
    dark = stained(scene[0])
    assert model.plan(dark) == Plan(model.preparation, 1.0)
    assert model.plan(dark, scale=0.5).scale == 0.5


def test_models_that_do_not_say_what_they_know_see_images_as_they_are(
    model: StarDistSegmenter, scene: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = stained(scene[0])
    monkeypatch.setattr(model, "training", {k: v for k, v in model.training.items() if k != "share_dark"})
    assert model.plan(seen).recipe.white is None
    assert model.plan(seen, facts=ImageFacts(contrast="dark")).recipe.white == 255


def test_models_that_do_not_say_what_they_know_take_20_px_for_their_size(model: StarDistSegmenter) -> None:
    silent, image = StarDistSegmenter(model.directory), np.zeros((30, 40), np.uint8)
    assert silent.plan(image, facts=ImageFacts(diameter=40)).scale == 0.5
    assert silent.plan(image).scale == 1


def test_what_a_training_saw_is_remembered(disks: np.ndarray) -> None:
    bright, dark = (disks > 0).astype(np.float32), (disks == 0).astype(np.float32)
    images = {"a": bright, "b": dark, "c": bright + 1, "d": np.stack([bright] * 3, -1)}
    samples = LabelledSamples(
        {key: Lazy(lambda value=value: value, key) for key, value in images.items()},
        {key: Lazy(lambda: disks, key) for key in images},
    )
    assert contrast_facts(samples) == {"share_dark": 0.25}


def run(source: Path, output: Path, **options: Any) -> pd.DataFrame:
    params = PredictParams(input=str(source), output=str(output), **options)
    catalog = DataCatalog(
        {
            "params:predict": MemoryDataset(params),
            "predictions": PredictionFolder(path=str(output)),
            "objects_csv": CSVDataset(filepath=str(output / "objects.csv"), save_args={"index": False}),
            "objects_parquet": ParquetDataset(filepath=str(output / "objects.parquet")),
        }
    )
    SequentialRunner().run(create_pipeline(), catalog)
    return pd.read_csv(output / "objects.csv")


def test_predicted_whole_in_blocks_and_in_full(scene: Any, tmp_path: Path) -> None:
    image, labels = scene
    colour = stained(image)
    (tmp_path / "in").mkdir()
    tifffile.imwrite(tmp_path / "in/tissue.tif", colour, photometric="rgb")
    store(colour[..., 1], tmp_path / "in/slide.zarr")
    objects = run(tmp_path / "in", tmp_path / "out")
    whole = tifffile.imread(tmp_path / "out/tissue.tif")
    assert f1(labels, whole) > 0.8
    assert f1(whole, zarr.open_array(tmp_path / "out/slide.ome.zarr/labels/nuclei/0", mode="r")[:]) > 0.8
    measured = objects.loc[objects["image"] == "tissue", "intensity_mean_1"]
    assert measured.max() < np.median(colour[..., 1])  # of the image as it is
    run(tmp_path / "in/tissue.tif", tmp_path / "bright", contrast="bright")
    assert f1(labels, tifffile.imread(tmp_path / "bright/tissue.tif")) < 0.2
    run(tmp_path / "in/tissue.tif", tmp_path / "full", mode="full")
    assert f1(whole, tifffile.imread(tmp_path / "full/tissue.tif")) > 0.8
