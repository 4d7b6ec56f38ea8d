"""Training pairs of one cluster: square tiles of images and labels, in changing positions and orientations.

A tile depends only on the seed and its position in the endless sequence, so a resumed training sees the same ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from karyoseg.core.conversions import as_rgb8
from karyoseg.core.errors import KaryosegError
from karyoseg.models.base import LabelledSamples
from karyoseg.models.training.samples import SampleCache, in_turn

_CHANNELS = 1, 3  # gray, RGB
_CACHE_BYTES = 1e9  # of decoded samples: an image of 36 megapixels takes a quarter
_JUDGED = range(4, 257)  # tiles
_LEAST_SIDE = 32  # of tiles that are judged [px]
Shapes = Mapping[str, tuple[int, int]]


def grid(shape: tuple[int, int], side: int) -> list[tuple[int, int]]:
    """Lay as few tiles as possible over an image, evenly; neighbours overlap where they must.

    Parameters
    ----------
    shape : tuple of int
        Size of the image (Y, X) [px].
    side : int
        Side of a tile [px].

    Returns
    -------
    list of tuple
        Upper left corners (y, x) [px]; one corner at 0 along an axis that is shorter than a tile.

    Examples
    --------
    >>> grid((256, 300), 256)
    [(0, 0), (0, 44)]
    """
    rows, columns = (
        np.linspace(0, max(0, length - side), max(1, -(-length // side))).round().astype(int).tolist()
        for length in shape
    )
    return [(y, x) for y in rows for x in columns]


def tile_side(shapes: Shapes, largest: int, stride: int) -> int:
    """Choose the side of the tiles of a cluster.

    Parameters
    ----------
    shapes : mapping of str to tuple
        Sizes (Y, X) of its images [px].
    largest : int
        Side wanted [px], a multiple of `stride`.
    stride : int
        The side is a multiple of this [px].

    Returns
    -------
    int
        `largest`; for a single image of hardly more than a tile, less: at least its four quadrants shall be different
        tiles [px].
    """
    if len(shapes) > 1:
        return largest
    half = min(next(iter(shapes.values()))) // 2
    return int(np.clip(half // stride * stride, stride, largest))


def cut(image: np.ndarray, corner: tuple[int, int], side: int) -> np.ndarray:
    """Cut a tile; what it lacks at the far ends of a small image is mirrored.

    Parameters
    ----------
    image : (Y, X) or (Y, X, C) ndarray
        Image or labels.
    corner : tuple of int
        Upper left corner (y, x) [px].
    side : int
        Side of the tile [px].

    Returns
    -------
    (side, side) or (side, side, C) ndarray
        Tile.
    """
    tile = image[corner[0] : corner[0] + side, corner[1] : corner[1] + side]
    missing = [(0, side - length) for length in tile.shape[:2]]
    return np.pad(tile, [*missing, *[(0, 0)] * (image.ndim - 2)], mode="symmetric")


def orient(image: np.ndarray, index: int) -> np.ndarray:
    """Turn and mirror a square tile.

    Parameters
    ----------
    image : (Y, X) or (Y, X, C) ndarray
        Tile.
    index : int
        0..7: quarter turns, from 4 on mirrored.

    Returns
    -------
    ndarray
        View of the tile.
    """
    turned = np.rot90(image, index % 4)
    return turned[:, ::-1] if index >= 4 else turned  # noqa: PLR2004


@dataclass(frozen=True)
class Pairs:
    """Tiles with their labels.

    Parameters
    ----------
    images : (N, S, S, 3) uint8 ndarray
        RGB tiles.
    labels : (N, S, S) integer ndarray
        Their labels.
    groups : sequence of str
        The image that each tile was cut from.
    """

    images: np.ndarray
    labels: np.ndarray
    groups: Sequence[str]


@dataclass(frozen=True)
class Tile:
    """Where a tile lies.

    Parameters
    ----------
    id : str
        Sample.
    y, x : int
        Upper left corner [px].
    """

    id: str
    y: int
    x: int


class Tiles:
    """The tiles of a cluster.

    Parameters
    ----------
    samples : LabelledSamples
        Images (uint8, gray or RGB) and labels.
    shapes : mapping of str to tuple
        Their sizes (Y, X) [px].
    side : int
        Side of a tile [px].
    seed : int
        Seed of all choices.
    """

    def __init__(self, samples: LabelledSamples, shapes: Shapes, side: int, seed: int):
        self.side = side
        self.places = [Tile(key, y, x) for key in samples.ids for y, x in grid(shapes[key], side)]
        self._seed = seed
        self._cache = SampleCache(samples, _CACHE_BYTES)

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the image ``(side, side, 3)`` uint8 and the labels ``(side, side)`` of a tile of the grid."""
        place = self.places[index]
        return self._cut(place.id, (place.y, place.x))

    @property
    def is_gray(self) -> bool:
        """Whether the channels of all images are equal."""
        return all(bool((np.ptp(self._read(key)[0], axis=-1) == 0).all()) for key in {p.id: None for p in self.places})

    def draw(self, position: int) -> tuple[np.ndarray, np.ndarray]:
        """Draw a training tile: moved by up to half its side from a place of the grid, turned and mirrored.

        Every place is visited once before any is visited again.

        Parameters
        ----------
        position : int
            Counts tiles from the start of the training.

        Returns
        -------
        image : (side, side, 3) uint8 ndarray
            Tile.
        labels : (side, side) integer ndarray
            Its labels.
        """
        rng = np.random.default_rng((self._seed, 1, position))
        place = in_turn(self.places, self._seed, position)
        shape = self._read(place.id)[1].shape
        moved = np.array([place.y, place.x]) + rng.integers(-(self.side // 2), self.side // 2 + 1, size=2)
        y, x = np.clip(moved, 0, np.maximum(np.array(shape) - self.side, 0)).tolist()
        orientation = int(rng.integers(8))
        image, labels = self._cut(place.id, (y, x))
        return orient(image, orientation), orient(labels, orientation)

    def _cut(self, key: str, corner: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        image, labels = self._read(key)
        return as_rgb8(cut(image, corner, self.side)), cut(labels, corner, self.side)

    def _read(self, key: str) -> tuple[np.ndarray, np.ndarray]:
        image, labels, _ = self._cache[key]
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[-1] not in _CHANNELS:  # noqa: PLR2004
            raise KaryosegError(
                f"style image {key}: {image.dtype} of shape {image.shape}; needed: gray or RGB of 8 bit. "
                f"Run presegment again, which converts images."
            )
        if image.shape[:2] != labels.shape:
            raise KaryosegError(
                f"style sample {key}: image {image.shape[:2]}, labels {labels.shape}; needed: the same size. "
                f"Run presegment again."
            )
        return image, labels


def judging_side(shapes: Shapes, side: int) -> int:
    """Halve the side of tiles until there are enough of them to judge.

    Parameters
    ----------
    shapes : mapping of str to tuple
        Sizes (Y, X) of the real images [px].
    side : int
        Side of the training tiles [px].

    Returns
    -------
    int
        Side [px].
    """
    while side > _LEAST_SIDE and sum(len(grid(shape, side)) for shape in shapes.values()) < _JUDGED.start:
        side //= 2
    return side


def take_pairs(tiles: Tiles, seed: int) -> Pairs:
    """Take tiles of the grid to judge them, at most 256.

    Parameters
    ----------
    tiles : Tiles
        Tiles of images.
    seed : int
        Seed of the choice.

    Returns
    -------
    Pairs
        Tiles with labels and the ids of their images.
    """
    chosen = np.random.default_rng(seed).permutation(len(tiles))[: _JUDGED.stop - 1]
    images, labels = zip(*(tiles[int(index)] for index in sorted(chosen)), strict=True)
    return Pairs(np.stack(images), np.stack(labels), [tiles.places[index].id for index in sorted(chosen)])
