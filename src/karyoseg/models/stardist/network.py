"""Building StarDist2D networks and predicting with them."""

from __future__ import annotations

import contextlib
import io
import logging
import sys
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import tensorflow as tf
from stardist.geometry import dist_to_coord, polygons_to_label
from stardist.models import Config2D, StarDist2D
from stardist.nms import non_maximum_suppression_sparse

from karyoseg.core.errors import KaryosegError
from karyoseg.core.tiling import choose_tiles
from karyoseg.models.base import Prediction

logger = logging.getLogger(__name__)

#: Working memory of the default network per input pixel, measured: 350 floats of 4 bytes.
BYTES_PER_PIXEL = 1400
_TILE_MEMORY = 2e9  # larger tiles are not faster
_TILE_SHARE = 0.25  # of the memory that is free


def _share_gpus() -> None:
    """Let TensorFlow take GPU memory as it needs it, not all at once."""
    for gpu in tf.config.list_physical_devices("GPU"):
        try:
            tf.config.experimental.set_memory_growth(gpu, True)
        except RuntimeError:
            logger.debug("%s is in use already; its memory setting stays", gpu.name)


_share_gpus()


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
    missing = [name for name in ("config.json", "weights_best.h5") if not (directory / name).is_file()]
    if missing:
        raise KaryosegError(
            f"{directory}: no StarDist model ({' and '.join(missing)} missing); needed: a model folder with "
            f"config.json, thresholds.json and weights_best.h5. Train one with "
            f"`kedro run --pipeline train`, or give another path."
        )
    try:
        with _quiet():
            model = StarDist2D(None, name=directory.name, basedir=str(directory.parent))
            model.load_weights("weights_best.h5")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise KaryosegError(
            f"{directory}: the StarDist model cannot be opened ({error}); needed: config and weights written together. "
            f"Restore the folder (dvc pull) or train again."
        ) from error
    return model


def candidates(model: StarDist2D, image: np.ndarray, prob_thresh: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Predict all polygon candidates of an image, tile by tile if it is large.

    Parameters
    ----------
    model : StarDist2D
        Network.
    image : (Y, X) or (Y, X, C) float32 ndarray
        Prepared image.
    prob_thresh : float
        Smallest object probability, 0..1.

    Returns
    -------
    prob : (n,) float32 ndarray
        Object probability.
    dist : (n, n_rays) float32 ndarray
        Star distances [px].
    points : (n, 2) int ndarray
        Polygon centres (y, x) [px].
    """
    memory = min(_TILE_MEMORY, _TILE_SHARE * psutil.virtual_memory().available)
    rows, columns = choose_tiles((image.shape[0], image.shape[1]), BYTES_PER_PIXEL, memory)
    axes = "YX" if image.ndim == 2 else "YXC"  # noqa: PLR2004
    tiles = (rows, columns) if axes == "YX" else (rows, columns, 1)
    show = rows * columns > 4 and sys.stderr.isatty()  # noqa: PLR2004
    prob, dist, points = model.predict_sparse(
        image, prob_thresh=prob_thresh, axes=axes, n_tiles=tiles, show_tile_progress=show
    )
    return prob, dist, points


def suppress(
    prob: np.ndarray,
    dist: np.ndarray,
    points: np.ndarray,
    *,
    nms_thresh: float,
    shape: tuple[int, int],
    out_shape: tuple[int, int],
) -> Prediction:
    """Remove redundant candidates and draw the rest on the output grid.

    Parameters
    ----------
    prob, dist, points : ndarray
        See :func:`candidates`.
    nms_thresh : float
        Largest overlap of two instances kept, 0..1.
    shape, out_shape : tuple of int
        Size of the predicted image and of the output (Y, X) [px].

    Returns
    -------
    Prediction
        Instances of which at least one pixel is visible.
    """
    if len(prob) == 0:
        n_rays = dist.shape[-1] if dist.ndim == 2 else 0  # noqa: PLR2004
        return Prediction(
            np.zeros(out_shape, np.int32), np.zeros((0, 2)), np.zeros(0, np.float32), np.zeros((0, 2, n_rays))
        )
    points, prob, dist, _ = non_maximum_suppression_sparse(dist, prob, points, nms_thresh=nms_thresh)
    factor = np.divide(out_shape, shape)
    points = (points + 0.5) * factor - 0.5
    labels = polygons_to_label(dist, points, shape=out_shape, prob=prob, scale_dist=tuple(factor))
    coordinates = dist_to_coord(dist, points, scale_dist=tuple(factor))
    seen = np.unique(labels)
    seen = seen[seen > 0]
    renumber = np.zeros(len(prob) + 1, dtype=np.int32)
    renumber[seen] = np.arange(1, len(seen) + 1)
    kept = seen - 1
    return Prediction(renumber[labels], points[kept], prob[kept], coordinates[kept])
