"""Tile counts from memory."""

from __future__ import annotations

import math

import numpy as np
import pytest

from karyoseg.core.tiling import choose_tiles


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
