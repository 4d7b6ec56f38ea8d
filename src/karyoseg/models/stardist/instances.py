"""From the output of a network to instances: polygon candidates, suppression of overlapping ones, label image."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from karyoseg.core.blocks.grid import Objects
from karyoseg.core.polygons import fill_polygons
from karyoseg.core.runs.hardware import usable_memory
from karyoseg.core.tiling import Tile, choose_tiles, cut_tiles
from karyoseg.models.base import Prediction
from karyoseg.models.stardist.suppression import Candidates, survivors

if TYPE_CHECKING:
    from karyoseg.models.stardist.engines import Engine

_TILE_SHARE = 0.25  # of the memory that this process may use
_TILE_SIDE = 1024  # images are cut so that all cores have a tile, but tiles are not smaller for that
_MIN_DISTANCE = 1e-3
_BLOCK = 1_000_000  # pixels


def candidates(engine: Engine, image: np.ndarray, prob_thresh: float) -> Candidates:
    """Predict all polygon candidates of an image, tile by tile if it is large.

    The same as ``StarDist2D.predict_sparse(image, b=0)``, but in raster order whatever the tiles. By default StarDist
    ignores candidates next to the border of the image, and loses nuclei that are cut by it.

    Parameters
    ----------
    engine : Engine
        Network.
    image : (Y, X) or (Y, X, C) float32 ndarray
        Prepared image.
    prob_thresh : float
        Smallest object probability, 0..1.

    Returns
    -------
    Candidates
        All polygons that are probable enough, whatever they overlap.
    """
    geometry = engine.geometry
    shape = (image.shape[0], image.shape[1])
    padding = [(0, -n % step) for n, step in zip(shape, geometry.stride, strict=True)]
    pixels = image.reshape(*shape, -1)
    if any(after for _, after in padding):
        pixels = np.pad(pixels, [*padding, (0, 0)], mode="reflect")
    padded = (pixels.shape[0], pixels.shape[1])

    def of_tile(tile: Tile) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        with engine.run(pixels[tile.read]) as (prob, dist):
            own = _own_part(tile, geometry.grid)
            rows, columns = np.nonzero(prob[own] > prob_thresh)
            start = [side.start // step for side, step in zip(tile.own, geometry.grid, strict=True)]
            points = np.stack([rows + start[0], columns + start[1]], axis=1) * geometry.grid
            found = np.ascontiguousarray(dist[own][rows, columns])
            return prob[own][rows, columns], np.maximum(found, _MIN_DISTANCE), points

    tiles = cut_tiles(padded, _n_tiles(engine, padded), geometry.context, geometry.stride)
    if len(tiles) == 1:
        parts = [of_tile(tiles[0])]
    else:
        with ThreadPoolExecutor(engine.parallel) as pool:
            parts = list(pool.map(of_tile, tiles))
    prob, dist, points = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    inside: np.ndarray = np.all(points < shape, axis=1)
    order = np.lexsort((points[:, 1], points[:, 0])) if len(tiles) > 1 else np.arange(len(points))
    order = order[inside[order]]
    return Candidates(prob[order], dist[order], points[order], geometry.grid)


def _n_tiles(engine: Engine, shape: tuple[int, int]) -> tuple[int, int]:
    memory = min(engine.tile_bytes, _TILE_SHARE * usable_memory()) / engine.parallel
    share = shape[0] * shape[1] / engine.parallel
    pixels = min(memory / engine.bytes_per_pixel, max(share, _TILE_SIDE**2))
    return choose_tiles(shape, 1, pixels)


def _own_part(tile: Tile, grid: tuple[int, int]) -> tuple[slice, ...]:
    """Where a tile's own part lies in what the network gives for the tile."""
    return tuple(
        slice((own.start - read.start) // step, (own.stop - read.start) // step)
        for own, read, step in zip(tile.own, tile.read, grid, strict=True)
    )


def suppress(found: Candidates, *, nms_thresh: float, shape: tuple[int, int], out_shape: tuple[int, int]) -> Prediction:
    """Remove redundant candidates and draw the rest on the output grid.

    Parameters
    ----------
    found : Candidates
        All of them.
    nms_thresh : float
        Largest overlap of two instances kept, 0..1.
    shape, out_shape : tuple of int
        Size of the predicted image and of the output (Y, X) [px].

    Returns
    -------
    Prediction
        Instances of which at least one pixel is visible.
    """
    return draw(distinct(found, nms_thresh, np.divide(out_shape, shape)), out_shape)


def distinct(found: Candidates, nms_thresh: float, factor: np.ndarray) -> Objects:
    """Remove redundant candidates and lay the rest out on the output grid.

    Parameters
    ----------
    found : Candidates
        All of them.
    nms_thresh : float
        Largest overlap of two instances kept, 0..1.
    factor : (2,) ndarray
        Output pixels per pixel of the predicted image (Y, X).

    Returns
    -------
    Objects
        The most probable first.
    """
    kept = found.pick(survivors(found, nms_thresh))
    points, polygons = to_polygons(kept.dist, kept.points, factor)
    return Objects(points, kept.prob, polygons)


def draw(objects: Objects, out_shape: tuple[int, int], scale: float = 1.0) -> Prediction:
    """Draw objects, the more probable over the others.

    Parameters
    ----------
    objects : Objects
        From :func:`distinct`.
    out_shape : tuple of int
        Size of the output (Y, X) [px].
    scale : float
        Noted in the prediction.

    Returns
    -------
    Prediction
        Instances of which at least one pixel is visible.
    """
    order = np.argsort(objects.prob, kind="stable")
    drawn = fill_polygons(objects.polygons[order], out_shape)
    visible = np.zeros(len(order) + 1, bool)
    for rows in _blocks(drawn):
        visible[rows] = True
    kept = np.sort(order[visible[1:]])
    rank = np.zeros(len(order), np.int32)
    rank[kept] = np.arange(1, len(kept) + 1)
    renumber = np.append(np.int32(0), rank[order])
    for rows in _blocks(drawn):
        rows[:] = renumber[rows]
    seen = objects.pick(kept)
    return Prediction(drawn, seen.points, seen.prob, seen.polygons, scale)


def to_polygons(dist: np.ndarray, points: np.ndarray, factor: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lay out star distances as polygons on the output grid.

    Parameters
    ----------
    dist, points : ndarray
        Of :class:`~karyoseg.models.stardist.suppression.Candidates`.
    factor : (2,) ndarray
        Output pixels per pixel of the predicted image (Y, X).

    Returns
    -------
    points : (n, 2) float64 ndarray
        Centres (y, x) [px].
    polygons : (n, 2, n_rays) float32 ndarray
        Vertices (y, x) [px].
    """
    from stardist.geometry import dist_to_coord

    points = (points + 0.5) * factor - 0.5
    return points, dist_to_coord(dist, points, scale_dist=tuple(factor))


def _blocks(labels: np.ndarray) -> list[np.ndarray]:
    """Views of some rows each: indexing with the whole image would take twice its memory."""
    return np.array_split(labels, max(1, labels.size // _BLOCK))
