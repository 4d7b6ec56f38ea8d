"""Building and opening StarDist2D networks in TensorFlow."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf
from stardist.models import Config2D, StarDist2D

from karyoseg.core.errors import KaryosegError
from karyoseg.models.stardist.architecture import CONFIG, THRESHOLDS, WEIGHTS

logger = logging.getLogger(__name__)


def _share_gpus() -> None:
    """Let TensorFlow take GPU memory as it needs it, not all at once."""
    for gpu in tf.config.list_physical_devices("GPU"):
        try:
            tf.config.experimental.set_memory_growth(gpu, True)
        except RuntimeError:
            logger.debug("%s is in use already; its memory setting stays", gpu.name)


_share_gpus()


def all_gpus() -> tf.distribute.Strategy:
    """Return what trains a network on all GPUs: each takes its share of a batch.

    Returns
    -------
    tf.distribute.Strategy
        Build and compile the network within its ``scope()``. With fewer than two GPUs it changes nothing.
    """
    several = len(tf.config.list_logical_devices("GPU")) > 1
    return tf.distribute.MirroredStrategy() if several else tf.distribute.get_strategy()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep what csbdeep prints and warns about while it opens a model to ourselves."""
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def build(config: Mapping[str, Any], directory: Path | None = None) -> StarDist2D:
    """Build an untrained network.

    Parameters
    ----------
    config : mapping
        Fields of ``stardist.models.Config2D``.
    directory : Path, optional
        Model folder; None keeps the model off the disk.

    Returns
    -------
    StarDist2D
        The network, with random weights.
    """
    base = None if directory is None else str(directory.parent)
    with _quiet():
        return StarDist2D(Config2D(**config), name=None if directory is None else directory.name, basedir=base)


def open_folder(directory: Path) -> StarDist2D:
    """Open a StarDist model folder.

    Parameters
    ----------
    directory : Path
        Folder with config.json and weights.

    Returns
    -------
    StarDist2D
        The network with its best weights and thresholds.

    Raises
    ------
    KaryosegError
        If config or weights are missing or do not fit.
    """
    missing = [name for name in (CONFIG, WEIGHTS) if not (directory / name).is_file()]
    if missing:
        raise KaryosegError(
            f"{directory}: no StarDist model ({' and '.join(missing)} missing); needed: a model folder with "
            f"{CONFIG}, {THRESHOLDS} and {WEIGHTS}. Train one with `kedro run --pipeline train`, or give another path."
        )
    try:
        with _quiet():
            model = StarDist2D(None, name=directory.name, basedir=str(directory.parent))
            model.load_weights(WEIGHTS)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise KaryosegError(
            f"{directory}: the StarDist model cannot be opened ({error}); needed: config and weights written together. "
            f"Restore the folder (dvc pull) or train again."
        ) from error
    return model
