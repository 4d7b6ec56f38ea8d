"""Models that ship: what is in the package, and how a trained model gets there."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
import tifffile

from karyoseg.core.errors import KaryosegError
from karyoseg.core.metrics import score_image, summarise
from karyoseg.models import bundled_models, load_segmenter
from karyoseg.models.stardist import StarDistSegmenter
from karyoseg.models.stardist import bundle as module
from karyoseg.models.stardist.bundle import MAX_BYTES, bundle, public_facts
from karyoseg.models.stardist.evaluated import Evaluated

FILES = {"config.json", "thresholds.json", "weights_best.h5", "training.json", "history.csv", "model_card.md"}
SPLITS = {"train": range(3), "val": range(100, 104), "test": range(200, 204)}
NAMES = {100: "NA", 200: "null"}  # of an image by its seed; pandas takes these for missing
ABOUT = "## Origin\n\nDrawn disks, CC0.\n"

shipped = pytest.mark.parametrize("folder", [pytest.param(path, id=name) for name, path in bundled_models().items()])


def weights_of(folder: Path) -> list[np.ndarray]:
    arrays: list[np.ndarray] = []
    with h5py.File(folder / "weights_best.h5") as file:
        file.visititems(lambda _, item: arrays.append(item[()]) if isinstance(item, h5py.Dataset) else None)
    return arrays


def state(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {str(path): (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def data(trained: Any, sample: Callable, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data folder of the trained model as preprocess, train and evaluate leave it; do not change it."""
    data: Path = tmp_path_factory.mktemp("evaluated") / "data"
    trained.save(data / "06_models/disks")
    for folder in ("02_intermediate/labels", "03_primary/images", "07_model_output/test_labels", "08_reporting"):
        (data / folder).mkdir(parents=True)
    rows, matches, pixels = [], [], []
    trained.use("keras", "f32")
    for split, seeds in SPLITS.items():
        for seed in seeds:
            key = NAMES.get(seed, f"s{seed}")
            image, labels = sample(seed, shape=(192, 192))
            tifffile.imwrite(data / f"02_intermediate/labels/{key}.tif", labels)
            tifffile.imwrite(data / f"03_primary/images/{key}.tif", image)
            facts = {"height": 192, "width": 192, "scale": 1.0, "pixel_size_um": 0.5, "magnification": None}
            rows.append({"id": key, "split": split, "diameter": 12.0 + seed} | facts)
            if split == "test":
                found = trained.predict(image).labels
                tifffile.imwrite(data / f"07_model_output/test_labels/{key}.tif", found)
                table, counts = score_image(labels, found)
                matches.append(table.assign(id=key, **{"class": "disks"}))
                pixels.append({"id": key, "class": "disks"} | counts)
    pd.DataFrame(rows).to_csv(data / "03_primary/manifest.csv", index=False)
    pd.DataFrame(pixels).to_csv(data / "08_reporting/metrics_per_image.csv", index=False)
    scores = summarise(pd.concat(matches, ignore_index=True), pd.DataFrame(pixels))
    (data / "08_reporting/metrics.json").write_text(json.dumps(scores))
    return data


def make(data: Path, target: Path) -> dict[str, float]:
    return bundle(StarDistSegmenter.load(data / "06_models/disks"), data, target, ABOUT)


