"""What is done with each block of a large image: find its objects; draw and measure them.

Tasks take and return little and keep what they find in a folder, so that they can run in any process that sees it,
any number of times, and a run that was stopped can go on.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Protocol
from uuid import uuid4

import numpy as np
import pandas as pd

from karyoseg.core.blocks.grid import BlockGrid, Objects, Window
from karyoseg.core.blocks.windows import WindowPreparation
from karyoseg.core.io.files import replacing
from karyoseg.core.io.label_store import LabelStore
from karyoseg.core.io.large_images import LargeImage, open_large
from karyoseg.core.measure import measure_objects
from karyoseg.core.polygons import fill_polygons


class Finder(Protocol):
    """What a segmenter must offer; see :class:`karyoseg.models.base.Segmenter`."""

    def find(
        self,
        image: np.ndarray,
        *,
        origin: tuple[int, int],
        valid: Window,
        factor: tuple[float, float],
        prob_thresh: float | None,
        nms_thresh: float | None,
    ) -> Objects:
        """Find the objects of a part of a prepared image."""


@dataclass(frozen=True)
class BlockJob:
    """A large image, what to look for in it and where to keep what is found.

    Parameters
    ----------
    source : str
        Path or URL of the image.
    axes : str or None
        Its axes, if it does not say itself.
    channels : sequence of int or None
        Channels that are measured; None for all.
    network_channels : sequence of int or None
        Channels that the network sees.
    open_model : callable
        Gives the model; called in each process.
    preparation : WindowPreparation
        How the network sees the image.
    grid : BlockGrid
        The blocks.
    thresholds : dict
        ``prob_thresh`` and ``nms_thresh``; None for the model's own.
    pixel_size_um : float or None
        Side of a pixel [um].
    min_area : int
        Smaller objects are dropped [px].
    folder : Path
        Where blocks keep their objects; known once they are computed.
    stamp : str
        Changes when the image does; see :class:`karyoseg.core.io.inputs.InputImage`.
    """

    source: str
    axes: str | None
    channels: Sequence[int] | None
    network_channels: Sequence[int] | None
    open_model: Callable[[], Finder]
    preparation: WindowPreparation
    grid: BlockGrid
    thresholds: dict[str, float | None]
    pixel_size_um: float | None
    min_area: int
    folder: Path = Path()
    stamp: str = ""

    @property
    def image(self) -> LargeImage:
        """The image; in a process it is opened once."""
        return _opened(self.source, self.axes, self.stamp)

    @property
    def n_channels(self) -> int | None:
        """Channels that are measured; None without a channel axis."""
        n_channels = self.image.n_channels if self.channels is None else len(self.channels)
        return n_channels if n_channels and n_channels > 1 else None

    @property
    def store(self) -> LabelStore:
        """Where the labels go."""
        return LabelStore(self.folder / "labels.ome.zarr", self.grid)

    def objects_file(self, block: int) -> Path:
        """Where the objects of a block are kept."""
        return self.folder / f"objects-{block}.npz"

    def table_file(self, block: int) -> Path:
        """Where their measurements are kept."""
        return self.folder / f"table-{block}.parquet"


@lru_cache(maxsize=4)
def _opened(source: str, axes: str | None, stamp: str) -> LargeImage:
    """Open an image; workers live longer than it, so once for each stamp."""
    return open_large(source, axes)


def find_objects(job: BlockJob, block: int) -> tuple[int, int, float]:
    """Find the objects that a block owns, and keep them.

    Parameters
    ----------
    job : BlockJob
        The job.
    block : int
        Number of the block.

    Returns
    -------
    block : int
        Its number.
    n_objects : int
        How many it owns.
    diameter : float
        Twice the longest way from a centre to its outline [px].
    """
    if not job.objects_file(block).exists():
        found = find_around(job, job.grid.own(block))
        _keep(job, block, found.pick(job.grid.owned(found.points, block)))
    objects = load_objects(job, block)
    return block, len(objects), round(objects.diameter, 2)


def find_around(job: BlockJob, window: Window) -> Objects:
    """Find the objects that are centred in a window, and some around it.

    Parameters
    ----------
    job : BlockJob
        The job.
    window : tuple of slice
        Part of the image (Y, X) [px].

    Returns
    -------
    Objects
        In raster order.
    """
    valid = job.grid.grown(window)
    part = job.grid.with_context(valid)
    return job.open_model().find(
        job.preparation.apply(lambda window: job.image.read(window, job.network_channels), part),
        origin=(part[0].start, part[1].start),
        valid=valid,
        factor=job.grid.factor,
        **job.thresholds,
    )


def draw_objects(job: BlockJob, first_labels: np.ndarray, block: int) -> None:
    """Draw and measure the objects of a block, with what neighbours reach into it.

    Parameters
    ----------
    job : BlockJob
        The job; the objects of all blocks have been found.
    first_labels : (n,) int64 ndarray
        Label of the first object of each block.
    block : int
        Number of the block.
    """
    if job.table_file(block).exists():
        return
    window = job.grid.around(block, job.grid.overlap)
    objects, labels = _objects_around(job, first_labels, block)
    drawn = _draw(objects, window, job.min_area)
    image = job.image.read(window, job.channels)
    own = tuple(
        slice(inner.start - outer.start, inner.stop - outer.start)
        for inner, outer in zip(job.grid.own(block), window, strict=True)
    )
    job.store.write(block, np.append(0, labels)[drawn[own]], image[own])
    table = _measure(job, drawn, image, window, np.append(False, job.grid.owned(objects.points, block)))
    table["label"] = labels[table["label"].to_numpy() - 1]
    buffer = io.BytesIO()
    table.sort_values("label", ignore_index=True).to_parquet(buffer, index=False)
    _write(job.table_file(block), buffer.getvalue())


def shrink_labels(job: BlockJob, level: int, part: int) -> None:
    """Write a part of a coarser resolution; see :meth:`LabelStore.shrink`.

    Parameters
    ----------
    job : BlockJob
        The job.
    level, part : int
        Resolution and part.
    """
    job.store.shrink(level, part)


def load_objects(job: BlockJob, block: int) -> Objects:
    """Read the objects that a block owns.

    Parameters
    ----------
    job : BlockJob
        The job.
    block : int
        Number of the block.

    Returns
    -------
    Objects
        In raster order.
    """
    with np.load(job.objects_file(block)) as kept:
        return Objects(kept["points"], kept["prob"], kept["polygons"])


def _keep(job: BlockJob, block: int, objects: Objects) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, points=objects.points, prob=objects.prob, polygons=objects.polygons)
    _write(job.objects_file(block), buffer.getvalue())


def _write(path: Path, content: bytes) -> None:
    # A block is computed again if its worker seems dead: both may write at the same time.
    with replacing(path, f"{{}}.{uuid4().hex}.part") as part:
        part.write_bytes(content)


def _objects_around(job: BlockJob, first_labels: np.ndarray, block: int) -> tuple[Objects, np.ndarray]:
    """Objects that can have pixels, or hide some, in what is drawn around a block; and their labels."""
    reach = 3 * job.grid.overlap // 2
    area = job.grid.around(block, reach)
    parts, labels = [], []
    for neighbour in job.grid.neighbours(block, reach):
        objects = load_objects(job, neighbour)
        near = np.all([(s.start - 1 <= p) & (p <= s.stop) for s, p in zip(area, objects.points.T, strict=True)], axis=0)
        parts.append(objects.pick(near))
        labels.append(first_labels[neighbour] + np.flatnonzero(near))
    together = (np.concatenate([getattr(part, name) for part in parts]) for name in ("points", "prob", "polygons"))
    return Objects(*together), np.concatenate(labels)


def _draw(objects: Objects, window: Window, min_area: int) -> np.ndarray:
    """Draw the most probable over the others, and drop what is too small or hidden; values count from 1."""
    y, x = objects.points.T
    order = np.lexsort((-x, -y, objects.prob))
    origin = np.array([side.start for side in window]).reshape(1, 2, 1)
    shape = (window[0].stop - window[0].start, window[1].stop - window[1].start)
    drawn = fill_polygons(objects.polygons[order].astype(np.float64) - origin, shape)
    areas = np.bincount(drawn.ravel(), minlength=len(order) + 1)
    values = np.append(np.int32(0), (order + 1).astype(np.int32))
    values[areas < max(1, min_area)] = 0
    return values[drawn]


def _measure(job: BlockJob, drawn: np.ndarray, image: np.ndarray, window: Window, mine: np.ndarray) -> pd.DataFrame:
    """Measure some of the objects; positions are those in the whole image."""
    table = measure_objects(np.where(mine[drawn], drawn, 0), image, job.pixel_size_um)
    for axis, side, length in zip("yx", window, job.grid.shape, strict=True):
        table[axis] += side.start
        table[[f"bbox_{axis}0", f"bbox_{axis}1"]] += side.start
        if job.pixel_size_um:
            table[f"{axis}_um"] = table[axis] * job.pixel_size_um
        at_end = (table[f"bbox_{axis}0"] == 0) | (table[f"bbox_{axis}1"] == length)
        table["touches_border"] = at_end | (table["touches_border"] if axis == "x" else False)
    return table
