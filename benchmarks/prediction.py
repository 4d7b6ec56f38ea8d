"""Prediction beside plain stardist, at the images' own sizes, so that both networks do the same work.

The plain side is the loop that most people write: read, normalise, `predict_instances`, write the label image. Our
side is the predict pipeline and writes everything it always writes: label images, ROIs, GeoJSON, overlays, tables.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from benchmarks.inputs import TILE, scenes

PROJECT = Path(__file__).parents[1]
_TILED = 4096  # px; plain stardist is told to cut larger images in 4 x 4, else they need more than 60 GB


def folder(side: str, setting: Mapping[str, Any]) -> Callable[[], float]:
    """All images of a folder, each side from the opening of the model to the last file.

    Both have segmented one small image before: imports do not count.
    """
    images, output, model = (Path(setting[name]) for name in ("images", "output", "model"))
    with tempfile.TemporaryDirectory(prefix="karyoseg-bench-") as scratch:
        small, results = Path(scratch, "images"), Path(scratch, "results")
        small.mkdir()
        results.mkdir()
        tifffile.imwrite(small / "small.tif", scenes(1, (TILE, TILE))[0][0], photometric="minisblack")
        _segmenting(side, small, results, model)()
    work = _segmenting(side, images, output, model)

    def amount() -> float:
        work()
        return float(setting["amount"])

    return amount


def _segmenting(side: str, images: Path, output: Path, model: Path) -> Callable[[], Any]:
    if side == "stardist":
        return _plain_loop(images, output, model)
    engine, precision = side.split()
    return predict_pipeline(images, output, model=str(model), engine=engine, precision=precision, scale="none")


def image(side: str, setting: Mapping[str, Any]) -> Callable[[], float]:
    """Label image of one image in memory, the second time a process does it."""
    pixels = tifffile.imread(setting["image"])
    if side == "stardist":
        from csbdeep.utils import normalize

        plain = _plain_model(Path(setting["model"]))

        def work() -> float:
            plain.predict_instances(normalize(pixels, 1, 99.8))
            return pixels.size / 1e6
    else:
        from karyoseg.models.stardist import StarDistSegmenter

        ours = StarDistSegmenter.load(Path(setting["model"]))
        ours.use(*side.split())

        def work() -> float:
            prepared, _ = ours.prepare(pixels, scale=1.0)
            ours.predict(prepared, check_size=False)  # the same work
            return pixels.size / 1e6

    work()
    return work


def predict_pipeline(images: Path, output: Path, **parameters: Any) -> Callable[[], Any]:
    """Return a call that runs the predict pipeline with the configuration of the project, as `kedro run` does."""
    from kedro.framework.project import pipelines
    from kedro.framework.session import KedroSession
    from kedro.framework.startup import bootstrap_project
    from kedro.runner import SequentialRunner

    options = {"input": str(images), "output": str(output), **parameters}
    bootstrap_project(PROJECT)
    with KedroSession.create(PROJECT, runtime_params={"predict": options}) as session:
        catalog = session.load_context().catalog
    pipeline = pipelines["predict"]
    return lambda: SequentialRunner().run(pipeline, catalog)


def _plain_loop(images: Path, output: Path, model: Path) -> Callable[[], Any]:
    import stardist.models  # noqa: F401
    from csbdeep.utils import normalize
    from skimage.io import imread

    def work() -> None:
        network = _plain_model(model)
        for path in sorted(images.iterdir()):
            pixels = imread(path)
            tiles = (4, 4) if max(pixels.shape) > _TILED else None
            labels, _ = network.predict_instances(normalize(pixels, 1, 99.8), n_tiles=tiles, show_tile_progress=False)
            tifffile.imwrite(output / path.name, labels.astype(np.uint16), compression="zlib")

    return work


def _plain_model(folder: Path) -> Any:
    from stardist.models import StarDist2D

    return StarDist2D(None, name=folder.name, basedir=str(folder.parent))
