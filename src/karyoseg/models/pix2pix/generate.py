"""A trained generator: its folder, and images from label images."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import threading
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import h5py
import numpy as np

from karyoseg.core.errors import KaryosegError
from karyoseg.models.pix2pix.condition import N_CHANNELS, encode_labels
from karyoseg.models.pix2pix.tiles import grid
from karyoseg.models.quiet import import_tensorflow
from karyoseg.models.training.dropout import seed_dropout

if TYPE_CHECKING:  # Keras is imported only when it is needed
    import keras

WEIGHTS, CONFIG, TRAINING, HISTORY, SAMPLES = (
    "generator.weights.h5",
    "config.json",
    "training.json",
    "history.csv",
    "samples",
)
_COLOURS = 3
_ONE_AT_A_TIME = threading.Lock()


class StyleGenerator:
    """Paints images of one style.

    Parameters
    ----------
    directory : Path
        Folder with config.json, generator.weights.h5 and training.json.

    Examples
    --------
    >>> generator = StyleGenerator.load(Path("data/06_models/style/group_001"))  # doctest: +SKIP
    >>> image = generator.paint(labels, seed=1)  # doctest: +SKIP
    """

    def __init__(self, directory: Path):
        self.directory = Path(directory)

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Open a folder; the network is read for the first image.

        Parameters
        ----------
        directory : Path
            Folder of the generator.

        Returns
        -------
        StyleGenerator
            The generator.

        Raises
        ------
        KaryosegError
            If files are missing or damaged.
        """
        directory = Path(directory)
        missing = [name for name in (CONFIG, WEIGHTS, TRAINING) if not (directory / name).is_file()]
        if missing:
            raise KaryosegError(
                f"{directory}: {', '.join(missing)} missing; needed: a folder that style_transfer wrote. Delete it and "
                f"run style_transfer again."
            )
        generator = cls(directory)
        _ = generator.config, generator.training
        try:
            h5py.File(directory / WEIGHTS).close()
        except OSError as error:
            raise _damaged(directory / WEIGHTS, error) from error
        return generator

    @cached_property
    def config(self) -> dict[str, Any]:
        """What the network is built from."""
        return self._read_json(CONFIG)

    @cached_property
    def training(self) -> dict[str, Any]:
        """How the network came to be."""
        return self._read_json(TRAINING)

    @cached_property
    def fingerprint(self) -> str:
        """Identifies network and weights."""
        content = (self.directory / WEIGHTS).read_bytes() + (self.directory / CONFIG).read_bytes()
        return hashlib.sha256(content).hexdigest()[:32]

    @cached_property
    def _network(self) -> keras.Model:
        network = build_network(self.config)
        weights = self.directory / WEIGHTS
        try:
            network.load_weights(str(weights))
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            raise _damaged(weights, error) from error
        return network

    def paint(self, labels: np.ndarray, seed: int, *, dropout: bool = True) -> np.ndarray:
        """Paint the image of a label image.

        Parameters
        ----------
        labels : (Y, X) integer ndarray
            Label image of any size; 0 and below is background.
        seed : int
            Chooses what dropout drops: other seeds, other images of the same objects.
        dropout : bool
            Whether values are dropped as in training.

        Returns
        -------
        (Y, X, 3) uint8 ndarray
            RGB image; equal channels if all images of the style are gray.
        """
        with _ONE_AT_A_TIME:  # the random state belongs to the network
            return paint(
                *(self._network, labels, self.config["condition"], self.training["tile_size"], seed), dropout=dropout
            )

    def save(self, directory: Path) -> None:
        """Copy the generator to another folder.

        Parameters
        ----------
        directory : Path
            Folder, made if needed.
        """
        directory.mkdir(parents=True, exist_ok=True)
        for name in (CONFIG, WEIGHTS, TRAINING, HISTORY):
            if (self.directory / name).is_file():
                shutil.copy2(self.directory / name, directory / name)
        if (self.directory / SAMPLES).is_dir():
            shutil.copytree(self.directory / SAMPLES, directory / SAMPLES, dirs_exist_ok=True)

    def _read_json(self, name: str) -> dict[str, Any]:
        path = self.directory / name
        try:
            content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise _damaged(path, error) from error
        return content


