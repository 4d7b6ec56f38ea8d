"""Images in which a pixel says how large an object is around it, and a model that reads that: tests of large images
need no network, and processes of their own can import it."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from karyoseg.core.blocks.grid import BlockGrid, Objects, Window
from karyoseg.core.blocks.run import LargePrediction
from karyoseg.core.blocks.tasks import BlockJob
from karyoseg.core.blocks.windows import WindowPreparation
from karyoseg.core.preparation import ImageFacts, Plan, Preparation

ANGLES = np.linspace(0, 2 * np.pi, 32, endpoint=False)


@dataclass(frozen=True)
class DotFinder:
    """Finds a disk at each pixel above a value; its diameter is that of the pixel. Opens itself."""

    above: float = 0.0
    """The value."""
    seconds: float = 0.0
    """That a block takes."""
    kill_once: Path | None = None
    """The first process that finds it not there makes this file and dies."""
    fail_at: int = -1
    """Row at which it fails."""
    log: Path | None = None
    """A line of process id per block."""
    facts: list[ImageFacts] = field(default_factory=list, compare=False)
    """Of each image that this process has planned."""
    thresholds: list[tuple[float | None, float | None]] = field(default_factory=list, compare=False)
    """Of probability and overlap, for each block in this process."""
    fingerprint = "dots"
    context = (16, 16)
    stride = (16, 16)
    diameter = 20.0
    preparation = Preparation()

    def __call__(self) -> DotFinder:
        return self

    def use(self, engine: str, precision: str) -> str:
        return f"{engine} {precision}"

    def describe(self) -> dict[str, Any]:
        return {"family": "dots", "training": {}, "thresholds": {"prob": 0.5, "nms": 0.4}}

    def plan(self, image: np.ndarray, *, facts: ImageFacts, scale: float | None, channels: Any) -> Plan:
        self.facts.append(facts)
        return Plan(self.preparation, scale or 1.0)

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
        """Find the dots of the valid part."""
        self.thresholds.append((prob_thresh, nms_thresh))
        time.sleep(self.seconds)
        if self.log:
            with self.log.open("a") as file:
                file.write(f"{os.getpid()}\n")
        if self.fail_at >= 0 and valid[0].start <= self.fail_at < valid[0].stop:
            raise RuntimeError("failed")
        if self.kill_once and not self.kill_once.exists():
            self.kill_once.touch()
            os._exit(1)
        y, x = np.nonzero(image > self.above)
        diameters = image[y, x]
        points = np.stack([y, x], axis=1) + np.array(origin)
        seen = np.all([(s.start <= p) & (p < s.stop) for s, p in zip(valid, points.T, strict=True)], axis=0)
        points, diameters = points[seen], diameters[seen]
        prob = ((points[:, 0] * 7919 + points[:, 1] * 104729) % 997 / 997).astype(np.float32)
        rays = np.stack([np.sin(ANGLES), np.cos(ANGLES)])
        polygons = (diameters[:, None, None] / 2 * rays * np.reshape(factor, (2, 1))).astype(np.float32)
        points = (points + 0.5) * factor - 0.5
        return Objects(points, prob, polygons + points[..., None].astype(np.float32))


def dots(shape: tuple[int, int], n: int, seed: int = 0, sizes: tuple[int, int] = (2, 30)) -> np.ndarray:
    """Draw n dots of random sizes; disks overlap."""
    rng = np.random.default_rng(seed)
    image = np.zeros(shape, np.uint16)
    image[rng.integers(0, shape[0], n), rng.integers(0, shape[1], n)] = rng.integers(*sizes, n)
    return image


def store(image: np.ndarray, path: Path) -> str:
    """Write an image as plain Zarr."""
    array = zarr.create_array(path, shape=image.shape, chunks=(64, 64), dtype=image.dtype, overwrite=True)
    array[:] = image
    return str(path)


def prediction(
    source: str,
    shape: tuple[int, int],
    *,
    size: int = 512,
    overlap: int = 32,
    model: DotFinder | None = None,
    fixed_overlap: bool = True,
    cluster: Mapping[str, Any] | None = None,
    min_area: int = 0,
) -> LargePrediction:
    """Lay out the prediction of a stored image of dots."""
    model = model or DotFinder()
    whole = (slice(0, shape[0]), slice(0, shape[1]))
    zero, one = np.float32(0), np.float32(1)
    preparation = WindowPreparation(Preparation(), shape, shape, (np.inf,), 0.0, whole, zero, one)
    grid = BlockGrid(shape, shape, size, overlap, model.context, model.stride)
    thresholds: dict[str, float | None] = {"prob_thresh": None, "nms_thresh": None}
    job = BlockJob(source, None, None, None, model, preparation, grid, thresholds, 0.5, min_area, Path())
    return LargePrediction(job, cluster or {"name": "none"}, fixed_overlap, {}, overlay=True)
