"""What is measured on label images: their objects, and how these fill the tiles that the images are cut into."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd
from scipy import ndimage as ndi

from karyoseg.core.labels import remove_small
from karyoseg.core.lazy import fingerprint
from karyoseg.core.measure import measure_objects

#: Descriptors that say what shape an object has, whatever its size and direction.
SHAPE = ["ratio", "circularity", "eccentricity", "solidity"]
#: All eight descriptors of an object.
DESCRIPTORS = ["area", "major", "minor", "perimeter", *SHAPE]

_NAMES = {"area_px": "area", "major_axis_px": "major", "minor_axis_px": "minor", "perimeter_px": "perimeter"}
_OTHERS = ["label", "diameter", "orientation", "at_border", "to_border"]
_SPREADS = 3  # beyond so many robust standard deviations a size is an outlier
_LEAST_SPREAD = 0.15  # of the logarithm of the diameter; below, nuclei of one kind would be outliers
FEW = 10  # from fewer objects no spread of sizes can be told
_ALIKE = 1.25  # ratio of median diameters up to which tiles are alike
_MAD = 1.4826  # standard deviation over median absolute deviation of a normal distribution


@dataclass(frozen=True)
class Population:
    """Objects of several label images, cut into tiles.

    Parameters
    ----------
    objects : DataFrame
        One row per object: ``tile`` (index in `tiles`), the eight descriptors, ``diameter`` of the circle of the same
        area, ``orientation`` of the major axis against the row axis [rad], ``gap`` of background to the nearest other
        object of the tile (infinite if there is none), ``to_border`` [all px, px2], ``at_border`` (bool).
    tiles : DataFrame
        One row per tile: ``image`` (number of the label image), ``height``, ``width`` [px], ``n_objects`` and
        ``coverage``, the share of the tile that objects cover [0..1].
    """

    objects: pd.DataFrame
    tiles: pd.DataFrame

    @property
    def whole(self) -> pd.DataFrame:
        """Objects that the border does not cut; all if it cuts each of them."""
        return _whole(self.objects)

    @property
    def side(self) -> int:
        """Typical side of a tile [px]."""
        return round(float(np.sqrt(np.median(self.tiles["height"] * self.tiles["width"]))))

    @property
    def fingerprint(self) -> str:
        """Identify the content."""
        return fingerprint(*(table.to_csv(float_format="%.9g") for table in (self.objects, self.tiles)))

    def plausible(self) -> Population:
        """Leave out objects whose size is far from that of their image: a presegmentation finds more than nuclei.

        Each image is judged by itself: a style may have images of small nuclei, and some of large ones.

        Returns
        -------
        Population
            Objects within three robust standard deviations of the median logarithm of the diameter in their image; of
            less than ten objects the standard deviation is that of all images.
        """
        common = _sizes(self.objects)[1]
        kept = [self.objects[:0]]
        for _, objects in self.objects.groupby(self.objects["tile"].map(self.tiles["image"])):
            middle, own = _sizes(objects)
            off = np.log(objects["diameter"]) - middle
            limit = _SPREADS * (own if len(_whole(objects)) >= FEW else common)
            # What the border cuts may be small.
            kept.append(objects[(off <= limit) & ((off >= -limit) | objects["at_border"])])
        return self._with(pd.concat(kept), self.tiles)

    def denser(self, quantile: float) -> Population:
        """Keep the tiles in which most was found.

        A presegmentation in a style it was not made for misses nuclei, more in some tiles than in others; so the fuller
        tiles are nearer to the truth, in density and in how close neighbours are.

        Parameters
        ----------
        quantile : float
            Tiles with objects are kept from this quantile of their coverage on [0..1).

        Returns
        -------
        Population
            The chosen tiles and their objects; at least one tile if anything was found at all.
        """
        found = self.tiles[self.tiles["n_objects"] > 0]
        if found.empty:
            return self._with(self.objects, found)
        chosen = found[found["coverage"] >= found["coverage"].quantile(quantile)]
        return self._with(self.objects[self.objects["tile"].isin(chosen.index)], chosen)

    def only(self, tile: int) -> Population:
        """Keep one tile.

        Parameters
        ----------
        tile : int
            Its index in `tiles`.

        Returns
        -------
        Population
            The tile and its objects.
        """
        return self._only([tile])

    def like(self, tile: int) -> Population:
        """Keep what tells of the nuclei of one tile.

        Parameters
        ----------
        tile : int
            Its index in `tiles`.

        Returns
        -------
        Population
            The tile alone if it has ten whole objects. Else all tiles whose median diameter is within a quarter of its
            own; all tiles there are if neither it nor its image has a whole object.
        """
        alone, whole = self.only(tile), self.whole
        if (whole["tile"] == tile).sum() >= FEW:
            return alone
        image = self.tiles["image"]
        for known in (whole["tile"] == tile, whole["tile"].map(image) == image[tile]):
            if known.any():
                sizes = whole.groupby("tile")["diameter"].median() / whole.loc[known, "diameter"].median()
                return self._only([tile, *sizes.index[sizes.between(1 / _ALIKE, _ALIKE)].drop(tile, errors="ignore")])
        return self

    def _only(self, tiles: list[int]) -> Population:
        return Population(self.objects[self.objects["tile"].isin(tiles)], self.tiles.loc[tiles])

    def _with(self, objects: pd.DataFrame, tiles: pd.DataFrame) -> Population:
        """Count anew."""
        by_tile = objects.groupby("tile")["area"].agg(["size", "sum"]).reindex(tiles.index, fill_value=0)
        coverage = by_tile["sum"] / (tiles["height"] * tiles["width"])
        return Population(objects, tiles.assign(n_objects=by_tile["size"], coverage=coverage))


def measure_population(images: Iterable[np.ndarray], side: int, min_area: int) -> Population:
    """Measure the objects of label images, tile by tile.

    Parameters
    ----------
    images : iterable of (Y, X) integer ndarray
        Label images of any size, one after the other.
    side : int
        Largest side of a tile [px]; larger images are cut into equal tiles without overlap.
    min_area : int
        Objects with fewer pixels are ignored [px].

    Returns
    -------
    Population
        Objects and tiles.

    Examples
    --------
    >>> labels = np.zeros((20, 20), int)
    >>> labels[2:8, 2:8], labels[2:8, 10:16] = 1, 2
    >>> population = measure_population([labels], side=512, min_area=9)
    >>> population.objects["gap"].tolist(), population.tiles["coverage"].tolist()
    ([2.0, 2.0], [0.18])
    """
    objects, tiles = [], []
    parts = ((image, part) for image, labels in enumerate(images) for part in _cut(labels, side))
    for index, (image, tile) in enumerate(parts):
        objects.append(describe(tile, min_area).assign(tile=index))
        tiles.append((image, *tile.shape))
    empty = describe(np.zeros((1, 1), np.int32), min_area).assign(tile=0)
    table = pd.DataFrame(tiles, columns=["image", "height", "width"], dtype=int)
    return Population(empty, table)._with(pd.concat([empty, *objects], ignore_index=True), table)


def describe(labels: np.ndarray, min_area: int) -> pd.DataFrame:
    """Measure the objects of a label image.

    Parameters
    ----------
    labels : (Y, X) integer ndarray
        Label image.
    min_area : int
        Objects with fewer pixels are ignored [px].

    Returns
    -------
    DataFrame
        One row per object, in ascending order of ``label``; the columns of :class:`Population` without ``tile``.
        ``ratio`` is that of major to minor axis, ``circularity`` that of area to squared perimeter.
    """
    labels = remove_small(np.maximum(labels, 0), max(1, min_area))
    table = measure_objects(labels).rename(columns=_NAMES)
    height, width = labels.shape
    ends = [table["bbox_y0"], table["bbox_x0"], height - table["bbox_y1"], width - table["bbox_x1"]]
    table = table.assign(
        # A line of pixels has no width by its moments.
        ratio=table["major"] / table["minor"].clip(lower=1),
        circularity=table["area"] / table["perimeter"].clip(lower=1) ** 2,
        diameter=table["equivalent_diameter_px"],
        at_border=table["touches_border"],
        to_border=np.min(ends, axis=0) if len(table) else 0.0,
    )
    return table[[*_OTHERS, *DESCRIPTORS]].assign(gap=nearest_gaps(labels))


def nearest_gaps(labels: np.ndarray) -> np.ndarray:
    """Measure how much background separates each object from its nearest neighbour.

    The nearest pixels of two neighbours meet where the zones of influence of both do, so one distance transform serves
    all objects.

    Parameters
    ----------
    labels : (Y, X) integer ndarray
        Label image.

    Returns
    -------
    (n,) float64 ndarray
        Distance between the centres of the nearest pixels, less one [px]; in ascending order of the labels. 0 if
        objects touch, be it at a corner; infinite for an object that is alone.

    Examples
    --------
    >>> nearest_gaps(np.array([[1, 0, 0, 2, 3]])).tolist()
    [2.0, 0.0, 0.0]
    """
    ids, inverse = np.unique(labels, return_inverse=True)
    first = int(np.searchsorted(ids, 1))  # position of the first object
    nearest = np.full(len(ids), np.inf)
    if len(ids) - first < 2:  # noqa: PLR2004
        return nearest[first:]
    index = inverse.reshape(labels.shape)
    y, x = ndi.distance_transform_edt(index < first, return_distances=False, return_indices=True)
    owner = index[y, x]
    for here, there in ((np.s_[1:], np.s_[:-1]), (np.s_[:, 1:], np.s_[:, :-1])):
        meet = owner[here] != owner[there]
        apart = np.hypot(y[here][meet] - y[there][meet], x[here][meet] - x[there][meet])
        for side in (here, there):
            np.minimum.at(nearest, owner[side][meet], apart)
    return np.where(nearest < 2, 0, nearest - 1)[first:]  # noqa: PLR2004


def _whole(objects: pd.DataFrame) -> pd.DataFrame:
    """Objects that the border does not cut; all if it cuts each of them."""
    whole = objects[~objects["at_border"]]
    return whole if len(whole) else objects


def _sizes(objects: pd.DataFrame) -> tuple[float, float]:
    """Median and robust standard deviation of the logarithm of the diameter."""
    size = np.log(_whole(objects)["diameter"])
    return size.median(), max(_LEAST_SPREAD, _MAD * float((size - size.median()).abs().median()))


def _cut(labels: np.ndarray, side: int) -> Iterator[np.ndarray]:
    """Give equal tiles."""
    rows, columns = (np.linspace(0, n, -(-n // side) + 1).astype(int) for n in labels.shape)
    for top, bottom in pairwise(rows):
        for left, right in pairwise(columns):
            yield labels[top:bottom, left:right]
