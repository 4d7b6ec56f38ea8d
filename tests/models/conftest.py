"""Tiny data and one tiny trained StarDist model for the tests of this folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from karyoseg.core.lazy import Lazy
from karyoseg.models.base import LabelledSamples
from karyoseg.params.train import TrainParams

TINY = {
    "network": {"n_rays": 16, "grid": [2, 2], "unet_n_depth": 2, "unet_n_filter_base": 8, "net_conv_after_unet": 16},
    "patch_size": [64, 64],
    "batch_size": 2,
    "steps_per_epoch": 3,
    "epochs": 2,
    "learning_rate": 0.001,
    "schedule": {"name": "constant"},
    "precision": "f32",  # the same on every processor
    "seed": 7,
}


@pytest.fixture(scope="module")
def without_compilation() -> Iterator[None]:
    """Compiling takes most of the time of a training as short as these."""
    import tensorflow as tf

    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


def draw_sample(seed: int, shape: tuple[int, int] = (96, 80), n_channels: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Draw bright disks on a dark, noisy background."""
    rng = np.random.default_rng(seed)
    labels = np.zeros(shape, np.int32)
    y, x = np.ogrid[: shape[0], : shape[1]]
    for index in range(1, 1 + max(3, shape[0] * shape[1] // 1200)):
        cy, cx, radius = rng.uniform(0, shape[0]), rng.uniform(0, shape[1]), rng.uniform(6, 10)
        disk = np.hypot(y - cy, x - cx) <= radius
        grown = np.hypot(y - cy, x - cx) <= radius + 2
        if not labels[grown].any():
            labels[disk] = index
    image = (labels > 0) + rng.normal(0, 0.05, shape)
    image = np.stack([image] * n_channels, axis=-1) if n_channels > 1 else image
    return image.astype(np.float32), labels


def make_samples(seeds: range, **options: Any) -> LabelledSamples:
    """Samples drawn when read."""

    def part(seed: int, index: int) -> np.ndarray:
        return draw_sample(seed, **options)[index]

    keys = {f"s{seed}": seed for seed in seeds}
    return LabelledSamples(
        {key: Lazy(partial(part, seed, 0), f"image-{seed}-{options}") for key, seed in keys.items()},
        {key: Lazy(partial(part, seed, 1), f"labels-{seed}-{options}") for key, seed in keys.items()},
    )


def make_options(n_channels: int = 1, **changes: Any) -> dict[str, Any]:
    """Options of a tiny training, as the train node passes them on."""
    params = TrainParams(**(TINY | changes))
    return params.model_dump(mode="json") | {"config": params.config2d(n_channels), "augmentation": {}}


@pytest.fixture(scope="session")
def samples() -> Callable[..., LabelledSamples]:
    """Maker of samples."""
    return make_samples


@pytest.fixture(scope="session")
def options() -> Callable[..., dict[str, Any]]:
    """Maker of options."""
    return make_options


@pytest.fixture(scope="session")
def sample() -> Callable[..., tuple[np.ndarray, np.ndarray]]:
    """Maker of one image with its labels."""
    return draw_sample


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Model that has learnt to find disks; do not change its folder."""
    from karyoseg.models.stardist import StarDistSegmenter

    folder: Path = tmp_path_factory.mktemp("models") / "disks"
    model = StarDistSegmenter(folder, {"preparation": {"rescale": {"name": "none"}}})
    model.fit(
        make_samples(range(12)),
        make_samples(range(100, 103)),
        None,
        make_options(epochs=4, steps_per_epoch=60, batch_size=4, learning_rate=0.003),
    )
    return model
