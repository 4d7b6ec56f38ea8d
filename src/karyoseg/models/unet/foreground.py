"""A foreground model as a folder: trains, saves, loads, and maps the foreground of prepared images."""

from __future__ import annotations

import hashlib
import json
import shutil
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import h5py
import numpy as np
import pandas as pd

from karyoseg.core.errors import KaryosegError
from karyoseg.core.io.files import replace_text, replacing
from karyoseg.core.preparation import Preparation
from karyoseg.core.tiling import choose_tiles, cut_tiles
from karyoseg.models.base import Augment, LabelledSamples
from karyoseg.models.quiet import import_tensorflow

if TYPE_CHECKING:  # Keras is imported only when it is needed
    import keras

CONFIG, TRAINING, WEIGHTS = "config.json", "training.json", "network_{}.weights.h5"
FAMILY = "unet-foreground"
_BYTES_PER_PIXEL = 4 * 16  # for each filter of the first level, about
_MEMORY = 1e9  # for one tile [byte]
_OPENING = threading.Lock()
_FLIPS = ((1, 1), (-1, 1), (1, -1), (-1, -1))  # steps along Y and X


class ForegroundModel:
    """One or several U-Nets, whose maps are averaged.

    Parameters
    ----------
    directory : Path
        Folder that holds, or will hold, the model.
    config : mapping
        Content of config.json: n_channels, depth, filters, sigmas, test_time.
    training : mapping, optional
        Content of training.json: how images are prepared and how the model came to be.

    Examples
    --------
    >>> model = ForegroundModel.load(Path("data/06_models/foreground"))  # doctest: +SKIP
    >>> model.predict(prepared).mean()  # doctest: +SKIP
    """

    def __init__(self, directory: Path, config: Mapping[str, Any], training: Mapping[str, Any] | None = None):
        self.directory = Path(directory)
        self.config = {"family": FAMILY, **config}
        self.training: dict[str, Any] = dict(training or {})
        self._networks: list[keras.Model] = []

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Open a model folder; the networks are read at the first prediction.

        Parameters
        ----------
        directory : Path
            Folder.

        Returns
        -------
        ForegroundModel
            The model.

        Raises
        ------
        KaryosegError
            If the folder holds something else, or is damaged.
        """
        directory = Path(directory)
        try:
            config = json.loads((directory / CONFIG).read_text())
            training = json.loads((directory / TRAINING).read_text())
            if config.get("family") != FAMILY:
                raise ValueError(f"its family is {config.get('family', 'StarDist')}")
            missing = [name for name in _weights(config) if not (directory / name).is_file()]
            if missing:
                raise ValueError(f"{', '.join(missing)} missing")
        except (OSError, ValueError, KeyError) as error:
            raise KaryosegError(
                f"{directory}: no foreground model there ({error}); needed: a folder that train_foreground wrote. Run "
                f"`kedro run --pipelines augment,train_foreground`, or give another path."
            ) from error
        for name in _weights(config):
            try:
                h5py.File(directory / name).close()
            except OSError as error:
                raise _damaged(directory / name, error) from error
        return cls(directory, config, training)

    def save(self, directory: Path) -> None:
        """Copy the model files into a folder.

        Parameters
        ----------
        directory : Path
            Target; made if needed.
        """
        directory.mkdir(parents=True, exist_ok=True)
        for name in (CONFIG, TRAINING, *_weights(self.config)):
            shutil.copy2(self.directory / name, directory / name)

    def fit(
        self,
        train: LabelledSamples,
        validation: LabelledSamples,
        augment: Augment | None,
        options: Mapping[str, Any],
    ) -> pd.DataFrame:
        """Train the networks and write the model folder.

        Parameters
        ----------
        train, validation : LabelledSamples
            Prepared samples.
        augment : callable or None
            Cuts and changes the training patches.
        options : mapping
            Fields of ``TrainForegroundParams``.

        Returns
        -------
        DataFrame
            One row per network and epoch.
        """
        import_tensorflow()
        from karyoseg.models.unet.fitting import fit_networks

        networks, history = fit_networks(self.directory, train, validation, augment, {**options, **self.config})
        for network, name in zip(networks, _weights(self.config), strict=True):
            with replacing(self.directory / name, "part_{}") as part:  # Keras looks at the suffix
                network.save_weights(str(part))
        best = history.groupby("network")["val_loss"].min().round(4).tolist()
        self.training |= {"parameters": dict(options), "n_train": len(train.distinct), "validation_loss": best}
        replace_text(self.directory / TRAINING, json.dumps(self.training, indent=2, default=str))
        replace_text(self.directory / CONFIG, json.dumps(self.config, indent=2))
        self._networks = networks
        return history

    @property
    def preparation(self) -> Preparation:
        """How the images it has learnt from were prepared."""
        return Preparation.from_dict(self.training["preparation"])

    @property
    def fingerprint(self) -> str:
        """Hash of weights and configuration."""
        digest = hashlib.sha256(json.dumps(self.config, sort_keys=True).encode())
        for name in _weights(self.config):
            digest.update((self.directory / name).read_bytes())
        return digest.hexdigest()[:32]

    @property
    def networks(self) -> list[keras.Model]:
        """The networks, ready to run; opened on first use."""
        with _OPENING:  # several images may ask at the same time
            if not self._networks:
                self._networks = [self._open(self.directory / name) for name in _weights(self.config)]
            return self._networks

    def _open(self, weights: Path) -> keras.Model:
        import_tensorflow()
        from karyoseg.models.unet.network import build_unet

        network = build_unet(self.config["n_channels"], self.config["depth"], self.config["filters"])
        try:
            network.load_weights(str(weights))
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            raise _damaged(weights, error) from error
        return network

    def predict(self, image: np.ndarray) -> np.ndarray:
        """Map the foreground of an image: the mean over the networks and, if the model says so, over flipped images.

        Parameters
        ----------
        image : (Y, X) or (Y, X, C) float32 ndarray
            Prepared as `preparation` says.

        Returns
        -------
        (Y, X) float32 ndarray
            Probability of being nucleus, 0..1.

        Raises
        ------
        KaryosegError
            If the image has another number of channels than the model takes.
        """
        image = image[..., None] if image.ndim == 2 else image  # noqa: PLR2004
        if image.shape[-1] != self.config["n_channels"]:
            raise KaryosegError(
                f"{self.directory}: the image has {image.shape[-1]} channel(s), the foreground model takes "
                f"{self.config['n_channels']}; needed: the same number. Choose channels, or another model."
            )
        flips = _FLIPS if self.config["test_time"] else _FLIPS[:1]
        maps = [self._map(image[::y, ::x])[::y, ::x] for y, x in flips]
        return np.asarray(np.mean(maps, axis=0, dtype=np.float32))

    def _map(self, image: np.ndarray) -> np.ndarray:
        """Mean over the networks; in tiles if the image is large."""
        stride = 2 ** self.config["depth"]
        height, width = image.shape[:2]
        fill = ((0, -height % stride), (0, -width % stride), (0, 0))
        padded = np.pad(image, fill, mode="reflect" if min(height, width) > stride else "edge")
        shape = (padded.shape[0], padded.shape[1])
        tiles = choose_tiles(shape, _BYTES_PER_PIXEL * self.config["filters"], _MEMORY)
        out = np.zeros(shape, np.float32)
        # Two convolutions on the way down and up at each level, and two at the bottom, see this far.
        context = 8 * stride
        for tile in cut_tiles(shape, tiles, (context, context), (stride, stride)):
            seen = padded[tile.read][None]
            found = np.mean([np.asarray(network(seen, training=False))[0, ..., 0] for network in self.networks], axis=0)
            own = tuple(slice(o.start - r.start, o.stop - r.start) for o, r in zip(tile.own, tile.read, strict=True))
            out[tile.own] = found[own]
        return out[:height, :width]

    def describe(self) -> dict[str, Any]:
        """Return facts for reports.

        Returns
        -------
        dict
            Family, folder, configuration and training facts.
        """
        return {"directory": str(self.directory), "config": self.config, "training": self.training}


def _weights(config: Mapping[str, Any]) -> list[str]:
    return [WEIGHTS.format(index) for index in range(len(config["sigmas"]))]


def _damaged(path: Path, error: Exception) -> KaryosegError:
    reason = str(error).partition("\n")[0]  # Keras goes on for pages
    return KaryosegError(
        f"{path}: cannot be read ({reason}); needed: the file as train_foreground wrote it. Run `kedro run "
        f"--pipelines augment,train_foreground` again, or give another path."
    )
