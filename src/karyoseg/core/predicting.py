"""Reading an image for prediction, and the files that hold its result."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from karyoseg.core.io.image_files import ImageError
from karyoseg.core.io.images import ImageFile, read_image
from karyoseg.core.io.tiffs import encode_labels
from karyoseg.core.outlines import label_outlines, roi_zip_bytes, to_geojson, to_rois
from karyoseg.core.previews import block_mean, encode_png, paint_outlines, to_rgb8

#: Files written per image.
LABELS, ROIS, GEOJSON, OVERLAY = ".tif", ".rois.zip", ".geojson", ".png"
#: Labels of an image that is predicted in blocks.
STORE = ".ome.zarr"
_MAX_SIDE = 2048


@dataclass(frozen=True)
class PredictionResult:
    """What is known about one image after prediction.

    Parameters
    ----------
    labels : (Y, X) int32 ndarray
        Label image on the grid of the input; 0 background.
    image : (Y, X) or (Y, X, C) ndarray
        The input.
    table : DataFrame
        One row per object, column ``label`` and measurements.
    pixel_size_um : float or None
        Side of a pixel [um]; None if unknown.
    info : dict
        JSON-able facts: source file, model, scale.
    overlay : bool
        Whether a preview is wanted.
    """

    labels: np.ndarray
    image: np.ndarray
    table: pd.DataFrame
    pixel_size_um: float | None = None
    info: dict[str, Any] = field(default_factory=dict)
    overlay: bool = True


def read_input(path: str, axes: str | None = None) -> ImageFile:
    """Read an image and check its pixels.

    Parameters
    ----------
    path : str
        Path or fsspec URL.
    axes : str, optional
        Axes of a TIFF stack that does not say itself.

    Returns
    -------
    ImageFile
        The image; all pixels are finite numbers.

    Raises
    ------
    ImageError
        If it cannot be read, or holds NaN or infinite pixels.
    """
    image = read_image(path, axes)
    if image.array.dtype.kind == "f":
        bad = image.array.size - int(np.count_nonzero(np.isfinite(image.array)))
        if bad:
            raise ImageError(
                path,
                f"{bad} of {image.array.size} pixels are NaN or infinite",
                "finite numbers",
                "Replace them (in Fiji: Process > Math > NaN Background, or Macro 'if (isNaN(v)) v=0').",
            )
    return image


def result_files(result: PredictionResult, image_name: str) -> dict[str, bytes]:
    """Encode a result as the files a user opens.

    Parameters
    ----------
    result : PredictionResult
        One image.
    image_name : str
        Goes into the identifiers of the GeoJSON.

    Returns
    -------
    dict of str to bytes
        By suffix: ``.tif`` labels, ``.rois.zip`` for ImageJ, ``.geojson`` for QuPath, ``.png`` preview.
    """
    outlines = label_outlines(result.labels)
    files = {
        LABELS: encode_labels(result.labels, result.pixel_size_um),
        ROIS: roi_zip_bytes(to_rois(outlines)),
        GEOJSON: to_geojson(outlines, result.table, image=image_name),
    }
    return files | ({OVERLAY: overlay_png(result.image, result.labels)} if result.overlay else {})


def overlay_png(image: np.ndarray, labels: np.ndarray, max_side: int = _MAX_SIDE) -> bytes:
    """Draw the outlines of objects on an image.

    Parameters
    ----------
    image : (Y, X) or (Y, X, C) ndarray
        Image of any real dtype.
    labels : (Y, X) integer ndarray
        Label image of the same grid.
    max_side : int
        Larger images are reduced by a whole factor to at most this [px]; others keep their size.

    Returns
    -------
    bytes
        PNG, 8-bit RGB.
    """
    step = -(-max(labels.shape) // max_side)
    if step > 1:
        image, labels = block_mean(image, step), labels[::step, ::step]
    rgb = to_rgb8(image)
    paint_outlines(rgb, labels)
    return encode_png(rgb)