def _damaged(path: Path, error: Exception) -> KaryosegError:
    reason = str(error).partition("\n")[0]  # Keras goes on for pages
    return KaryosegError(
        f"{path}: cannot be read ({reason}); needed: the file as style_transfer wrote it. Delete its folder and run "
        f"style_transfer again."
    )


def build_network(config: dict[str, Any]) -> keras.Model:
    """Build the generator of a configuration, with random weights.

    Parameters
    ----------
    config : dict
        Content of config.json.

    Returns
    -------
    keras.Model
        Network.
    """
    import_keras()
    from karyoseg.models.pix2pix.networks import build_generator

    return build_generator(
        condition_channels=N_CHANNELS[config["condition"]],
        image_channels=config["image_channels"],
        filters=config["filters"],
        depth=config["depth"],
        dropout=config["dropout"],
        seed=config["seed"],
    )


def import_keras() -> None:
    """Import Keras and the backend that KERAS_BACKEND names; TensorFlow without its remarks."""
    if os.environ.get("KERAS_BACKEND", "tensorflow") == "tensorflow":
        import_tensorflow()
    import keras  # noqa: F401


def paint(
    network: keras.Model, labels: np.ndarray, condition: Any, side: int, seed: int, *, dropout: bool
) -> np.ndarray:
    """Paint an image of any size, in windows as large as the training tiles.

    The network normalises by what it sees at once, and pads with zeros: in a larger image it would paint other colours,
    and others again at the borders. So the labels are mirrored beyond the image, and neighbouring windows fade into
    each other.

    Parameters
    ----------
    network : keras.Model
        Generator.
    labels : (Y, X) integer ndarray
        Label image.
    condition : {"instance", "binary"}
        What the network is told of it.
    side : int
        Side of the training tiles [px].
    seed : int
        Of dropout.
    dropout : bool
        Whether values are dropped.

    Returns
    -------
    (Y, X, 3) uint8 ndarray
        RGB image.
    """
    import keras

    overlap, margin = side // 4, side // 8
    around = [(margin, max(margin, side - margin - length)) for length in labels.shape]
    padded = np.pad(labels, around, mode="symmetric")
    # Of the overlap, a quarter at the end of a window is dropped; over the half that follows it fades in.
    inward = np.minimum(np.arange(side), np.arange(side)[::-1]) + 0.5
    fade = np.clip((inward - overlap // 4) / margin, 0, 1).astype(np.float32)
    weight = np.outer(fade, fade)[..., None]
    total = np.zeros((*padded.shape, network.output_shape[-1]), np.float32)
    weights = np.zeros((*padded.shape, 1), np.float32)
    seed_dropout(network, seed)
    for y, x in grid((padded.shape[0] - overlap, padded.shape[1] - overlap), side - overlap):
        window = np.s_[y : y + side, x : x + side]
        encoded = encode_labels(padded[window], condition)
        total[window] += weight * keras.ops.convert_to_numpy(network(encoded[None], training=dropout))[0]
        weights[window] += weight
    image = np.s_[margin : margin + labels.shape[0], margin : margin + labels.shape[1]]
    return to_uint8(total[image] / weights[image])


def to_uint8(image: np.ndarray) -> np.ndarray:
    """Turn what a network paints into an RGB image.

    Parameters
    ----------
    image : (..., C) float ndarray
        Intensities, -1..1, of one or three channels.

    Returns
    -------
    (..., 3) uint8 ndarray
        RGB.
    """
    levels = np.clip(np.rint((image + 1) * 127.5), 0, 255).astype(np.uint8)
    return np.repeat(levels, _COLOURS, axis=-1) if levels.shape[-1] == 1 else levels


def from_uint8(image: np.ndarray, n_channels: int) -> np.ndarray:
    """Turn an RGB image into what a network shall paint.

    Parameters
    ----------
    image : (..., 3) uint8 ndarray
        RGB.
    n_channels : int
        3, or 1 to take the first alone.

    Returns
    -------
    (..., n_channels) float32 ndarray
        Intensities, -1..1.
    """
    return image[..., :n_channels].astype(np.float32) / 127.5 - 1
