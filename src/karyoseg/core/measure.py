"""Measure segmented objects: size, shape, position and intensity."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from karyoseg.core.errors import KaryosegError
from karyoseg.core.regions import Regions, find_regions

_PLANE = 2
_LENGTHS = ("equivalent_diameter", "major_axis", "minor_axis", "perimeter")


def measure_objects(
    labels: ArrayLike, image: ArrayLike | None = None, pixel_size_um: float | None = None
) -> pd.DataFrame:
    """Measure every object of a label image.

    Parameters
    ----------
    labels : (Y, X) int array
        Label image; 0 and negative pixels belong to no object.
    image : (Y, X) or (Y, X, C) array, optional
        Intensities on the same grid, any number type.
    pixel_size_um : float, optional
        Edge of a pixel [um]; None (or NaN) if unknown.

    Returns
    -------
    DataFrame
        One row per object, in ascending order of `label`:

        - ``y``, ``x``: centroid [px]; the centre of the first pixel is (0, 0);
        - ``area_px``, ``equivalent_diameter_px``, ``major_axis_px``, ``minor_axis_px``, ``perimeter_px``;
        - ``eccentricity``, ``solidity`` [0..1]; ``orientation`` of the major axis against the row axis [rad];
        - ``bbox_y0``, ``bbox_x0`` (inside), ``bbox_y1``, ``bbox_x1`` (just outside) [px]; ``touches_border``;
        - with `image`: ``intensity_mean``, ``_min``, ``_max``, ``_std``, ``_sum``; with several channels
          ``intensity_mean_0`` and so on;
        - with `pixel_size_um`: ``y_um``, ``x_um``, ``area_um2`` and ``_um`` twins of the lengths.

        Without objects the table has no rows and the same columns and types.

    Raises
    ------
    KaryosegError
        If labels and image do not fit together, or the pixel size is not positive.

    Examples
    --------
    >>> table = measure_objects([[0, 4, 4], [0, 4, 4]], pixel_size_um=0.5)
    >>> table.loc[0, ["label", "x", "area_px", "area_um2"]].tolist()
    [4.0, 1.5, 4.0, 1.0]
    """
    regions = find_regions(_checked_labels(labels))
    columns = _shapes(regions)
    if image is not None:
        columns |= _intensities(regions, _checked_image(image, regions.shape))
    if pixel_size_um is not None and not np.isnan(pixel_size_um):
        columns |= _in_um(columns, pixel_size_um)
    return pd.DataFrame(columns)


def _checked_labels(labels: ArrayLike) -> NDArray[np.integer]:
    array = np.asarray(labels)
    if array.ndim != _PLANE or array.size == 0 or not np.issubdtype(array.dtype, np.integer):
        raise KaryosegError(
            f"Label image has shape {array.shape} and type {array.dtype}; needed: integers of shape (Y, X)."
        )
    return array


def _checked_image(image: ArrayLike, shape: tuple[int, ...]) -> NDArray[Any]:
    array = np.asarray(image)
    if array.ndim - _PLANE not in (0, 1) or array.shape[:2] != shape:
        raise KaryosegError(
            f"Image has shape {array.shape}, label image {shape}; needed: (Y, X) or (Y, X, C) on one grid."
        )
    return array.astype(np.uint8) if array.dtype == bool else array


def _shapes(regions: Regions) -> dict[str, NDArray[Any]]:
    """Columns that depend on the labels alone, with the definitions of scikit-image's ``regionprops``."""
    area = regions.area
    y, x, yy, xx, yx = regions.moments()
    # Eigenvalues of the covariance: squared half axes of the ellipse, times 4.
    middle, spread = (yy + xx) / 2, np.hypot((yy - xx) / 2, yx)
    major, minor = middle + spread, np.maximum(middle - spread, 0)
    round_ = (yy == xx) & (yx == 0)
    top, left, bottom, right = regions.boxes()
    height, width = regions.shape
    return {
        "label": regions.labels,
        "y": y,
        "x": x,
        "area_px": area,
        "equivalent_diameter_px": np.sqrt(4 * area / np.pi),
        "major_axis_px": 4 * np.sqrt(major),
        "minor_axis_px": 4 * np.sqrt(minor),
        "perimeter_px": regions.perimeters(),
        "eccentricity": np.sqrt(1 - np.divide(minor, major, out=np.ones_like(minor), where=major > 0)),
        "solidity": area / regions.convex_areas(),
        "orientation": np.where(round_, -np.pi / 4, np.arctan2(2 * yx, yy - xx) / 2),
        "bbox_y0": top,
        "bbox_x0": left,
        "bbox_y1": bottom,
        "bbox_x1": right,
        "touches_border": (top == 0) | (left == 0) | (bottom == height) | (right == width),
    }


def _intensities(regions: Regions, image: NDArray[Any]) -> dict[str, NDArray[Any]]:
    channels = {"": image} if image.ndim == _PLANE else {f"_{i}": image[..., i] for i in range(image.shape[-1])}
    measured = {suffix: regions.intensities(channel) for suffix, channel in channels.items()}
    columns = {
        f"intensity_{name}{suffix}": measured[suffix][name]
        for name in ("mean", "min", "max", "std")
        for suffix in channels
    }
    sums = {f"intensity_sum{suffix}": measured[suffix]["mean"] * regions.area for suffix in channels}
    return columns | sums


def _in_um(columns: dict[str, NDArray[Any]], pixel_size_um: float) -> dict[str, NDArray[Any]]:
    if not (np.isfinite(pixel_size_um) and pixel_size_um > 0):
        raise KaryosegError(f"pixel size is {pixel_size_um} um; needed: a positive number, or none if unknown.")
    return {
        "y_um": columns["y"] * pixel_size_um,
        "x_um": columns["x"] * pixel_size_um,
        "area_um2": columns["area_px"] * pixel_size_um**2,
        **{f"{name}_um": columns[f"{name}_px"] * pixel_size_um for name in _LENGTHS},
    }
