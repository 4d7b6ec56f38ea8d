"""A network finds the same objects in blocks as in the whole image."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import zarr

from dots import store
from karyoseg.core.block_run import LargePrediction
from karyoseg.core.block_tasks import BlockJob
from karyoseg.core.blocks import BlockGrid
from karyoseg.core.windows import WindowPreparation
from karyoseg.models.shared import SharedModel
from karyoseg.models.stardist import StarDistSegmenter


@pytest.mark.parametrize("scale", [1.0, 0.8])
def test_blocks_equal_the_whole(trained: StarDistSegmenter, sample: Callable, tmp_path: Path, scale: float) -> None:
    image, _ = sample(3, shape=(700, 612))
    model = SharedModel(str(trained.directory), "openvino", "f32")
    segmenter = model()
    prepared, _ = segmenter.prepare(image, scale=scale)
    whole = segmenter.predict(prepared, out_shape=image.shape, check_size=False)

    preparation = WindowPreparation.decide(image, image.shape, segmenter.preparation, scale)
    grid = BlockGrid(image.shape, preparation.prepared, 512, 60, segmenter.context, segmenter.stride)
    thresholds: dict[str, float | None] = {"prob_thresh": None, "nms_thresh": None}
    source = store(image, tmp_path / "a.zarr")
    job = BlockJob(source, None, None, None, model, preparation, grid, thresholds, None, 0, Path())
    LargePrediction(job, {"name": "none"}, True, {}).write(tmp_path / "o", tmp_path / "t.parquet", tmp_path / "kept")
    labels = zarr.open_array(tmp_path / "o/labels/nuclei/0", mode="r")[:]

    assert whole.labels.max() > 100
    pairs = np.unique(np.stack([whole.labels.ravel(), labels.ravel()]), axis=1)
    assert pairs.shape[1] == len(np.unique(whole.labels)) == len(np.unique(labels))
