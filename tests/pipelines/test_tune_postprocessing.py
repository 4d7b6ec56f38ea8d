"""The tune_postprocessing pipeline with a model that adds debris, and what it finds used by predict."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tifffile
from kedro.io import DataCatalog, MemoryDataset
from kedro.runner import SequentialRunner
from pydantic import ValidationError
from skimage.measure import label

from karyoseg.core.errors import KaryosegError, ProblemReport
from karyoseg.core.io.inputs import InputImage
from karyoseg.core.lazy import Lazy
from karyoseg.core.postprocessing.combine import PostProcessing
from karyoseg.core.preparation import ImageFacts, Plan, Preparation
from karyoseg.core.size import resize_labels
from karyoseg.datasets import CSVDataset, JSONDataset
from karyoseg.params.predict import PredictParams
from karyoseg.params.tune_postprocessing import TunePostprocessingParams
from karyoseg.pipelines.predict import full
from karyoseg.pipelines.predict import nodes as predict_nodes
from karyoseg.pipelines.tune_postprocessing import create_pipeline
from karyoseg.pipelines.tune_postprocessing import nodes as tune_nodes
from recipes import OnlyRescaled


class Bright:
    """Calls every bright region an object."""

    fingerprint = "bright"
    preparation = Preparation()
    diameter = None

    def use(self, engine: str, precision: str) -> str:
        """Say what was asked for."""
        return f"{engine} {precision}"

    def describe(self) -> dict[str, Any]:
        """Say what models of ours say."""
        return {"thresholds": {"prob": 0.5, "nms": 0.3}, "training": {}}

    def plan(self, image: np.ndarray, *, facts: ImageFacts, scale: float | None, channels: Any) -> Plan:
        """Rescale."""
        return Plan(OnlyRescaled(), scale or 1.0)

    def predict(self, image: np.ndarray, *, scale: float, out_shape: tuple[int, int], **_: Any) -> SimpleNamespace:
        """Label bright regions."""
        labels = resize_labels(label(image > 100).astype(np.int32), out_shape)
        return SimpleNamespace(labels=labels, scale=scale)


@pytest.fixture(autouse=True)
def _model(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (predict_nodes, tune_nodes):
        monkeypatch.setattr(module, "load_segmenter", lambda name: Bright())


def field(debris: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Nuclei of 12 x 12 px, and debris of 6 x 6 px that has no label."""
    labels, image = np.zeros((60, 100), np.int32), np.full((60, 100), 10, np.uint8)
    for index in range(4):
        labels[5 + seed : 17 + seed, 5 + 24 * index : 17 + 24 * index] = index + 1
    image[labels > 0] = 200
    for index in range(debris):
        image[45:51, 5 + 20 * index : 11 + 20 * index] = 200
    return image, labels


@pytest.fixture
def inputs() -> dict[str, Any]:
    """Three validation images, and a test image that must not be read."""
    samples = {f"v{i}": field(i, i) for i in range(1, 4)}
    ids = [*samples, "t"]

    def refuse() -> np.ndarray:
        raise AssertionError("a test image was read")

    parts = [
        {key: Lazy(partial(np.copy, sample[i]), key) for key, sample in samples.items()} | {"t": Lazy(refuse, "t")}
        for i in range(2)
    ]
    return {
        "intermediate_images": parts[0],
        "intermediate_labels": parts[1],
        "primary_manifest": pd.DataFrame({"id": ids, "magnification": np.nan, "pixel_size_um": np.nan}),
        "splits": pd.DataFrame({"id": ids, "split": ["val"] * 3 + ["test"]}),
    }


def tune(inputs: dict[str, Any], folder: Path, **options: Any) -> dict[str, Any]:
    """Run the pipeline and return what it wrote."""
    params = TunePostprocessingParams(model="fake", **({"n_trials": 25, "minutes": 1} | options))
    catalog = DataCatalog(
        {name: MemoryDataset(value) for name, value in inputs.items()}
        | {
            "params:tune_postprocessing": MemoryDataset(params),
            "postprocessing": JSONDataset(filepath=str(folder / "postprocessing.json")),
            "tuning_trials": CSVDataset(filepath=str(folder / "trials.csv"), save_args={"index": False}),
        }
    )
    SequentialRunner().run(create_pipeline(), catalog)
    found: dict[str, Any] = json.loads((folder / "postprocessing.json").read_text())
    return found


def test_what_is_found_is_used_by_predict(inputs: dict[str, Any], tmp_path: Path) -> None:
    found = tune(inputs, tmp_path, ranges={"min_area": [0, 60], "min_corrected_area": [0, 60]})
    assert found["dsb_score"] == 1
    assert found["images"] == ["v1", "v2", "v3"]
    trials = pd.read_csv(tmp_path / "trials.csv")
    assert len(trials) == found["n_trials"] == 25
    assert trials.loc[trials["score"].idxmax(), list(found["parameters"])].to_dict() == found["parameters"]

    tifffile.imwrite(tmp_path / "new.tif", field(4, 0)[0])
    counts = {
        mode: predict(tmp_path / "new.tif", mode=mode, **options).labels.max()
        for mode, options in [
            ("fast", {}),
            ("full", {"full": {"postprocessing": str(tmp_path / "postprocessing.json")}}),
        ]
    }
    assert counts == {"fast": 8, "full": 4}


