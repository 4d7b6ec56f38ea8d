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

from karyoseg.core.errors import KaryosegError, ProblemReport
from karyoseg.core.lazy import Lazy
from karyoseg.models.base import LabelledSamples
from karyoseg.models.stardist import StarDistSegmenter

Fit = Callable[..., "tuple[StarDistSegmenter, pd.DataFrame]"]


class Killed(BaseException):
    """Stands for the end of the process."""


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
    return model.network.keras_model.get_weights()


def assert_same(a: tuple[StarDistSegmenter, pd.DataFrame], b: tuple[StarDistSegmenter, pd.DataFrame]) -> None:
    pd.testing.assert_frame_equal(without_times(a[1]), without_times(b[1]), check_exact=True)
    for one, other in zip(weights(a[0]), weights(b[0]), strict=True):
        np.testing.assert_array_equal(one, other)
    assert a[0].thresholds == b[0].thresholds


def kill_at(monkeypatch: pytest.MonkeyPatch, epoch: int, moment: str) -> pytest.MonkeyPatch:
    """Die in an epoch: before its checkpoint, between weights and history, or after."""
    from karyoseg.models.stardist import workspace

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


def test_two_seeded_trainings_are_equal_and_leave_a_whole_model(fit: Fit, tmp_path: Path) -> None:
    first = fit("a")
    assert first[1]["epoch"].tolist() == [1, 2]
    assert {"loss", "val_loss", "learning_rate", "seconds"} <= set(first[1].columns)
    names = {path.name for path in (tmp_path / "a").iterdir()}
    assert {"config.json", "thresholds.json", "weights_best.h5", "history.csv", "training.json"} <= names
    card = (tmp_path / "a" / "model_card.md").read_text()
    assert "4 training images" in card
    assert "2 epochs" in card
    # Threads that prepare batches change nothing but the speed.
    assert_same(first, fit("b", workers=3))
    other = fit("c", seed=8)
    assert not np.array_equal(weights(first[0])[0], weights(other[0])[0])


@pytest.mark.parametrize("moment", ["before", "between", "after"])
@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_a_killed_training_continues_as_if_it_had_not_been(
    fit: Fit, monkeypatch: pytest.MonkeyPatch, moment: str, schedule: str
) -> None:
    changes = {"epochs": 3, "schedule": {"name": schedule}, "network": {**DROPOUT, "unet_dropout": 0.2}}
    whole = fit("whole", **changes)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        kill_at(patch, 2, moment)
        fit("killed", **changes)
    resumed = fit("killed", **changes)
    assert_same(whole, resumed)


DROPOUT = {"n_rays": 8, "unet_n_depth": 2, "unet_n_filter_base": 4, "net_conv_after_unet": 8}


def test_checkpoints_hold_the_state_of_the_optimizer(fit: Fit, samples: Callable, tmp_path: Path) -> None:
    import h5py

    fit()
    (last,) = (tmp_path / "model").glob("epoch_*.weights.h5")
    with h5py.File(last) as file:
        state = [file["optimizer"]["vars"][key][()] for key in file["optimizer"]["vars"]]
    assert 6 in [int(value) for value in state if value.shape == () and value.dtype.kind in "iu"]  # 2 epochs of 3 steps
    assert any(value.ndim == 4 and np.abs(value).max() > 0 for value in state)  # moments


def test_a_finished_training_is_not_repeated(fit: Fit, monkeypatch: pytest.MonkeyPatch) -> None:
    first = fit()
    from karyoseg.models.stardist.patches import PatchStream

    def forbidden(*args: Any) -> None:
        raise AssertionError("a patch was drawn")

    with monkeypatch.context() as patch:
        patch.setattr("keras.Model.fit", forbidden)
        assert PatchStream is not None
        assert_same(first, fit())
        fit(nms_grid=[0.4], workers=2, cache_gb=0.5)  # what does not change the course of a training


