"""Training: seeds, resuming, schedules, early stopping, checks before the first epoch."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from karyoseg.core.augmentation.augmenter import Augmenter
from karyoseg.core.errors import KaryosegError, ProblemReport
from karyoseg.core.lazy import Lazy
from karyoseg.core.runs.hardware import hardware
from karyoseg.models.base import LabelledSamples
from karyoseg.models.stardist import StarDistSegmenter
from killed import Killed

pytestmark = [
    pytest.mark.usefixtures("without_compilation"),
    pytest.mark.filterwarnings("ignore:Even though the `tf.config.experimental_run_functions_eagerly`"),
]

Fit = Callable[..., "tuple[StarDistSegmenter, pd.DataFrame]"]
DROPOUT = {"n_rays": 8, "unet_n_depth": 2, "unet_n_filter_base": 4, "net_conv_after_unet": 8, "unet_dropout": 0.2}


@pytest.fixture
def fit(tmp_path: Path, samples: Callable, options: Callable) -> Fit:
    """Train a tiny network in a folder of the test."""

    def run(folder: str = "model", **changes: Any) -> tuple[StarDistSegmenter, pd.DataFrame]:
        train = changes.pop("train", None) or samples(range(4))
        validation = changes.pop("validation", None) or samples(range(100, 102))
        augment = changes.pop("augment", None)
        model = StarDistSegmenter(tmp_path / folder)
        return model, model.fit(train, validation, augment, options(**changes))

    return run


def without_times(history: pd.DataFrame) -> pd.DataFrame:
    return history.drop(columns="seconds")


def weights(model: StarDistSegmenter) -> list[np.ndarray]:
    from karyoseg.models.stardist.network import open_folder

    return open_folder(model.directory).keras_model.get_weights()


def assert_same(a: tuple[StarDistSegmenter, pd.DataFrame], b: tuple[StarDistSegmenter, pd.DataFrame]) -> None:
    pd.testing.assert_frame_equal(without_times(a[1]), without_times(b[1]), check_exact=True)
    for one, other in zip(weights(a[0]), weights(b[0]), strict=True):
        np.testing.assert_array_equal(one, other)
    assert a[0].thresholds == b[0].thresholds


def kill_at(monkeypatch: pytest.MonkeyPatch, epoch: int, moment: str) -> pytest.MonkeyPatch:
    """Die in an epoch: before its checkpoint, between weights and history, or after."""
    from karyoseg.models.training import workspace

    save, write = workspace.Workspace.save, workspace.replace_text

    def dying_save(self: Any, model: Any, rows: list[dict], *, improved: bool) -> None:
        if len(rows) == epoch and moment == "before":
            raise Killed
        save(self, model, rows, improved=improved)
        if len(rows) == epoch and moment == "after":
            raise Killed

    def dying_write(path: Path, text: str) -> None:
        if path.name == "history.csv" and text.count("\n") == epoch + 1 and moment == "between":
            raise Killed
        write(path, text)

    monkeypatch.setattr(workspace.Workspace, "save", dying_save)
    monkeypatch.setattr(workspace, "replace_text", dying_write)
    return monkeypatch


@pytest.mark.parametrize(("policy", "seed"), [({"seed": 5}, 5), ({}, 7)])
def test_patches_are_changed_with_the_seed_of_the_policy(
    tmp_path: Path, samples: Callable, options: Callable, policy: dict[str, Any], seed: int
) -> None:
    seeds = set()

    def augment(image: np.ndarray, labels: np.ndarray, key: tuple[int, ...], window: Any) -> Any:
        seeds.add(key[0])
        return Augmenter([])(image, labels, key, window)

    given = options(epochs=1, steps_per_epoch=1) | {"augmentation": policy}
    StarDistSegmenter(tmp_path / "m").fit(samples(range(2)), samples(range(100, 101)), augment, given)
    assert seeds == {seed}


def test_two_seeded_trainings_are_equal_and_leave_a_whole_model(
    fit: Fit, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture
) -> None:
    capfd.readouterr()
    with caplog.at_level(logging.INFO):
        first = fit("a")
    out, err = capfd.readouterr()
    assert out == ""  # csbdeep is silent, users see our log alone
    assert "output path" not in err
    for message in ("Training on 4 images", "Epoch 1/2: loss", " left", "Chosen thresholds: prob"):
        assert message in caplog.text

    assert first[1]["epoch"].tolist() == [1, 2]
    assert {"loss", "val_loss", "learning_rate", "seconds"} <= set(first[1].columns)
    names = {path.name for path in (tmp_path / "a").iterdir()}
    assert {"config.json", "thresholds.json", "weights_best.h5", "history.csv", "training.json"} <= names
    card = (tmp_path / "a" / "model_card.md").read_text()
    assert "4 training images" in card
    assert "2 epochs" in card
    # Threads that prepare batches change nothing but the speed.
    assert_same(first, fit("b", workers=3))


def test_a_training_killed_three_times_equals_one_that_was_not(fit: Fit, monkeypatch: pytest.MonkeyPatch) -> None:
    changes = {"epochs": 4, "schedule": {"name": "cosine"}, "network": DROPOUT}
    for epoch, moment in enumerate(["after", "between", "before"], start=1):
        with monkeypatch.context() as patch:
            kill_at(patch, epoch, moment)
            with pytest.raises(Killed):
                fit("killed", **changes)
    assert_same(fit("whole", **changes), fit("killed", **changes))


def test_a_training_whose_checkpoint_is_damaged_equals_one_from_the_start(
    fit: Fit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with monkeypatch.context() as patch:
        kill_at(patch, 1, "after")
        with pytest.raises(Killed):
            fit("damaged", network=DROPOUT)
    last = tmp_path / "damaged" / "epoch_00001.weights.h5"
    last.write_bytes(last.read_bytes()[:-100])
    assert_same(fit("whole", network=DROPOUT), fit("damaged", network=DROPOUT))
    assert caplog.text.count("this training starts anew") == 1


def test_checkpoints_hold_the_state_of_the_optimizer(fit: Fit, tmp_path: Path) -> None:
    import h5py

    fit()
    (last,) = (tmp_path / "model").glob("epoch_*.weights.h5")
    with h5py.File(last) as file:
        state = [file["optimizer"]["vars"][key][()] for key in file["optimizer"]["vars"]]
    assert 6 in [int(value) for value in state if value.shape == () and value.dtype.kind in "iu"]  # 2 epochs of 3 steps
    assert any(value.ndim == 4 and np.abs(value).max() > 0 for value in state)  # moments


def test_a_finished_training_is_not_repeated(
    fit: Fit, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    first = fit()
    monkeypatch.setattr("keras.Model.fit", lambda *args, **kwargs: pytest.fail("an epoch began"))
    assert_same(first, fit(nms_grid=[0.4, 0.3, 0.5], workers=2, loggers=[]))
    assert_same(first, fit(epochs=1))  # what is there is kept
    assert "2 epochs are done, 1 were asked for" in caplog.text


def test_more_epochs_continue_and_equal_a_training_of_that_length(fit: Fit) -> None:
    schedule = {"name": "plateau", "patience": 1}
    fit("model", epochs=1, schedule=schedule)
    assert_same(fit("model", epochs=3, schedule=schedule), fit("whole", epochs=3, schedule=schedule))


def test_with_the_cosine_schedule_more_epochs_start_anew(fit: Fit, caplog: pytest.LogCaptureFixture) -> None:
    schedule = {"name": "cosine"}
    fit("model", epochs=1, schedule=schedule)
    with caplog.at_level(logging.INFO):
        longer = fit("model", epochs=2, schedule=schedule)
    assert "starting anew" in caplog.text
    assert_same(longer, fit("whole", epochs=2, schedule=schedule))


def identity(options: dict[str, Any], donor: Any = None) -> str:
    from karyoseg.models.stardist.fitting import _identity

    return _identity("data", options, donor)


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"epochs": 9}, True),
        ({"workers": 4, "cache_gb": 3, "loggers": ["tensorboard"], "workspace": "other", "nms_grid": [0.1]}, True),
        ({"schedule": {"name": "cosine"}, "epochs": 9}, False),
        ({"learning_rate": 0.002}, False),
        ({"seed": 1}, False),
        ({"loss_weights": [1, 0.5]}, False),
        ({"patch_size": [64, 128]}, False),
        ({"network": {"n_rays": 8}, "patch_size": [128, 128]}, False),
        ({"early_stopping": 3}, True),
    ],
)
def test_which_changes_start_a_training_anew(options: Callable, change: dict, same: bool) -> None:
    assert (identity(options()) == identity(options(**change))) == same


def test_other_weights_to_start_from_start_anew(options: Callable, trained: Any) -> None:
    from karyoseg.models.stardist.network import build, open_folder

    network = open_folder(trained.directory)
    fresh = build(network.config.__dict__)
    assert identity(options(), network) != identity(options(), fresh)
    fresh.keras_model.set_weights(network.keras_model.get_weights())
    assert identity(options(), network) == identity(options(), fresh)


@pytest.mark.parametrize("part", ["train", "validation"])
@pytest.mark.parametrize("kind", ["images", "labels"])
def test_changed_data_start_anew(
    fit: Fit, samples: Callable, monkeypatch: pytest.MonkeyPatch, part: str, kind: str
) -> None:
    from karyoseg.models.stardist import fitting

    marks = []

    def note(folder: Path, mark: str, best: str) -> None:
        marks.append(mark)
        raise Killed

    monkeypatch.setattr(fitting, "Workspace", note)
    data = samples(range(2))
    corrected = {**getattr(data, kind), "s0": Lazy(getattr(data, kind)["s0"].compute, "corrected")}
    for samples_now in (data, data, replace(data, **{kind: corrected})):
        with pytest.raises(Killed):
            fit(**{part: samples_now})
    assert marks[0] == marks[1] != marks[2]


def test_loss_goes_down_and_objects_are_found(trained: Any) -> None:
    history = pd.read_csv(trained.directory / "history.csv")
    assert history["val_loss"].iloc[-1] < 0.6 * history["val_loss"].iloc[0]
    assert trained.training["validation_score"] > 0.8
    assert trained.training["diameter"] == pytest.approx(16, abs=4)


def test_early_stopping_keeps_the_best_epoch(
    fit: Fit, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """With a rate that ruins the network after epoch 1, its weights must be those of epoch 1."""
    short = fit("short", epochs=1)
    monkeypatch.setattr("karyoseg.models.training.epochs.learning_rate", lambda *args: 1.0 if args[2] else 0.001)
    with caplog.at_level(logging.INFO):
        stopped = fit("long", epochs=9, early_stopping=2)
    assert stopped[1]["val_loss"].idxmin() == 0
    assert len(stopped[1]) == 3
    assert "Stopped early" in caplog.text
    for one, other in zip(weights(stopped[0]), weights(short[0]), strict=True):
        np.testing.assert_array_equal(one, other)
    assert stopped[0].training["best_epoch"] == 1
    assert_same(stopped, fit("long", epochs=9, early_stopping=2))  # a further run does not go on


@pytest.mark.parametrize("spoilt", ["train", "validation"])
def test_a_loss_that_is_not_finite_is_a_clear_error(fit: Fit, samples: Callable, spoilt: str) -> None:
    data = samples(range(2))
    bad = Lazy(lambda: np.full((96, 80), 1e38, np.float32), "overflow")
    images = dict.fromkeys(data.ids, bad)
    with pytest.raises(KaryosegError, match=r"loss became (nan|inf) in epoch 1; needed: a finite loss"):
        fit(epochs=1, **{spoilt: LabelledSamples(images, data.labels)})


def test_images_smaller_than_the_patch_train(fit: Fit, samples: Callable, caplog: pytest.LogCaptureFixture) -> None:
    _, history = fit(epochs=1, train=samples(range(3), shape=(40, 33)))
    assert np.isfinite(history["loss"]).all()
    assert "3 images are smaller than the patch of 64x64 px" in caplog.text


def test_colour_images_train(fit: Fit, samples: Callable) -> None:
    colour = {"train": samples(range(3), n_channels=3), "validation": samples(range(100, 101), n_channels=3)}
    model, _ = fit(n_channels=3, epochs=1, **colour)
    assert model.n_channels == 3
    with pytest.raises(ProblemReport, match=r"3 channel\(s\); needed: 1"):
        fit("gray", n_channels=1, **colour)


def test_shape_completion_and_iou_loss_train(fit: Fit) -> None:
    _, history = fit(shape_completion=True, completion_crop=8, patch_size=[80, 80], dist_loss="iou", epochs=1)
    assert np.isfinite(history["loss"]).all()


def test_every_misfit_is_reported_before_the_first_epoch(
    fit: Fit, samples: Callable, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("keras.Model.fit", lambda *args, **kwargs: pytest.fail("training began"))
    data = samples(range(3))
    images = {
        **data.images,
        "s1": Lazy(lambda: np.zeros((96, 80, 3), np.float32), "x"),
        "s2": Lazy(lambda: np.zeros((10, 10), np.float32), "x"),
    }
    with pytest.raises(ProblemReport) as caught:
        fit(train=LabelledSamples(images, data.labels))
    assert {problem.where for problem in caught.value.problems} == {"s1", "s2"}
    assert not (tmp_path / "model").exists()


def test_no_nuclei_and_no_samples_are_refused(fit: Fit, samples: Callable) -> None:
    data = samples(range(2))
    empty = dict.fromkeys(data.ids, Lazy(lambda: np.full((96, 80), -1, np.int32), "x"))
    with pytest.raises(KaryosegError, match="none of the 2 training images holds a nucleus"):
        fit(train=LabelledSamples(data.images, empty))
    with pytest.raises(KaryosegError, match="none of the 2 validation images has an annotated pixel"):
        fit(validation=LabelledSamples(data.images, empty))
    with pytest.raises(KaryosegError, match="no samples in split 'val'"):
        fit(validation=LabelledSamples({}, {}))


def test_fine_tuning_starts_from_the_given_weights(fit: Fit, trained: Any, tmp_path: Path) -> None:
    init = {"name": "model", "path": str(trained.directory)}
    model, history = fit(init=init, epochs=1, steps_per_epoch=1, learning_rate=1e-9)
    for one, other in zip(weights(model), weights(trained), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
    assert model.config["n_rays"] == trained.config["n_rays"]
    assert model.config["train_learning_rate"] == 1e-9
    assert json.loads((tmp_path / "model" / "training.json").read_text())["parameters"]["init"] == init
    assert history["val_loss"].iloc[0] < 0.5
    assert model.training["hardware"]["processor"] == hardware()["processor"]


@pytest.mark.parametrize("rescale", [{"name": "none"}, {"name": "diameter", "target": 9}])
def test_fine_tuning_warns_of_images_prepared_in_another_way(
    trained: Any,
    samples: Callable,
    options: Callable,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    rescale: dict[str, Any],
) -> None:
    init = {"name": "model", "path": str(trained.directory)}
    model = StarDistSegmenter(tmp_path / "model", {"preparation": {"rescale": rescale}})
    model.fit(samples(range(4)), samples(range(100, 102)), None, options(init=init, epochs=1, steps_per_epoch=1))
    assert ("has learnt from images prepared with" in caplog.text) == (rescale["name"] != "none")


def test_fine_tuning_refuses_a_model_that_does_not_fit(fit: Fit, samples: Callable, trained: Any) -> None:
    init = {"name": "model", "path": str(trained.directory)}
    colour = {"train": samples(range(2), n_channels=3), "validation": samples(range(2), n_channels=3)}
    with pytest.raises(KaryosegError, match=r"takes 1 channel\(s\), the training images have 3"):
        fit(n_channels=3, init=init, **colour)
    with pytest.raises(KaryosegError, match=r"patch_size: \[60, 64\].* needed: multiples of \[8, 8\]"):
        fit(init=init, patch_size=[60, 64])
    with pytest.raises(KaryosegError, match=r"nowhere: no model there"):
        fit(init={"name": "model", "path": "nowhere"})


def test_a_refused_training_leaves_an_unfinished_one_alone(fit: Fit, tmp_path: Path) -> None:
    for name in ("state.json", "history.csv", "weights_best.h5", "epoch_00003.weights.h5"):
        (tmp_path / "model").mkdir(exist_ok=True)
        (tmp_path / "model" / name).write_text('{"fingerprint": "earlier"}')
    before = {path.name: path.read_bytes() for path in (tmp_path / "model").iterdir()}
    with pytest.raises(KaryosegError):
        fit(init={"name": "model", "path": "nowhere"})
    assert {path.name: path.read_bytes() for path in (tmp_path / "model").iterdir()} == before


def test_unwritable_workspace_is_a_clear_error(fit: Fit, tmp_path: Path) -> None:
    (tmp_path / "model").write_text("a file")
    with pytest.raises(
        KaryosegError, match=r"model: cannot be read or written .*needed: a writable folder for checkpoints"
    ):
        fit()


@pytest.mark.parametrize("name", ["tensorboard", "dvclive"])
def test_training_curves_are_logged(fit: Fit, tmp_path: Path, name: str) -> None:
    pytest.importorskip({"tensorboard": "tensorboard", "dvclive": "dvclive"}[name])
    fit(loggers=[name], epochs=1)
    files = [path.name for path in (tmp_path / "model" / "logs").rglob("*") if path.is_file()]
    assert any("tfevents" in file for file in files) if name == "tensorboard" else "loss.tsv" in files


def rates(schedule: dict, epochs: int, losses: list[float] | None = None) -> list[float]:
    from karyoseg.models.training.epochs import learning_rate

    losses = losses or [1.0] * epochs
    return [learning_rate(schedule, 0.1, epoch, epochs, losses[:epoch]) for epoch in range(epochs)]


def test_constant_rate() -> None:
    assert rates({"name": "constant"}, 4) == [0.1] * 4


@pytest.mark.parametrize("epochs", [1, 2, 3, 40])
@pytest.mark.parametrize("warmup", [0, 1, 5])
def test_cosine_rate(epochs: int, warmup: int) -> None:
    found = rates({"name": "cosine", "warmup_epochs": warmup, "final_fraction": 0.02}, epochs)
    assert all(0 < rate <= 0.1 for rate in found)
    assert found[:warmup] == sorted(found[:warmup])
    assert found[warmup:] == sorted(found[warmup:], reverse=True)
    if epochs > warmup + 1:
        assert found[warmup] == pytest.approx(0.1)
        assert found[-1] == pytest.approx(0.002)
        middle = (epochs - 1 - warmup) / 2
        expected = 0.1 * (0.02 + 0.98 * (1 + math.cos(math.pi * round(middle) / (2 * middle))) / 2)
        assert found[warmup + round(middle)] == pytest.approx(expected)


def test_plateau_rate_agrees_with_keras() -> None:
    import keras

    losses = [5, 4, 4.1, 4.2, 4.3, 3.9, 4, 4, 4, 4, 3.8, 3.7, 5, 5, 5]
    callback = keras.callbacks.ReduceLROnPlateau(factor=0.5, patience=3, min_delta=0, verbose=0)
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.1), "mse")
    callback.set_model(model)
    callback.on_train_begin()
    expected = []
    for epoch, loss in enumerate(losses):
        expected.append(float(model.optimizer.learning_rate))
        callback.on_epoch_end(epoch, {"val_loss": loss})
    found = rates({"name": "plateau", "factor": 0.5, "patience": 3}, len(losses), losses)
    assert found == pytest.approx(expected, rel=1e-6)
    assert len(set(found)) == 3
