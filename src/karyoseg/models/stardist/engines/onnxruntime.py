"""The network in ONNX Runtime, for machines where OpenVINO is not at home.

The graph is laid from config.json and the weights file, as for OpenVINO.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from joblib import cpu_count
from onnx import helper, numpy_helper

from karyoseg.core.threads import n_threads
from karyoseg.models.stardist.architecture import WEIGHTS, Geometry, Weights, read_weights
from karyoseg.models.stardist.engines.layers import lay

_OPSET, _IR_VERSION = 17, 8  # of 2022: older runtimes read it too
#: Keras activations by name; linear and swish are made of others.
_ACTIVATIONS = {name: name.capitalize() for name in ("relu", "sigmoid", "tanh", "softplus", "elu", "selu")}
_QUIET = 3  # errors only


class OnnxRuntimeEngine:
    """A network in ONNX Runtime, on the processor; several images (or tiles of one) are predicted side by side.

    Parameters
    ----------
    folder : Path
        Folder with ``weights_best.h5``.
    config : mapping
        Content of config.json.
    """

    name = "onnxruntime"
    precision = "f32"
    tile_bytes = 1_000_000_000
    bytes_per_pixel = 800  # of the default network, about

    def __init__(self, folder: Path, config: Mapping[str, Any]):
        self.geometry = Geometry.from_config(config)
        self.parallel = n_threads()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = max(1, cpu_count() // self.parallel)
        options.inter_op_num_threads = 1
        options.enable_mem_pattern = False  # it is for inputs of one size
        options.log_severity_level = _QUIET
        model = build_model(config, read_weights(folder / WEIGHTS), str(folder))
        self._session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )

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
        prob, dist = self._session.run(["prob", "dist"], {"input": np.ascontiguousarray(tile[np.newaxis])})
        yield prob[0, ..., 0], dist[0]


def build_model(config: Mapping[str, Any], weights: Weights, where: str = "model") -> onnx.ModelProto:
    """Build an ONNX model of a StarDist2D network.

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
    onnx.ModelProto
        From ``input`` ``(N, Y, X, C)`` to ``prob`` ``(N, Y', X', 1)`` and ``dist`` ``(N, Y', X', n_rays)``, for any N,
        Y and X.

    Raises
    ------
    KaryosegError
        If the weights do not belong to the configuration.
    """
    layers = _Layers()
    heads = lay(layers.add("Transpose", ["input"], perm=[0, 3, 1, 2]), layers, config, weights, where)
    for head, name in zip(heads, ("prob", "dist"), strict=True):
        layers.nodes.append(helper.make_node("Transpose", [head], [name], perm=[0, 2, 3, 1]))
    shapes = {"input": config["n_channel_in"], "prob": 1, "dist": config["n_rays"]}
    values = [
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [None, None, None, channels])
        for name, channels in shapes.items()
    ]
    graph = helper.make_graph(layers.nodes, "stardist", values[:1], values[1:], layers.constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR_VERSION)


class _Layers:
    """Layers of ONNX; an image is known by its name."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def add(self, kind: str, inputs: list[str], **attributes: Any) -> str:
        output = f"{kind}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def _constant(self, values: np.ndarray) -> str:
        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(values, name))
        return name

    def convolve(self, image: str, kernel: np.ndarray, bias: np.ndarray, name: str) -> str:
        return self.add("Conv", [image, self._constant(kernel), self._constant(bias)], auto_pad="SAME_UPPER", name=name)

    def activate(self, image: str, activation: str) -> str:
        if activation == "linear":
            return image
        if activation in ("swish", "silu"):
            return self.add("Mul", [image, self.add("Sigmoid", [image])])
        return self.add(_ACTIVATIONS[activation], [image])

    def pool(self, image: str, step: tuple[int, int]) -> str:
        return self.add("MaxPool", [image], kernel_shape=step, strides=step)

    def upsample(self, image: str, step: tuple[int, int]) -> str:
        scales = self._constant(np.array([1, 1, *step], np.float32))
        modes = {"mode": "nearest", "nearest_mode": "floor", "coordinate_transformation_mode": "asymmetric"}
        return self.add("Resize", [image, "", scales], **modes)

    def join(self, image: str, other: str) -> str:
        return self.add("Concat", [image, other], axis=1)
