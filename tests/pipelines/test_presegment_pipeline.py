"""The presegment pipeline with a model that thresholds."""

from __future__ import annotations

import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tifffile
from kedro.io import DataCatalog, MemoryDataset
from kedro.runner import SequentialRunner
from PIL import Image
from skimage.measure import label

from karyoseg.core.absorption import may_absorb
from karyoseg.core.errors import KaryosegError, ProblemReport
from karyoseg.core.preparation import ImageFacts, Plan, Preparation
from karyoseg.datasets import CSVDataset, SamplePartitions
from karyoseg.params.presegment import PresegmentParams
from karyoseg.pipelines.presegment import create_pipeline, nodes


class Threshold:
    """A segmenter that knows bright nuclei only."""

    fingerprint = "threshold"

    def __init__(self) -> None:
        self.n_calls = 0
        self.prob_thresh: float | None = None

    def use(self, engine: str, precision: str) -> str:
        """Say what was asked for."""
        return f"{engine} {precision}"

    def plan(self, image: np.ndarray, *, facts: ImageFacts, **_: Any) -> Plan:
        """Show dark nuclei as optical density."""
        dark = may_absorb(image.mean(axis=-1)) if facts.contrast == "auto" else facts.contrast == "dark"
        return Plan(Preparation(white=255.0 if dark else None), 1.0)

    def predict(self, image: np.ndarray, *, prob_thresh: float | None, **_: Any) -> SimpleNamespace:
        """Label bright regions and note the threshold."""
        self.n_calls += 1
        self.prob_thresh = prob_thresh
        return SimpleNamespace(labels=label(image > (image.min() + image.max()) / 2).astype(np.int32))


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Threshold:
    """The model that the pipeline opens."""
    model = Threshold()
    monkeypatch.setattr(nodes, "load_segmenter", lambda name: model)
    return model


@pytest.fixture
def folder(tmp_path: Path, disks: np.ndarray) -> Path:
    """Images of every usual kind."""
    folder = tmp_path / "images"
    folder.mkdir()
    inside = disks > 0
    gray = np.where(inside, 180, 20).astype(np.uint8)
    stained = np.where(inside[..., None], np.uint8([90, 50, 140]), np.uint8([235, 225, 240]))
    Image.fromarray(gray).save(folder / "gray.png")
    Image.fromarray(stained).save(folder / "stained.png")
    Image.fromarray(np.dstack([stained, np.full_like(gray, 255)])).save(folder / "alpha.png")
    Image.fromarray(stained).convert("P", palette=Image.Palette.ADAPTIVE).save(folder / "palette.png")
    tifffile.imwrite(folder / "deep.tif", gray.astype(np.uint16) * 40 + 300)
    Image.fromarray(np.full((30, 40), 255, np.uint8)).save(folder / "blank.png")
    return folder


def run(folder: Path, out: Path, **params: Any) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], pd.DataFrame]:
    images = SamplePartitions(path=str(out / "images"), file_format="image")
    labels = SamplePartitions(path=str(out / "labels"), file_format="labels")
    manifest = CSVDataset(filepath=str(out / "manifest.csv"))
    given = MemoryDataset(PresegmentParams(input=str(folder), **params), copy_mode="assign")
    entries = {
        "style_images": images,
        "style_labels": labels,
        "style_manifest": manifest,
        "presegment_inputs": MemoryDataset(copy_mode="assign"),
        "params:presegment": given,
    }
    SequentialRunner().run(create_pipeline(), DataCatalog(entries))
    read = [{key: value() for key, value in data.load().items()} for data in (images, labels)]
    return read[0], read[1], manifest.load()


def test_images_of_every_kind_become_rgb_and_are_labelled(
    folder: Path, tmp_path: Path, model: Threshold, disks: np.ndarray
) -> None:
    images, labels, manifest = run(folder, tmp_path / "out")
    assert set(images) == set(labels) == {"gray", "stained", "alpha", "palette", "deep", "blank"}
    for key, image in images.items():
        assert image.dtype == np.uint8
        assert image.shape == (*labels[key].shape, 3)
        if key != "blank":
            np.testing.assert_array_equal(labels[key] > 0, disks > 0)
    np.testing.assert_array_equal(images["alpha"], images["stained"])
    assert not labels["blank"].any()
    table = manifest.set_index("id")
    assert table["n_objects"].to_dict() == {key: 0 if key == "blank" else 4 for key in images}
    assert table["contrast"].fillna("").to_dict() == {
        **dict.fromkeys(["gray", "deep"], "bright"),
        **dict.fromkeys(["stained", "alpha", "palette"], "dark"),
        "blank": "",
    }
    assert np.isnan(table.loc["blank", "diameter"])
    assert table.loc["gray", ["height", "width"]].tolist() == list(disks.shape)
    assert Path(table.loc["gray", "source"]) == folder / "gray.png"


