"""The training loop: progress, checkpoints, early stopping, learning rate, resuming.

All state is the history table, the last weights and the best weights; best epoch, patience and learning rate follow
from the history. A killed training continues after its last whole epoch.
"""

from __future__ import annotations

import json
import logging
import math
import os
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
from stardist.models import StarDist2D

from karyoseg.core.errors import KaryosegError
from karyoseg.models.stardist.patches import PatchStream

logger = logging.getLogger(__name__)

_LAST = "last.weights.h5"
_BEST = "weights_best.h5"
_HISTORY = "history.csv"
_STATE = "state.json"


def learning_rate(schedule: Mapping[str, Any], base: float, epoch: int, epochs: int, val_losses: list[float]) -> float:
    """Return the learning rate of an epoch.

    Parameters
    ----------
    schedule : mapping
        ``{"name": "constant"}``, ``{"name": "cosine", "warmup_epochs", "final_fraction"}`` or
        ``{"name": "plateau", "factor", "patience"}``.
    base : float
        Learning rate to start from.
    epoch, epochs : int
        This epoch (from 0) and their number.
    val_losses : list of float
        Validation losses so far.

    Returns
    -------
    float
        Learning rate.

    Examples
    --------
    >>> learning_rate({"name": "plateau", "factor": 0.5, "patience": 2}, 1.0, 4, 9, [1.0, 0.5, 0.6, 0.7])
    0.5
    """
    if schedule["name"] == "cosine":
        warmup = schedule["warmup_epochs"]
        if epoch < warmup:
            return base * (epoch + 1) / (warmup + 1)
        final = schedule["final_fraction"]
        progress = (epoch - warmup) / max(1, epochs - 1 - warmup)
        return base * (final + (1 - final) * (1 + math.cos(math.pi * progress)) / 2)
    if schedule["name"] == "plateau":
        best, wait, reductions = math.inf, 0, 0
        for loss in val_losses:
            wait = 0 if loss < best else wait + 1
            best = min(best, loss)
            if wait >= schedule["patience"]:
                reductions, wait = reductions + 1, 0
        return base * schedule["factor"] ** reductions
    return base


class Workspace:
    """Folder in which a training keeps what it needs to continue.

    Parameters
    ----------
    folder : Path
        Working folder, made if needed.
    fingerprint : str
        Identifies data and parameters; a workspace of another training is emptied.
    """

    def __init__(self, folder: Path, fingerprint: str):
        self.folder = folder
        state = folder / _STATE
        known = json.loads(state.read_text())["fingerprint"] if state.is_file() else None
        if known != fingerprint:
            for name in (_LAST, _BEST, _HISTORY):
                (folder / name).unlink(missing_ok=True)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            replace_text(state, json.dumps({"fingerprint": fingerprint}))
        except OSError as error:
            raise KaryosegError(
                f"{folder}: cannot be written ({error.strerror}); needed: a writable folder for checkpoints. "
                f"Check permissions and free space."
            ) from error

    def history(self) -> pd.DataFrame:
        """Return the epochs done so far."""
        path = self.folder / _HISTORY
        return pd.read_csv(path) if path.is_file() and (self.folder / _LAST).is_file() else pd.DataFrame()


def replace_text(path: Path, text: str) -> None:
    """Write a text file under a temporary name, then rename.

    Parameters
    ----------
    path : Path
        Final path.
    text : str
        The whole file.
    """
    part = path.with_name(path.name + ".part")
    part.write_text(text)
    part.replace(path)


