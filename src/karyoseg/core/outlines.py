"""Outlines of segmented objects as polygons, ImageJ ROIs and QuPath GeoJSON.

Coordinates are (x, y) in pixels on the lattice of pixel corners: the first pixel covers the square from
(0, 0) to (1, 1), as in ImageJ and QuPath. Outlines follow pixel edges and cover exactly the object's pixels.
"""

from __future__ import annotations

import io
import uuid
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import orjson
import pandas as pd
import shapely
from numpy.typing import ArrayLike, NDArray
from roifile import ROI_OPTIONS, ROI_TYPE, ImagejRoi
from shapely.geometry import MultiPolygon, Polygon

from karyoseg.core.errors import KaryosegError
from karyoseg.core.rings import trace_single_rings

_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "karyoseg/outlines")
_MOVE, _LINE, _CLOSE = 0.0, 1.0, 4.0  # java.awt.geom.PathIterator, the notation of ImageJ's composite ROIs
_OPTIONS = ROI_OPTIONS.OVERLAY_BACKGROUNDS | ROI_OPTIONS.OVERLAY_LABELS
_POLYGON = 3  # of GEOS
_LARGEST = 32768  # signed 16 bit
_BLOCK = 1024  # rows looked at together: bounds the memory
_ZIP_DATE = (1980, 1, 1, 0, 0, 0)  # equal ROIs give equal bytes


def label_outlines(labels: ArrayLike) -> dict[int, Polygon | MultiPolygon]:
    """Trace the outline of every object of a label image.

    Parameters
    ----------
    labels : (Y, X) int array
        Label image; 0 and negative pixels belong to no object.

    Returns
    -------
    dict of int to Polygon or MultiPolygon
        By label, ascending. Vertices are the corners of the outline, in (x, y) [px], on the lattice of pixel
        corners. Holes are kept. An object of several pieces (also if they meet at a pixel corner) is a
        MultiPolygon. All are valid, and their area is the number of pixels.

    Raises
    ------
    KaryosegError
        If the labels are not integers of shape (Y, X).

    Examples
    --------
    >>> label_outlines([[0, 3, 3]])[3].bounds
    (1.0, 0.0, 3.0, 1.0)
    """
    array = np.asarray(labels)
    if array.ndim != 2 or not np.issubdtype(array.dtype, np.integer):  # noqa: PLR2004
        raise KaryosegError(
            f"Label image has shape {array.shape} and type {array.dtype}; needed: integers of shape (Y, X)."
        )
    # The fewer bytes the faster.
    padded = np.zeros((array.shape[0] + 2, array.shape[1] + 2), np.min_scalar_type(array.max(initial=0)))
    np.maximum(array, 0, out=padded[1:-1, 1:-1], casting="unsafe")
    owner_h, across = _edge_runs(padded)
    owner_v, down = _edge_runs(np.ascontiguousarray(padded.T))
    across, down = across - 1, down[..., ::-1] - 1  # the padding shifted them
    values, owner = np.unique(np.concatenate([owner_h, owner_v]), return_inverse=True)
    shapes = np.empty(len(values), object)
    # Most objects are one piece without holes, which is quick.
    simple, corners, ring = trace_single_rings(owner[: len(across)], owner[len(across) :], across, down)
    shapes[simple] = shapely.polygons(shapely.linearrings(corners.astype(np.float64), indices=ring))
    other = np.isin(owner, simple, invert=True)
    shapes[np.unique(owner[other])] = _polygonized(array, values, owner[other], np.concatenate([across, down])[other])
    shapes = shapely.normalize(shapes)
    return {int(label): shape for label, shape in zip(values, shapes, strict=True)}


