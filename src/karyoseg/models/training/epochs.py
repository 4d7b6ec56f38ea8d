"""Epochs of a training: progress, checkpoints, early stopping, learning rate, resuming.

All state is the history table, the last weights (with the state of the optimizer) and the best weights; best epoch,
patience and learning rate follow from the history. A killed training continues after its last whole epoch, with the
result of one that was not killed.
"""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd

from karyoseg.core.errors import KaryosegError
from karyoseg.core.progress import Progress, duration
from karyoseg.models.training.dropout import seed_dropout
from karyoseg.models.training.patches import PatchStream, Targets
from karyoseg.models.training.workspace import Workspace

logger = logging.getLogger(__name__)


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


class _Loop(keras.callbacks.Callback):
    """Everything that happens around an epoch."""

    def __init__(
        self,
        stream: PatchStream,
        workspace: Workspace,
        options: Mapping[str, Any],
        rows: list[dict],
    ):
        super().__init__()
        self._stream = stream
        self._workspace = workspace
        self._options = options
        self.rows = rows
        self._durations: list[float] = []
        self._started = 0.0
        self._bar = Progress(disable=True)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Choose patches and learning rate of the epoch."""
        self._stream.epoch = epoch
        self._started = time.monotonic()
        self._bar = Progress(desc=f"epoch {epoch + 1}", total=len(self._stream), unit="step")
        losses = [row["val_loss"] for row in self.rows]
        rate = learning_rate(
            self._options["schedule"], self._options["learning_rate"], epoch, self._options["epochs"], losses
        )
        self.model.optimizer.learning_rate = rate
        seed_dropout(self.model, self._options["seed"], epoch * len(self._stream))

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Move the bar of the epoch."""
        self._bar.update()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Keep, log and judge what the epoch reached."""
        self._bar.close()
        values = {key: float(value) for key, value in (logs or {}).items()}
        for name in ("loss", "val_loss"):
            if not math.isfinite(values[name]):
                raise KaryosegError(
                    f"training: {name} became {values[name]} in epoch {epoch + 1}; needed: a finite loss. Lower "
                    f"learning_rate or check the images for extreme values."
                )
        rate = float(np.asarray(self.model.optimizer.learning_rate))
        self._durations.append(time.monotonic() - self._started)
        best = min((row["val_loss"] for row in self.rows), default=math.inf)
        improved = values["val_loss"] < best
        self.rows.append({"epoch": epoch + 1, **values, "learning_rate": rate, "seconds": self._durations[-1]})
        self._workspace.save(self.model, self.rows, improved=improved)
        self._log(epoch, values, improved)
        if self.finished:
            logger.info("Stopped early: no better validation loss for %d epochs", self._options["early_stopping"])
            self.model.stop_training = True

    @property
    def finished(self) -> bool:
        """Whether early stopping ends the training here."""
        losses = [row["val_loss"] for row in self.rows]
        patience = self._options["early_stopping"]
        return bool(losses and patience and len(losses) - 1 - int(np.argmin(losses)) >= patience)

    def _log(self, epoch: int, values: dict[str, float], improved: bool) -> None:
        left = (self._options["epochs"] - epoch - 1) * float(np.median(self._durations))
        logger.info(
            "Epoch %d/%d: loss %.4f, val_loss %.4f%s, %s, %s left",
            epoch + 1,
            self._options["epochs"],
            values["loss"],
            values["val_loss"],
            " (best)" if improved else "",
            duration(self._durations[-1]),
            duration(left),
        )


def run_epochs(
    model: keras.Model,
    stream: PatchStream,
    validation: tuple[np.ndarray, Targets],
    workspace: Workspace,
    options: Mapping[str, Any],
) -> pd.DataFrame:
    """Train a compiled network of any kind until the last epoch or early stop; leave the best weights in it.

    Parameters
    ----------
    model : keras.Model
        Network to train.
    stream : PatchStream
        Training batches.
    validation : tuple
        Images and targets.
    workspace : Workspace
        Where checkpoints are.
    options : mapping
        Fields of ``TrainParams``: epochs, batch_size, learning_rate, schedule, early_stopping, loggers, seed.

    Returns
    -------
    DataFrame
        One row per epoch: epoch, losses and metrics, learning_rate, seconds.
    """
    rows = workspace.load_last(model)
    if rows:
        logger.info("Training continues after epoch %d", len(rows))
    if len(rows) > options["epochs"]:
        logger.warning(
            "%d epochs are done, %d were asked for; delete %s to train anew",
            len(rows),
            options["epochs"],
            workspace.folder,
        )
    loop = _Loop(stream, workspace, options, rows)
    if len(rows) < options["epochs"] and not loop.finished:
        model.fit(
            stream,
            validation_data=validation,
            validation_batch_size=options["batch_size"],
            epochs=options["epochs"],
            initial_epoch=len(rows),
            callbacks=[loop, *_loggers(options["loggers"], workspace.logs)],
            verbose=2 if os.environ.get("KARYOSEG_KERAS_LOG") else 0,
            shuffle=False,
        )
    workspace.load_best(model)
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
                f"train.loggers: '{name}' needs a package that is not installed ({error.name}); needed: it. Run "
                f"`python -m pip install {name}`, or remove '{name}' from train.loggers."
            ) from error
    return found
