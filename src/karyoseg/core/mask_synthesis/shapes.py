"""Shapes of annotated nuclei: a database to look them up in, and stamps of the size and direction wanted."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import ndimage as ndi
from scipy.spatial import KDTree

from karyoseg.core.errors import KaryosegError
from karyoseg.core.labels import fill_holes, object_boxes
from karyoseg.core.lazy import fingerprint
from karyoseg.core.mask_synthesis.population import DESCRIPTORS, SHAPE, describe

Mask = npt.NDArray[np.bool_]

#: Columns of the table of a database.
COLUMNS = ["source", "label", "orientation", *DESCRIPTORS]

_CROSS = ndi.generate_binary_structure(2, 1)
_SOFT = 0.8  # blur before turning: steps of pixels would otherwise become bumps [px of the shape]
_PAD = 3


@dataclass(frozen=True)
class ShapeDatabase:
    """Shapes of nuclei that somebody annotated.

    Parameters
    ----------
    masks : list of (H, W) bool ndarray
        One shape each, cut out tightly: in one piece and without holes.
    table : DataFrame
        A row per shape: ``source`` (id of the label image), ``label`` in it, and the eight descriptors ``area`` [px2],
        ``major``, ``minor`` axis, ``perimeter`` [px], ``ratio`` of the axes, ``circularity`` (area over squared
        perimeter), ``eccentricity``, ``solidity``; and ``orientation`` of the major axis against the row axis [rad].
    """

    masks: list[Mask]
    table: pd.DataFrame

    def __len__(self) -> int:
        return len(self.masks)

    @property
    def fingerprint(self) -> str:
        """Identify the content."""
        return fingerprint(self.table.to_csv(float_format="%.9g"))

    @cached_property
    def _scale(self) -> npt.NDArray[np.float64]:
        """Spread of each descriptor: without division by it, one of them would decide alone."""
        spread: npt.NDArray[np.float64] = self.table[SHAPE].to_numpy(float).std(axis=0)
        return np.where(spread > 0, spread, 1.0)

    @cached_property
    def _tree(self) -> KDTree:
        return KDTree(self.table[SHAPE].to_numpy(float) / self._scale)

    def nearest(self, queries: pd.DataFrame, n: int) -> npt.NDArray[np.int64]:
        """Find the shapes that are most like those of given objects.

        Parameters
        ----------
        queries : DataFrame
            Objects with the columns ratio, circularity, eccentricity and solidity.
        n : int
            How many shapes per object; all if the database has fewer.

        Returns
        -------
        (objects, n) int64 ndarray
            Positions in `masks`, the most similar first.
        """
        wanted = np.arange(1, min(n, len(self)) + 1)
        return self._tree.query(queries[SHAPE].to_numpy(float) / self._scale, wanted)[1].astype(np.int64)


def collect_shapes(
    samples: Iterable[tuple[str, np.ndarray]], *, per_image: int, min_area: int, rng: np.random.Generator
) -> ShapeDatabase:
    """Cut the shapes of whole objects out of label images.

    Parameters
    ----------
    samples : iterable of (str, (Y, X) integer ndarray)
        Ids and label images.
    per_image : int
        At most so many shapes of each image, chosen at random: one image of thousands should not outweigh the others.
    min_area : int
        Objects with fewer pixels are ignored [px].
    rng : numpy.random.Generator
        Source of randomness.

    Returns
    -------
    ShapeDatabase
        Objects that the border cuts, or that are in pieces, are left out; holes are filled.

    Raises
    ------
    KaryosegError
        If there is no whole object at all.
    """
    masks: list[Mask] = []
    tables = []
    for name, labels in samples:
        filled = fill_holes(labels)
        table = describe(filled, min_area)
        table = table[~table["at_border"]]
        if len(table) > per_image:
            table = table.iloc[np.sort(rng.choice(len(table), per_image, replace=False))]
        boxes = dict(object_boxes(filled))
        cut = [filled[boxes[label]] == label for label in table["label"]]
        kept = [ndi.label(mask, _CROSS)[1] == 1 for mask in cut]
        masks += [mask for mask, whole in zip(cut, kept, strict=True) if whole]
        tables.append(table[np.array(kept, bool)].assign(source=name))
    if not masks:
        raise KaryosegError(
            "mask synthesis: the reference label images hold no object that is whole, away from the border and of at "
            f"least {min_area} px; needed: annotated nuclei to take shapes from. Lower mask_synthesis.min_area, or use "
            "another data set."
        )
    return ShapeDatabase(masks, pd.concat(tables, ignore_index=True)[COLUMNS])


@dataclass(frozen=True)
class Stamp:
    """A shape ready to be placed.

    Parameters
    ----------
    mask : (H, W) bool ndarray
        Its pixels, cut out tightly.
    """

    mask: Mask

    @cached_property
    def edge(self) -> npt.NDArray[np.int64]:
        """Pixels (y, x) of the outline, counted from the corner of the mask, of shape (n, 2)."""
        inside = cv2.erode(np.pad(self.mask, 1).astype(np.uint8), _CROSS.astype(np.uint8))[1:-1, 1:-1]
        return np.argwhere(self.mask & (inside == 0))

    @cached_property
    def centre(self) -> npt.NDArray[np.float64]:
        """Centroid (y, x), counted from the corner [px]."""
        return np.argwhere(self.mask).mean(axis=0)

    @cached_property
    def radii(self) -> tuple[float, float]:
        """Smallest and largest distance of the outline from the centroid [px]."""
        distances = np.hypot(*(self.edge - self.centre).T)
        return float(distances.min()), float(distances.max())

    @cached_property
    def area(self) -> int:
        """Number of pixels."""
        return int(self.mask.sum())


def make_stamp(mask: Mask, diameter: float, angle: float, *, mirrored: bool = False) -> Stamp:
    """Bring a shape to a size and a direction.

    Parameters
    ----------
    mask : (H, W) bool ndarray
        The shape.
    diameter : float
        Of the circle of the area wanted [px].
    angle : float
        Turn by this much, from the row axis away from the column axis [rad]: lessens the orientation of the shape.
    mirrored : bool
        Mirror it first, which changes the sign of the orientation.

    Returns
    -------
    Stamp
        The shape in one piece, of about that area and of one pixel at least.
    """
    padded = np.pad(mask[:, ::-1] if mirrored else mask, _PAD).astype(np.float32)
    source = cv2.GaussianBlur(padded, (0, 0), _SOFT)
    zoom = diameter / np.sqrt(4 * mask.sum() / np.pi)
    side = int(np.ceil(np.hypot(*mask.shape) * zoom)) + 2 * _PAD
    cosine, sine = zoom * np.cos(angle), zoom * np.sin(angle)
    matrix = np.array([[cosine, -sine], [sine, cosine]])
    shift = (side - 1) / 2 - matrix @ ((np.array(source.shape[::-1]) - 1) / 2)
    turned = cv2.warpAffine(source, np.column_stack([matrix, shift]), (side, side), flags=cv2.INTER_LINEAR)
    parts, n = ndi.label(turned > 0.5, _CROSS)  # noqa: PLR2004
    if n == 0:
        return Stamp(np.ones((1, 1), bool))
    largest = parts == 1 + np.argmax(np.bincount(parts.ravel())[1:])
    return Stamp(largest[ndi.find_objects(largest.astype(np.uint8))[0]])