def to_geojson(
    outlines: Mapping[int, Polygon | MultiPolygon],
    table: pd.DataFrame | None = None,
    *,
    image: str = "",
    object_type: str = "detection",
    classification: str | None = None,
) -> bytes:
    """Write objects as a GeoJSON FeatureCollection for QuPath.

    Parameters
    ----------
    outlines : mapping of int to Polygon or MultiPolygon
        From :func:`label_outlines`.
    table : DataFrame, optional
        Measurements with a column ``label``, such as :func:`karyoseg.core.measure.measure_objects` gives. Its
        numeric columns become QuPath measurements; values that are not finite are left out, as JSON has none.
    image : str
        Name of the image; keeps the ids of equal objects in different images apart.
    object_type : str
        QuPath object type, such as ``detection`` or ``annotation``.
    classification : str, optional
        QuPath class of all objects.

    Returns
    -------
    bytes
        Content of the file; each feature has a UUID that depends on image, label and outline alone.

    Raises
    ------
    KaryosegError
        If the table lacks an object of the outlines.
    """
    measurements = _measurements(table)
    if table is not None and (missing := sorted(outlines.keys() - measurements.keys())):
        raise KaryosegError(f"Table of objects lacks labels {missing[:10]}; needed: one row per outline.")
    # exterior rings counter-clockwise: RFC 7946
    shapes = shapely.orient_polygons(np.array(list(outlines.values()), dtype=object))
    features = []
    for label, geometry, content in zip(outlines, shapely.to_geojson(shapes), shapely.to_wkb(shapes), strict=True):
        properties: dict[str, Any] = {"objectType": object_type, "name": str(label)}
        if classification is not None:
            properties["classification"] = {"name": classification}
        if table is not None:
            properties["measurements"] = measurements[label]
        features.append(
            {
                "type": "Feature",
                "id": str(uuid.uuid5(_NAMESPACE, f"{image}:{label}:{content.hex()}")),
                "geometry": orjson.Fragment(geometry),
                "properties": properties,
            }
        )
    return orjson.dumps({"type": "FeatureCollection", "features": features})


def to_rois(outlines: Mapping[int, Polygon | MultiPolygon]) -> list[ImagejRoi]:
    """Turn outlines into ImageJ ROIs.

    Parameters
    ----------
    outlines : mapping of int to Polygon or MultiPolygon
        From :func:`label_outlines`.

    Returns
    -------
    list of ImagejRoi
        Named by label with leading zeros. An object of one piece without holes is a traced polygon, as
        ImageJ's wand would draw it; any other is a composite ROI (``coordinates(multi=True)`` reads it).

    Notes
    -----
    The box of a ROI has 16 bits. ImageJ takes what is below -5000 for unsigned, so it is right up to 60535 px. Beyond,
    as in ImageJ's own files, the box is wrong, but outlines are stored as floats as well, and those are read.
    """
    width = max(4, *(len(str(label)) for label in outlines)) if outlines else 0
    names = [f"{label:0{width}d}" for label in outlines]
    shapes = np.array(list(outlines.values()), dtype=object)
    boxes = shapely.bounds(shapes).round().astype(np.int32).reshape(-1, 4)
    one_ring = (shapely.get_type_id(shapes) == _POLYGON) & (shapely.get_num_interior_rings(shapes) == 0)
    one_ring &= boxes.max(axis=1, initial=0) < _LARGEST
    # Most objects are one piece without holes: their corners are fetched together.
    corners, owner = shapely.get_coordinates(shapes[one_ring], return_index=True)
    last = np.append(owner[1:] != owner[:-1], True)[: len(owner)]  # a ring ends where it began
    corners, owner = corners[~last].round().astype(np.int32), owner[~last]
    corners -= boxes[one_ring][owner, :2]
    rings = iter(np.split(corners, np.flatnonzero(np.diff(owner)) + 1))
    return [
        _traced(next(rings), box, name) if simple else _composite(outline, box, name)
        for simple, outline, box, name in zip(one_ring.tolist(), shapes, boxes.tolist(), names, strict=True)
    ]