@pytest.fixture(scope="module")
def made(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle; do not change it."""
    target = tmp_path_factory.mktemp("bundled") / "small-disks"
    figures = make(data, target)
    assert abs(figures["ap_50"] - figures["ap_50_before"]) <= module.MAX_LOSS
    assert figures["bytes"] == sum(path.stat().st_size for path in target.iterdir())
    return target


def test_a_bundle_has_half_the_bits_and_finds_the_same(made: Path, data: Path, sample: Callable) -> None:
    assert {path.name for path in made.iterdir()} == FILES
    assert {array.dtype for array in weights_of(made)} == {np.dtype(np.float16)}
    image, _ = sample(7, shape=(192, 192))
    before, after = (load_segmenter(str(folder)) for folder in (data / "06_models/disks", made))
    for engine in ("keras", "openvino"):
        counts = []
        for model in (before, after):
            model.use(engine, "f32")
            counts.append(model.predict(model.prepare(image)[0]).labels.max())
        assert counts[0] == counts[1] > 0


def test_plain_stardist_opens_it(made: Path, data: Path) -> None:
    from stardist.models import StarDist2D

    half = StarDist2D(None, made.name, str(made.parent)).keras_model.get_weights()
    full = StarDist2D(None, "disks", str(data / "06_models")).keras_model.get_weights()
    for one, other in zip(half, full, strict=True):
        assert one.dtype == np.float32
        np.testing.assert_array_equal(one, other.astype(np.float16))


def test_the_card_says_what_is_known(made: Path) -> None:
    card = (made / "model_card.md").read_text()
    assert card.startswith("# small-disks\n")
    assert "| learnt from | nuclei of 12 to 14 px (median of an image), pixels of 0.5 um |" in card
    assert "| disks | 4 | " in card
    assert "| all | 4 | " in card
    assert "predict.model=small-disks" in card
    assert ABOUT.strip() in card
    assert hashlib.sha256((made / "weights_best.h5").read_bytes()).hexdigest() in card
    assert json.loads((made / "training.json").read_text())["name"] == "small-disks"


def test_places_of_the_machine_do_not_ship() -> None:
    training = {
        "name": "a",
        "parameters": {
            "workspace": "data/x",
            "workers": 2,
            "init": {"name": "model", "path": "/home/me/first"},
            "windows": ["C:\\Users\\me\\first", 0.5],
            "url": "s3://bucket/secret/first",
            "epochs": 3,
        },
        "provenance": {"dvc": {"data/01_raw/a.zip": "ff"}},
    }
    facts = public_facts(training)
    assert facts["parameters"] == {
        "init": {"name": "model", "path": "first"},
        "windows": ["first", 0.5],
        "url": "first",
        "epochs": 3,
    }
    assert facts["provenance"] == training["provenance"]
    assert public_facts(facts) == facts


def test_any_text_is_an_id(data: Path) -> None:
    assert Evaluated(data).validation == ["NA", "s101", "s102", "s103"]


def test_scores_of_another_model_are_refused(data: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(data, tmp_path / "data")
    for path in (copy / "07_model_output/test_labels").iterdir():
        tifffile.imwrite(path, np.roll(tifffile.imread(path), 9, axis=0))
    with pytest.raises(KaryosegError, match=r"holds other objects than .*disks finds.*kedro run --pipeline evaluate"):
        make(copy, tmp_path / "target")
    (copy / "08_reporting/metrics.json").unlink()
    with pytest.raises(KaryosegError, match="does not say how it was trained"):
        bundle(StarDistSegmenter(copy / "06_models/disks"), copy, tmp_path / "target", ABOUT)
    with pytest.raises(KaryosegError, match="not the data folder of an evaluated model"):
        make(copy, tmp_path / "target")
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_a_model_that_suffers_or_is_too_large_leaves_the_earlier_bundle(
    made: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = shutil.copytree(made, tmp_path / "small-disks")
    before = state(target)

    def spoil(source: Path, target: Path) -> None:
        shutil.copyfile(source, target)
        with h5py.File(target, "r+") as file:
            kernel = file["prob"]["prob"]["kernel"]
            kernel[...] = 0 * kernel[()]

    with monkeypatch.context() as context:
        context.setattr(module, "halve_weights", spoil)
        with pytest.raises(KaryosegError, match=r"ap_50 .* with weights of 16 bit.*needed: at most 0\.002 less"):
            make(data, target)
    monkeypatch.setattr(module, "MAX_BYTES", 10_000)
    with pytest.raises(KaryosegError, match=r"makes 0\.\d MB; needed: at most 0\.01 MB"):
        make(data, target)
    assert state(target) == before
    assert [path.name for path in tmp_path.iterdir()] == ["small-disks"]


def test_the_default_model_ships() -> None:
    assert "nuclei-fluo" in bundled_models()


@shipped
def test_what_ships_is_small_complete_and_free_of_places(folder: Path) -> None:
    names = {path.name for path in folder.iterdir()}
    assert names >= FILES
    assert all(name.startswith("openvino_int8.") for name in names - FILES)
    assert sum(path.stat().st_size for path in folder.iterdir()) <= MAX_BYTES
    assert {array.dtype for array in weights_of(folder)} == {np.dtype(np.float16)}
    training = json.loads((folder / "training.json").read_text())
    assert training["name"] == folder.name
    assert public_facts(training) == training
    card = (folder / "model_card.md").read_text()
    assert hashlib.sha256((folder / "weights_best.h5").read_bytes()).hexdigest() in card
    for word in ("Licence", "Known failures", "kedro run", "AP@0.5"):
        assert word in card


@shipped
def test_what_ships_segments_and_stays_as_it_is(folder: Path, sample: Callable) -> None:
    before = state(folder.parent)
    image, labels = sample(3, shape=(256, 256))
    model = load_segmenter(folder.name)
    for engine in ("auto", "keras", "openvino"):  # auto compares engines and keeps the outcome: not here
        model.use(engine)
        prepared, scale = model.prepare(image)
        found = model.predict(prepared, scale=scale, out_shape=image.shape).labels
        assert found.max() == pytest.approx(labels.max(), rel=0.3)
    assert state(folder.parent) == before


def test_fine_tuning_starts_from_what_ships(samples: Callable, options: Callable, tmp_path: Path) -> None:
    from karyoseg.models.stardist.network import open_folder

    model = StarDistSegmenter(tmp_path / "tuned")
    init = {"name": "model", "path": "nuclei-fluo"}
    settings = options(init=init, epochs=1, steps_per_epoch=1, learning_rate=1e-9)
    model.fit(samples(range(2)), samples(range(100, 101)), None, settings)
    start = open_folder(bundled_models()["nuclei-fluo"]).keras_model.trainable_weights
    tuned = open_folder(model.directory).keras_model.trainable_weights
    for one, other in zip(tuned, start, strict=True):
        np.testing.assert_allclose(one.numpy(), other.numpy(), atol=1e-6)


@pytest.mark.slow
def test_the_wheel_holds_the_models(project: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(project / "src", source / "src", ignore=shutil.ignore_patterns("*.egg-info", "__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy2(project / name, source / name)
    build = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"
    run = subprocess.run(
        [sys.executable, "-c", build, str(tmp_path)], cwd=source, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr[-4000:]
    (wheel,) = tmp_path.glob("*.whl")
    names = [PurePosixPath(name) for name in zipfile.ZipFile(wheel).namelist()]
    for model, folder in bundled_models().items():
        packed = {name.name for name in names if name.parent == PurePosixPath("karyoseg/bundled") / model}
        assert packed == {path.name for path in folder.iterdir()} >= FILES
