"""Prediction beside plain stardist, at the images' own sizes, so that both networks do the same work.

In `folder` and `large image` the plain side is the loop that most people write: read, normalise, `predict_instances`,
write the label image. Our side is the predict pipeline and writes everything it always writes: label images, ROIs,
GeoJSON, overlays, tables.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from benchmarks.inputs import N_IMAGES, SIDE, Side, image_folder, large_image, model_folder, small_images

_TILES = (4, 4)  # of the large image in plain stardist; as a whole it needs more than 60 GB


def images_karyoseg() -> Side:
    """Normalise and segment images of several sizes, not rescaled, by our segmenter."""
    from karyoseg.models.stardist import StarDistSegmenter

    segmenter = StarDistSegmenter.load(model_folder())
    images = small_images()

    def work() -> float:
        for image in images:
            prepared, _ = segmenter.prepare(image, scale=1.0)
            segmenter.predict(prepared)
        return sum(image.size for image in images) / 1e6

    return work


def images_stardist() -> Side:
    """Normalise and segment the same images, by ``predict_instances``."""
    from csbdeep.utils import normalize

    model = _plain_model()
    images = small_images()

    def work() -> float:
        for image in images:
            model.predict_instances(normalize(image, 1, 99.8))
        return sum(image.size for image in images) / 1e6

    return work


def folder_karyoseg() -> Side:
    """All output files of 240 images."""
    return _pipeline(image_folder(), N_IMAGES)


def folder_stardist() -> Side:
    """Label images of the same."""
    return _plain_loop(image_folder(), N_IMAGES)


def large_karyoseg() -> Side:
    """All output files of one image of 8192 x 8192 px."""
    return _pipeline(large_image(), SIDE**2 / 1e6)


def large_stardist() -> Side:
    """Label image of the same."""
    return _plain_loop(large_image(), SIDE**2 / 1e6, n_tiles=_TILES)


def _pipeline(folder: Path, amount: float) -> Side:
    from kedro.io import DataCatalog, MemoryDataset
    from kedro.runner import SequentialRunner

    from karyoseg.datasets import CSVDataset, ParquetDataset, PredictionFolder
    from karyoseg.params.predict import PredictParams
    from karyoseg.pipelines.predict import create_pipeline

    output = Path(tempfile.mkdtemp(prefix="karyoseg-bench-"))
    params = PredictParams(input=str(folder), output=str(output), model=str(model_folder()), scale="none")

    def work() -> float:
        shutil.rmtree(output)
        catalog = DataCatalog(
            {
                "params:predict": MemoryDataset(params),
                "predictions": PredictionFolder(path=str(output)),
                "objects_csv": CSVDataset(filepath=str(output / "objects.csv"), save_args={"index": False}),
                "objects_parquet": ParquetDataset(filepath=str(output / "objects.parquet")),
            }
        )
        SequentialRunner().run(create_pipeline(), catalog)
        return amount

    return work


def _plain_loop(folder: Path, amount: float, **options: Any) -> Side:
    from csbdeep.utils import normalize
    from skimage.io import imread

    model = _plain_model()
    output = Path(tempfile.mkdtemp(prefix="karyoseg-bench-"))

    def work() -> float:
        for path in sorted(folder.iterdir()):
            labels, _ = model.predict_instances(normalize(imread(path), 1, 99.8), show_tile_progress=False, **options)
            tifffile.imwrite(output / path.name, labels.astype(np.uint16), compression="zlib")
        return amount

    return work


def _plain_model() -> Any:
    from stardist.models import StarDist2D

    folder = model_folder().resolve()
    return StarDist2D(None, name=folder.name, basedir=str(folder.parent))
