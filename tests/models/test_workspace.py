"""Checkpoints: what is kept, and what happens when it is damaged."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from karyoseg.core.errors import KaryosegError
from karyoseg.core.lazy import Lazy
from karyoseg.core.preparation import Preparation
from karyoseg.models.base import LabelledSamples
from karyoseg.models.pix2pix import deferred_training
from karyoseg.models.stardist import StarDistSegmenter
from karyoseg.models.training.workspace import Workspace
from karyoseg.models.unet import ForegroundModel
from karyoseg.params.style_transfer import StyleTransferParams
from karyoseg.params.train_foreground import TrainForegroundParams
from killed import Killed

pytestmark = [
    pytest.mark.usefixtures("without_compilation"),
    pytest.mark.filterwarnings("ignore:Even though the `tf.config.experimental_run_functions_eagerly`"),
]

BEST = "best.weights.h5"
ROWS: list[dict[str, Any]] = [
    {"epoch": 1, "step": 3, "val_loss": 0.1 + 0.2, "seconds": 1.0},
    {"epoch": 2, "step": 6, "val_loss": 1 / 3, "seconds": float("nan")},
]
FAMILIES = ["stardist", "unet", "pix2pix"]


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


DAMAGE: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "state-empty": ("state.json", lambda _: b""),
    "state-truncated": ("state.json", cut),
    "state-binary": ("state.json", lambda _: b"\x89HDF\xff\xfe\x00"),
    "state-without-fingerprint": ("state.json", lambda _: b"{}"),
    "state-no-table": ("state.json", lambda _: b"null"),
    "history-empty": ("history.csv", lambda _: b""),
    "history-truncated": ("history.csv", cut),
    "history-without-its-end": ("history.csv", lambda content: content[:-3]),
    "history-binary": ("history.csv", lambda _: b"\x89HDF\xff\xfe\x00\n"),
    "history-without-rows": ("history.csv", lambda content: content.splitlines(keepends=True)[0]),
    "weights-empty": ("epoch_*.weights.h5", lambda _: b""),
    "weights-truncated": ("epoch_*.weights.h5", cut),
    "weights-without-content": ("epoch_*.weights.h5", lambda content: content[:96] + bytes(len(content) - 96)),
}


def only(folder: Path, pattern: str) -> Path:
    (found,) = folder.rglob(pattern)
    return found


def digest(model: Any) -> str:
    return hashlib.sha256(b"".join(array.tobytes() for array in model.get_weights())).hexdigest()


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def warnings_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


# The folder itself, with a network of one layer


@pytest.fixture
def make() -> Callable[[], Any]:
    """Maker of equal networks."""
    import keras

    def build() -> Any:
        keras.utils.set_random_seed(1)
        model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)])
        model.compile(keras.optimizers.Adam(0.1), "mse")
        return model

    return build


def learn(model: Any, seed: int) -> None:
    x, y = np.random.default_rng(seed).random((2, 4, 3)).astype(np.float32)
    model.train_on_batch(x[:, :2], y)


@pytest.fixture
def kept(make: Callable, tmp_path: Path) -> tuple[Path, Any]:
    """A folder after two epochs, the first of them the best, and its network."""
    workspace, model = Workspace(tmp_path / "work", "mark", BEST), make()
    for n_rows in (1, 2):
        learn(model, n_rows)
        workspace.save(model, ROWS[:n_rows], improved=n_rows == 1)
    return tmp_path / "work", model


def state(model: Any) -> list[np.ndarray]:
    model.optimizer.build(model.trainable_variables)
    return [variable.numpy() for variable in (*model.weights, *model.optimizer.variables)]


def assert_same(one: Any, other: Any) -> None:
    for a, b in zip(state(one), state(other), strict=True):
        np.testing.assert_array_equal(a, b)


def test_an_epoch_comes_back_with_the_state_of_the_optimizer(kept: tuple[Path, Any], make: Callable) -> None:
    folder, model = kept
    assert set(content(folder)) == {"state.json", "history.csv", BEST, "epoch_00002.weights.h5"}
    again = make()
    rows = Workspace(folder, "mark", BEST).load_last(again)
    assert [list(map(repr, row.values())) for row in rows] == [list(map(repr, row.values())) for row in ROWS]
    assert_same(again, model)
    learn(again, 3)
    learn(model, 3)
    assert_same(again, model)


def test_the_best_weights_come_back(kept: tuple[Path, Any], make: Callable) -> None:
    folder, model = kept
    best = make()
    learn(best, 1)
    Workspace(folder, "mark", BEST).load_best(model)
    np.testing.assert_array_equal(model.get_weights()[0], best.get_weights()[0])


def test_another_training_empties_the_folder_without_a_warning(
    kept: tuple[Path, Any], make: Callable, caplog: pytest.LogCaptureFixture
) -> None:
    folder, _ = kept
    with caplog.at_level(logging.INFO):
        assert Workspace(folder, "other", BEST).load_last(make()) == []
    assert content(folder) == {"state.json": json.dumps({"fingerprint": "other"}).encode()}
    assert "other data or parameters" in caplog.text
    assert not warnings_in(caplog)


@pytest.mark.parametrize("damage", [*DAMAGE, "best-truncated", "best-missing", "weights-missing"])
def test_damage_leaves_an_empty_folder_and_the_network_as_it_was(
    kept: tuple[Path, Any], make: Callable, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    folder, _ = kept
    missing = {"best-missing": BEST, "weights-missing": "epoch_*.weights.h5"}
    if damage in missing:
        only(folder, missing[damage]).unlink()
    else:
        pattern, change = DAMAGE.get(damage, (BEST, cut))
        file = only(folder, pattern)
        file.write_bytes(change(file.read_bytes()))
    model = make()
    assert Workspace(folder, "mark", BEST).load_last(model) == []
    (warning,) = warnings_in(caplog)
    assert str(folder) in warning
    assert "this training starts anew" in warning
    assert set(content(folder)) == {"state.json"}
    assert_same(model, make())
    caplog.clear()
    assert Workspace(folder, "mark", BEST).load_last(model) == []
    assert not warnings_in(caplog)


def test_weights_that_are_damaged_in_the_middle_leave_no_trace_in_the_network(
    kept: tuple[Path, Any], make: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    import keras

    folder, _ = kept
    load = keras.Model.load_weights

    def half(self: Any, path: str) -> None:
        load(self, path)
        raise RuntimeError("Unable to synchronously check link existence")

    monkeypatch.setattr(keras.Model, "load_weights", half)
    model = make()
    assert Workspace(folder, "mark", BEST).load_last(model) == []
    assert_same(model, make())


@pytest.mark.parametrize("error", [PermissionError(13, "Permission denied"), BlockingIOError(11, "locked")])
def test_what_is_only_out_of_reach_stays(
    kept: tuple[Path, Any], make: Callable, monkeypatch: pytest.MonkeyPatch, error: OSError
) -> None:
    folder, _ = kept
    before = content(folder)

    def refuse(*args: Any) -> None:
        raise error

    monkeypatch.setattr("keras.Model.load_weights", refuse)
    with pytest.raises(KaryosegError, match=r"work: cannot be read or written .*needed: a writable folder"):
        Workspace(folder, "mark", BEST).load_last(make())
    assert content(folder) == before


def test_a_training_that_lost_its_folder_to_another_stops(kept: tuple[Path, Any], make: Callable) -> None:
    folder, _ = kept
    first = Workspace(folder, "mark", BEST)
    Workspace(folder, "other", BEST)
    before = content(folder)
    for use in (lambda: first.save(make(), ROWS[:1]), lambda: first.load_best(make())):
        with pytest.raises(KaryosegError, match="taken by another training"):
            use()
    assert content(folder) == before


def test_a_full_disk_is_said_before_anything_is_written(
    kept: tuple[Path, Any], make: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _ = kept
    before = content(folder)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=10_000))
    with pytest.raises(KaryosegError, match=r"work: 0.0 MB are free; needed: .* goes on after its last checkpoint"):
        Workspace(folder, "mark", BEST).save(make(), [*ROWS, ROWS[0]])
    assert content(folder) == before


@pytest.mark.parametrize("wrapped", [False, True])
def test_what_the_disk_says_during_writing_is_passed_on(
    kept: tuple[Path, Any], make: Callable, monkeypatch: pytest.MonkeyPatch, wrapped: bool
) -> None:
    folder, _ = kept
    before = content(folder)

    def fail(self: Any, path: str) -> None:
        Path(path).touch()
        try:
            raise OSError(28, "Can't write data (file write failed: time = Sun\\n, buf = 0x55f0")
        except OSError as error:
            if not wrapped:
                raise
            raise RuntimeError("Can't decrement id ref count") from error  # as h5py does when it closes the file

    monkeypatch.setattr("keras.Model.save_weights", fail)
    with pytest.raises(KaryosegError, match=r"work: cannot be read or written \(No space left on device\); needed"):
        Workspace(folder, "mark", BEST).save(make(), [*ROWS, ROWS[0]])
    assert content(folder) == before


def test_other_errors_of_saving_stay_visible(
    kept: tuple[Path, Any], make: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Any, path: str) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr("keras.Model.save_weights", fail)
    with pytest.raises(RuntimeError, match="a bug"):
        Workspace(kept[0], "mark", BEST).save(make(), [*ROWS, ROWS[0]])


# The three trainings


def draw_pair(seed: int, index: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    labels = np.zeros((32, 32), np.int32)
    labels[8:20, 6:18] = 1
    return (rng.integers(0, 256, (32, 32, 3)).astype(np.uint8), labels)[index]


@pytest.fixture(scope="module")
def train(samples: Callable, options: Callable) -> Callable[[str, Path], Any]:
    """Tiny trainings of all families."""

    def stardist(folder: Path) -> None:
        StarDistSegmenter(folder).fit(samples(range(2)), samples(range(100, 101)), None, options(steps_per_epoch=1))

    def unet(folder: Path) -> None:
        size = {"depth": 1, "filters": 2, "epochs": 2, "steps_per_epoch": 1, "batch_size": 1, "patch_size": [32, 32]}
        params = TrainForegroundParams(**size)
        config = {"n_channels": 1, **params.model_dump(include={"depth", "filters", "sigmas", "test_time"})}
        model = ForegroundModel(folder, config, {"preparation": Preparation().to_dict()})
        model.fit(samples(range(2)), samples(range(100, 101)), None, params.model_dump(mode="json"))

    def pix2pix(folder: Path) -> None:
        size = {"tile_size": 32, "generator": {"filters": 2, "depth": 4}, "discriminator": {"filters": 2}}
        steps = {"constant_steps": 1, "decay_steps": 1, "checkpoint_steps": 1}
        data = LabelledSamples(*({"a": Lazy(partial(draw_pair, 0, index), f"a{index}")} for index in (0, 1)))
        deferred_training(folder, data, {"a": (32, 32)}, StyleTransferParams(**size, **steps).model_dump(mode="json"))()

    families = {"stardist": stardist, "unet": unet, "pix2pix": pix2pix}
    return lambda family, folder: families[family](folder)


@pytest.fixture(scope="module")
def interrupted(train: Callable, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, str]]:
    """By family a training that was killed after its first epoch, and its network before; do not change them."""
    import keras

    save, fit = Workspace.save, keras.Model.fit
    found = {}

    for family in FAMILIES:
        begun: list[str] = []

        def dying_save(self: Any, *args: Any, **options: Any) -> None:
            save(self, *args, **options)
            raise Killed

        def begin(model: Any, *args: Any, begun: list[str] = begun, **options: Any) -> Any:
            begun.append(digest(model))
            return fit(model, *args, **options)

        folder = tmp_path_factory.mktemp(family) / "work"
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Workspace, "save", dying_save)
            patch.setattr("keras.Model.fit", begin)
            with pytest.raises(Killed):
                train(family, folder)
        found[family] = folder, begun[0]
    return found


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_damaged_checkpoint_starts_any_training_anew(
    train: Callable,
    interrupted: dict[str, tuple[Path, str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    *,
    family: str,
    damage: str,
) -> None:
    source, fresh = interrupted[family]
    folder = shutil.copytree(source, tmp_path / "work")
    pattern, change = DAMAGE[damage]
    file = only(folder, pattern)
    file.write_bytes(change(file.read_bytes()))
    begun = []

    def begin(model: Any, *args: Any, initial_epoch: int, **options: Any) -> None:
        begun.append((initial_epoch, digest(model)))
        raise Killed

    monkeypatch.setattr("keras.Model.fit", begin)
    with pytest.raises(Killed):
        train(family, folder)
    assert begun == [(0, fresh)]
    (warning,) = [text for text in warnings_in(caplog) if "anew" in text]
    assert warning.startswith(f"{file.parent}: its checkpoint cannot be read ({file.name}: ")
    assert not {"history.csv", BEST, "weights_best.h5", "samples"} & {path.name for path in folder.rglob("*")}


@pytest.mark.parametrize("family", FAMILIES)
def test_another_error_leaves_the_checkpoint_alone(
    train: Callable,
    interrupted: dict[str, tuple[Path, str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    family: str,
) -> None:
    folder = shutil.copytree(interrupted[family][0], tmp_path / "work")
    before = content(folder)

    def fail(*args: Any, initial_epoch: int, **options: Any) -> None:
        assert initial_epoch == 1
        raise KeyError("of something else")

    monkeypatch.setattr("keras.Model.fit", fail)
    with pytest.raises(KeyError, match="of something else"):
        train(family, folder)
    assert {name: content(folder)[name] for name in before} == before
