"""How many tiles a network's output needs to fit in memory."""

from __future__ import annotations

import math


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
