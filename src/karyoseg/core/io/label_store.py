"""The OME-Zarr store that predictions of a large image go to: labels at several resolutions, and a small overview of
the image to see them on."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import zarr

from karyoseg.core.blocks.grid import BlockGrid
from karyoseg.core.previews import block_mean

#: Name of the labels in the store.
LABELS = "nuclei"
#: Chunks are squares of this side; blocks are multiples of it, so that no two write the same chunk.
CHUNK = 512
_OVERVIEW_SIDE = 2048
_SMALLEST_SIDE = 1024  # of the coarsest labels, about
_MAX_UINT32 = 2**32 - 1
#: Versions of OME-NGFF that are written. The first is stored as Zarr 2, without a group of attributes of its own; most
#: programs read it, so it is that of images that follow none, or an earlier one.
FLAT, NEWEST = "0.4", "0.5"


class LabelStore:
    """Labels in ``labels/nuclei`` and an overview of the image at the root, as OME-NGFF lays them out.

    Parameters
    ----------
    folder : Path
        The store.
    grid : BlockGrid
        Blocks that write it.
    """

    def __init__(self, folder: Path, grid: BlockGrid):
        self.folder = folder
        self._grid = grid

    @property
    def step(self) -> int:
        """Pixels of the image per pixel of the overview: a power of two."""
        return 2 ** max(0, int(np.ceil(np.log2(max(self._grid.shape) / _OVERVIEW_SIDE))))

    @property
    def n_levels(self) -> int:
        """Resolutions of the labels."""
        return 1 + max(0, int(np.ceil(np.log2(max(self._grid.shape) / _SMALLEST_SIDE))))

    def create(self, n_objects: int, n_channels: int | None, pixel_size_um: float | None, version: str) -> None:
        """Lay out the store.

        Parameters
        ----------
        n_objects : int
            Largest label.
        n_channels : int or None
            Of the overview; None without a channel axis.
        pixel_size_um : float or None
            Side of a pixel [um].
        version : {"0.4", "0.5"}
            Of OME-NGFF.
        """
        layout: Literal[2, 3] = 2 if version == FLAT else 3
        part = self.folder.with_name(self.folder.name + ".part")
        root = zarr.open_group(part, mode="w", zarr_format=layout)
        channels = () if n_channels is None else (n_channels,)
        root.create_array(
            "0",
            shape=channels + _shape(self._grid.shape, self.step),
            chunks=(1,) * len(channels) + (self._grid.size // self.step,) * 2,
            dtype="float32",
            **_separator(layout),
        )
        axes = "cyx"[1 - len(channels) :]
        _describe(root, axes, [self.step], pixel_size_um, version)
        labels = root.create_group("labels")
        _set(labels, version, {"labels": [LABELS]})
        group = labels.create_group(LABELS)
        for level in range(self.n_levels):
            group.create_array(
                str(level),
                shape=_shape(self._grid.shape, 2**level),
                chunks=(CHUNK, CHUNK),
                dtype="uint32" if n_objects <= _MAX_UINT32 else "uint64",
                **_separator(layout),
            )
        of = {"image-label": {"version": version, "source": {"image": "../../"}}}
        _describe(group, "yx", [2**n for n in range(self.n_levels)], pixel_size_um, version, **of)
        part.rename(self.folder)

    def write(self, block: int, labels: np.ndarray, image: np.ndarray) -> None:
        """Write a block.

        Parameters
        ----------
        block : int
            Its number.
        labels : (Y, X) integer ndarray
            Its labels.
        image : (Y, X) or (Y, X, C) ndarray
            Its part of the image, for the overview.
        """
        root = zarr.open_group(self.folder, mode="r+")
        rows, columns = self._grid.own(block)
        _array(root, f"labels/{LABELS}/0")[rows, columns] = labels
        small = np.moveaxis(block_mean(image, self.step), range(2), range(-2, 0))
        coarse = tuple(slice(side.start // self.step, -(-side.stop // self.step)) for side in (rows, columns))
        _array(root, "0")[(slice(None),) * (small.ndim - 2) + coarse] = small

    def shrink(self, level: int, block: int) -> None:
        """Write a part of a coarser resolution of the labels: every second pixel of the finer one.

        Parameters
        ----------
        level : int
            Which one, from 1.
        block : int
            Part of it: a square as large as a block.
        """
        group = zarr.open_group(self.folder, mode="r+", path=f"labels/{LABELS}")
        finer, coarser = _array(group, str(level - 1)), _array(group, str(level))
        size = self._grid.size
        row, column = divmod(block, -(-coarser.shape[1] // size))
        rows, columns = (
            slice(n * size, min((n + 1) * size, length)) for n, length in zip((row, column), coarser.shape, strict=True)
        )
        coarser[rows, columns] = np.asarray(
            finer[2 * rows.start : 2 * rows.stop, 2 * columns.start : 2 * columns.stop]
        )[::2, ::2]

    def parts(self, level: int) -> range:
        """Return the numbers of the parts of a resolution, for :meth:`shrink`."""
        height, width = _shape(self._grid.shape, 2**level)
        return range(-(-height // self._grid.size) * -(-width // self._grid.size))

    def overview(self) -> tuple[np.ndarray, np.ndarray]:
        """Read the overview of the image and the labels on its grid.

        Returns
        -------
        image : (Y, X) or (Y, X, C) ndarray
            Mean intensities.
        labels : (Y, X) ndarray
            Labels.
        """
        root = zarr.open_group(self.folder, mode="r")
        image = np.asarray(_array(root, "0")[:])
        labels = np.asarray(_array(root, f"labels/{LABELS}/{int(np.log2(self.step))}")[:])
        return (image if image.ndim == labels.ndim else np.moveaxis(image, 0, -1)), labels


def _describe(group: Any, axes: str, steps: list[int], pixel_size_um: float | None, version: str, **more: Any) -> None:
    """Say what the arrays of a group are: the same picture in steps of so many pixels."""
    side, unit = pixel_size_um or 1.0, {"unit": "micrometer"} if pixel_size_um else {}
    # A pixel of the overview is the mean of `step` pixels, one of the labels is the first of them.
    shift = 0.0 if more else 0.5
    datasets = []
    for level, step in enumerate(steps):
        scale = [1.0 if axis == "c" else step * side for axis in axes]
        translation = [0.0 if axis == "c" else shift * (step - 1) * side for axis in axes]
        changes = [{"type": "scale", "scale": scale}, {"type": "translation", "translation": translation}]
        datasets.append({"path": str(level), "coordinateTransformations": changes})
    described = [
        {"name": axis, "type": "channel"} if axis == "c" else {"name": axis, "type": "space"} | unit for axis in axes
    ]
    multiscale = {"name": group.basename or "overview", "axes": described, "datasets": datasets}
    _set(group, version, {"multiscales": [multiscale | ({"version": version} if version == FLAT else {})]} | more)


def _set(group: Any, version: str, attributes: dict[str, Any]) -> None:
    """Version 0.5 puts everything below `ome`."""
    group.attrs.update(attributes if version == FLAT else {"ome": {"version": version} | attributes})


def _separator(layout: int) -> dict[str, Any]:
    # Version 0.4 asks for chunks in nested folders; Zarr 3 does so by itself.
    return {"chunk_key_encoding": {"name": "v2", "separator": "/"}} if layout == 2 else {}  # noqa: PLR2004


def _shape(shape: tuple[int, int], step: int) -> tuple[int, int]:
    return -(-shape[0] // step), -(-shape[1] // step)


def _array(group: zarr.Group, path: str) -> zarr.Array[Any]:
    return cast("zarr.Array[Any]", group[path])
