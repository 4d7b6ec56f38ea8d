"""What the cases work on: images and a model."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from karyoseg.core.archive import extract
from karyoseg.core.images import read_image
from karyoseg.core.synthetic import SAMPLE_CLASSES, draw_scene, render_scene
from karyoseg.params.train import TrainParams

SEED = 0
BATCH, PATCH = 4, 256
EPOCH_STEPS = 40  # enough to make what happens once per epoch count little
N_IMAGES, SIDE, TILE = 240, 8192, 256
SHAPES = [(256, 256), (256, 320), (360, 360), (520, 696), (512, 640), (1024, 1024)]  # of BBBC038
#: Names a model folder; else that of the environment bbbc038 is taken.
MODEL = "KARYOSEG_BENCHMARK_MODEL"

#: Does a fixed amount of work and returns the amount in the unit of the case.
Side = Callable[[], float]


def scenes(n: int, shape: tuple[int, int]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Draw seeded raw images with labels."""
    rng = np.random.default_rng(SEED)
    kinds = list(SAMPLE_CLASSES)
    return [render_scene(draw_scene(kinds[i % len(kinds)], shape, rng)[0], rng) for i in range(n)]


def training_params() -> TrainParams:
    """Network and batch of the default model."""
    return TrainParams(epochs=1, steps_per_epoch=EPOCH_STEPS, batch_size=BATCH, patch_size=[PATCH, PATCH])


def small_images() -> list[np.ndarray]:
    """One drawn image of each size found in BBBC038."""
    return [image for shape in SHAPES for image, _ in scenes(1, shape)]


@cache
def image_folder() -> Path:
    """240 files: real fluorescence images of 256 to 1040 px if they are at hand, else drawn ones."""
    folder = Path(tempfile.mkdtemp(prefix="karyoseg-bench-"))
    archive = Path("../shared/data/bbbc038-fluorescence.zip")
    if archive.is_file():
        extract(archive, folder / "all", max_files=10_000, max_bytes=10**10)
        real = sorted((folder / "all").rglob("rawimages/*"))
        chosen = [real[i * len(real) // N_IMAGES] for i in range(N_IMAGES)]
        images = [_one_channel(read_image(path).array) for path in chosen]
    else:
        images = [image for i in range(N_IMAGES) for image, _ in scenes(1, SHAPES[i % len(SHAPES)])]
    (folder / "images").mkdir()
    for number, image in enumerate(images):
        tifffile.imwrite(folder / "images" / f"{number:03d}.tif", image, compression="zlib")
    return folder / "images"


@cache
def large_image() -> Path:
    """Folder with one file of 8192 x 8192 px: pieces of the images of the other folder, stretched to 8 bit."""
    rng = np.random.default_rng(SEED)
    sources = [tifffile.imread(path) for path in sorted(image_folder().iterdir())]
    sources = [image for image in sources if min(image.shape) >= TILE]
    large = np.zeros((SIDE, SIDE), np.uint8)
    for number in range((SIDE // TILE) ** 2):
        image = sources[number % len(sources)]
        low, high = np.percentile(image, [1, 99.8])
        top, left = (int(rng.integers(0, n - TILE + 1)) for n in image.shape)
        y, x = (TILE * n for n in divmod(number, SIDE // TILE))
        piece = image[top : top + TILE, left : left + TILE].astype(np.float32)
        large[y : y + TILE, x : x + TILE] = np.clip((piece - low) / max(high - low, 1) * 200 + 10, 0, 255)
    folder = Path(tempfile.mkdtemp(prefix="karyoseg-bench-"))
    tifffile.imwrite(folder / "large.tif", large)
    return folder


def model_folder() -> Path:
    """Folder of the model named, else of that of BBBC038, else of an untrained network of the same size."""
    trained = Path(os.environ.get(MODEL, "data/06_models/bbbc038"))
    if (trained / "weights_best.h5").is_file():
        return trained
    if MODEL in os.environ:
        raise FileNotFoundError(f"{trained} holds no model")
    from karyoseg.models.stardist.network import build

    folder = Path(tempfile.mkdtemp()) / "untrained"
    network: Any = build(training_params().config2d(1), folder)
    network.keras_model.save_weights(str(folder / "weights_best.h5"))
    (folder / "thresholds.json").write_text('{"prob": 0.5, "nms": 0.4}')
    return folder


def _one_channel(image: np.ndarray) -> np.ndarray:
    return image if image.ndim == 2 else image[..., 0]
