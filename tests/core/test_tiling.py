"""Tile counts from memory, and the tiles."""

from __future__ import annotations

import math

import numpy as np
import pytest

from karyoseg.core.tiling import choose_tiles, cut_tiles


@pytest.mark.parametrize("seed", range(30))
def test_tiles_fit_and_none_is_too_small(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = tuple(int(n) for n in rng.integers(1, 12_000, 2))
    limit = float(rng.uniform(1e6, 1e10))
    tiles = choose_tiles(shape, 400.0, limit)
    edges = [math.ceil(n / k) for n, k in zip(shape, tiles, strict=True)]
    smallest = all(math.ceil(n / (k + 1)) < 256 for n, k in zip(shape, tiles, strict=True))
    assert math.prod(edges) * 400 <= limit or smallest
    assert all(k == 1 or edge >= 256 for edge, k in zip(edges, tiles, strict=True))


def test_enough_memory_means_one_tile() -> None:
    assert choose_tiles((10_000, 10_000), 100, 1e10) == (1, 1)
    assert choose_tiles((1, 1), 100, 1) == (1, 1)


def test_long_side_is_cut_first() -> None:
    assert choose_tiles((512, 8192), 1, 512 * 512) == (1, 16)


def test_more_memory_never_means_more_tiles() -> None:
    counts = [math.prod(choose_tiles((5000, 7000), 300, limit)) for limit in np.geomspace(1e7, 1e11, 40)]
    assert counts == sorted(counts, reverse=True)


@pytest.mark.parametrize("seed", range(30))
def test_each_pixel_has_one_tile_that_sees_around_it(seed: int) -> None:
    rng = np.random.default_rng(seed)
    stride = tuple(int(n) for n in rng.choice([4, 16, 48], 2))
    shape = tuple(int(n) * step for n, step in zip(rng.integers(1, 60, 2), stride, strict=True))
    context = tuple(int(n) * step for n, step in zip(rng.integers(0, 9, 2), stride, strict=True))
    n_tiles = tuple(int(n) for n in rng.integers(1, 12, 2))
    owners = np.zeros(shape, int)
    areas = []
    for tile in cut_tiles(shape, n_tiles, context, stride):
        owners[tile.own] += 1
        areas.append(math.prod(side.stop - side.start for side in tile.read))
        for own, read, length, around, step in zip(tile.own, tile.read, shape, context, stride, strict=True):
            assert all(border % step == 0 for border in (own.start, own.stop, read.start, read.stop))
            assert read.start == max(0, own.start - around)
            assert read.stop == min(length, own.stop + around)
    assert (owners == 1).all()
    assert 1 <= len(areas) <= math.prod(n_tiles)


def test_tiles_are_read_in_equal_sizes() -> None:
    tiles = cut_tiles((8192, 8192), (4, 4), (96, 96), (16, 16))
    sizes = {side.stop - side.start for tile in tiles for side in tile.read}
    assert len(tiles) == 16
    assert max(sizes) - min(sizes) <= 16
