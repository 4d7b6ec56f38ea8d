"""Cutting images into tiles that a network can take one at a time."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise


def choose_tiles(
    shape: tuple[int, int], bytes_per_pixel: float, limit_bytes: float, min_tile: int = 256
) -> tuple[int, int]:
    """Choose the fewest near-square tiles of an image that fit in memory one at a time.

    The side that makes the longer tile edge is cut first. Tiles never become shorter than `min_tile`,
    because the overlap around each would cost more than the tile; with little memory the result may
    therefore exceed the limit.

    Parameters
    ----------
    shape : tuple of int
        Image ``(Y, X)`` [px].
    bytes_per_pixel : float
        Peak memory of the network per pixel of a tile [byte].
    limit_bytes : float
        Memory that may be used [byte].
    min_tile : int
        Shortest edge of a tile [px].

    Returns
    -------
    tuple of int
        Number of tiles along Y and X.

    Examples
    --------
    >>> choose_tiles((1000, 1000), bytes_per_pixel=100, limit_bytes=1e9)
    (1, 1)
    >>> choose_tiles((1000, 2000), bytes_per_pixel=100, limit_bytes=1e8)
    (1, 2)
    """
    tiles = [1, 1]

    def edge(axis: int, extra: int = 0) -> int:
        return math.ceil(shape[axis] / (tiles[axis] + extra))

    while edge(0) * edge(1) * bytes_per_pixel > limit_bytes:
        axes = [axis for axis in (0, 1) if edge(axis, extra=1) >= min_tile]
        if not axes:
            break
        tiles[max(axes, key=edge)] += 1
    return tiles[0], tiles[1]


@dataclass(frozen=True)
class Tile:
    """A part of an image.

    Parameters
    ----------
    own : tuple of slice
        What the tile is responsible for (Y, X) [px]: each pixel belongs to one tile.
    read : tuple of slice
        What the network needs to see for that (Y, X) [px].
    """

    own: tuple[slice, slice]
    read: tuple[slice, slice]


def cut_tiles(
    shape: tuple[int, int], n_tiles: tuple[int, int], context: tuple[int, int], stride: tuple[int, int]
) -> list[Tile]:
    """Cut an image into tiles with context around.

    Parameters
    ----------
    shape : tuple of int
        Image (Y, X) [px], multiples of `stride`.
    n_tiles : tuple of int
        Tiles along Y and X; fewer if the image has not as many strides.
    context : tuple of int
        What a tile sees to either side (Y, X) [px], multiples of `stride`.
    stride : tuple of int
        All borders lie at multiples of it (Y, X) [px].

    Returns
    -------
    list of Tile
        Row by row; all that are read have nearly the same size.

    Examples
    --------
    >>> [tile.own[1] for tile in cut_tiles((16, 96), (1, 2), (16, 16), (16, 16))]
    [slice(0, 48, None), slice(48, 96, None)]
    """
    sides = []
    for length, n, around, step in zip(shape, n_tiles, context, stride, strict=True):
        parts = min(n, length // step)
        # Outer tiles have context on one side only, so they own more.
        read = (length + 2 * around * (parts - 1)) / parts
        inner = [max(step, round((read - around + i * (read - 2 * around)) / step) * step) for i in range(parts - 1)]
        borders = sorted({0, *(min(border, length) for border in inner), length})
        sides.append(
            [
                (slice(start, stop), slice(max(0, start - around), min(length, stop + around)))
                for start, stop in pairwise(borders)
            ]
        )
    return [Tile((y, x), (read_y, read_x)) for y, read_y in sides[0] for x, read_x in sides[1]]
