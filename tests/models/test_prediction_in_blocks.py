"""A network finds the same objects in blocks as in the whole image."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr

from dots import store
from karyoseg.core import preparation, scale_check
from karyoseg.core.blocks.grid import BlockGrid
from karyoseg.core.blocks.run import LargePrediction
from karyoseg.core.blocks.tasks import BlockJob
from karyoseg.core.blocks.windows import WindowPreparation
from karyoseg.core.size import median_diameter
from karyoseg.core.synthetic import NucleiScene, render_scene
from karyoseg.datasets import PredictionFolder
from karyoseg.models.shared import SharedModel
from karyoseg.models.stardist import StarDistSegmenter
from karyoseg.params.predict import PredictParams
from karyoseg.pipelines.predict.nodes import find_inputs, predict_images


@pytest.mark.parametrize("scale", [1.0, 0.8])
def test_blocks_equal_the_whole(trained: StarDistSegmenter, sample: Callable, tmp_path: Path, scale: float) -> None:
    image, _ = sample(3, shape=(700, 612))
    model = SharedModel(str(trained.directory), "openvino", "f32", trained.fingerprint)
    segmenter = model()
    prepared, _ = segmenter.prepare(image, scale=scale)
    whole = segmenter.predict(prepared, out_shape=image.shape, check_size=False)

    prepare = WindowPreparation.decide(image, image.shape, segmenter.preparation, scale)
    grid = BlockGrid(image.shape, prepare.prepared, 512, 60, segmenter.context, segmenter.stride)
    thresholds: dict[str, float | None] = {"prob_thresh": None, "nms_thresh": None}
    source = store(image, tmp_path / "a.zarr")
    job = BlockJob(source, None, None, None, model, prepare, grid, thresholds, None, 0, Path())
    LargePrediction(job, {"name": "none"}, True, {}).write(tmp_path / "o", tmp_path / "t.parquet", tmp_path / "kept")
    labels = zarr.open_array(tmp_path / "o/labels/nuclei/0", mode="r")[:]

    assert whole.labels.max() > 100
    pairs = np.unique(np.stack([whole.labels.ravel(), labels.ravel()]), axis=1)
    assert pairs.shape[1] == len(np.unique(whole.labels)) == len(np.unique(labels))


@pytest.mark.parametrize("wrong", [0.5, 2.0])
def test_sizes_are_checked_in_blocks_as_in_the_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator, wrong: float
) -> None:
    scene = NucleiScene(shape=(500, 420), n_nuclei=90, diameter=20, bit_depth=16, photons=400)
    image, truth = render_scene(scene, rng)
    monkeypatch.setattr(preparation, "estimate_diameter", lambda image: median_diameter(truth) / wrong)
    monkeypatch.setattr(scale_check, "_SIDE", 128)
    monkeypatch.setattr(scale_check, "_PIXELS", 4 * 128**2)  # not the whole image
    (tmp_path / "in").mkdir()
    tifffile.imwrite(tmp_path / "in/whole.tif", image)
    store(image, tmp_path / "in/blocks.zarr")
    params = PredictParams(
        input=str(tmp_path / "in"), output=str(tmp_path / "out"), precision="f32", blocks={"size": 512, "overlap": 80}
    )
    folder = PredictionFolder(path=params.output)
    folder.save(predict_images(find_inputs(params), params))
    whole = tifffile.imread(tmp_path / "out/whole.tif")
    blocks = zarr.open_array(tmp_path / "out/blocks.ome.zarr/labels/nuclei/0", mode="r")[:]

    scales = [stored().info["scale"] for stored in folder.load().values()]
    assert scales[0] == scales[1]
    assert abs(np.log(scales[0] * median_diameter(truth) / 20)) < abs(np.log(wrong)) / 2
    assert whole.max() > 50
    pairs = np.unique(np.stack([whole.ravel(), blocks.ravel()]), axis=1)
    assert pairs.shape[1] == len(np.unique(whole)) == len(np.unique(blocks))
