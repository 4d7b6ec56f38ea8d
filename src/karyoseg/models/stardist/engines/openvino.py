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

from karyoseg.core.errors import KaryosegError
from karyoseg.core.threads import n_threads
from karyoseg.models.stardist.architecture import Geometry, Weights, grid_pools, read_weights

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
_BATCH_NORM_EPSILON = 1e-3  # of Keras


def unsupported(config: Mapping[str, Any]) -> str | None:
    """Tell why a network cannot be built here.

    Parameters
    ----------
    config : mapping
        Content of config.json.

    Returns
    -------
    str or None
        The reason; None if it can.
    """
    if config.get("backbone", "unet") != "unet":
        return f"the backbone {config['backbone']!r} is unknown"
    for name in ("unet_activation", "unet_last_activation"):
        activation = config.get(name)
        if activation is not None and activation not in _ACTIVATIONS:
            return f"the activation {activation!r} is unknown"
    return None


def has_bfloat16() -> bool:
    """Tell whether the processor calculates in bfloat16."""
    return "BF16" in ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


class OpenVinoEngine:
    """A network in OpenVINO.

    Each of `parallel` calls at a time runs on its own share of the processor, so several images (or tiles of one)
    are predicted side by side. That is faster than one after the other on all cores, or than batches.

    Parameters
    ----------
    folder : Path
        Folder with ``weights_best.h5``.
    config : mapping
        Content of config.json.
    precision : {"f32", "bf16"}
        Numbers the convolutions calculate with.
    """

    name = "openvino"
    tile_bytes = 1_000_000_000

    def __init__(self, folder: Path, config: Mapping[str, Any], precision: str):
        self.precision = precision
        self.bytes_per_pixel = 250 if precision == "bf16" else 500  # of the default network, measured
        self.geometry = Geometry.from_config(config)
        self.parallel = n_threads()
        compiled = ov.Core().compile_model(
            build_graph(config, read_weights(folder / "weights_best.h5"), str(folder)),
            "CPU",
            {
                "INFERENCE_PRECISION_HINT": precision,
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
            yield request.get_output_tensor(0).data[0, ..., 0], request.get_output_tensor(1).data[0]
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
        From ``(N, Y, X, C)`` to probabilities ``(N, Y', X', 1)`` and distances ``(N, Y', X', n_rays)``; any N, Y, X.

    Raises
    ------
    KaryosegError
        If the weights do not belong to the configuration.
    """
    try:
        return _Builder(config, weights).network()
    except (KeyError, IndexError, StopIteration, ValueError, RuntimeError) as error:
        raise KaryosegError(
            f"{where}: the weights do not fit the configuration ({' '.join(str(error).split())[:200]}); needed: config "
            f"and weights written together. Restore the folder (dvc pull) or train again."
        ) from error


class _Builder:
    """Lays the layers of ``StarDist2D`` (csbdeep's U-Net and the heads) one after the other."""

    def __init__(self, config: Mapping[str, Any], weights: Weights):
        self._config = config
        self._weights = weights
        self._prefix = config.get("unet_prefix", "")
        # csbdeep names the convolutions of the U-Net and the heads. The others, and the batch normalisations, have
        # automatic names but a fixed order.
        self._unnamed = iter([name for name in weights if name.startswith("conv2d")])
        self._norms = iter([name for name in weights if name.startswith("batch_normalization")])
        self._used: set[str] = set()

    def network(self) -> ov.Model:
        config = self._config
        image = ops.parameter([-1, -1, -1, config["n_channel_in"]], np.float32, name="input")
        layer = ops.transpose(image, np.array([0, 3, 1, 2]))
        for pool in grid_pools((config["grid"][0], config["grid"][1])):
            for _ in range(config["unet_n_conv_per_depth"]):
                layer = self._convolve(layer, next(self._unnamed), self._filters(0), config["unet_activation"])
            layer = _pool(layer, pool)
        layer = self._unet(layer)
        if config["net_conv_after_unet"] > 0:
            layer = self._convolve(layer, "features", config["net_conv_after_unet"], config["unet_activation"])
        heads = [self._convolve(layer, "prob", 1, "sigmoid"), self._convolve(layer, "dist", config["n_rays"], "linear")]
        # The class head is of no use here.
        unknown = self._weights.keys() - self._used - {"prob_class", "features_class"}
        if unknown:
            raise ValueError(f"unknown layers {sorted(unknown)[:5]}")
        return ov.Model([ops.transpose(head, np.array([0, 2, 3, 1])) for head in heads], [image], "stardist")

    def _unet(self, layer: Any) -> Any:
        config = self._config
        depth, convs, pool = config["unet_n_depth"], config["unet_n_conv_per_depth"], config["unet_pool"]
        skipped = []
        for level in range(depth):
            for number in range(convs):
                layer = self._block(layer, f"down_level_{level}_no_{number}", level)
            skipped.append(layer)
            layer = _pool(layer, pool)
        for number in [*range(convs - 1), convs]:
            layer = self._block(layer, f"middle_{number}", max(0, depth - (number == convs)))
        for level in reversed(range(depth)):
            layer = ops.concat([_upsample(layer, pool), skipped[level]], 1)
            for number in [*range(convs - 1), convs]:
                last = number == convs
                layer = self._block(layer, f"up_level_{level}_no_{number}", max(0, level - last), last and level == 0)
        return layer

    def _filters(self, level: int) -> int:
        return int(self._config["unet_n_filter_base"] * self._config["unet_expansion"] ** level)

    def _block(self, layer: Any, name: str, level: int, last: bool = False) -> Any:
        config = self._config
        activation = config["unet_activation"]
        if last:
            activation = config.get("unet_last_activation") or activation
        name = self._prefix + name
        if not config["unet_batch_norm"]:
            return self._convolve(layer, name, self._filters(level), activation)
        layer = self._convolve(layer, name, self._filters(level), "linear")
        norm = next(self._norms)
        self._used.add(norm)
        gamma, beta, mean, variance = (array.astype(np.float32) for array in self._weights[norm])
        layer = ops.batch_norm_inference(layer, gamma, beta, mean, variance, _BATCH_NORM_EPSILON)
        return _ACTIVATIONS[activation](layer)

    def _convolve(self, layer: Any, name: str, n_filters: int, activation: str) -> Any:
        self._used.add(name)
        kernel, bias = self._weights[name]
        if kernel.shape[-1] != n_filters:
            raise ValueError(f"layer {name} has {kernel.shape[-1]} filters, not {n_filters}")
        kernel = np.ascontiguousarray(kernel.astype(np.float32).transpose(3, 2, 0, 1))
        layer = ops.convolution(layer, kernel, [1, 1], [0, 0], [0, 0], [1, 1], auto_pad="same_upper")
        return _ACTIVATIONS[activation](ops.add(layer, bias.astype(np.float32).reshape(1, -1, 1, 1)))


def _pool(layer: Any, pool: Any) -> Any:
    pool = [int(step) for step in pool]
    return ops.max_pool(layer, pool, [1, 1], [0, 0], [0, 0], pool, auto_pad="valid").output(0)


def _upsample(layer: Any, pool: Any) -> Any:
    return ops.interpolate(
        layer,
        np.array(pool, np.float32),
        mode="nearest",
        shape_calculation_mode="scales",
        coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
        axes=np.array([2, 3]),
    )
