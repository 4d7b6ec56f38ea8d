"""Checkpoints of a training, written so that a kill at any moment leaves a state to continue from."""

from __future__ import annotations

import json
import logging
import shutil
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from karyoseg.core.errors import KaryosegError
from karyoseg.core.io.files import replace_text, replacing

if TYPE_CHECKING:
    import keras

logger = logging.getLogger(__name__)

_LAST = "epoch_{:05d}.weights.h5"
_HISTORY = "history.csv"
_STATE = "state.json"


class Workspace:
    """Folder in which a training keeps what it needs to continue.

    Parameters
    ----------
    folder : Path
        Working folder, made if needed.
    fingerprint : str
        Identifies data and parameters; a workspace of another training is emptied.
    best : str
        Name of the file with the best weights.
    """

    def __init__(self, folder: Path, fingerprint: str, best: str = "weights_best.h5"):
        self.folder = folder
        self.best = folder / best
        self.logs = folder / "logs"
        state = folder / _STATE
        try:
            folder.mkdir(parents=True, exist_ok=True)
            known = json.loads(state.read_text())["fingerprint"] if state.is_file() else None
            if known not in (None, fingerprint):
                logger.info("%s holds a training with other data or parameters: starting anew", folder)
            if known != fingerprint:
                (folder / _HISTORY).unlink(missing_ok=True)  # first: without it the rest counts for nothing
                self.best.unlink(missing_ok=True)
                self._forget_epochs(but=None)
                shutil.rmtree(self.logs, ignore_errors=True)
                replace_text(state, json.dumps({"fingerprint": fingerprint}))
        except OSError as error:
            raise KaryosegError(
                f"{folder}: cannot be written ({error.strerror}); needed: a writable folder for checkpoints. "
                f"Check permissions and free space."
            ) from error

    def history(self) -> pd.DataFrame:
        """Return the epochs done so far."""
        path = self.folder / _HISTORY
        if not path.is_file():
            return pd.DataFrame()
        # Read as text first, for pandas' own number parser may lose the last digit: the learning rate and the best
        # epoch follow from these numbers.
        history = pd.read_csv(path, dtype=str).astype(float).astype({"epoch": int})
        return history if self.weights_after(len(history)).is_file() else pd.DataFrame()

    def weights_after(self, epochs: int) -> Path:
        """Return the path of the weights after a number of epochs; only those of the last epoch are kept."""
        return self.folder / _LAST.format(epochs)

    def save(self, model: keras.Model, rows: list[dict], *, improved: bool) -> None:
        """Note an epoch; the history is written last, so a kill in between only repeats that epoch."""
        last = self.weights_after(len(rows))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # csbdeep warns about the Keras 3 format, which is wanted here
            for path in [self.best, last] if improved else [last]:
                with replacing(path, "part_{}") as part:  # Keras looks at the suffix
                    model.save_weights(str(part))
        replace_text(self.folder / _HISTORY, pd.DataFrame(rows).to_csv(index=False))
        self._forget_epochs(but=last)

    def _forget_epochs(self, but: Path | None) -> None:
        for path in self.folder.glob(_LAST.replace("{:05d}", "*")):
            if path != but:
                path.unlink()