def test_repeated_runs_segment_only_what_has_changed(folder: Path, tmp_path: Path, model: Threshold) -> None:
    run(folder, tmp_path / "out")
    done = model.n_calls
    run(folder, tmp_path / "out")
    assert model.n_calls == done
    run(folder, tmp_path / "out", contrast="dark")
    assert model.n_calls > done


def test_the_threshold_reaches_the_model(folder: Path, tmp_path: Path, model: Threshold) -> None:
    run(folder / "gray.png", tmp_path / "out", prob_thresh=0.35)
    assert model.prob_thresh == 0.35


def test_images_in_a_zip(folder: Path, tmp_path: Path, model: Threshold) -> None:
    archive = tmp_path / "images.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        packed.write(folder / "gray.png", "deep/inside/gray.png")
    images, _, manifest = run(archive, tmp_path / "out")
    assert list(images) == manifest["id"].tolist() == ["gray"]


def test_all_images_without_nuclei_stop_with_advice(tmp_path: Path, model: Threshold) -> None:
    Image.fromarray(np.full((30, 40), 255, np.uint8)).save(tmp_path / "blank.png")
    with pytest.raises(KaryosegError, match=r"no nuclei found in any of the 1 image.*presegment\.contrast"):
        run(tmp_path / "blank.png", tmp_path / "out")


def test_bad_images_are_reported_together_or_left_out(folder: Path, tmp_path: Path, model: Threshold) -> None:
    (folder / "broken.png").write_bytes(b"not an image")
    Image.fromarray(np.zeros((300, 400), np.uint8)).save(folder / "huge.png")
    with pytest.raises(ProblemReport, match=r"(?s)broken\.png.*huge\.png.*300 x 400 px"):
        run(folder, tmp_path / "out", max_megapixels=0.1)
    images, _, _ = run(folder, tmp_path / "out", max_megapixels=0.1, on_bad_image="skip")
    assert {"broken", "huge"}.isdisjoint(images)
    with pytest.raises(ProblemReport, match=r"broken\.png"):
        run(folder / "broken.png", tmp_path / "out", on_bad_image="skip")


def test_small_objects_are_dropped(folder: Path, tmp_path: Path, model: Threshold) -> None:
    _, labels, _ = run(folder / "gray.png", tmp_path / "out", min_area=400)
    assert np.unique(labels["gray"]).tolist() == [0, 1, 2, 3]


@pytest.fixture
def given(folder: Path, tmp_path: Path, disks: np.ndarray) -> Path:
    """Label images of a user: other suffixes, one of a file that is no image; one pixel in `deep` is not annotated."""
    labels = tmp_path / "given"
    labels.mkdir()
    for name in ("gray", "stained", "alpha", "palette"):
        Image.fromarray((7 * disks).astype(np.uint16)).save(labels / f"{name}.png")
    deep = disks.astype(np.int32)
    deep[0, 0] = -1
    tifffile.imwrite(labels / "deep.tif", deep)
    tifffile.imwrite(labels / "blank.tif", np.zeros((30, 40), np.uint16))
    tifffile.imwrite(labels / "unused.tif", disks.astype(np.uint16))
    return labels


def test_label_images_of_the_user_take_the_place_of_weak_ones(
    folder: Path, given: Path, tmp_path: Path, model: Threshold, disks: np.ndarray
) -> None:
    images, labels, manifest = run(folder, tmp_path / "out", labels=str(given))
    assert model.n_calls == 0
    assert set(labels) == set(images)
    for key in ("gray", "stained", "alpha", "palette", "deep"):
        np.testing.assert_array_equal(labels[key], disks)
    assert manifest.set_index("id")["n_objects"].to_dict() == {key: 0 if key == "blank" else 4 for key in images}
    tifffile.imwrite(given / "deep.tif", np.where(disks == 2, 0, disks).astype(np.uint16))
    assert run(folder, tmp_path / "out", labels=str(given))[1]["deep"].max() == 3


def test_missing_and_wrong_label_images_are_reported_together(
    folder: Path, given: Path, tmp_path: Path, model: Threshold
) -> None:
    (given / "gray.png").unlink()
    tifffile.imwrite(given / "deep.tif", np.zeros((5, 6), np.uint16))
    Image.fromarray(np.zeros((96, 112, 3), np.uint8) + np.uint8([1, 2, 3])).save(given / "alpha.png")
    (folder / "broken.png").write_bytes(b"not an image")
    with pytest.raises(ProblemReport) as caught:
        run(folder, tmp_path / "out", labels=str(given))
    text = str(caught.value)
    assert "4 problems" in text
    assert "gray.png: has no label image; needed: a label image gray.* in" in text
    assert "deep.tif: 5 x 6 px; needed: 96 x 112 px" in text
    assert "alpha.png: a colour image" in text
    assert "broken.png" in text
    images, _, _ = run(folder, tmp_path / "out", labels=str(given), on_bad_image="skip")
    assert set(images) == {"stained", "palette", "blank"}


def test_without_input_the_command_is_shown() -> None:
    with pytest.raises(KaryosegError, match=r"presegment\.input=FOLDER"):
        nodes.find_inputs(PresegmentParams())
