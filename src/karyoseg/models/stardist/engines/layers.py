"""The layers of a StarDist2D network, one after the other, for any library that can calculate them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Generic, Protocol, TypeVar

import numpy as np

from karyoseg.core.errors import KaryosegError
from karyoseg.models.stardist.architecture import Weights, grid_pools

T = TypeVar("T")

#: Keras activations that every library here knows.
ACTIVATIONS = ("linear", "relu", "sigmoid", "tanh", "softplus", "elu", "selu", "swish", "silu")
_BATCH_NORM_EPSILON = 1e-3  # of Keras


class Library(Protocol[T]):
    """What a library has to offer; images are ``(N, C, Y, X)``."""

    def convolve(self, image: T, kernel: np.ndarray, bias: np.ndarray, name: str) -> T:
        """Convolve with ``(filters, C, y, x)``, padded to the same size (more at the end), and add the bias."""

    def activate(self, image: T, activation: str) -> T:
        """Apply one of `ACTIVATIONS`."""

    def pool(self, image: T, step: tuple[int, int]) -> T:
        """Take the maximum of blocks."""

    def upsample(self, image: T, step: tuple[int, int]) -> T:
        """Repeat rows and columns."""

    def join(self, image: T, other: T) -> T:
        """Put the channels of two images one after the other."""


def unsupported(config: Mapping[str, Any]) -> str | None:
    """Tell why a network cannot be laid.

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
        if activation is not None and activation not in ACTIVATIONS:
            return f"the activation {activation!r} is unknown"
    return None


def lay(image: T, library: Library[T], config: Mapping[str, Any], weights: Weights, where: str) -> tuple[T, T]:
    """Lay the layers of a network.

    Parameters
    ----------
    image : object
        Input ``(N, C, Y, X)``, as the library holds it.
    library : Library
        Adds layers.
    config : mapping
        Content of config.json.
    weights : dict of str to list of ndarray
        From :func:`~karyoseg.models.stardist.architecture.read_weights`.
    where : str
        Named in errors.

    Returns
    -------
    prob, dist : object
        Outputs ``(N, 1, Y', X')`` and ``(N, n_rays, Y', X')``.

    Raises
    ------
    KaryosegError
        If the weights do not belong to the configuration.
    """
    try:
        return _Network(library, config, weights).lay(image)
    except (KeyError, IndexError, StopIteration, ValueError, RuntimeError) as error:
        raise KaryosegError(
            f"{where}: the weights do not fit the configuration ({' '.join(str(error).split())[:200]}); needed: config "
            f"and weights written together. Restore the folder (dvc pull) or train again."
        ) from error


class _Network(Generic[T]):
    """csbdeep's U-Net and StarDist's heads."""

    def __init__(self, library: Library[T], config: Mapping[str, Any], weights: Weights):
        self._library = library
        self._config = config
        self._weights = weights
        self._prefix = config.get("unet_prefix", "")
        # csbdeep names the convolutions of the U-Net and the heads. The others, and the batch normalisations, have
        # automatic names but a fixed order.
        self._unnamed = iter([name for name in weights if name.startswith("conv2d")])
        self._norms = iter([name for name in weights if name.startswith("batch_normalization")])
        self._used: set[str] = set()

    def lay(self, image: T) -> tuple[T, T]:
        config, activation = self._config, self._config["unet_activation"]
        for pool in grid_pools((config["grid"][0], config["grid"][1])):
            for _ in range(config["unet_n_conv_per_depth"]):
                image = self._convolve(image, next(self._unnamed), self._filters(0), activation)
            image = self._library.pool(image, pool)
        image = self._unet(image)
        if config["net_conv_after_unet"] > 0:
            image = self._convolve(image, "features", config["net_conv_after_unet"], activation)
        prob = self._convolve(image, "prob", 1, "sigmoid")
        dist = self._convolve(image, "dist", config["n_rays"], "linear")
        # The class head is of no use here.
        unknown = self._weights.keys() - self._used - {"prob_class", "features_class"}
        if unknown:
            raise ValueError(f"unknown layers {sorted(unknown)[:5]}")
        return prob, dist

    def _unet(self, image: T) -> T:
        config, library = self._config, self._library
        depth, convs = config["unet_n_depth"], config["unet_n_conv_per_depth"]
        pool = (int(config["unet_pool"][0]), int(config["unet_pool"][1]))
        skipped = []
        for level in range(depth):
            for number in range(convs):
                image = self._block(image, f"down_level_{level}_no_{number}", level)
            skipped.append(image)
            image = library.pool(image, pool)
        for number in [*range(convs - 1), convs]:
            image = self._block(image, f"middle_{number}", max(0, depth - (number == convs)))
        for level in reversed(range(depth)):
            image = library.join(library.upsample(image, pool), skipped[level])
            for number in [*range(convs - 1), convs]:
                last = number == convs
                image = self._block(image, f"up_level_{level}_no_{number}", max(0, level - last), last and level == 0)
        return image

    def _filters(self, level: int) -> int:
        return int(self._config["unet_n_filter_base"] * self._config["unet_expansion"] ** level)

    def _block(self, image: T, name: str, level: int, last: bool = False) -> T:
        config = self._config
        activation = (last and config.get("unet_last_activation")) or config["unet_activation"]
        norm = next(self._norms) if config["unet_batch_norm"] else None
        return self._convolve(image, self._prefix + name, self._filters(level), activation, norm)

    def _convolve(self, image: T, name: str, n_filters: int, activation: str, norm: str | None = None) -> T:
        self._used.add(name)
        kernel, bias = (array.astype(np.float32) for array in self._weights[name])
        if kernel.shape[-1] != n_filters:
            raise ValueError(f"layer {name} has {kernel.shape[-1]} filters, not {n_filters}")
        if norm:
            self._used.add(norm)
            gamma, beta, mean, variance = (array.astype(np.float32) for array in self._weights[norm])
            gain = gamma / np.sqrt(variance + np.float32(_BATCH_NORM_EPSILON))
            kernel, bias = kernel * gain, (bias - mean) * gain + beta
        image = self._library.convolve(image, np.ascontiguousarray(kernel.transpose(3, 2, 0, 1)), bias, name)
        return self._library.activate(image, activation)
