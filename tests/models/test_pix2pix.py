"""pix2pix: networks, losses, training that resumes, and the images of a generator."""

from __future__ import annotations

import ast
import importlib.util
import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from karyoseg.core.errors import KaryosegError
from karyoseg.core.lazy import Lazy
from karyoseg.models.base import LabelledSamples
from karyoseg.models.pix2pix import StyleGenerator, deferred_training
from karyoseg.models.pix2pix.generate import paint
from karyoseg.params.style_transfer import StyleTransferParams
from killed import Killed

pytestmark = [
    pytest.mark.usefixtures("without_compilation"),
    pytest.mark.filterwarnings("ignore:Even though the `tf.config.experimental_run_functions_eagerly`"),
]

TINY = {
    "tile_size": 32,
    "generator": {"filters": 4, "depth": 4},
    "discriminator": {"filters": 4, "n_layers": 1},
    "constant_steps": 4,
    "decay_steps": 2,
    "checkpoint_steps": 2,
    "seed": 3,
}
SOURCE = Path(__file__).parents[2] / "src" / "karyoseg" / "models"


def draw(seed: int, shape: tuple[int, int] = (48, 40), gray: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Draw purple disks on a bright background."""
    rng = np.random.default_rng(seed)
    y, x = np.ogrid[: shape[0], : shape[1]]
    labels = np.zeros(shape, np.int32)
    for index in range(1, 6):
        labels[np.hypot(y - rng.uniform(0, shape[0]), x - rng.uniform(0, shape[1])) < 6] = index
    image = np.where(labels[..., None] > 0, (90, 50, 140), (210, 190, 220)) + rng.normal(0, 8, (*shape, 3))
    return (image[..., 0] if gray else image).clip(0, 255).astype(np.uint8), labels


def job(
    folder: Path, seeds: range = range(3), *, shape: tuple[int, int] = (48, 40), gray: bool = False, **changes: Any
):
    """Training of a tiny generator on drawn images."""

    def part(seed: int, index: int) -> np.ndarray:
        return draw(seed, shape, gray)[index]

    samples = LabelledSamples(
        {f"s{seed}": Lazy(partial(part, seed, 0), f"image-{seed}") for seed in seeds},
        {f"s{seed}": Lazy(partial(part, seed, 1), f"labels-{seed}") for seed in seeds},
    )
    options = StyleTransferParams(**(TINY | changes)).model_dump(mode="json")
    return deferred_training(folder, samples, dict.fromkeys(samples.ids, shape), options)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> StyleGenerator:
    """Generator after a few steps; do not change its folder."""
    return job(tmp_path_factory.mktemp("style") / "group_001")()


def network_weights(generator: StyleGenerator) -> list[np.ndarray]:
    return generator._network.get_weights()


def assert_same(one: StyleGenerator, other: StyleGenerator) -> None:
    for a, b in zip(network_weights(one), network_weights(other), strict=True):
        np.testing.assert_array_equal(a, b)
    histories = [pd.read_csv(g.directory / "history.csv").drop(columns="seconds") for g in (one, other)]
    pd.testing.assert_frame_equal(*histories, check_exact=True)


def build(**changes: Any) -> tuple[Any, Any]:
    from karyoseg.models.pix2pix.networks import build_discriminator, build_generator

    sizes = {"condition_channels": 3, "image_channels": 3, "seed": 1}
    generator = build_generator(**(sizes | {"filters": 4, "depth": 4, "dropout": 0.5} | changes))
    return generator, build_discriminator(**sizes, filters=4, n_layers=2)


# Networks and losses


@pytest.mark.parametrize(("depth", "size"), [(2, 8), (4, 48), (5, 64)])
def test_the_generator_gives_an_image_of_the_size_of_its_condition(depth: int, size: int) -> None:
    generator, _ = build(depth=depth)
    image = np.asarray(generator(np.zeros((2, size, 2 * size, 3), np.float32)))
    assert image.shape == (2, size, 2 * size, 3)
    assert np.abs(image).max() <= 1


def test_networks_of_the_original_size_can_be_built() -> None:
    from karyoseg.models.pix2pix.networks import build_discriminator, build_generator

    generator = build_generator(condition_channels=1, image_channels=3, filters=64, depth=8, dropout=0.5, seed=0)
    widths = [layer.filters for layer in generator.layers if getattr(layer, "strides", None) == (2, 2)]
    assert widths == [64, 128, 256, 512, 512, 512, 512, 512]
    assert sum("dropout" in layer.name for layer in generator.layers) == 3
    judge = build_discriminator(condition_channels=1, image_channels=3, filters=64, n_layers=3, seed=0)
    assert [layer.filters for layer in judge.layers if hasattr(layer, "filters")] == [64, 128, 256, 512, 1]


def test_a_patch_of_the_discriminator_has_70_pixels() -> None:
    from karyoseg.models.pix2pix.networks import build_discriminator

    judge = build_discriminator(condition_channels=1, image_channels=1, filters=2, n_layers=3, seed=0)
    field = 1
    for layer in reversed([layer for layer in judge.layers if hasattr(layer, "filters")]):
        field = (field - 1) * layer.strides[0] + layer.kernel_size[0]
    assert field == 70


def test_the_losses_are_those_of_the_paper(rng: np.random.Generator) -> None:
    import keras

    from karyoseg.models.pix2pix.adversarial import Pix2Pix

    model = Pix2Pix(*build(dropout=0), l1_weight=100)
    x, y = (keras.ops.convert_to_tensor(rng.uniform(-1, 1, (1, 32, 32, 3)).astype(np.float32)) for _ in range(2))
    fake = model(x)
    loss = float(model.compute_loss(x, y, fake))

    def log_probability(image: Any) -> np.ndarray:
        return np.log(1 / (1 + np.exp(-np.asarray(model.discriminator([x, image]), np.float64))))

    def log_rest(image: Any) -> np.ndarray:
        return np.log(1 - np.exp(log_probability(image)))

    fooled, l1 = -log_probability(fake).mean(), np.abs(np.asarray(fake - y)).mean()
    caught = -(log_probability(y).mean() + log_rest(fake).mean()) / 2
    assert loss == pytest.approx(fooled + 100 * l1 + caught, rel=1e-5)
    assert {m.name: float(m.result()) for m in model.metrics} == pytest.approx(
        {"generator_loss": fooled, "discriminator_loss": caught, "l1": l1}, rel=1e-5
    )


def test_each_network_learns_from_its_own_loss_alone(rng: np.random.Generator) -> None:
    """The gradients of the one loss equal those of two losses, taken for one network each."""
    import tensorflow as tf

    from karyoseg.models.pix2pix.adversarial import Pix2Pix, cross_entropy

    generator, judge = build(dropout=0)
    model = Pix2Pix(generator, judge, l1_weight=10)
    x, y = (tf.constant(rng.uniform(-1, 1, (1, 32, 32, 3)).astype(np.float32)) for _ in range(2))
    with tf.GradientTape() as tape:
        loss = model.compute_loss(x, y, model(x))
    together = tape.gradient(loss, [*generator.trainable_variables, *judge.trainable_variables])
    with tf.GradientTape() as tape:
        fake = generator(x)
        loss = cross_entropy(judge([x, fake]), 1.0) + 10 * tf.reduce_mean(tf.abs(fake - y))
    apart = tape.gradient(loss, generator.trainable_variables)
    with tf.GradientTape() as tape:
        loss = (cross_entropy(judge([x, y]), 1.0) + cross_entropy(judge([x, generator(x)]), 0.0)) / 2
    apart += tape.gradient(loss, judge.trainable_variables)
    for one, other in zip(together, apart, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-6)


def test_the_learning_rate_stays_then_falls_in_a_line() -> None:
    from karyoseg.models.pix2pix.adversarial import ConstantThenLinear

    rates = [float(ConstantThenLinear(2.0, 3, 3)(step)) for step in range(8)]
    assert rates == pytest.approx([2, 2, 2, 1.5, 1, 0.5, 0, 0])


# Other backends


@pytest.mark.parametrize(
    "path",
    sorted(SOURCE.glob("pix2pix/*.py")) + sorted(SOURCE.glob("training/*.py")),
    ids=lambda p: f"{p.parent.name}-{p.stem}",
)
def test_no_module_depends_on_a_backend(path: Path) -> None:
    imported = {
        name.split(".")[0]
        for node in ast.walk(ast.parse(path.read_text()))
        for name in (
            [a.name for a in node.names] if isinstance(node, ast.Import) else [getattr(node, "module", "") or ""]
        )
    }
    assert not imported & {"tensorflow", "jax", "torch", "stardist", "csbdeep"}


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_training_runs_on_other_backends(backend: str, tmp_path: Path) -> None:
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    code = (
        "from pathlib import Path\n"
        "from models.test_pix2pix import draw, job\n"
        f"generator = job(Path({str(tmp_path / 'group_001')!r}))()\n"
        "print(generator.paint(draw(9)[1], seed=1).shape)\n"
    )
    here = Path(__file__).parents[1]
    env = {**os.environ, "KERAS_BACKEND": backend, "PYTHONPATH": f"{here}:{SOURCE.parents[1]}"}
    run = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[-2000:]
    assert run.stdout.strip().endswith("(48, 40, 3)")


# Training


def test_two_seeded_trainings_are_equal_and_leave_a_whole_folder(
    trained: StyleGenerator, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        again = job(tmp_path / "group_001")()
    assert_same(trained, again)
    names = {path.name for path in again.directory.iterdir()}
    assert names == {"config.json", "generator.weights.h5", "history.csv", "samples", "state.json", "training.json"}
    sheets = sorted(path.name for path in (again.directory / "samples").iterdir())
    assert sheets == ["step_000002.png", "step_000004.png", "step_000006.png"]
    assert again.training["n_tiles"] == 12
    assert again.training["steps"] == 6
    assert "group_001: 3 images, 12 tiles of 32 px, 6 steps" in caplog.text
    assert "group_001: step 6 of 6, discriminator loss" in caplog.text
    other = job(tmp_path / "other", seed=4)()
    assert any((a != b).any() for a, b in zip(network_weights(again), network_weights(other), strict=True))


@pytest.mark.parametrize("kill", ["save", "replace_text"])
def test_a_killed_training_continues_with_the_result_of_one_that_was_not(
    trained: StyleGenerator,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    kill: str,
) -> None:
    """Killed before the second checkpoint, or between its weights and its history."""
    from karyoseg.models.training import workspace

    save, write = workspace.Workspace.save, workspace.replace_text

    def dying_save(self: Any, model: Any, rows: list[dict], **options: Any) -> None:
        if len(rows) == 2 and kill == "save":
            raise Killed
        save(self, model, rows, **options)

    def dying_write(path: Path, text: str) -> None:
        if path.name == "history.csv" and text.count("\n") == 3 and kill == "replace_text":
            raise Killed
        write(path, text)

    with monkeypatch.context() as patch:
        patch.setattr(workspace.Workspace, "save", dying_save)
        patch.setattr(workspace, "replace_text", dying_write)
        with pytest.raises(Killed):
            job(tmp_path / "killed")()
    with caplog.at_level(logging.INFO):
        assert_same(trained, job(tmp_path / "killed")())
    assert "killed continues after step 2" in caplog.text


def test_a_training_that_is_taken_back_has_nothing_of_the_other_one(
    trained: StyleGenerator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from karyoseg.models.training.workspace import Workspace

    folder = tmp_path / "group_001"
    shutil.copytree(trained.directory, folder)

    def dying(*args: Any, **options: Any) -> None:
        raise Killed

    for killed in ("_empty", "save"):  # the other one, as soon as it begins, and at its first checkpoint
        with monkeypatch.context() as patch:
            patch.setattr(Workspace, killed, dying)
            with pytest.raises(Killed):
                job(folder, learning_rate=1e-3)()
    assert not (folder / "training.json").exists()
    again = job(folder)()
    assert_same(trained, again)
    assert sorted(path.name for path in (folder / "samples").iterdir()) == [
        f"step_00000{step}.png" for step in (2, 4, 6)
    ]


@pytest.mark.parametrize("damaged", ["epoch_00001.weights.h5", "history.csv", "state.json"])
def test_a_damaged_checkpoint_starts_the_training_anew(
    trained: StyleGenerator,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    damaged: str,
) -> None:
    from karyoseg.models.training.workspace import Workspace

    save = Workspace.save

    def dying_save(self: Any, model: Any, rows: list[dict], **options: Any) -> None:
        save(self, model, rows, **options)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Workspace, "save", dying_save)
        with pytest.raises(Killed):
            job(tmp_path / "damaged")()
    file = tmp_path / "damaged" / damaged
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    assert_same(trained, job(tmp_path / "damaged")())
    assert "this training starts anew" in caplog.text


def test_a_finished_training_is_not_repeated(trained: StyleGenerator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("keras.Model.fit", lambda *args, **kwargs: pytest.fail("training began"))
    assert job(trained.directory)().fingerprint == trained.fingerprint


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"generation": {"dropout": False}, "quality": {"n_images": 3}, "workspace": "elsewhere"}, True),
        ({"condition": "binary"}, False),
        ({"learning_rate": 1e-3}, False),
        ({"seeds": range(4)}, False),
    ],
)
def test_which_changes_need_a_new_training(tmp_path: Path, change: dict[str, Any], same: bool) -> None:
    assert (job(tmp_path).fingerprint == job(tmp_path, **change).fingerprint) == same


def test_a_training_that_diverges_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(KaryosegError, match=r"training of group_001 diverged before step 2; .*learning_rate"):
        job(tmp_path / "group_001", learning_rate=1e30)()


def test_a_single_image_smaller_than_a_tile_trains(tmp_path: Path) -> None:
    generator = job(tmp_path / "one", range(1), shape=(20, 27))()
    assert generator.training["n_tiles"] == 1
    assert generator.paint(draw(0, (20, 27))[1], seed=0).shape == (20, 27, 3)


def test_a_cluster_of_gray_images_gives_gray_images(tmp_path: Path) -> None:
    generator = job(tmp_path / "gray", gray=True, condition="binary")()
    assert generator.config["image_channels"] == 1
    image = generator.paint(draw(5)[1], seed=0)
    assert np.ptp(image, axis=-1).max() == 0


@pytest.mark.slow
def test_a_longer_training_learns_the_colours(tmp_path: Path) -> None:
    import tensorflow as tf

    changes = {"constant_steps": 120, "decay_steps": 30, "checkpoint_steps": 150, "learning_rate": 2e-3}
    tf.config.run_functions_eagerly(False)  # compiled, as users run it
    try:
        generator = job(tmp_path / "learnt", range(4), **changes)()
    finally:
        tf.config.run_functions_eagerly(True)
    labels = draw(99)[1]
    image = generator.paint(labels, seed=0).astype(float)
    inside, outside = image[labels > 0].mean(axis=0), image[labels == 0].mean(axis=0)
    np.testing.assert_allclose(inside, (90, 50, 140), atol=40)
    np.testing.assert_allclose(outside, (210, 190, 220), atol=30)


# Images


@pytest.mark.parametrize("shape", [(48, 40), (16, 16), (3, 5), (50, 33)])
def test_images_have_the_size_of_their_labels(trained: StyleGenerator, shape: tuple[int, int]) -> None:
    image = trained.paint(np.ones(shape, np.int32), seed=0)
    assert image.shape == (*shape, 3)
    assert image.dtype == np.uint8


def test_what_is_painted_depends_on_what_is_near_alone(trained: StyleGenerator) -> None:
    """The network itself would paint other colours in a larger image, and where the image ends."""
    labels = np.zeros((160, 160), np.int32)
    labels[70:80, 70:80] = 1
    here = trained.paint(labels, 0, dropout=False).astype(int)
    crowded = labels.copy()
    crowded[:20, ::2] = 2
    there = trained.paint(crowded, 0, dropout=False)
    np.testing.assert_array_equal(here[60:], there[60:])
    nothing = trained.paint(np.zeros((96, 70), np.int32), 0, dropout=False).astype(int)
    assert np.abs(nothing - nothing[48, 35]).max() < 40


def test_windows_fade_into_each_other_without_a_trace() -> None:
    """A network that copies its condition gives the labels back, whatever the size."""
    import keras

    condition = keras.Input((None, None, 1))
    copying = keras.Model(condition, condition)
    for shape in ((16, 16), (3, 5), (50, 33), (100, 17)):
        labels = np.random.default_rng(0).integers(0, 2, shape)
        painted = paint(copying, labels, "binary", 16, 0, dropout=False)
        np.testing.assert_array_equal(painted, np.repeat(255 * labels[..., None], 3, axis=2))


def test_images_depend_on_the_seed_and_only_with_dropout(trained: StyleGenerator) -> None:
    labels = draw(7)[1]
    paint: Callable[..., np.ndarray] = partial(trained.paint, labels)
    np.testing.assert_array_equal(paint(1), StyleGenerator.load(trained.directory).paint(labels, 1))
    assert (paint(1) != paint(2)).any()
    np.testing.assert_array_equal(paint(1, dropout=False), paint(2, dropout=False))


def test_a_saved_generator_paints_the_same(trained: StyleGenerator, tmp_path: Path) -> None:
    trained.save(tmp_path / "copy")
    copy = StyleGenerator.load(tmp_path / "copy")
    assert copy.fingerprint == trained.fingerprint
    np.testing.assert_array_equal(copy.paint(draw(8)[1], 5), trained.paint(draw(8)[1], 5))
    assert (tmp_path / "copy" / "samples" / "step_000006.png").is_file()


@pytest.mark.parametrize("name", ["config.json", "training.json", "generator.weights.h5"])
def test_missing_and_damaged_files_are_named(trained: StyleGenerator, tmp_path: Path, name: str) -> None:
    trained.save(tmp_path)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(KaryosegError, match=rf"{name}: cannot be read .*run style_transfer again"):
        StyleGenerator.load(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(KaryosegError, match=f"{name} missing"):
        StyleGenerator.load(tmp_path)


@pytest.mark.filterwarnings("ignore:Skipping nested container")
def test_weights_of_another_network_are_refused(trained: StyleGenerator, tmp_path: Path) -> None:
    trained.save(tmp_path)
    config = trained.config | {"filters": 8}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(KaryosegError, match=r"generator\.weights\.h5: cannot be read"):
        StyleGenerator.load(tmp_path).paint(np.zeros((16, 16), int), 0)