@pytest.mark.parametrize("schedule", [{"name": "constant"}, {"name": "plateau", "patience": 1}])
def test_more_epochs_continue_and_equal_a_training_of_that_length(fit: Fit, schedule: dict) -> None:
    fit("model", epochs=1, schedule=schedule)
    assert_same(fit("model", epochs=3, schedule=schedule), fit("whole", epochs=3, schedule=schedule))


def test_with_the_cosine_schedule_more_epochs_start_anew(fit: Fit, caplog: pytest.LogCaptureFixture) -> None:
    schedule = {"name": "cosine"}
    fit("model", epochs=2, schedule=schedule)
    with caplog.at_level(logging.INFO):
        longer = fit("model", epochs=3, schedule=schedule)
    assert "starting anew" in caplog.text
    assert_same(longer, fit("whole", epochs=3, schedule=schedule))


@pytest.mark.parametrize("change", [{"learning_rate": 0.002}, {"seed": 1}, {"loss_weights": [1, 0.5]}])
def test_changed_parameters_start_anew(fit: Fit, change: dict, caplog: pytest.LogCaptureFixture) -> None:
    fit()
    with caplog.at_level(logging.INFO):
        fit(**change)
    assert "starting anew" in caplog.text
    assert "continues" not in caplog.text


@pytest.mark.parametrize("part", ["train", "validation"])
def test_changed_data_start_anew(fit: Fit, samples: Callable, part: str, caplog: pytest.LogCaptureFixture) -> None:
    seeds = {"train": range(4), "validation": range(100, 102)}[part]
    fit()
    data = samples(seeds)
    key = data.ids[0]
    labels = {**data.labels, key: Lazy(data.labels[key].compute, "corrected")}
    with caplog.at_level(logging.INFO):
        fit(**{part: replace(data, labels=labels)})
    assert "starting anew" in caplog.text


def test_fewer_epochs_than_done_keep_what_is_there(fit: Fit, caplog: pytest.LogCaptureFixture) -> None:
    longer = fit(epochs=2)
    shorter = fit(epochs=1)
    assert_same(longer, shorter)
    assert "2 epochs are done, 1 were asked for" in caplog.text


def test_loss_goes_down_and_objects_are_found(trained: Any) -> None:
    history = pd.read_csv(trained.directory / "history.csv")
    assert history["val_loss"].iloc[-1] < 0.6 * history["val_loss"].iloc[0]
    assert trained.training["validation_score"] > 0.8
    assert trained.training["diameter"] == pytest.approx(16, abs=4)


