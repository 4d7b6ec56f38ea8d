"""Drawing polygons, many at a time."""

from __future__ import annotations

import numpy as np

_ROWS = 50_000  # of all polygons looked at together: bounds the memory


def fill_polygons(polygons: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Draw polygons one over the other.

    A pixel belongs to a polygon if its centre lies inside or on the border, as in :func:`skimage.draw.polygon`.

    Parameters
    ----------
    polygons : (n, 2, vertices) ndarray
        Vertices (y, x) [px] of simple polygons: their edges do not cross.
    shape : tuple of int
        Size of the image (Y, X) [px]; what lies outside is not drawn.

    Returns
    -------
    (Y, X) int32 ndarray
        1 for the first polygon and so on, 0 for none; later polygons cover earlier ones.

    Examples
    --------
    >>> square = [[0.5, 0.5, 2.5, 2.5], [0.5, 2.5, 2.5, 0.5]]
    >>> fill_polygons(np.array([square]), (3, 4)).tolist()
    [[0, 0, 0, 0], [0, 1, 1, 0], [0, 1, 1, 0]]
    """
    canvas = np.zeros(shape, np.int32)
    if not len(polygons) or not canvas.size:
        return canvas
    blocks = np.cumsum(np.ptp(polygons[:, 0], axis=1) + 1) // _ROWS
    for part in np.split(np.arange(len(polygons)), np.flatnonzero(np.diff(blocks)) + 1):
        owner, row, left, right = polygon_spans(polygons[part])
        left, right = np.maximum(left, 0), np.minimum(right, shape[1] - 1)
        seen = (left <= right) & (row >= 0) & (row < shape[0])
        owner, row, left, right = owner[seen], row[seen], left[seen], right[seen]
        lengths = right - left + 1
        starts = row * shape[1] + left
        pixels = np.repeat(starts - np.cumsum(lengths) + lengths, lengths) + np.arange(lengths.sum())
        canvas.reshape(-1)[pixels] = np.repeat(part[owner] + 1, lengths)
    return canvas


def polygon_spans(polygons: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Find the runs of pixels whose centres lie in polygons or on their borders.

    Parameters
    ----------
    polygons : (n, 2, vertices) ndarray
        Vertices (y, x) [px] of simple polygons.

    Returns
    -------
    owner : (m,) int ndarray
        Index of the polygon, ascending.
    row, left, right : (m,) int ndarray
        The run, both ends included; runs of one polygon may overlap, and empty ones have ``left > right``.
    """
    y0, x0 = np.moveaxis(polygons.astype(np.float64), 1, 0)
    y1, x1 = (np.roll(values, -1, axis=1).ravel() for values in (y0, x0))
    y0, x0 = y0.ravel(), x0.ravel()
    polygon = np.arange(y0.size) // polygons.shape[2]
    owner, row, x = edge_crossings(polygon, y0, x0, y1, x1)
    left, right = np.ceil(x[::2]).astype(np.int64), np.floor(x[1::2]).astype(np.int64)
    # What that leaves out: edges, and lowest corners, that lie on a row.
    whole = y0 == np.rint(y0)
    flat = np.flatnonzero(whole & (y0 == y1))
    corner = np.flatnonzero(whole & (x0 == np.rint(x0)))
    ends = np.concatenate([np.stack([x0[flat], x1[flat]]), np.stack([x0[corner], x0[corner]])], axis=1)
    extra = np.concatenate([flat, corner])
    owner = np.concatenate([owner[::2], polygon[extra]])
    row = np.concatenate([row[::2], y0[extra].astype(np.int64)])
    left = np.concatenate([left, np.ceil(ends.min(axis=0)).astype(np.int64)])
    right = np.concatenate([right, np.floor(ends.max(axis=0)).astype(np.int64)])
    order = np.argsort(owner, kind="stable")
    return owner[order], row[order], left[order], right[order]


def edge_crossings(
    owner: np.ndarray, y0: np.ndarray, x0: np.ndarray, y1: np.ndarray, x1: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Find where the edges of polygons cross the rows of a grid.

    Parameters
    ----------
    owner : (m,) int ndarray
        Polygon of each edge.
    y0, x0, y1, x1 : (m,) float64 ndarray
        Its ends [px].

    Returns
    -------
    owner, row : (k,) int ndarray
        Ascending.
    x : (k,) float64 ndarray
        Column of the crossing, ascending within a row, so that every two of them enclose a part of the polygon. An edge
        crosses the rows from its upper end to just before its lower end.
    """
    first = np.ceil(np.minimum(y0, y1)).astype(np.int64)
    n_rows = np.ceil(np.maximum(y0, y1)).astype(np.int64) - first
    edge = np.repeat(np.arange(len(n_rows)), n_rows)
    row = np.arange(edge.size) - np.repeat(np.cumsum(n_rows) - n_rows, n_rows) + first[edge]
    # Multiplied before it is divided: a whole number comes out as one.
    x = x0[edge] + (row - y0[edge]) * (x1[edge] - x0[edge]) / (y1[edge] - y0[edge])
    owner = owner[edge]
    order = np.lexsort((x, row, owner))
    return owner[order], row[order], x[order]
