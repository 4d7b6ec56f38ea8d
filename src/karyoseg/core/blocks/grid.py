"""Cutting an image that does not fit in memory into blocks, each of which owns the objects centred in it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product

import numpy as np

Window = tuple[slice, slice]

_SIDE = 4096  # of a block as the network sees it [px]
_MOST = 8192  # of a block [px]


@dataclass(frozen=True)
class Objects:
    """Objects of an image as polygons, not drawn.

    Parameters
    ----------
    points : (n, 2) float64 ndarray
        Centres (y, x) [px].
    prob : (n,) float32 ndarray
        Object probability, 0..1.
    polygons : (n, 2, vertices) float32 ndarray
        Outlines (y, x) [px].
    """

    points: np.ndarray
    prob: np.ndarray
    polygons: np.ndarray

    def __len__(self) -> int:
        return len(self.prob)

    def pick(self, which: np.ndarray) -> Objects:
        """Return some of the objects.

        Parameters
        ----------
        which : ndarray
            Mask or indices.
        """
        return Objects(self.points[which], self.prob[which], self.polygons[which])

    @property
    def diameter(self) -> float:
        """Twice the longest way from a centre to its outline [px]; 0 without objects."""
        reach = np.linalg.norm(self.polygons - self.points[..., np.newaxis], axis=1)
        return 2 * float(reach.max(initial=0))


@dataclass(frozen=True)
class BlockGrid:
    """Blocks that cover an image, row by row.

    Two grids of pixels are involved: that of the image, on which blocks are square and results lie, and that of the
    prepared image, which the network sees.

    Parameters
    ----------
    shape, prepared : tuple of int
        Size of the image, and of the prepared image (Y, X) [px].
    size : int
        Side of a block [px of the image].
    overlap : int
        How far around a block objects are looked for [px of the image]; at least the largest object.
    context, stride : tuple of int
        Of the network (Y, X) [px of the prepared image].

    Examples
    --------
    >>> grid = BlockGrid((100, 250), (100, 250), size=128, overlap=32, context=(16, 16), stride=(16, 16))
    >>> len(grid), grid.own(1), grid.read(1)[1]
    (2, (slice(0, 100, None), slice(128, 250, None)), slice(80, 250, None))
    """

    shape: tuple[int, int]
    prepared: tuple[int, int]
    size: int
    overlap: int
    context: tuple[int, int]
    stride: tuple[int, int]

    def __len__(self) -> int:
        return self._counts[0] * self._counts[1]

    @property
    def factor(self) -> tuple[float, float]:
        """Pixels of the image per prepared pixel (Y, X)."""
        return self.shape[0] / self.prepared[0], self.shape[1] / self.prepared[1]

    @property
    def _counts(self) -> tuple[int, int]:
        return -(-self.shape[0] // self.size), -(-self.shape[1] // self.size)

    def own(self, block: int) -> Window:
        """Return the pixels of the image that belong to a block: each pixel belongs to one."""
        return self.around(block, 0)

    def around(self, block: int, distance: int) -> Window:
        """Return a block and what lies around it, within the image.

        Parameters
        ----------
        block : int
            Number of the block.
        distance : int
            How far to each side [px of the image].
        """
        y, x = (
            slice(max(0, n * self.size - distance), min(length, (n + 1) * self.size + distance))
            for n, length in zip(divmod(block, self._counts[1]), self.shape, strict=True)
        )
        return y, x

    def neighbours(self, block: int, distance: int) -> list[int]:
        """Return the blocks that have pixels within a distance of a block, itself included, ascending."""
        rows, columns = (
            range(side.start // self.size, -(-side.stop // self.size)) for side in self.around(block, distance)
        )
        return [row * self._counts[1] + column for row, column in product(rows, columns)]

    def valid(self, block: int) -> Window:
        """Return the part of the prepared image in which a block looks for objects."""
        return self.grown(self.own(block))

    def grown(self, window: Window) -> Window:
        """Return the part of the prepared image in which objects centred in a window of the image are looked for."""
        y, x = (
            slice(
                math.floor(max(0, side.start - self.overlap) / step),
                min(prepared, math.ceil(min(length, side.stop + self.overlap) / step)),
            )
            for side, step, length, prepared in zip(window, self.factor, self.shape, self.prepared, strict=True)
        )
        return y, x

    def read(self, block: int) -> Window:
        """Return the part of the prepared image that the network must see for that."""
        return self.with_context(self.valid(block))

    def with_context(self, valid: Window) -> Window:
        """Return a part of the prepared image and what the network must see around it."""
        y, x = (
            slice(max(0, side.start - around) // step * step, min(length, side.stop + around))
            for side, around, step, length in zip(valid, self.context, self.stride, self.prepared, strict=True)
        )
        return y, x

    def owned(self, points: np.ndarray, block: int) -> np.ndarray:
        """Tell which centres lie in a block: each lies in one.

        Parameters
        ----------
        points : (n, 2) ndarray
            Centres (y, x) [px of the image].
        block : int
            Number of the block.
        """
        rows, columns = np.floor((points.T + 0.5) / self.size).astype(np.int64)
        mine: np.ndarray = rows * self._counts[1] + columns == block
        return mine


def choose_size(scale: float, chunk: int) -> int:
    """Choose the side of blocks: as seen by the network always about the same, so that it fits in memory.

    Parameters
    ----------
    scale : float
        Prepared pixels per pixel of the image.
    chunk : int
        Blocks are multiples of it [px].

    Returns
    -------
    int
        Side [px of the image].

    Examples
    --------
    >>> choose_size(1.0, 512), choose_size(0.1, 512), choose_size(3.0, 512)
    (4096, 8192, 1536)
    """
    return min(max(1, round(_SIDE / scale / chunk)), _MOST // chunk) * chunk


def sample_windows(shape: tuple[int, int], side: int, limit: float) -> list[Window]:
    """Choose the windows from which facts about a whole image are taken.

    Parameters
    ----------
    shape : tuple of int
        Size of the image (Y, X) [px].
    side : int
        Side of a window [px].
    limit : float
        Most pixels in all windows together.

    Returns
    -------
    list of tuple of slice
        The whole image if it is not larger than the limit; else windows at equal distances, as many along Y as along
        X allow.

    Examples
    --------
    >>> sample_windows((30, 40), 10, 1200)
    [(slice(0, 30, None), slice(0, 40, None))]
    >>> [x.start for y, x in sample_windows((10, 100), 10, 300)]
    [0, 45, 90]
    """
    if shape[0] * shape[1] <= limit:
        return [(slice(0, shape[0]), slice(0, shape[1]))]
    most = limit / side**2
    rows = int(min(max(1, math.sqrt(most * shape[0] / shape[1])), max(1, shape[0] // side)))
    columns = int(min(max(1, most / rows), max(1, shape[1] // side)))
    return list(product(_spread(rows, side, shape[0]), _spread(columns, side, shape[1])))


def _spread(count: int, side: int, length: int) -> list[slice]:
    """Slices at equal distances, the first at the start and the last at the end; a single one in the middle."""
    room = max(0, length - side)
    starts = [room // 2] if count == 1 else [round(n * room / (count - 1)) for n in range(count)]
    return [slice(start, min(start + side, length)) for start in starts]
