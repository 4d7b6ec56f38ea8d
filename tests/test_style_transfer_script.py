"""The experiment on style transfer: what its arms add, what it scores, its tables; no training."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from benchmarks.accuracy import style_transfer
from PIL import Image

from karyoseg.core.absorption import may_absorb
from karyoseg.core.lazy import Lazy
from karyoseg.datasets import CSVDataset, SamplePartitions
from karyoseg.params.augment import StyleParams


@pytest.fixture
def archive(tmp_path: Path, disks: np.ndarray) -> Path:
    """Two stained images and a gray one with dark nuclei, and one of fluorescence."""
    inside = disks > 0
    stained = np.where(inside[..., None], np.uint8([90, 50, 140]), np.uint8([235, 225, 240]))
    images = {
        "s1": stained,
        "s2": stained,
        "bright": np.where(inside, np.uint8(80), np.uint8(220)),
        "fluo": np.where(inside, np.uint8(180), np.uint8(10)),
    }
    path = tmp_path / "targets.zip"
    with zipfile.ZipFile(path, "w") as packed:
        for name, image in images.items():
            files = {f"{name}/images/{name}.png": image}
            files |= {f"{name}/masks/{i}.png": np.where(disks == i, np.uint8(255), np.uint8(0)) for i in range(1, 5)}
            for file, pixels in files.items():
                png = tmp_path / "one.png"
                Image.fromarray(pixels).save(png)
                packed.write(png, file)
    return path


def test_targets_have_dark_nuclei_and_keep_the_test_images_apart(
    archive: Path, tmp_path: Path, disks: np.ndarray
) -> None:
    targets = style_transfer.Targets(archive, ["s2", "bright"], tmp_path / "targets")
    assert targets.train == ["s1"]
    assert targets.test == ["bright", "s2"]
    assert targets.image("s1").shape == (*disks.shape, 3)
    np.testing.assert_array_equal(targets.labels("s1") > 0, disks > 0)
    assert [(sample.id, sample.name) for sample in targets.samples()] == [("bright", "brightfield"), ("s2", "tissue")]
    again = style_transfer.Targets(archive, ["s2", "bright"], tmp_path / "targets")
    assert again.train == targets.train


def test_inverted_fluorescence_has_dark_nuclei_in_colours_that_differ(tmp_path: Path, disks: np.ndarray) -> None:
    image = np.where(disks > 0, 180, 10).astype(np.uint8)
    for kind, form, array in (("images", "image", image), ("labels", "labels", disks)):
        SamplePartitions(path=str(tmp_path / "02_intermediate" / kind), file_format=form).save(  # type: ignore[arg-type]
            {key: Lazy(lambda array=array: array, key) for key in "abc"}
        )
    splits = pd.DataFrame({"id": list("abc"), "split": ["train", "test", "train"]})
    CSVDataset(filepath=str(tmp_path / "03_primary/splits.csv"), save_args={"index": False}).save(splits)
    pairs = style_transfer.inverted_pairs(tmp_path, seed=1)
    assert set(pairs) == {"inverted_a", "inverted_c"}
    made = [image() for image, _ in pairs.values()]
    assert all(may_absorb(image.mean(axis=-1)) for image in made)
    assert not np.array_equal(*made)
    assert all(len(np.unique(image[..., 0])) == 2 and np.ptp(image[..., 0]) > 25 for image in made)
    np.testing.assert_array_equal(pairs["inverted_a"][1](), disks)
    np.testing.assert_array_equal(made[0], style_transfer.inverted_pairs(tmp_path, seed=1)["inverted_a"][0]())


def test_interval_holds_the_mean_and_shrinks_with_more_images(rng: np.random.Generator) -> None:
    values = rng.random(400)
    few, many = style_transfer.bootstrap(values[:20]), style_transfer.bootstrap(values)
    assert many[0] < values.mean() < many[1]
    assert many[1] - many[0] < few[1] - few[0]
    assert many[1] - many[0] == pytest.approx(4 * values.std() / np.sqrt(400), rel=0.1)  # as the normal approximation


def scores_of(**gains: float) -> pd.DataFrame:
    """Two images of two classes, two seeds; dark images are found only as optical density, but by `classical`."""
    rows = [
        {"way": way, "arm": arm, "seed": seed, "id": key, "class": kind, "ap_50": base + gain, "ap_mean": base}
        for arm, gain in gains.items()
        for way, found in ((style_transfer.AS_IT_IS, arm == "classical"), (style_transfer.DENSITY, True))
        for seed in (1, 2)
        for key, kind, seen in (("a", "x", 0.1), ("b", "y", 0.5))
        for base in (seen * found,)
    ]
    return pd.DataFrame(rows)


def test_table_averages_seeds_over_images() -> None:
    table = style_transfer.intervals(scores_of(untrained=0.0, style=0.3)).set_index(["way", "class", "arm"])
    assert list(table.loc["optical density"].index.get_level_values(0).unique()) == ["all", "x", "y"]
    assert table.loc[("optical density", "all", "untrained"), "AP 50"].startswith("0.300 [0.100, 0.500]")
    assert table.loc[("optical density", "x", "style"), "AP 50"] == "0.400 [0.400, 0.400]"
    assert table.loc[("as it is", "all", "untrained"), "AP 50"] == "0.000 [0.000, 0.000]"
    assert (table["images"].xs("all", level="class") == 2).all()


def test_arms_are_compared_image_by_image_as_predict_uses_them() -> None:
    scores = scores_of(untrained=0.0, classical=0.1, style=0.3)
    table = style_transfer.advantages(scores).set_index(["class", "ahead of"])
    assert table.loc["all", "AP 50"].to_dict() == {
        "untrained, optical density": "0.300 [0.300, 0.300]",
        "classical, as it is": "0.200 [0.200, 0.200]",
        "classical, optical density": "0.200 [0.200, 0.200]",
    }
    assert (table["DSB score"] == "0.000 [0.000, 0.000]").all()
    assert set(table.index.get_level_values(0)) == {"all", "x", "y"}


def test_untrained_arm_is_the_model_that_trainings_start_from(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(style_transfer.Experiment, "_prepared", lambda self, run: tmp_path)
    targets = style_transfer.Targets(archive, ["s2"], tmp_path / "targets")
    experiment = style_transfer.Experiment(tmp_path / "out", tmp_path, "bbbc038", targets)
    share = {"augment.style.share": 0.5}
    changes = {"train.init": {"name": "model", "path": "nuclei-fluo-fast"}, **share}
    (run,) = style_transfer.plan({}, changes, [style_transfer.UNTRAINED], [1])
    folder = experiment.train(run)
    (copied,) = (folder / "data/06_models").iterdir()
    assert copied.name == "bbbc038"
    start = style_transfer.model_folder("nuclei-fluo-fast")
    assert (copied / "weights_best.h5").read_bytes() == (start / "weights_best.h5").read_bytes()
    (run,) = style_transfer.plan({"train": {}}, share, [style_transfer.UNTRAINED], [1])
    with pytest.raises(SystemExit, match="needs a model to start from"):
        experiment.train(run)


def test_every_arm_names_known_sources() -> None:
    assert {source for source, _ in style_transfer.ARMS.values()} == {None, "inverted", "synthetic", "weak", "true"}
    for _, dark in style_transfer.ARMS.values():
        assert StyleParams(dark=dark)  # type: ignore[arg-type]
    runs = style_transfer.plan({"train": {"epochs": 3}}, {"train.epochs": 1}, ["plain", "style"], [1, 2])
    assert [(run.variant, run.seed) for run in runs] == [("plain", 1), ("style", 1), ("plain", 2), ("style", 2)]
    assert all(run.parameters["train"] == {"epochs": 1, "seed": run.seed} for run in runs)
