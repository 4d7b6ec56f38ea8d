"""Training beside ``StarDist2D.train``: same network, patches, batches and kinds of augmentation."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.inputs import scenes
from karyoseg.core.augmentation.augmenter import Augmenter
from karyoseg.core.lazy import Lazy
from karyoseg.core.normalise import normalise
from karyoseg.models.base import LabelledSamples
from karyoseg.params.train import TrainParams

SEED = 0
BATCH, PATCH = 4, 256
N_IMAGES, SIDE = 8, 512
BATCHES = 100
POLICY = [
    {"name": "flip", "axes": "yx", "p": 0.5},
    {"name": "rotate90", "p": 0.75},
    {"name": "brightness", "factor": [0.6, 2.0], "p": 1.0},
    {"name": "intensity_shift", "offset": [-0.2, 0.2], "p": 1.0},
]


def plain_augmenter(image: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Flips, right-angle rotations and intensity changes, as in StarDist's own training example."""
    turns, flip = np.random.randint(4), np.random.rand() < 0.5  # noqa: NPY002
    image, labels = np.rot90(image, turns), np.rot90(labels, turns)
    if flip:
        image, labels = image[::-1], labels[::-1]
    return image * np.random.uniform(0.6, 2) + np.random.uniform(-0.2, 0.2), labels  # noqa: NPY002


def steps(side: str, setting: Mapping[str, Any]) -> Callable[[], tuple[float, float]]:
    """Steps of all epochs but the first, validation included."""
    n_steps = int(setting["steps"])
    precision = {} if side == "stardist" else {"precision": side}
    params = TrainParams(
        epochs=3, steps_per_epoch=n_steps, batch_size=BATCH, patch_size=[PATCH, PATCH], **precision
    )  # fmt: skip
    train = _plain_training if side == "stardist" else _training

    def work() -> tuple[float, float]:
        seconds = train(params)[1:]
        return n_steps * len(seconds), sum(seconds)

    return work


def batches(side: str, setting: Mapping[str, Any]) -> Callable[[], float]:
    """Augmented patches with their targets."""
    if side == "stardist":
        from stardist.models.model2d import StarDistData2D

        stream: Any = StarDistData2D(
            *map(list, zip(*_pairs(), strict=True)), batch_size=BATCH, n_rays=32, length=10_000,
            patch_size=(PATCH, PATCH), grid=(2, 2), augmenter=plain_augmenter, foreground_prob=0.9,
        )  # fmt: skip
    else:
        from karyoseg.models.stardist.targets import TargetSpec
        from karyoseg.models.training.patches import PatchStream

        stream = PatchStream(
            _samples(), TargetSpec(32, (2, 2)).targets, patch_size=(PATCH, PATCH), batch_size=BATCH, steps=2 * BATCHES,
            augment=Augmenter(POLICY), seed=SEED,
        )  # fmt: skip
    n_batches = int(setting.get("batches", BATCHES))
    for number in range(8):  # whatever is set up once
        stream[number]

    def work() -> float:
        for number in range(n_batches):
            stream[8 + number]
        return n_batches

    return work


def _training(params: TrainParams) -> list[float]:
    from karyoseg.models.stardist import fitting

    samples = _samples()
    options = params.model_dump(mode="json") | {"config": params.config2d(1)}
    fitted = fitting.fit(Path(tempfile.mkdtemp()) / "m", samples, samples, Augmenter(POLICY), options)
    return [float(seconds) for seconds in fitted.history["seconds"]]


def _plain_training(params: TrainParams) -> list[float]:
    import keras
    from stardist.models import Config2D, StarDist2D

    class Clock(keras.callbacks.Callback):
        """Seconds of each epoch, measured as our history does."""

        def __init__(self) -> None:
            super().__init__()
            self.seconds: list[float] = []

        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            self._started = time.monotonic()

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            self.seconds.append(time.monotonic() - self._started)

    images, labels = map(list, zip(*_pairs(), strict=True))
    config = params.config2d(1) | {"train_tensorboard": False}
    model = StarDist2D(Config2D(**config), name="m", basedir=tempfile.mkdtemp())
    model.prepare_for_training()
    clock = Clock()
    model.callbacks.insert(0, clock)
    model.train(
        images, labels, (images, labels), augmenter=plain_augmenter,
        epochs=params.epochs, steps_per_epoch=params.steps_per_epoch,
    )  # fmt: skip
    return clock.seconds


def _pairs() -> list[tuple[np.ndarray, np.ndarray]]:
    return [(normalise(image), labels) for image, labels in scenes(N_IMAGES, (SIDE, SIDE))]


def _samples() -> LabelledSamples:
    pairs = _pairs()

    def pick(index: int, part: int) -> np.ndarray:
        return pairs[index][part]

    keys = [f"s{i:03d}" for i in range(len(pairs))]
    images = {key: Lazy(partial(pick, i, 0), key) for i, key in enumerate(keys)}
    labels = {key: Lazy(partial(pick, i, 1), key) for i, key in enumerate(keys)}
    return LabelledSamples(images, labels)
