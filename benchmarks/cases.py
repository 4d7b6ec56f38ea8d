"""What is measured: each case has a karyoseg and a plain stardist side that do the same work.

A side prepares everything in its constructor and then does a fixed amount of work each time it is called; it returns
the amount in the unit of the case.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks import prediction
from benchmarks.inputs import BATCH, EPOCH_STEPS, PATCH, SEED, Side, scenes, training_params
from karyoseg.core.augment import Augmenter
from karyoseg.core.lazy import Lazy
from karyoseg.core.normalise import normalise
from karyoseg.models.base import LabelledSamples

STEPS = 8
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


def loading_karyoseg() -> Side:
    """Batches of augmented patches with targets, by our stream."""
    from karyoseg.models.stardist.patches import PatchStream, TargetSpec

    pairs = [(normalise(image), labels) for image, labels in scenes(8, (512, 512))]
    stream = PatchStream(
        as_samples(pairs), TargetSpec(32, (2, 2)), patch_size=(PATCH, PATCH), batch_size=BATCH, steps=STEPS,
        augment=Augmenter(POLICY), seed=SEED,
    )  # fmt: skip

    def work() -> float:
        for step in range(STEPS):
            stream[step]
        return STEPS

    return work


def loading_stardist() -> Side:
    """Batches of augmented patches with targets, by stardist's own class."""
    from stardist.models.model2d import StarDistData2D

    pairs = [(normalise(image), labels) for image, labels in scenes(8, (512, 512))]
    data = StarDistData2D(
        [image for image, _ in pairs], [labels for _, labels in pairs], batch_size=BATCH, n_rays=32, length=10_000,
        patch_size=(PATCH, PATCH), grid=(2, 2), augmenter=plain_augmenter, foreground_prob=0.9,
    )  # fmt: skip

    def work() -> float:
        for step in range(STEPS):
            data[step]
        return STEPS

    return work


def as_samples(pairs: list[tuple[np.ndarray, np.ndarray]]) -> LabelledSamples:
    """Wrap arrays as samples."""

    def pick(index: int, part: int) -> np.ndarray:
        return pairs[index][part]

    keys = [f"s{i:03d}" for i in range(len(pairs))]
    images = {key: Lazy(partial(pick, i, 0), key) for i, key in enumerate(keys)}
    labels = {key: Lazy(partial(pick, i, 1), key) for i, key in enumerate(keys)}
    return LabelledSamples(images, labels)


def training_karyoseg() -> Side:
    """An epoch of training steps by our loop: data, validation and checkpoints included."""
    import keras

    from karyoseg.models.stardist.fitting import _streams
    from karyoseg.models.stardist.network import build
    from karyoseg.models.stardist.training import _Loop
    from karyoseg.models.stardist.workspace import Workspace

    samples = as_samples([(normalise(image), labels) for image, labels in scenes(8, (512, 512))])
    params = training_params()
    options = params.model_dump(mode="json") | {"config": params.config2d(1)}
    folder = Path(tempfile.mkdtemp()) / "m"
    network = build(options["config"], folder)
    network.prepare_for_training(keras.optimizers.Adam(params.learning_rate))
    network.keras_model.jit_compile = False
    stream, validation = _streams(network, samples, samples, Augmenter(POLICY), options)
    loop = _Loop(stream, Workspace(folder, "benchmark"), options, [])

    def work() -> float:
        network.keras_model.fit(
            stream,
            validation_data=validation,
            validation_batch_size=BATCH,
            epochs=1,
            callbacks=[loop],
            verbose=0,
            shuffle=False,
        )
        return EPOCH_STEPS

    return work


def training_stardist() -> Side:
    """An epoch of training steps by ``StarDist2D.train``: data, validation and checkpoints included."""
    from stardist.models import Config2D, StarDist2D

    pairs = [(normalise(image), labels) for image, labels in scenes(8, (512, 512))]
    images, labels = [image for image, _ in pairs], [labels for _, labels in pairs]
    config = training_params().config2d(1) | {"train_tensorboard": False}
    model = StarDist2D(Config2D(**config), name="m", basedir=tempfile.mkdtemp())
    validation = images, labels

    def work() -> float:
        model.train(images, labels, validation, augmenter=plain_augmenter, epochs=1, steps_per_epoch=EPOCH_STEPS)
        return EPOCH_STEPS

    return work


#: case -> (unit, karyoseg side, stardist side)
CASES: dict[str, tuple[str, Callable[[], Side], Callable[[], Side]]] = {
    "data loading": ("batches/s", loading_karyoseg, loading_stardist),
    "training": ("steps/s", training_karyoseg, training_stardist),
    "prediction": ("Mpx/s", prediction.images_karyoseg, prediction.images_stardist),
    "folder": ("images/s", prediction.folder_karyoseg, prediction.folder_stardist),
    "large image": ("Mpx/s", prediction.large_karyoseg, prediction.large_stardist),
}
