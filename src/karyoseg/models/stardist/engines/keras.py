"""The network in TensorFlow, as StarDist runs it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from karyoseg.models.stardist.architecture import Geometry

if TYPE_CHECKING:
    from stardist.models import StarDist2D


class KerasEngine:
    """A network in TensorFlow.

    Parameters
    ----------
    network : StarDist2D
        The network.
    """

    name = "keras"
    precision = "f32"
    parallel = 1
    tile_bytes = 2_000_000_000
    bytes_per_pixel = 1400  # of the default network, measured: 350 floats of 4 bytes

    def __init__(self, network: StarDist2D):
        self.geometry = Geometry.from_config(vars(network.config))
        self._lock = threading.Lock()  # one call already takes all cores, or the whole GPU
        # One graph for images of all sizes; `keras_model.predict` costs more than the network for small ones.
        shape = tf.TensorSpec((None, None, None, self.geometry.n_channels), tf.float32)
        self._call = tf.function(lambda batch: network.keras_model(batch, training=False)[:2], input_signature=[shape])

    @contextmanager
    def run(self, tile: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Calculate probabilities and distances; see :class:`karyoseg.models.stardist.engines.Engine`.

        Parameters
        ----------
        tile : (Y, X, C) float32 ndarray
            Part of a prepared image.

        Yields
        ------
        prob, dist : ndarray
            Arrays of the caller.
        """
        with self._lock:
            prob, dist = (output.numpy() for output in self._call(tf.constant(tile[np.newaxis])))
        yield prob[0, ..., 0], dist[0]
