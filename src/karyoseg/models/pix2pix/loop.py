"""The training loop of one generator: tiles, checkpoints, sample sheets, time left."""

from __future__ import annotations

import logging
import math
import shutil
import time
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import pandas as pd

from karyoseg.core.errors import KaryosegError
from karyoseg.core.progress import Progress, duration
from karyoseg.models.pix2pix.adversarial import ConstantThenLinear, Pix2Pix
from karyoseg.models.pix2pix.condition import N_CHANNELS, encode_labels
from karyoseg.models.pix2pix.generate import SAMPLES, build_network, from_uint8, paint
from karyoseg.models.pix2pix.networks import build_discriminator
from karyoseg.models.pix2pix.sheets import sample_sheet
from karyoseg.models.pix2pix.tiles import Tiles
from karyoseg.models.training.dropout import seed_dropout
from karyoseg.models.training.patches import LEAST_WORKERS
from karyoseg.models.training.workspace import Workspace

logger = logging.getLogger(__name__)

_BETAS = (0.5, 0.999)
_TIMED = range(3, 13)  # steps
_SHOWN = 4  # tiles on a sample sheet


class _Pairs(keras.utils.PyDataset):
    """Batches of conditions and images."""

    def __init__(self, tiles: Tiles, config: Mapping[str, Any], batch_size: int, steps: int):
        super().__init__(workers=LEAST_WORKERS)
        self._tiles, self._config = tiles, config
        self._batch_size, self._steps = batch_size, steps
        #: Set by the training loop.
        self.round = 0

    def __len__(self) -> int:
        return self._steps

    def __getitem__(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        first = (self.round * self._steps + step) * self._batch_size
        drawn = [self._tiles.draw(first + i) for i in range(self._batch_size)]
        conditions = [encode_labels(labels, self._config["condition"]) for _, labels in drawn]
        images = [from_uint8(image, self._config["image_channels"]) for image, _ in drawn]
        return np.stack(conditions), np.stack(images)


class _Loop(keras.callbacks.Callback):
    """What happens around a round: the steps between two checkpoints."""

    def __init__(
        self,
        pairs: _Pairs,
        tiles: Tiles,
        config: Mapping[str, Any],
        workspace: Workspace,
        options: Mapping[str, Any],
        rows: list[dict],
    ):
        super().__init__()
        self._pairs, self._tiles, self._config = pairs, tiles, config
        self._workspace, self._options = workspace, options
        self.rows = rows
        self._name = workspace.folder.name
        self._bar: Progress | None = None
        self._started = self._timed_from = 0.0
        self._n_timed = 0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Choose the tiles and the random state of the round; checkpoints hold neither."""
        self._pairs.round = epoch
        self._started = time.monotonic()
        seed_dropout(self.model.generator, self._options["seed"], epoch * len(self._pairs))

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Move the bar; after the first steps, say how long the training will take."""
        if self._bar is None:  # not before the first step, which also builds the graph
            total = self.params["epochs"] * len(self._pairs)
            done = len(self.rows) * len(self._pairs)
            self._bar = Progress(desc=self._name, total=total, initial=done, unit="step")
        self._bar.update()
        self._n_timed += 1
        if self._n_timed == _TIMED.start:
            self._timed_from = time.monotonic()
        elif self._n_timed == _TIMED.stop:
            each = (time.monotonic() - self._timed_from) / len(_TIMED)
            left = (self.params["epochs"] - self._pairs.round) * len(self._pairs) - batch - 1
            logger.info("%s: %.2f s per step, about %s left", self._name, each, duration(each * left))

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Keep, log and show what the round reached."""
        values = {key: float(value) for key, value in (logs or {}).items() if key != "loss"}
        step = (epoch + 1) * len(self._pairs)
        if not all(map(math.isfinite, values.values())):
            raise KaryosegError(
                f"style_transfer: the training of {self._name} diverged before step {step}; needed: finite losses. "
                f"Lower style_transfer.learning_rate."
            )
        self.rows.append({"epoch": epoch + 1, "step": step, **values, "seconds": time.monotonic() - self._started})
        self._draw_samples(step)
        self._workspace.save(self.model, self.rows)
        losses = ", ".join(f"{key.replace('_', ' ')} {value:.3f}" for key, value in values.items())
        logger.info("%s: step %d of %d, %s", self._name, step, self.params["epochs"] * len(self._pairs), losses)

    def on_train_end(self, logs: Any = None) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.close()

    def _draw_samples(self, step: int) -> None:
        indices = np.unique(np.linspace(0, len(self._tiles) - 1, _SHOWN).round().astype(int))
        pairs = [self._tiles[int(index)] for index in indices]
        painted = [
            paint(self.model.generator, labels, self._config["condition"], self._tiles.side, i, dropout=True)
            for i, (_, labels) in enumerate(pairs)
        ]
        folder = self._workspace.folder / SAMPLES
        folder.mkdir(exist_ok=True)
        sheet = sample_sheet([image for image, _ in pairs], [labels for _, labels in pairs], painted)
        sheet.save(folder / f"step_{step:06d}.png")


def run_training(
    tiles: Tiles, config: dict[str, Any], workspace: Workspace, options: Mapping[str, Any]
) -> tuple[keras.Model, pd.DataFrame]:
    """Train to the last step.

    Parameters
    ----------
    tiles : Tiles
        Training data.
    config : dict
        Content of config.json.
    workspace : Workspace
        Where checkpoints are.
    options : mapping
        Fields of ``StyleTransferParams``.

    Returns
    -------
    generator : keras.Model
        The trained generator.
    history : DataFrame
        One row per checkpoint: epoch, step, losses, seconds.
    """
    total = options["constant_steps"] + options["decay_steps"]
    rounds = max(1, round(total / options["checkpoint_steps"]))
    steps = -(-total // rounds)
    model = _build(config, options)
    model.build((1, tiles.side, tiles.side, N_CHANNELS[config["condition"]]))
    rows = workspace.load_last(model)
    if rows:
        logger.info("%s continues after step %d", workspace.folder.name, rows[-1]["step"])
    else:
        shutil.rmtree(workspace.folder / SAMPLES, ignore_errors=True)
    pairs = _Pairs(tiles, config, options["batch_size"], steps)
    loop = _Loop(pairs, tiles, config, workspace, options, rows)
    if len(rows) < rounds:
        model.fit(pairs, epochs=rounds, initial_epoch=len(rows), callbacks=[loop], verbose=0, shuffle=False)
    return model.generator, pd.DataFrame(loop.rows)


def _build(config: dict[str, Any], options: Mapping[str, Any]) -> Pix2Pix:
    discriminator = build_discriminator(
        condition_channels=N_CHANNELS[config["condition"]],
        image_channels=config["image_channels"],
        seed=options["seed"] + 1000,  # apart from those of the generator
        **options["discriminator"],
    )
    model = Pix2Pix(build_network(config), discriminator, options["l1_weight"])
    rate = ConstantThenLinear(options["learning_rate"], options["constant_steps"], options["decay_steps"])
    model.compile(keras.optimizers.Adam(rate, *_BETAS), jit_compile=keras.backend.backend() == "jax")
    return model
