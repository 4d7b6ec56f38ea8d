"""Checkpoints of a training, written so that a kill at any moment leaves a state to continue from.

Files can be damaged all the same, by a full disk or a power cut. Then the training starts anew, and says so.
"""

from __future__ import annotations

import io
import json
import logging
import math
import os
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from karyoseg.core.errors import KaryosegError, causes
from karyoseg.core.io.files import replace_text, replacing

if TYPE_CHECKING:  # Keras is imported only when it is needed
    import keras

logger = logging.getLogger(__name__)

_LAST = "epoch_{:05d}.weights.h5"
_HISTORY = "history.csv"
_STATE = "state.json"
_COUNTERS = ("epoch", "step")
_BYTES = 4  # of a number
_HEADER = 4096  # bytes that describe an array


class Workspace:
    """Folder in which a training keeps what it needs to continue.

    Parameters
    ----------
    folder : Path
        Working folder, made if needed.
    fingerprint : str
        Identifies data and parameters; a workspace of another training is emptied.
    best : str, optional
        Name of the file with the best weights; by default none are kept.

    Raises
    ------
    KaryosegError
        If the folder cannot be written.
    """

    def __init__(self, folder: Path, fingerprint: str, best: str | None = None):
        self.folder = folder
        self.logs = folder / "logs"
        self._fingerprint = fingerprint
        self._best = folder / best if best else None
        with self._disk_errors():
            folder.mkdir(parents=True, exist_ok=True)
            try:
                known = self._read_fingerprint()
            except _DamageError as error:
                self._start_anew(error)
                return
            if known not in (None, fingerprint):
                logger.info("%s holds a training with other data or parameters: starting anew", folder)
            if known != fingerprint:
                self._empty()

    def load_last(self, model: keras.Model) -> list[dict[str, Any]]:
        """Bring a network and its optimizer to the end of the last epoch.

        Parameters
        ----------
        model : keras.Model
            Built and compiled network; it stays as it is if there is nothing to continue from.

        Returns
        -------
        list of dict
            Rows of the history, one per epoch done.

        Raises
        ------
        KaryosegError
            If files cannot be read for another reason than damage.
        """
        if not (self.folder / _HISTORY).is_file():
            return []
        model.optimizer.build(model.trainable_variables)
        variables = [*model.weights, *model.optimizer.variables]
        before = [variable.numpy() for variable in variables]
        with self._disk_errors():
            try:
                rows = self._read_history()
                # The best weights, too: that they are damaged should not come out at the end of the training.
                for path in filter(None, (self._best, self.weights_after(len(rows)))):
                    with _reading(path):
                        model.load_weights(str(path))
            except _DamageError as error:
                for variable, value in zip(variables, before, strict=True):
                    variable.assign(value)
                self._start_anew(error)
                return []
        return rows

    def load_best(self, model: keras.Model) -> None:
        """Give a network the best weights.

        Parameters
        ----------
        model : keras.Model
            The network that was trained.

        Raises
        ------
        KaryosegError
            If another training has taken the folder.
        """
        self._require_own()
        model.load_weights(str(self._best))

    def weights_after(self, epochs: int) -> Path:
        """Return the path of the weights after a number of epochs; only those of the last epoch are kept."""
        return self.folder / _LAST.format(epochs)

    def save(self, model: keras.Model, rows: list[dict], *, improved: bool = False) -> None:
        """Note an epoch; the history is written last, so a kill in between only repeats that epoch.

        Parameters
        ----------
        model : keras.Model
            The network after the epoch.
        rows : list of dict
            Rows of the history, with that of the epoch.
        improved : bool
            Whether its weights are the best so far.

        Raises
        ------
        KaryosegError
            If the disk is full or the folder cannot be written, and the training can go on from the epoch before; or if
            another training has taken the folder.
        """
        last = self.weights_after(len(rows))
        paths = [path for path in (self._best if improved else None, last) if path]
        self._require_own()
        with self._disk_errors(), warnings.catch_warnings():
            self._require_space(model, len(paths))
            # csbdeep has StarDist's networks warn about the format of Keras 3: alone it holds the optimizer's state.
            warnings.filterwarnings("ignore", "Detected filename suffix '.weights.h5'")
            for path in paths:
                with replacing(path, "part_{}") as part:  # Keras looks at the suffix
                    model.save_weights(str(part))
            replace_text(self.folder / _HISTORY, pd.DataFrame(rows).to_csv(index=False))
            self._forget_epochs(but=last)

    def _require_own(self) -> None:
        """Stop if another training has begun here: weights of both would be mixed."""
        try:
            known = self._read_fingerprint()
        except _DamageError:
            known = None
        if known != self._fingerprint:
            raise KaryosegError(
                f"{self.folder}: taken by another training, which emptied it; needed: a folder for each that runs at "
                f"the same time. Set another workspace (or model in globals.yml) for this one and run it again."
            )

    def _read_fingerprint(self) -> str | None:
        path = self.folder / _STATE
        if not path.is_file():
            return None
        with _reading(path):
            return str(json.loads(path.read_text(encoding="utf-8"))["fingerprint"])

    def _read_history(self) -> list[dict[str, Any]]:
        path = self.folder / _HISTORY
        with _reading(path):
            text = path.read_text(encoding="utf-8")
            # As text first, for pandas' own number parser may lose the last digit: the learning rate and the best
            # epoch follow from these numbers.
            table = pd.read_csv(io.StringIO(text), dtype=str).astype(float)
            table = table.astype({name: int for name in _COUNTERS if name in table})
            counted = table["epoch"].tolist() == list(range(1, len(table) + 1))
            if table.empty or not counted or not text.endswith("\n"):
                raise ValueError("incomplete")
        for weights in filter(None, (self._best, self.weights_after(len(table)))):
            if not weights.is_file():
                raise _DamageError(f"{weights.name} is missing")
        rows: list[Any] = table.to_dict("records")
        return rows

    def _start_anew(self, reason: _DamageError) -> None:
        logger.warning("%s: its checkpoint cannot be read (%s); this training starts anew", self.folder, reason)
        self._empty()

    def _empty(self) -> None:
        (self.folder / _HISTORY).unlink(missing_ok=True)  # first: without it the rest counts for nothing
        if self._best:
            self._best.unlink(missing_ok=True)
        self._forget_epochs(but=None)
        shutil.rmtree(self.logs, ignore_errors=True)
        replace_text(self.folder / _STATE, json.dumps({"fingerprint": self._fingerprint}))

    def _forget_epochs(self, but: Path | None) -> None:
        for path in self.folder.glob(_LAST.replace("{:05d}", "*")):
            if path != but:
                path.unlink()

    def _require_space(self, model: keras.Model, copies: int) -> None:
        # On a full disk HDF5 may crash the process when it ends.
        variables = [*model.weights, *model.optimizer.variables]
        needed = copies * sum(_HEADER + _BYTES * math.prod(variable.shape) for variable in variables)
        free = shutil.disk_usage(self.folder).free
        if free < needed:
            raise KaryosegError(
                f"{self.folder}: {free / 1e6:.1f} MB are free; needed: {needed / 1e6:.1f} MB for a checkpoint. Free "
                f"some space and run again: the training goes on after its last checkpoint."
            )

    @contextmanager
    def _disk_errors(self) -> Iterator[None]:
        try:
            yield
        except (OSError, RuntimeError) as error:
            # A file that could not be written cannot be closed, and h5py raises RuntimeError for that.
            reason = next((cause for cause in causes(error) if isinstance(cause, OSError)), None)
            if reason is None:
                raise
            # What h5py says has several lines, and addresses in memory.
            said = os.strerror(reason.errno) if reason.errno else str(reason)
            raise KaryosegError(
                f"{self.folder}: cannot be read or written ({said}); needed: a writable folder for checkpoints. Check "
                f"permissions and free space."
            ) from error


class _DamageError(Exception):
    """A file of a checkpoint has other content than was written."""


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Tell damaged content from other failures, after which the checkpoint must stay."""
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:  # h5py raises most of them for damage
        if isinstance(error, OSError) and error.errno:  # the disk says no, or another process has locked the file
            raise
        reason = str(error).partition("\n")[0]
        raise _DamageError(f"{path.name}: {reason}") from error
