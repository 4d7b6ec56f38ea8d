"""The StarDist network as its configuration and weights files describe it, without TensorFlow."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from karyoseg.core.errors import KaryosegError

#: Files of a model folder as StarDist writes it.
WEIGHTS, CONFIG, THRESHOLDS = "weights_best.h5", "config.json", "thresholds.json"
#: Layer name -> its arrays, kernel first.
Weights = dict[str, list[np.ndarray]]


@dataclass(frozen=True)
class Geometry:
    """What prediction needs to know about a network.

    Parameters
    ----------
    n_channels : int
        Channels of the input.
    n_rays : int
        Star distances per pixel.
    grid : tuple of int
        Input pixels per output pixel (Y, X).
    stride : tuple of int
        Sides of the input must be multiples of it (Y, X) [px].
    context : tuple of int
        An output pixel depends on the input up to this far away (Y, X) [px]; a multiple of `stride`.
    """

    n_channels: int
    n_rays: int
    grid: tuple[int, int]
    stride: tuple[int, int]
    context: tuple[int, int]

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Geometry:
        """Derive the geometry from the fields of ``stardist.models.Config2D``.

        Parameters
        ----------
        config : mapping
            From :func:`read_config`.

        Returns
        -------
        Geometry
            The geometry of its network.
        """
        stride = [
            grid * pool ** config["unet_n_depth"]
            for grid, pool in zip(config["grid"], config["unet_pool"], strict=True)
        ]
        context = [-(-_reach(config, axis) // step) * step for axis, step in enumerate(stride)]
        return cls(
            int(config["n_channel_in"]),
            int(config["n_rays"]),
            (int(config["grid"][0]), int(config["grid"][1])),
            (stride[0], stride[1]),
            (context[0], context[1]),
        )


def grid_pools(grid: tuple[int, int]) -> list[tuple[int, int]]:
    """Return the pooling steps that bring the input to the grid of the output.

    Parameters
    ----------
    grid : tuple of int
        Input pixels per output pixel, powers of two.

    Returns
    -------
    list of tuple of int
        Factors (Y, X), in order.

    Examples
    --------
    >>> grid_pools((4, 2))
    [(2, 2), (2, 1)]
    """
    pooled, pools = (1, 1), []
    while pooled != tuple(grid):
        pool = (1 + (grid[0] > pooled[0]), 1 + (grid[1] > pooled[1]))
        pooled = (pooled[0] * pool[0], pooled[1] * pool[1])
        pools.append(pool)
    return pools


def _reach(config: Mapping[str, Any], axis: int) -> int:
    """How far to either side the input lies on which the pixels next to a tile border depend.

    Followed backwards, from the first output pixel of a tile (down to where?) and the last one before it (up to
    where?). The path through the deepest level sees furthest.
    """
    kernel, pool = config["unet_kernel_size"][axis], config["unet_pool"][axis]
    depth, convs = config["unet_n_depth"], config["unet_n_conv_per_depth"]
    low, high = 0, -1
    steps: list[int] = [0] if config["net_conv_after_unet"] > 0 else []  # 0: convolution, p: pooling, -p: upsampling
    steps += ([0] * convs + [-pool]) * depth
    steps += [0] * convs + ([pool] + [0] * convs) * depth
    for step in reversed([pools[axis] for pools in grid_pools((config["grid"][0], config["grid"][1]))]):
        steps += [step] + [0] * convs
    for step in steps:
        if step == 0:
            low, high = low - (kernel - 1) // 2, high + kernel // 2
        elif step < 0:
            low, high = low // -step, high // -step
        else:
            low, high = low * step, high * step + step - 1
    return max(-low, high + 1)


def read_weights(path: Path) -> Weights:
    """Read a weights file as Keras writes it.

    Parameters
    ----------
    path : Path
        ``weights_best.h5``.

    Returns
    -------
    dict of str to list of ndarray
        By layer name, in the order of the network; layers without weights are left out.

    Raises
    ------
    KaryosegError
        If it is no such file.
    """
    try:
        with h5py.File(path, "r") as file:
            root = file.get("model_weights", file)
            names = [_text(name) for name in root.attrs["layer_names"]]
            weights = {name: [root[name][_text(w)][()] for w in root[name].attrs["weight_names"]] for name in names}
    except (OSError, KeyError, AttributeError) as error:
        raise KaryosegError(
            f"{path}: cannot be opened as Keras weights ({error}); needed: config and weights written together. "
            f"Restore the file (dvc pull) or train again."
        ) from error
    return {name: arrays for name, arrays in weights.items() if arrays}


def read_config(folder: Path) -> dict[str, Any]:
    """Read the configuration of a model folder.

    Parameters
    ----------
    folder : Path
        StarDist model folder.

    Returns
    -------
    dict
        Fields of ``stardist.models.Config2D``.
    """
    return read_json(folder / CONFIG)


def read_thresholds(folder: Path) -> dict[str, float]:
    """Read the thresholds of a model folder.

    Parameters
    ----------
    folder : Path
        StarDist model folder.

    Returns
    -------
    dict of str to float
        ``prob`` and ``nms``, 0..1; StarDist's defaults if the folder names none.
    """
    path = folder / THRESHOLDS
    return read_json(path) if path.is_file() else {"prob": 0.5, "nms": 0.4}


def read_json(path: Path) -> dict[str, Any]:
    """Read a file of a model folder.

    Parameters
    ----------
    path : Path
        JSON file.

    Returns
    -------
    dict
        Content.

    Raises
    ------
    KaryosegError
        If it is damaged.
    """
    try:
        content: dict[str, Any] = json.loads(path.read_text())
    except ValueError as error:
        raise KaryosegError(
            f"{path}: is not valid JSON ({error}); needed: the file as it was written. Restore it or train again."
        ) from error
    return content


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
