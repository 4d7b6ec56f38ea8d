"""The network in OpenVINO: faster than TensorFlow on a processor, and quicker to start.

The graph is built from config.json and the weights file directly. All convolutions, poolings and activations are
those of ``StarDist2D``; only the rounding differs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np
import openvino as ov
from joblib import cpu_count
from openvino import opset13 as ops

from karyoseg.core.threads import n_threads
from karyoseg.models.precision import has_bfloat16
from karyoseg.models.stardist.architecture import WEIGHTS, Geometry, Weights, read_weights
from karyoseg.models.stardist.engines.layers import lay
from karyoseg.models.stardist.folder import INT8

#: Keras activations by name.
_ACTIVATIONS: dict[str, Callable[[Any], Any]] = {
    "linear": lambda x: x,
    "relu": ops.relu,
    "sigmoid": ops.sigmoid,
    "tanh": ops.tanh,
    "softplus": ops.softplus,
    "elu": lambda x: ops.elu(x, 1.0),
    "selu": lambda x: ops.selu(x, np.float32(1.6732632423543772), np.float32(1.0507009873554805)),
    "swish": ops.swish,
    "silu": ops.swish,
}


class OpenVinoEngine:
    """A network in OpenVINO.

    Each of `parallel` calls at a time runs on its own share of the processor, so several images (or tiles of one)
    are predicted side by side. That is faster than one after the other on all cores, or than batches.

    Parameters
    ----------
    folder : Path
        Model folder, with ``weights_best.h5``; for int8 with the graph in 8 bit.
    config : mapping
        Content of config.json.
    precision : {"f32", "bf16", "int8"}
        Numbers the convolutions calculate with; in int8 what is not in 8 bit is in bf16, if the processor has it.
    """

    name = "openvino"
    tile_bytes = 1_000_000_000

    def __init__(self, folder: Path, config: Mapping[str, Any], precision: str):
        self.precision = precision
        self.bytes_per_pixel = 500 if precision == "f32" else 250  # of the default network, measured
        self.geometry = Geometry.from_config(config)
        self.parallel = n_threads()
        if precision == "int8":
            graph, numbers = ov.Core().read_model(folder / INT8[0]), "bf16" if has_bfloat16() else "f32"
        else:
            graph, numbers = build_graph(config, read_weights(folder / WEIGHTS), str(folder)), precision
        compiled = ov.Core().compile_model(
            graph,
            "CPU",
            {
                "INFERENCE_PRECISION_HINT": numbers,
                "NUM_STREAMS": self.parallel,
                "INFERENCE_NUM_THREADS": cpu_count(),
                "ENABLE_CPU_PINNING": False,  # other programs may want the same cores
            },
        )
        self._requests: SimpleQueue[ov.InferRequest] = SimpleQueue()
        for _ in range(self.parallel):
            self._requests.put(compiled.create_infer_request())
        # OpenVINO's Python side sets itself up at the first call, and locks up if two threads make it.
        with self.run(np.zeros((*self.geometry.stride, self.geometry.n_channels), np.float32)):
            pass

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
            Valid until the block ends.
        """
        request = self._requests.get()
        try:
            request.infer([np.ascontiguousarray(tile[np.newaxis])], share_inputs=True, share_outputs=True)
            prob, dist = (request.get_output_tensor(number).data[0] for number in (0, 1))
            yield prob[0], np.moveaxis(dist, 0, -1)
        finally:
            self._requests.put(request)


def build_graph(config: Mapping[str, Any], weights: Weights, where: str = "model") -> ov.Model:
    """Build the graph of a StarDist2D network.

    Parameters
    ----------
    config : mapping
        Content of config.json.
    weights : dict of str to list of ndarray
        From :func:`~karyoseg.models.stardist.architecture.read_weights`.
    where : str
        Named in errors.

    Returns
    -------
    openvino.Model
        From ``(N, Y, X, C)`` to probabilities ``(N, 1, Y', X')`` and distances ``(N, n_rays, Y', X')``; any N, Y, X.

    Raises
    ------
    KaryosegError
        If the weights do not belong to the configuration.
    """
    image = ops.parameter([-1, -1, -1, config["n_channel_in"]], np.float32, name="input")
    heads = lay(ops.transpose(image, np.array([0, 3, 1, 2])), _Layers(), config, weights, where)
    return ov.Model(list(heads), [image], "stardist")


class _Layers:
    """Layers of OpenVINO."""

    def convolve(self, image: Any, kernel: np.ndarray, bias: np.ndarray, name: str) -> Any:
        image = ops.convolution(image, kernel, [1, 1], [0, 0], [0, 0], [1, 1], auto_pad="same_upper", name=name)
        return ops.add(image, bias.reshape(1, -1, 1, 1))

    def activate(self, image: Any, activation: str) -> Any:
        return _ACTIVATIONS[activation](image)

    def pool(self, image: Any, step: tuple[int, int]) -> Any:
        return ops.max_pool(image, step, [1, 1], [0, 0], [0, 0], step, auto_pad="valid").output(0)

    def upsample(self, image: Any, step: tuple[int, int]) -> Any:
        return ops.interpolate(
            image,
            np.array(step, np.float32),
            mode="nearest",
            shape_calculation_mode="scales",
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
            axes=np.array([2, 3]),
        )

    def join(self, image: Any, other: Any) -> Any:
        return ops.concat([image, other], 1)
