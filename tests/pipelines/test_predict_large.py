"""The predict pipeline with images that are predicted in blocks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tifffile
import zarr
from kedro.io import DataCatalog, MemoryDataset
from kedro.runner import SequentialRunner
from PIL import Image
from pydantic import ValidationError

from dots import DotFinder, store
from karyoseg.core.errors import Problem, ProblemReport
from karyoseg.core.io.image_files import ImageError
from karyoseg.core.io.inputs import InputImage
from karyoseg.core.preparation import ImageFacts
from karyoseg.datasets import CSVDataset, ParquetDataset, PredictionFolder
from karyoseg.models import shared
from karyoseg.params.cluster import AddressedCluster, LocalCluster
from karyoseg.params.predict import PredictParams
from karyoseg.pipelines.predict import create_pipeline, nodes
from karyoseg.pipelines.predict.full import refuse_large

SHAPE = (700, 900)


@pytest.fixture(autouse=True)
def model(monkeypatch: pytest.MonkeyPatch) -> DotFinder:
    """The model that the pipeline opens."""
    model = DotFinder(above=1.5)
    shared._OPEN.clear()
    for module in (nodes, shared):
        monkeypatch.setattr(module, "load_segmenter", lambda name: model)
    return model


def image() -> np.ndarray:
    """Bright dots on a ramp, which preparation brings to 0 and 1."""
    pixels = np.tile(np.linspace(0, 100, SHAPE[1], dtype=np.uint8), (SHAPE[0], 1))
    pixels[50::100, 50::100] = 200
    return pixels


def run(source: Path | str, output: Path, **options: Any) -> pd.DataFrame:
    """Run the pipeline and return its table."""
    params = PredictParams(
        input=str(source), output=str(output), model="dots", engine="keras", precision="f32", **options
    )
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


def test_zarr_and_large_tiff_give_stores_previews_and_one_table(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    store(image(), tmp_path / "in" / "scan.ome.zarr")
    tifffile.imwrite(tmp_path / "in" / "slide.tif", image(), tile=(64, 64))
    options: dict[str, Any] = {"blocks": {"above_megapixels": 0.5, "size": 512}, "scale": "none"}
    table = run(tmp_path / "in", tmp_path / "out", **options)
    assert table.groupby("image").size().to_dict() == {"scan": 63, "slide": 63}
    for stem in ("scan", "slide"):
        labels = zarr.open_array(tmp_path / "out" / f"{stem}.ome.zarr/labels/nuclei/0", mode="r")[:]
        assert set(np.unique(labels)) - {0} == set(table.loc[table["image"] == stem, "label"])
        with Image.open(tmp_path / "out" / f"{stem}.png") as preview:
            assert preview.size == (900, 700)
    assert not list((tmp_path / "out" / ".objects").glob("*.blocks"))
    made = (tmp_path / "out" / "scan.ome.zarr").stat().st_mtime_ns
    run(tmp_path / "in", tmp_path / "out", **options)
    assert (tmp_path / "out" / "scan.ome.zarr").stat().st_mtime_ns == made


def test_thresholds_and_facts_reach_the_model(model: DotFinder, tmp_path: Path) -> None:
    source = store(image(), tmp_path / "scan.zarr")
    options: dict[str, Any] = {"blocks": {"size": 512}, "scale": "none"}
    run(source, tmp_path / "given", prob_thresh=0.35, nms_thresh=0.45, magnification=40, **options)
    assert len(model.thresholds) >= 4
    assert set(model.thresholds) == {(0.35, 0.45)}
    assert {facts.magnification for facts in model.facts} == {40}
    model.thresholds.clear()
    run(source, tmp_path / "not given", **options)
    assert set(model.thresholds) == {(None, None)}


def test_an_image_that_is_enlarged_counts_as_large(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "slide.tif", image())
    blocks = {"above_megapixels": 1, "size": 512}
    assert len(run(tmp_path / "slide.tif", tmp_path / "out", blocks=blocks, scale=2))
    assert (tmp_path / "out" / "slide.ome.zarr").exists()
    source = InputImage(str(tmp_path / "slide.tif"), "slide")
    for scale, output, expected in ((2, "out", True), (1, "out", False), (2, "s3://lab/out", False)):
        params = PredictParams(output=output, blocks=blocks, scale=scale)
        assert nodes._becomes_large(DotFinder(), params, source, image(), ImageFacts()) == expected


def test_a_bad_store_is_reported_first(tmp_path: Path) -> None:
    store(image(), tmp_path / "in" / "good.zarr")
    (tmp_path / "in" / "bad.zarr").mkdir()
    with pytest.raises(ProblemReport) as caught:
        nodes.find_inputs(PredictParams(input=str(tmp_path / "in"), output=str(tmp_path / "out"), model="dots"))
    assert [Path(problem.where).name for problem in caught.value.problems] == ["bad.zarr"]


def test_a_bucket_for_what_is_predicted_in_blocks_is_refused_first(tmp_path: Path) -> None:
    store(image(), tmp_path / "in" / "scan.zarr")
    params = PredictParams(input=str(tmp_path / "in"), output="s3://lab/results", model="dots")
    with pytest.raises(ProblemReport, match=r"in blocks, and predict\.output is s3://lab/results"):
        nodes.find_inputs(params)


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("small.zarr/", "is a Zarr store, .* Save it as TIFF"),
        ("slide.tif", r"more than 30 million pixels, .* Raise predict\.blocks\.above_megapixels"),
    ],
)
def test_who_refuses_blocks_says_why_there_are_any(path: str, reason: str) -> None:
    params = PredictParams(output="o", blocks={"above_megapixels": 30})
    with pytest.raises(ImageError, match=reason):
        refuse_large(params, InputImage(path, "a", "1"))


def test_with_a_bucket_what_is_predicted_in_blocks_can_be_skipped(tmp_path: Path) -> None:
    store(image(), tmp_path / "in" / "scan.zarr")
    options: dict[str, Any] = {"model": "dots", "engine": "keras", "precision": "f32", "on_bad_image": "skip"}
    params = PredictParams(input=str(tmp_path / "in"), output="memory://results", **options)
    outcomes = nodes.predict_images(nodes.find_inputs(params), params)
    assert isinstance(outcomes["scan"](), Problem)


def test_a_cluster_may_be_a_word_or_an_address() -> None:
    assert PredictParams(output="o", cluster="local").cluster == LocalCluster(name="local")
    address = PredictParams(output="o", cluster="tcp://node:8786").cluster
    assert address == AddressedCluster(name="address", address="tcp://node:8786")
    for wrong in ("lokal", {"name": "local", "jobs": 3}):
        with pytest.raises(ValidationError):
            PredictParams(output="o", cluster=wrong)


@pytest.mark.parametrize(("photometric", "warned"), [("minisblack", 1), ("rgb", 0)])
def test_stains_that_are_mixed_are_warned_of(
    photometric: str, warned: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    axis = 0 if photometric == "minisblack" else -1
    stack = np.stack([image(), image() // 2, image() // 4], axis=axis)
    tifffile.imwrite(tmp_path / "slide.tif", stack, tile=(64, 64), photometric=photometric)
    axes = "CYX" if axis == 0 else None
    run(
        tmp_path / "slide.tif", tmp_path / "out", blocks={"above_megapixels": 0.5, "size": 512}, scale="none", axes=axes
    )
    assert caplog.text.count("1 image(s) have several channels") == warned