def roi_zip_bytes(rois: Iterable[ImagejRoi]) -> bytes:
    """Pack ROIs into the zip format of ImageJ's ROI manager.

    Parameters
    ----------
    rois : iterable of ImagejRoi
        With unique names; none gives a valid empty archive.

    Returns
    -------
    bytes
        Content of the file; the same for the same ROIs.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for roi in rois:
            entry = zipfile.ZipInfo(f"{roi.name}.roi", date_time=_ZIP_DATE)
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, roi.tobytes())
    return buffer.getvalue()


def _edge_runs(padded: NDArray[np.integer]) -> tuple[NDArray[np.integer], NDArray[np.intp]]:
    """Find the straight edges between rows: each object's owner label and ``[[x0, y], [x1, y]]``.

    A run is a maximal stretch of lattice edges with the same object on the same side, so runs of the two
    directions meet at the corners of outlines and nowhere else.
    """
    owners, segments = [], []
    for top in range(0, len(padded) - 1, _BLOCK):
        block = padded[top : top + _BLOCK + 1]
        for inside, outside in ((block[:-1], block[1:]), (block[1:], block[:-1])):
            edge = np.where(inside != outside, inside, 0)  # the object whose edge this is
            y, x = np.nonzero(edge[:, 1:] != edge[:, :-1])
            before, after = edge[y, x], edge[y, x + 1]
            starts, ends = after > 0, before > 0  # in pairs, as the margin is background
            owners.append(after[starts])
            height = y[starts] + top + 1
            run = [[x[starts] + 1, height], [x[ends] + 1, height]]
            segments.append(np.moveaxis(np.array(run), -1, 0))
    return np.concatenate(owners), np.concatenate(segments)


def _polygonized(
    labels: NDArray[Any], values: NDArray[Any], owner: NDArray[np.intp], edges: NDArray[np.intp]
) -> NDArray[np.object_]:
    """Outlines of objects of any form from their edges, in order of their owners."""
    kept, index = np.unique(owner, return_inverse=True)
    order = np.argsort(index, kind="stable")
    lines = np.asarray(shapely.linestrings(edges[order].astype(np.float64)))
    nets = np.asarray(shapely.multilinestrings(lines, indices=index[order]))
    faces, index = shapely.get_parts(shapely.polygonize(nets[:, np.newaxis]), return_index=True)
    x, y = np.floor(shapely.get_coordinates(shapely.point_on_surface(faces))).astype(int).T
    inside = labels[y, x] == values[kept][index]  # the other faces are holes
    shapes = shapely.normalize(shapely.multipolygons(faces[inside], indices=index[inside]))
    single = shapely.get_num_geometries(shapes) == 1
    return np.where(single, shapely.get_geometry(shapes, 0), shapes)


def _pieces(outline: Polygon | MultiPolygon) -> Sequence[Polygon]:
    return list(outline.geoms) if isinstance(outline, MultiPolygon) else [outline]


def _measurements(table: pd.DataFrame | None) -> dict[int, dict[str, float]]:
    if table is None:
        return {}
    numeric = {str(name): column.to_numpy() for name, column in table.items() if column.dtype.kind in "biuf"}
    labels = numeric.pop("label")
    values = np.array(list(numeric.values()), np.float64).reshape(len(numeric), len(labels)).T
    rows = [dict(zip(numeric, row, strict=True)) for row in values.tolist()]
    for i in np.flatnonzero(~np.isfinite(values).all(axis=1)):
        rows[i] = {name: value for name, value in rows[i].items() if np.isfinite(value)}
    return dict(zip(labels.tolist(), rows, strict=True))


def _traced(corners: NDArray[np.int32], box: list[int], name: str) -> ImagejRoi:
    """A single ring; its corners count from the box."""
    left, top, right, bottom = box
    roi = ImagejRoi(name=name, roitype=ROI_TYPE.TRACED, left=left, top=top, right=right, bottom=bottom)
    roi.options = _OPTIONS
    roi.integer_coordinates, roi.n_coordinates = corners, len(corners)
    return roi


def _composite(outline: Polygon | MultiPolygon, box: list[int], name: str) -> ImagejRoi:
    rings = [ring for piece in _pieces(outline) for ring in (piece.exterior, *piece.interiors)]
    corners = [shapely.get_coordinates(ring)[:-1].round().astype(np.int32) for ring in rings]
    if len(corners) == 1:  # far from the origin
        roi = ImagejRoi.frompoints(corners[0], name=name)
        roi.roitype = ROI_TYPE.TRACED
    else:
        roi = ImagejRoi(name=name, roitype=ROI_TYPE.RECT)
        path = [step for ring in corners for step in _path(ring)]
        roi.multi_coordinates = np.array(path, np.float32)
        roi.shape_roi_size = len(path)
    roi.left, roi.top, roi.right, roi.bottom = box
    return roi


def _path(ring: NDArray[np.int32]) -> list[float]:
    first, *others = ring.tolist()
    return [_MOVE, *first, *(value for point in others for value in (_LINE, *point)), _CLOSE]
