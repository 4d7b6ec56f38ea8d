"""Blocks of a large image, and the windows that stand for it."""

from __future__ import annotations

import numpy as np
import pytest

from karyoseg.core.blocks.grid import BlockGrid, sample_windows


@pytest.mark.parametrize("seed", range(20))
def test_each_pixel_and_each_centre_has_one_block(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = tuple(int(n) for n in rng.integers(1, 900, 2))
    scale = float(rng.uniform(0.3, 3))
    prepared = tuple(max(1, round(n * scale)) for n in shape)
    size, overlap = int(rng.integers(50, 600)), int(rng.integers(1, 200))
    grid = BlockGrid(shape, prepared, size, overlap, (32, 48), (16, 8))
    owners = np.zeros(shape, int)
    points = rng.uniform(-0.49, np.array(shape) - 0.51, (500, 2))
    owned = np.zeros(len(points), int)
    for block in range(len(grid)):
        owners[grid.own(block)] += 1
        mine = grid.owned(points, block)
        owned += mine
        for axis, (own, valid, read) in enumerate(
            zip(grid.own(block), grid.valid(block), grid.read(block), strict=True)
        ):
            assert ((points[mine, axis] >= own.start - 0.5) & (points[mine, axis] < own.stop)).all()
            to_raw = shape[axis] / prepared[axis]
            assert valid.start * to_raw <= max(0, own.start - overlap)
            assert valid.stop * to_raw >= min(shape[axis], own.stop + overlap) - 1e-9
            assert read.start % grid.stride[axis] == 0
            assert read.start <= max(0, valid.start - grid.context[axis])
            assert read.stop == min(prepared[axis], valid.stop + grid.context[axis])
    assert (owners == 1).all()
    assert (owned == 1).all()


def test_neighbours_are_those_within_the_distance() -> None:
    grid = BlockGrid((1000, 1000), (1000, 1000), 250, 10, (16, 16), (16, 16))
    assert grid.neighbours(5, 0) == [5]
    assert grid.neighbours(5, 1) == [0, 1, 2, 4, 5, 6, 8, 9, 10]
    assert grid.neighbours(0, 251) == [0, 1, 2, 4, 5, 6, 8, 9, 10]


@pytest.mark.parametrize("shape", [(100, 100), (5000, 300), (40, 90_000), (9000, 8000)])
def test_samples_are_spread_and_limited(shape: tuple[int, int]) -> None:
    windows = sample_windows(shape, 256, 1e6)
    area = sum((y.stop - y.start) * (x.stop - x.start) for y, x in windows)
    assert area <= max(1e6, 256**2)
    assert all(0 <= side.start < side.stop <= n for window in windows for side, n in zip(window, shape, strict=True))
    assert min(y.start for y, _ in windows) < shape[0] / 2 < max(y.stop for y, _ in windows) + 256
    if area < shape[0] * shape[1]:
        assert area > 0.1e6