def predict(image: Path, **options: Any) -> Any:
    """Predict one image."""
    params = PredictParams(input=str(image), output=str(image.parent / "out"), model="fake", **options)
    (prediction,) = predict_nodes.predict_images(predict_nodes.find_inputs(params), params).values()
    return prediction()


def test_only_as_many_images_as_asked_for(inputs: dict[str, Any], tmp_path: Path) -> None:
    chosen = [tune(inputs, tmp_path, n_images=2, n_trials=1, seed=seed)["images"] for seed in (1, 1, 2, 3)]
    assert {len(ids) for ids in chosen} == {2}
    assert chosen[0] == chosen[1]
    assert len({tuple(ids) for ids in chosen}) > 1


def test_missing_files_and_an_empty_split_are_named(inputs: dict[str, Any], tmp_path: Path) -> None:
    inputs["intermediate_labels"].pop("v2")
    with pytest.raises(ProblemReport, match="v2"):
        tune(inputs, tmp_path)
    with pytest.raises(KaryosegError, match="train split holds no samples"):
        tune(inputs, tmp_path, split="train")


def test_full_mode_is_another_result_and_follows_the_parameter_file(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "new.tif", field(2, 0)[0])
    file = tmp_path / "p.json"

    def mark(**options: Any) -> str:
        params = PredictParams(input=str(tmp_path / "new.tif"), output=str(tmp_path / "out"), model="m", **options)
        (prediction,) = predict_nodes.predict_images(predict_nodes.find_inputs(params), params).values()
        return prediction.fingerprint

    marks = [mark(), mark(mode="full"), mark(mode="full", full={"second_scale": 2})]
    for area in (5, 6):
        file.write_text(json.dumps({"parameters": {"min_area": area}}))
        marks.append(mark(mode="full", full={"postprocessing": str(file)}))
    assert len(set(marks)) == len(marks)
    assert mark(full={"second_scale": 2}) == mark()


def test_parameters_of_another_scale_are_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tifffile.imwrite(tmp_path / "new.tif", field(1, 0)[0])
    (tmp_path / "p.json").write_text(json.dumps({"parameters": {}, "second_scale": 1.2, "fingerprint": "other"}))
    predict(tmp_path / "new.tif", mode="full", full={"postprocessing": str(tmp_path / "p.json")})
    assert "second_scale 1.2" in caplog.text
    assert "another model" in caplog.text


@pytest.mark.parametrize("searched", [None, "maps"])
@pytest.mark.parametrize("used", [None, "maps", "other"])
def test_parameters_of_another_foreground_model_are_warned_of(
    inputs: dict[str, Any],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    searched: str | None,
    used: str | None,
) -> None:
    def open_model(name: str | None, segmenter: Any) -> Any:
        nothing = SimpleNamespace(fingerprint=f"weights of {name}", predict=lambda image: np.ones(image.shape[:2]))
        return nothing if name else None

    for module in (tune_nodes, predict_nodes, full):
        monkeypatch.setattr(module, "open_foreground", open_model)
    tune(inputs, tmp_path, foreground_model=searched, n_trials=2)
    tifffile.imwrite(tmp_path / "new.tif", field(1, 0)[0])
    options = {"postprocessing": str(tmp_path / "postprocessing.json"), "foreground_model": used}
    predict(tmp_path / "new.tif", mode="full", full=options)
    assert (f"another foreground model ({searched or 'none'})" in caplog.text) == (searched != used)


def test_a_missing_or_wrong_parameter_file_is_named_at_the_start(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "new.tif", field(1, 0)[0])
    with pytest.raises(KaryosegError, match=r"gone\.json cannot be read"):
        predict(tmp_path / "new.tif", mode="full", full={"postprocessing": str(tmp_path / "gone.json")})


def test_a_missing_foreground_model_is_named_before_images_are_read(tmp_path: Path) -> None:
    (tmp_path / "bad.tif").write_bytes(b"no image")
    with pytest.raises(KaryosegError, match=r"gone: no foreground model there.*augment,train_foreground"):
        predict(tmp_path / "bad.tif", mode="full", full={"foreground_model": str(tmp_path / "gone")})


def test_images_for_blocks_are_refused_before_any_prediction(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "new.tif", field(1, 0)[0])
    options: dict[str, Any] = {"mode": "full", "blocks": {"above_megapixels": 0.001}}
    with pytest.raises(ProblemReport, match=r"predict\.mode=fast"):
        predict(tmp_path / "new.tif", **options)
    assert "predict.mode=fast" in str(predict(tmp_path / "new.tif", on_bad_image="skip", **options))
    with pytest.raises(KaryosegError, match=r"more than 200 million pixels.* Raise predict\.blocks\.above_megapixels"):
        predict_nodes.refuse_large(PredictParams(output="o"), InputImage("a.tif", "a", "1"))


@pytest.mark.parametrize("wrong", [{"min_area": [30, 10]}, {"foreground": [0.5, 2]}, {"typo": [0, 1]}])
def test_wrong_ranges_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        TunePostprocessingParams(ranges=wrong)


def test_default_parameters_lie_in_the_ranges() -> None:
    for name, (low, high) in TunePostprocessingParams().ranges:
        assert low <= getattr(PostProcessing(), name) <= high
