"""The synthetic label images of one style."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from karyoseg.core.labels import relabel, remove_small
from karyoseg.core.mask_synthesis.placement import GapTarget, place
from karyoseg.core.mask_synthesis.population import FEW, Population
from karyoseg.core.mask_synthesis.shapes import ShapeDatabase, Stamp, make_stamp
from karyoseg.core.mask_synthesis.simulated import simulate_shapes
from karyoseg.core.mask_synthesis.tetris import count_to_fill, largest_gap, place_tetris
from karyoseg.core.postprocessing.combine import keep_largest_parts

_N_SIMULATED = 200  # shapes per style; each is used in many sizes and directions
_SPREAD_OF_FEW = 0.2  # of the logarithm of the diameter
_SMOOTHING = 0.9  # Silverman's rule of thumb
_LARGEST = 0.7  # diameter of an object, as share of the side: it must fit in
_FAR = 8  # gaps beyond the side by this are large
_ATTEMPTS = 20  # at an image that is not empty


@dataclass(frozen=True)
class MaskSynthesiser:
    """Draw label images with the nuclei of one style.

    Parameters
    ----------
    population : Population
        Plausible objects of the tiles to follow; at least one.
    annotated, simulated : ShapeDatabase
        Where shapes come from; the second may be empty.
    side : int
        Side of the images [px].
    min_area : int
        Smaller objects do not occur, not even cut by the border [px].
    share_simulated : float
        Share of the shapes that are simulated [0..1].
    n_similar : int
        A shape is chosen among this many that are most like a measured object.
    placement : {"measured", "tetris"}
        Follow measured density and gaps, or fill the image as nucleAIzer does.
    """

    population: Population
    annotated: ShapeDatabase
    simulated: ShapeDatabase
    side: int = 512
    min_area: int = 20
    share_simulated: float = 0.5
    n_similar: int = 10
    placement: Literal["measured", "tetris"] = "measured"

    def draw(self, tile: int, seed: int) -> npt.NDArray[np.int32]:
        """Draw a label image.

        Parameters
        ----------
        tile : int
            Index of the measured tile to follow; `tetris` follows none.
        seed : int
            Equal seeds give equal images.

        Returns
        -------
        (side, side) int32 ndarray
            Label image, numbered from 1.
        """
        rng = np.random.default_rng(seed)
        for _ in range(_ATTEMPTS):
            labels = self._draw_tetris(rng) if self.placement == "tetris" else self._draw_measured(tile, rng)
            labels = remove_small(keep_largest_parts(labels, self.min_area), self.min_area)
            if labels.any():
                break
        return relabel(labels)

    def _draw_measured(self, tile: int, rng: np.random.Generator) -> npt.NDArray[np.int32]:
        # Nuclei of one image are more alike than those of a style.
        model = self.population.like(tile)
        strip = int(min(model.whole["diameter"].max(), self.side)) // 2
        wanted = float(self.population.tiles["coverage"].loc[tile]) * (self.side + 2 * strip) ** 2
        stamps: list[Stamp] = []
        for stamp in self._stamps(model.whole, rng):
            stamps.append(stamp)
            wanted -= stamp.area
            if wanted <= 0:
                break
        return place(stamps, self.side, GapTarget(model, self.side / _FAR), rng, strip)

    def _draw_tetris(self, rng: np.random.Generator) -> npt.NDArray[np.int32]:
        n = count_to_fill(self.population, self.side, rng)
        gap = largest_gap(self.population, self.side)
        stamps = islice(self._stamps(self.population.whole, rng), 2 * n)
        return place_tetris(list(stamps), self.side, n=n, gap=gap, rng=rng)

    def _stamps(self, measured: pd.DataFrame, rng: np.random.Generator) -> Iterator[Stamp]:
        """Give shapes like those measured, without end."""
        similar = {True: self.simulated, False: self.annotated}
        found = {key: shapes.nearest(measured, self.n_similar) for key, shapes in similar.items() if len(shapes)}
        diameters = measured["diameter"].to_numpy()
        known = len(diameters) >= FEW
        spread = _SMOOTHING * np.log(diameters).std() * len(diameters) ** -0.2 if known else _SPREAD_OF_FEW
        # Neighbours in tissue lie in the same direction; only the whole is turned.
        directions = measured["orientation"].to_numpy() + rng.uniform(0, np.pi)
        while True:
            index = rng.integers(len(diameters))
            key = True in found and bool(rng.random() < self.share_simulated)
            shape = rng.choice(found[key][index])
            diameter = diameters[index] * np.exp(spread * rng.normal())
            diameter = min(diameter, diameters.max() if known else np.inf, _LARGEST * self.side)
            mirrored = bool(rng.integers(2))
            own = float(similar[key].table["orientation"].iloc[shape]) * (-1 if mirrored else 1)
            angle = own - directions[index] + np.pi * rng.integers(2)
            yield make_stamp(similar[key].masks[shape], diameter, angle, mirrored=mirrored)


def simulated_like(population: Population, seed: int) -> ShapeDatabase:
    """Simulate shapes like those of a population.

    Parameters
    ----------
    population : Population
        Measured objects.
    seed : int
        Equal seeds give equal shapes.

    Returns
    -------
    ShapeDatabase
        At most 200.
    """
    rng = np.random.default_rng(seed)
    measured = population.whole
    return simulate_shapes(measured.iloc[rng.integers(len(measured), size=_N_SIMULATED)], rng)


def plan_masks(populations: dict[str, Population], *, n_masks: int, large_diameter: float, seed: int) -> pd.DataFrame:
    """Decide how many label images each style gets, and their seeds.

    Parameters
    ----------
    populations : dict of str to Population
        What was measured in each style.
    n_masks : int
        Images per style.
    large_diameter : float
        Twice as many where nuclei are larger [px]: each image holds fewer of them.
    seed : int
        Seed of all.

    Returns
    -------
    DataFrame
        Columns id, cluster, tile (index of the measured tile to follow; all of them in turn, by coverage), seed.
    """
    rows = []
    for cluster, population in populations.items():
        area = float(population.whole["area"].mean())
        n = n_masks * (2 if np.sqrt(4 * area / np.pi) > large_diameter else 1)
        tiles = population.tiles.sort_values("coverage", kind="stable").index
        for index in range(n):
            sequence = np.random.SeedSequence([seed, zlib.crc32(cluster.encode()), index])
            tile = int(tiles[(2 * index + 1) * len(tiles) // (2 * n)])
            rows.append((f"{cluster}_{index:03d}", cluster, tile, int(sequence.generate_state(1)[0])))
    return pd.DataFrame(rows, columns=["id", "cluster", "tile", "seed"])
