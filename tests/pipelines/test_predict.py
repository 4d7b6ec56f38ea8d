"""The predict pipeline with a model that thresholds."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tifffile
from kedro.io import DataCatalog, DatasetError, MemoryDataset
from kedro.runner import SequentialRunner
from PIL import Image
from pydantic import ValidationError
from roifile import ImagejRoi
from s3fs import S3FileSystem
from skimage.measure import label

from karyoseg.core.errors import KaryosegError, ProblemReport
from karyoseg.core.io.storage import StorageError
from karyoseg.core.preparation import ImageFacts, Plan, Preparation
from karyoseg.datasets import CSVDataset, ParquetDataset, PredictionFolder
from karyoseg.models import bundled_models
from karyoseg.models.stardist import StarDistSegmenter
from karyoseg.params.predict import PredictParams
from karyoseg.pipelines.predict import create_pipeline, nodes
from object_store import ObjectStore


class AsItIs(Preparation):
    """Takes channels, and leaves size and intensities."""

    def apply(self, image: np.ndarray, scale: float = 1.0, where: str = "image") -> np.ndarray:
        """Select the channels."""
        return self.select(image, where)


class Threshold:
    """A segmenter for one channel: bright regions are objects."""

    def __init__(self) -> None:
        self.fingerprint = "threshold"
        self.calls: list[tuple[str, ImageFacts, float | None]] = []
        self.thresholds: list[tuple[float | None, float | None]] = []
        self.fail_at = ""
        self.colour = "keep"

    def use(self, engine: str, precision: str) -> str:
        """Say what was asked for."""
        return f"{engine} {precision}"

    def describe(self) -> dict[str, Any]:
        """Say what models of ours say."""
        return {"thresholds": {"prob": 0.52, "nms": 0.3}, "training": {}}

    def plan(self, image: np.ndarray, *, facts: ImageFacts, scale: float | None, channels: list[int] | None) -> Plan:
        """Check channels and note what is known."""
        recipe = AsItIs(channels=channels and tuple(channels), colour=self.colour)  # type: ignore[arg-type]
        image = recipe.select(image)
        if image.ndim == 3:
            raise KaryosegError(f"{facts.where}: {image.shape[-1]} channels, the model takes 1")
        if max(image.shape) <= 2:  # a corner, looked at beforehand
            return Plan(recipe, scale or 1.0)
        if self.fail_at and Path(facts.where).stem == self.fail_at:
            raise RuntimeError("killed")
        self.calls.append((Path(facts.where).name, facts, scale))
        return Plan(recipe, scale or 1.0)

    def predict(
        self,
        image: np.ndarray,
        *,
        out_shape: tuple[int, int],
        scale: float,
        prob_thresh: float | None,
        nms_thresh: float | None,
        **_: Any,
    ) -> SimpleNamespace:
        """Label bright regions and note the thresholds."""
        assert image.shape == out_shape
        self.thresholds.append((prob_thresh, nms_thresh))
        return SimpleNamespace(labels=label(image > 100).astype(np.int32), scale=scale)


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Threshold:
    """The model that the pipeline opens."""
    model = Threshold()
    monkeypatch.setattr(nodes, "load_segmenter", lambda name: model)
    return model


def cells(n: int, dtype: str = "uint8") -> np.ndarray:
    """Image with n bright squares of 4 x 4 px."""
    image = np.full((20, 8 * max(n, 1)), 10, dtype)
    for i in range(n):
        image[4:8, 8 * i + 2 : 8 * i + 6] = 200
    return image


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three images with 1, 2 and 3 objects in different formats."""
    folder = tmp_path / "in"
    folder.mkdir()
    Image.fromarray(cells(1)).save(folder / "one.png")
    tifffile.imwrite(folder / "two.tif", cells(2, "uint16"), resolution=(20_000, 20_000), resolutionunit="CENTIMETER")
    Image.fromarray(cells(3)).save(folder / "three.bmp")
    return folder


def run(source: Path | str, output: Path, **options: Any) -> pd.DataFrame:
    """Run the pipeline and return its table; Kedro's wrapping of errors is taken off."""
    params = PredictParams(input=str(source), output=str(output), model="fake", **options)
    catalog = DataCatalog(
        {
            "params:predict": MemoryDataset(params),
            "predictions": PredictionFolder(path=str(output)),
            "objects_csv": CSVDataset(filepath=str(output / "objects.csv"), save_args={"index": False}),
            "objects_parquet": ParquetDataset(filepath=str(output / "objects.parquet")),
        }
    )
    try:
        SequentialRunner().run(create_pipeline(), catalog)
    except DatasetError as error:
        cause: BaseException = error
        while isinstance(cause, DatasetError) and cause.__cause__:
            cause = cause.__cause__
        raise cause from None
    assert (output / "objects.parquet").exists()
    table = pd.read_csv(output / "objects.csv")
    pd.testing.assert_frame_equal(table, pd.read_parquet(output / "objects.parquet"), check_dtype=False)
    return table