def test_the_best_epoch_wins(fit: Fit, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a rate that ruins the network after epoch 1, its weights must be those of epoch 1."""
    short = fit("short", epochs=1)
    monkeypatch.setattr("karyoseg.models.stardist.training.learning_rate", lambda *args: 0.001 if args[2] == 0 else 1.0)
    model, history = fit("long", epochs=3)
    assert history["val_loss"].idxmin() == 0
    for one, other in zip(weights(model), weights(short[0]), strict=True):
        np.testing.assert_array_equal(one, other)
    assert model.training["best_epoch"] == 1


def test_early_stopping(fit: Fit, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr("karyoseg.models.stardist.training.learning_rate", lambda *args: 0.001 if args[2] == 0 else 1.0)
    with caplog.at_level(logging.INFO):
        first = fit(epochs=9, early_stopping=2)
    assert len(first[1]) == 3
    assert "Stopped early" in caplog.text
    assert_same(first, fit(epochs=9, early_stopping=2))  # a further run does not go on


@pytest.mark.parametrize("spoilt", ["train", "validation"])
def test_a_loss_that_is_not_finite_is_a_clear_error(fit: Fit, samples: Callable, spoilt: str) -> None:
    data = samples(range(2))
    bad = Lazy(lambda: np.full((96, 80), np.nan, np.float32), "nan")
    images = dict.fromkeys(data.ids, bad)
    with pytest.raises(KaryosegError, match=r"loss became nan in epoch 1; needed: a finite loss"):
        fit(**{spoilt: LabelledSamples(images, data.labels)})


def test_images_smaller_than_the_patch_train(fit: Fit, samples: Callable, caplog: pytest.LogCaptureFixture) -> None:
    _, history = fit(train=samples(range(3), shape=(40, 33)))
    assert np.isfinite(history["loss"]).all()
    assert "3 images are smaller than the patch of 64x64 px" in caplog.text


def test_colour_images_train(fit: Fit, samples: Callable) -> None:
    colour = {"train": samples(range(3), n_channels=3), "validation": samples(range(100, 101), n_channels=3)}
    model, _ = fit(n_channels=3, **colour)
    assert model.n_channels == 3
    with pytest.raises(ProblemReport, match=r"3 channel\(s\); needed: 1"):
        fit("gray", n_channels=1, **colour)


def test_shape_completion_and_iou_loss_train(fit: Fit) -> None:
    _, history = fit(shape_completion=True, completion_crop=8, patch_size=[80, 80], dist_loss="iou")
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


def test_fine_tuning_refuses_a_model_that_does_not_fit(fit: Fit, samples: Callable, trained: Any) -> None:
    init = {"name": "model", "path": str(trained.directory)}
    colour = {"train": samples(range(2), n_channels=3), "validation": samples(range(2), n_channels=3)}
    with pytest.raises(KaryosegError, match=r"takes 1 channel\(s\), the training images have 3"):
        fit(n_channels=3, init=init, **colour)
    with pytest.raises(KaryosegError, match=r"patch_size: \[60, 64\].* needed: multiples of \[8, 8\]"):
        fit(init=init, patch_size=[60, 64])
    with pytest.raises(KaryosegError, match=r"nowhere: no StarDist model"):
        fit(init={"name": "model", "path": "nowhere"})


def test_a_refused_training_leaves_an_unfinished_one_alone(fit: Fit, tmp_path: Path) -> None:
    fit()
    before = {path.name: path.read_bytes() for path in (tmp_path / "model").iterdir()}
    with pytest.raises(KaryosegError):
        fit(init={"name": "model", "path": "nowhere"})
    assert {path.name: path.read_bytes() for path in (tmp_path / "model").iterdir()} == before


def test_changed_weights_of_the_origin_start_anew(
    fit: Fit, trained: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trained.save(tmp_path / "origin")
    init = {"name": "model", "path": str(tmp_path / "origin")}
    fit(init=init)
    other, _ = fit("other", network={"n_rays": 16, "unet_n_depth": 2, "unet_n_filter_base": 4})
    other.save(tmp_path / "origin")
    with caplog.at_level(logging.INFO):
        fit(init=init)
    assert "starting anew" in caplog.text


def test_unwritable_workspace_is_a_clear_error(fit: Fit, tmp_path: Path) -> None:
    (tmp_path / "model").write_text("a file")
    with pytest.raises(KaryosegError, match=r"model: cannot be written .*needed: a writable folder for checkpoints"):
        fit()


def test_progress_is_logged_and_nothing_is_printed(
    fit: Fit, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture
) -> None:
    capfd.readouterr()
    with caplog.at_level(logging.INFO):
        fit()
        fit()
    out, err = capfd.readouterr()
    assert out == ""
    assert "csbdeep" not in err
    assert "UserWarning" not in err
    assert "Epoch 1/2: loss" in caplog.text
    assert " left" in caplog.text
    assert "Chosen thresholds: prob" in caplog.text


@pytest.mark.parametrize("name", ["tensorboard", "dvclive"])
def test_training_curves_are_logged(fit: Fit, tmp_path: Path, name: str) -> None:
    pytest.importorskip({"tensorboard": "tensorboard", "dvclive": "dvclive"}[name])
    fit(loggers=[name])
    files = [path.name for path in (tmp_path / "model" / "logs").rglob("*") if path.is_file()]
    assert any("tfevents" in file for file in files) if name == "tensorboard" else "loss.tsv" in files


def rates(schedule: dict, epochs: int, losses: list[float] | None = None) -> list[float]:
    from karyoseg.models.stardist.training import learning_rate

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
    assert len(set(found)) == 4
