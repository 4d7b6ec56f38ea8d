"""Measure segmented objects: size, shape, position and intensity."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from skimage.measure import regionprops_table

from karyoseg.core.errors import KaryosegError

_SHAPE = {
    "label": "label",
    "centroid-0": "y",
    "centroid-1": "x",
    "area": "area_px",
    "equivalent_diameter_area": "equivalent_diameter_px",
    "axis_major_length": "major_axis_px",
    "axis_minor_length": "minor_axis_px",
    "perimeter": "perimeter_px",
    "eccentricity": "eccentricity",
    "solidity": "solidity",
    "orientation": "orientation",
    "bbox-0": "bbox_y0",
    "bbox-1": "bbox_x0",
    "bbox-2": "bbox_y1",
    "bbox-3": "bbox_x1",
}
_PLANE = 2
_COUNTS = ("label", "area_px", "bbox_y0", "bbox_x0", "bbox_y1", "bbox_x1")
_INTENSITY = ("intensity_mean", "intensity_min", "intensity_max", "intensity_std")
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
    values, objects = _compact(_checked_labels(labels))
    intensities = None if image is None else _checked_image(image, objects.shape)
    properties = sorted({name.split("-")[0] for name in _SHAPE})
    if intensities is not None:
        properties += _INTENSITY
    with warnings.catch_warnings():
        # One-pixel-wide objects have no convex hull in the plane; scikit-image then sets the solidity itself.
        warnings.filterwarnings("ignore", message=".*convex hull.*")
        raw = pd.DataFrame(regionprops_table(objects, intensities, properties=properties))
    table = raw[list(_SHAPE)].rename(columns=_SHAPE).astype(dict.fromkeys(_SHAPE.values(), np.float64))
    table = table.astype(dict.fromkeys(_COUNTS, np.int64))
    if values is not None:
        table["label"] = values[table["label"]]
    height, width = objects.shape
    table["touches_border"] = (
        (table["bbox_y0"] == 0) | (table["bbox_x0"] == 0) | (table["bbox_y1"] == height) | (table["bbox_x1"] == width)
    )
    if intensities is not None:
        table = table.join(_intensity_columns(raw, table["area_px"]))
    return table if pixel_size_um is None or np.isnan(pixel_size_um) else _with_um(table, pixel_size_um)


def _checked_labels(labels: ArrayLike) -> NDArray[np.integer]:
    array = np.asarray(labels)
    if array.ndim != _PLANE or array.size == 0 or not np.issubdtype(array.dtype, np.integer):
        raise KaryosegError(
            f"Label image has shape {array.shape} and type {array.dtype}; needed: integers of shape (Y, X)."
        )
    return np.maximum(array, 0)


def _compact(labels: NDArray[np.integer]) -> tuple[NDArray[np.integer] | None, NDArray[np.integer]]:
    """Renumber labels if they are larger than the image has pixels: scikit-image's memory grows with them."""
    if labels.max() <= labels.size:
        return None, labels
    values, index = np.unique(np.append(0, labels), return_inverse=True)
    return values, index[1:].reshape(labels.shape)


def _checked_image(image: ArrayLike, shape: tuple[int, ...]) -> NDArray[Any]:
    array = np.asarray(image)
    if array.ndim - _PLANE not in (0, 1) or array.shape[:2] != shape:
        raise KaryosegError(
            f"Image has shape {array.shape}, label image {shape}; needed: (Y, X) or (Y, X, C) on one grid."
        )
    return array.astype(np.uint8) if array.dtype == bool else array


def _intensity_columns(raw: pd.DataFrame, area: pd.Series) -> pd.DataFrame:
    """Rename scikit-image's ``intensity_mean-0`` and add the sum."""
    columns = {str(name): str(name).replace("-", "_") for name in raw if str(name).startswith(_INTENSITY)}
    table = raw[list(columns)].rename(columns=columns).astype(np.float64)
    means = [name for name in columns.values() if name.startswith("intensity_mean")]
    sums = {name.replace("mean", "sum"): table[name] * area for name in means}
    return table.assign(**sums)


def _with_um(table: pd.DataFrame, pixel_size_um: float) -> pd.DataFrame:
    if not (np.isfinite(pixel_size_um) and pixel_size_um > 0):
        raise KaryosegError(f"pixel size is {pixel_size_um} um; needed: a positive number, or none if unknown.")
    lengths = {f"{name}_um": table[f"{name}_px"] * pixel_size_um for name in _LENGTHS}
    return table.assign(
        y_um=table["y"] * pixel_size_um,
        x_um=table["x"] * pixel_size_um,
        area_um2=table["area_px"] * pixel_size_um**2,
        **lengths,
    )