def test_the_settings_are_said_once(
    model: Threshold, folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        run(folder, tmp_path / "out", nms_thresh=0.45, scale=0.5)
    assert caplog.text.count("fake: prob 0.52, nms 0.45, images scaled by 0.5, auto auto") == 1


def test_folder_to_files_and_table(model: Threshold, folder: Path, tmp_path: Path) -> None:
    table = run(folder, tmp_path / "out")
    assert table.groupby("image").size().to_dict() == {"one": 1, "two": 2, "three": 3}
    assert (table["area_px"] == 16).all()
    assert table.columns[:2].tolist() == ["image", "label"]
    in_um = table.set_index("image")["area_um2"]
    assert (in_um.loc["two"] == 4).all()
    assert in_um.drop("two").isna().all()
    for stem, n in (("one", 1), ("two", 2), ("three", 3)):
        assert tifffile.imread(tmp_path / "out" / f"{stem}.tif").max() == n
        assert len(json.loads((tmp_path / "out" / f"{stem}.geojson").read_text())["features"]) == n
        with zipfile.ZipFile(tmp_path / "out" / f"{stem}.rois.zip") as archive:
            assert len([ImagejRoi.frombytes(archive.read(name)) for name in archive.namelist()]) == n
        assert Image.open(tmp_path / "out" / f"{stem}.png").size == (8 * n, 20)


def test_killed_run_continues_with_what_is_missing(model: Threshold, folder: Path, tmp_path: Path) -> None:
    model.fail_at = "three"
    with pytest.raises(RuntimeError, match="killed"):
        run(folder, tmp_path / "out")
    model.fail_at = ""
    assert len(run(folder, tmp_path / "out")) == 6
    assert sorted(name for name, *_ in model.calls) == ["one.png", "three.bmp", "two.tif"]


def test_changed_image_parameter_or_model_is_predicted_again(model: Threshold, folder: Path, tmp_path: Path) -> None:
    run(folder, tmp_path / "out")
    Image.fromarray(cells(4)).save(folder / "one.png")
    model.calls.clear()
    assert len(run(folder, tmp_path / "out")) == 9
    assert [name for name, *_ in model.calls] == ["one.png"]
    run(folder, tmp_path / "out", min_area=5)
    model.fingerprint = "other"
    run(folder, tmp_path / "out", min_area=5)
    assert len(model.calls) == 7
    run(folder, tmp_path / "out", min_area=5, engine="keras")
    assert len(model.calls) == 10


def test_options_reach_the_model(model: Threshold, folder: Path, tmp_path: Path) -> None:
    table = run(folder / "one.png", tmp_path / "out", pixel_size_um=0.25, scale=2.0, diameter_px=9, overlay=False)
    assert table["area_um2"].tolist() == [1.0]
    ((_, facts, scale),) = model.calls
    assert (facts.pixel_size_um, facts.diameter, facts.magnification, scale) == (0.25, 9, None, 2.0)
    assert not (tmp_path / "out" / "one.png").exists()
    run(folder / "two.tif", tmp_path / "out2", scale="none")
    assert model.calls[-1][2] == 1.0
    assert model.calls[-1][1].pixel_size_um == pytest.approx(0.5)
    run(folder / "two.tif", tmp_path / "out3", magnification=40)
    assert model.calls[-1][1].magnification == 40


@pytest.mark.parametrize(("mode", "n_runs"), [("fast", 1), ("full", 2)])
def test_thresholds_reach_the_model(model: Threshold, folder: Path, tmp_path: Path, mode: str, n_runs: int) -> None:
    run(folder / "one.png", tmp_path / "given", mode=mode, prob_thresh=0.35, nms_thresh=0.45)
    assert model.thresholds == [(0.35, 0.45)] * n_runs
    model.thresholds.clear()
    run(folder / "one.png", tmp_path / "not given", mode=mode)
    assert model.thresholds == [(None, None)] * n_runs


def test_min_area_drops_and_renumbers(model: Threshold, tmp_path: Path) -> None:
    image = cells(2)
    image[4:8, 2:5] = 10
    Image.fromarray(image).save(tmp_path / "a.png")
    table = run(tmp_path / "a.png", tmp_path / "out", min_area=5)
    assert table["label"].tolist() == [1]
    assert table["area_px"].tolist() == [16]


def test_channel_is_chosen(model: Threshold, tmp_path: Path) -> None:
    stack = np.stack([cells(1) * 0, cells(1), cells(1) * 0])
    tifffile.imwrite(tmp_path / "a.tif", stack, photometric="minisblack")
    assert len(run(tmp_path / "a.tif", tmp_path / "out", channels=[1], axes="CYX")) == 1
    with pytest.raises(KaryosegError, match="3 channels, the model takes 1"):
        run(tmp_path / "a.tif", tmp_path / "out2", axes="CYX")
    with pytest.raises(KaryosegError, match="channel 7"):
        run(tmp_path / "a.tif", tmp_path / "out3", axes="CYX", channels=[7])


@pytest.mark.parametrize(("kind", "warned"), [("stains", 1), ("stains, one chosen", 0), ("RGB", 0), ("gray", 0)])
def test_stains_that_are_mixed_are_warned_of(
    kind: str, warned: int, model: Threshold, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model.colour = "gray"
    stains = np.stack([cells(2), cells(2) // 2])
    if kind.startswith("stains"):
        tifffile.imwrite(tmp_path / "a.tif", stains, imagej=True, metadata={"axes": "CYX"})
    else:
        pixels = cells(2) if kind == "gray" else np.stack([cells(2), cells(2) // 2, cells(2)], axis=-1)
        Image.fromarray(pixels).save(tmp_path / "a.png")
    run(tmp_path / "a.*", tmp_path / "out", channels=[0] if "one" in kind else None)
    assert caplog.text.count("1 image(s) have several channels") == warned


def test_images_without_objects_and_of_one_pixel(model: Threshold, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    Image.fromarray(cells(0)).save(tmp_path / "in/none.png")
    Image.fromarray(np.zeros((1, 1), np.uint8)).save(tmp_path / "in/dot.png")
    table = run(tmp_path / "in", tmp_path / "out")
    assert len(table) == 0
    assert {"image", "label", "area_px"} <= set(table.columns)


def spoil(folder: Path) -> None:
    """Add bad images of three kinds."""
    (folder / "empty.tif").write_bytes(b"")
    (folder / "text.png").write_text("no image")
    nan = cells(1).astype(np.float32)
    nan[0, 0] = np.nan
    tifffile.imwrite(folder / "nan.tif", nan)


def test_all_bad_images_are_reported_before_any_prediction(model: Threshold, folder: Path, tmp_path: Path) -> None:
    spoil(folder)
    Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(folder / "colour.png")  # nothing that the model takes
    with pytest.raises(ProblemReport) as caught:
        run(folder, tmp_path / "out")
    assert sorted(Path(problem.where).name for problem in caught.value.problems) == [
        "colour.png",
        "empty.tif",
        "nan.tif",
        "text.png",
    ]
    assert model.calls == []
    assert not (tmp_path / "out").exists()


def test_what_a_model_cannot_take_is_found_without_its_network(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(bundled_models()["nuclei-fluo-fast"], tmp_path / "m")
    training = json.loads((tmp_path / "m/training.json").read_text())
    training["preparation"]["rescale"] = {"name": "pixel_size", "target": 0.5}
    (tmp_path / "m/training.json").write_text(json.dumps(training))
    monkeypatch.setattr(StarDistSegmenter, "engine", property(lambda self: pytest.fail("needs no network")))
    options: dict[str, Any] = {"input": str(folder), "output": str(tmp_path / "out"), "model": str(tmp_path / "m")}
    with pytest.raises(ProblemReport) as caught:
        nodes.find_inputs(PredictParams(**options, contrast="dark"))
    found = {Path(problem.where).name: problem.found for problem in caught.value.problems}
    assert found == dict.fromkeys(["one.png", "three.bmp"], "pixel size is unknown")
    assert len(nodes.find_inputs(PredictParams(**options, pixel_size_um=0.5))) == 3


def test_bad_images_can_be_skipped(model: Threshold, folder: Path, tmp_path: Path) -> None:
    spoil(folder)
    Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(folder / "colour.png")
    assert len(run(folder, tmp_path / "out", on_bad_image="skip")) == 6
    problems = pd.read_csv(tmp_path / "out" / "problems.csv")
    assert sorted(Path(where).stem for where in problems["where"]) == ["colour", "empty", "nan", "text"]
    assert "3 channels, the model takes 1" in problems["found"].tolist()


def test_an_image_that_turned_bad_leaves_the_table_until_it_is_good_again(
    model: Threshold, folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = run(folder, tmp_path / "out")
    labels, good = (tmp_path / "out/two.tif").read_bytes(), (folder / "two.tif").read_bytes()
    (folder / "two.tif").write_bytes(good[:100])
    assert set(run(folder, tmp_path / "out", on_bad_image="skip")["image"]) == {"one", "three"}
    assert [Path(where).stem for where in pd.read_csv(tmp_path / "out/problems.csv")["where"]] == ["two"]
    assert "two: the files of an earlier run stay" in caplog.text
    assert (tmp_path / "out/two.tif").read_bytes() == labels
    (folder / "two.tif").write_bytes(good)
    pd.testing.assert_frame_equal(run(folder, tmp_path / "out"), before)


def test_an_image_that_cannot_take_new_parameters_leaves_the_table(
    model: Threshold, folder: Path, tmp_path: Path
) -> None:
    Image.fromarray(np.stack([cells(5)] * 3, axis=-1)).save(folder / "colour.png")
    assert len(run(folder / "colour.png", tmp_path / "out", channels=[1])) == 5
    assert set(run(folder, tmp_path / "out", on_bad_image="skip")["image"]) == {"one", "two", "three"}


def test_a_store_that_fails_makes_no_bad_images(
    model: Threshold, on_s3: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = on_s3.create_bucket("scans")
    tifffile.imwrite(tmp_path / "a.tif", cells(1))
    on_s3.client().upload_file(str(tmp_path / "a.tif"), "scans", "a.tif")
    params = PredictParams(input=bucket, output=str(tmp_path), model="m", on_bad_image="skip")
    (prediction,) = nodes.predict_images(nodes.find_inputs(params), params).values()
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    S3FileSystem.clear_instance_cache()
    with pytest.raises(StorageError, match="no answer from the store"):
        prediction()


def test_earlier_images_of_the_output_folder_stay(model: Threshold, folder: Path, tmp_path: Path) -> None:
    run(folder / "one.png", tmp_path / "out")
    assert sorted(run(folder / "two.tif", tmp_path / "out")["image"].unique()) == ["one", "two"]


def test_another_folder_with_the_same_names_needs_another_output(
    model: Threshold, folder: Path, tmp_path: Path
) -> None:
    before = run(folder, tmp_path / "out")
    other = tmp_path / "plate2"
    other.mkdir()
    Image.fromarray(cells(5)).save(other / "one.png")
    with pytest.raises(KaryosegError, match=r"one from .*in/one\.png, now from .*plate2/one\.png"):
        run(other, tmp_path / "out")
    pd.testing.assert_frame_equal(run(folder, tmp_path / "out"), before)
    folder.rename(tmp_path / "moved")
    pd.testing.assert_frame_equal(run(tmp_path / "moved", tmp_path / "out"), before)


def test_same_stem_gives_two_outputs(model: Threshold, folder: Path, tmp_path: Path) -> None:
    Image.fromarray(cells(5)).save(folder / "two.png")
    counts = run(folder, tmp_path / "out").groupby("image").size().to_dict()
    assert counts == {"one": 1, "two_tif": 2, "three": 3, "two_png": 5}


def test_output_among_the_images(model: Threshold, folder: Path) -> None:
    with pytest.raises(KaryosegError, match="lie in the output folder"):
        run(folder, folder)
    assert len(run(f"{folder}/**/*.*", folder / "out")) == 6
    # The label images written there are not taken for new images.
    assert len(run(f"{folder}/**/*.*", folder / "out")) == 6


def test_zip_input(model: Threshold, folder: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "in.zip", "w") as archive:
        for path in folder.iterdir():
            archive.write(path, f"deep/er/{path.name}")
    assert len(run(tmp_path / "in.zip", tmp_path / "out")) == 6


def test_no_input_given(tmp_path: Path) -> None:
    with pytest.raises(KaryosegError, match=r"predict\.input"):
        nodes.find_inputs(PredictParams(output=str(tmp_path), model="m"))


@pytest.mark.parametrize(
    "wrong",
    [{"axes": "QQ"}, {"prob_thresh": 2}, {"scale": 0}, {"scale": "big"}, {"channels": [-1]}, {"typo": 1}],
)
def test_wrong_parameters(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        PredictParams(output="o", model="m", **wrong)