class _Loop(keras.callbacks.Callback):
    """Everything that happens around an epoch."""

    def __init__(
        self,
        network: StarDist2D,
        stream: PatchStream,
        workspace: Workspace,
        options: Mapping[str, Any],
        rows: list[dict],
    ):
        super().__init__()
        self._network = network
        self._stream = stream
        self._workspace = workspace
        self._options = options
        self.rows = rows
        self._durations: list[float] = []
        self._started = 0.0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._stream.epoch = epoch
        self._started = time.monotonic()
        losses = [row["val_loss"] for row in self.rows]
        rate = learning_rate(
            self._options["schedule"], self._options["learning_rate"], epoch, self._options["epochs"], losses
        )
        self.model.optimizer.learning_rate = rate

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        values = {key: float(value) for key, value in (logs or {}).items()}
        if not math.isfinite(values["loss"]):
            raise KaryosegError(
                f"training: the loss became {values['loss']} in epoch {epoch + 1}; needed: a finite loss. Lower "
                f"learning_rate or check the images for extreme values."
            )
        rate = float(np.asarray(self.model.optimizer.learning_rate))
        self._durations.append(time.monotonic() - self._started)
        best = min((row["val_loss"] for row in self.rows), default=math.inf)
        improved = values["val_loss"] < best
        self.rows.append({"epoch": epoch + 1, **values, "learning_rate": rate, "seconds": self._durations[-1]})
        self._save(improved)
        self._log(epoch, values, improved)
        since = self._epochs_since_best()
        patience = self._options["early_stopping"]
        if patience and since >= patience:
            logger.info("Stopped early: no better validation loss for %d epochs", since)
            self.model.stop_training = True

    def _epochs_since_best(self) -> int:
        losses = [row["val_loss"] for row in self.rows]
        return len(losses) - 1 - int(np.argmin(losses))

    def _save(self, improved: bool) -> None:
        folder = self._workspace.folder
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # csbdeep warns about the Keras 3 format, which is wanted here
            if improved:
                self.model.save_weights(str(folder / ("part_" + _BEST)))
                (folder / ("part_" + _BEST)).replace(folder / _BEST)
            self.model.save_weights(str(folder / ("part_" + _LAST)))
        # History last: it says how many epochs the weights have seen.
        (folder / ("part_" + _LAST)).replace(folder / _LAST)
        replace_text(folder / _HISTORY, pd.DataFrame(self.rows).to_csv(index=False))

    def _log(self, epoch: int, values: dict[str, float], improved: bool) -> None:
        left = (self._options["epochs"] - epoch - 1) * float(np.median(self._durations))
        logger.info(
            "Epoch %d/%d: loss %.4f, val_loss %.4f%s, %.0f s, %s left",
            epoch + 1,
            self._options["epochs"],
            values["loss"],
            values["val_loss"],
            " (best)" if improved else "",
            self._durations[-1],
            f"{left / 60:.0f} min" if left >= 90 else f"{left:.0f} s",  # noqa: PLR2004
        )


def run_training(
    network: StarDist2D,
    stream: PatchStream,
    validation: tuple[np.ndarray, tuple[np.ndarray, np.ndarray]],
    workspace: Workspace,
    options: Mapping[str, Any],
) -> pd.DataFrame:
    """Train until the last epoch or early stop; leave the best weights in the network.

    Parameters
    ----------
    network : StarDist2D
        Network to train.
    stream : PatchStream
        Training batches.
    validation : tuple
        Images and targets, one batch of all validation patches.
    workspace : Workspace
        Where checkpoints are.
    options : mapping
        Fields of ``TrainParams``: epochs, batch_size, learning_rate, schedule, early_stopping, loggers.

    Returns
    -------
    DataFrame
        One row per epoch: epoch, losses and metrics, learning_rate, seconds.
    """
    network.prepare_for_training(keras.optimizers.Adam(options["learning_rate"]))
    model = network.keras_model
    # XLA compiles every new shape anew and was slower on CPU; losses with dynamic masks do not suit it either.
    model.jit_compile = False
    history = workspace.history()
    rows: list[Any] = history.to_dict("records")
    if rows:
        model.optimizer.build(model.trainable_variables)
        model.load_weights(str(workspace.folder / _LAST))
        logger.info("Training continues after epoch %d", len(rows))
    loop = _Loop(network, stream, workspace, options, rows)
    finished = rows and options["early_stopping"] and loop._epochs_since_best() >= options["early_stopping"]
    if len(rows) < options["epochs"] and not finished:
        model.fit(
            stream,
            validation_data=validation,
            validation_batch_size=options["batch_size"],
            epochs=options["epochs"],
            initial_epoch=len(rows),
            callbacks=[loop, *_loggers(options["loggers"], workspace.folder / "logs")],
            verbose=2 if os.environ.get("KARYOSEG_KERAS_LOG") else 0,
            shuffle=False,
        )
    model.load_weights(str(workspace.folder / _BEST))
    return pd.DataFrame(loop.rows)


def _loggers(names: list[str], folder: Path) -> list[keras.callbacks.Callback]:
    """Callbacks that write training curves for TensorBoard or DVCLive."""
    found: list[keras.callbacks.Callback] = []
    for name in names:
        try:
            if name == "tensorboard":
                found.append(keras.callbacks.TensorBoard(log_dir=str(folder), write_graph=False))
            else:
                from dvclive import Live
                from dvclive.keras import DVCLiveCallback

                live = Live(str(folder / "dvclive"), save_dvc_exp=False, dvcyaml=None, report=None, resume=True)
                found.append(DVCLiveCallback(live=live))
        except ImportError as error:
            raise KaryosegError(
                f"train.loggers: '{name}' needs a package that is not installed ({error.name}); needed: the extra "
                f"'track'. Run `pip install 'karyoseg[track]'`, or remove '{name}' from train.loggers."
            ) from error
    return found
