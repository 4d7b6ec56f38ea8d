"""Outlines, ImageJ ROIs and GeoJSON cover exactly the objects they stand for."""

from __future__ import annotations

import json
import uuid
import zipfile

import numpy as np
import pytest
import shapely
from roifile import ROI_OPTIONS, ROI_TYPE, ImagejRoi, roiread
from shapely.geometry import shape
from skimage.draw import ellipse

from karyoseg.core import outlines
from karyoseg.core.errors import KaryosegError
from karyoseg.core.measure import measure_objects
from karyoseg.core.outlines import (
    label_outlines,
    roi_zip_bytes,
    to_geojson,
    to_rois,
)


def ellipses(seed=0, size=(140, 170), n=40):
    rng = np.random.default_rng(seed)
    labels = np.zeros(size, np.int32)
    for label in range(1, n + 1):
        y, x = rng.uniform(0, size[0]), rng.uniform(0, size[1])
        labels[ellipse(y, x, *rng.uniform(1.0, 14, 2), shape=size, rotation=rng.uniform(0, 3))] = label * 3
    return labels


def rasterise(polygon, size):
    """Pixels whose centre lies inside."""
    y, x = np.mgrid[: size[0], : size[1]] + 0.5
    return shapely.contains_xy(polygon, x, y)


def rasterise_rings(rings, size):
    """Even-odd fill, as ImageJ does for composite ROIs."""
    inside = np.zeros(size, bool)
    for ring in rings:
        inside ^= rasterise(shapely.Polygon(ring), size)
    return inside


def assert_exact(labels):
    outlines = label_outlines(labels)
    assert list(outlines) == np.unique(labels[labels > 0]).tolist()
    for label, outline in outlines.items():
        assert outline.is_valid
        assert outline.area == np.count_nonzero(labels == label)
        np.testing.assert_array_equal(rasterise(outline, labels.shape), labels == label)


def test_outlines_cover_exactly_their_pixels():
    assert_exact(ellipses())


@pytest.mark.parametrize("seed", range(40))
def test_even_noise_gives_valid_outlines(seed):
    # Holes, holes in several pieces, pieces that touch at corners, negative labels, borders, 1-pixel images.
    rng = np.random.default_rng(seed)
    assert_exact(rng.integers(-1, rng.integers(2, 5), rng.integers(1, 14, 2)))


def test_tracing_and_polygonizing_give_the_same(monkeypatch):
    labels = ellipses(2)
    traced = label_outlines(labels)
    nothing = np.empty(0, np.intp), np.empty((0, 2), np.intp), np.empty(0, np.intp)
    monkeypatch.setattr(outlines, "trace_single_rings", lambda *_: nothing)
    assert {key: shape.wkb for key, shape in label_outlines(labels).items()} == {
        key: shape.wkb for key, shape in traced.items()
    }


def test_outlines_of_tall_images_do_not_depend_on_blocks(monkeypatch):
    labels = ellipses(1)
    expected = label_outlines(labels)
    monkeypatch.setattr("karyoseg.core.outlines._BLOCK", 7)
    assert label_outlines(labels) == expected


def test_vertices_are_corners_only():
    labels = np.zeros((8, 9), int)
    labels[2:6, 3:8] = 5
    assert set(label_outlines(labels)[5].exterior.coords) == {(3, 2), (8, 2), (8, 6), (3, 6)}


def test_holes_and_pieces_are_kept():
    labels = np.zeros((9, 12), int)
    labels[1:8, 1:8] = 1
    labels[3:6, 3:6] = 0
    labels[4, 4] = 1  # an island in the hole
    labels[2, 10] = 1
    outline = label_outlines(labels)[1]
    assert outline.geom_type == "MultiPolygon"
    assert len(outline.geoms) == 3


# --- ImageJ ---


def test_rois_read_back_cover_their_objects(tmp_path):
    labels = ellipses(2)
    (tmp_path / "a.rois.zip").write_bytes(roi_zip_bytes(to_rois(label_outlines(labels))))
    rois = roiread(tmp_path / "a.rois.zip")
    assert [int(roi.name) for roi in rois] == np.unique(labels)[1:].tolist()
    for roi in rois:
        mask = labels == int(roi.name)
        np.testing.assert_array_equal(rasterise_rings(roi.coordinates(multi=True), labels.shape), mask)
        y, x = np.nonzero(mask)
        assert (roi.top, roi.left, roi.bottom, roi.right) == (y.min(), x.min(), y.max() + 1, x.max() + 1)


def test_simple_objects_are_traced_others_composite(tmp_path):
    labels = np.zeros((10, 14), int)
    labels[1:5, 1:5] = 1
    labels[1:7, 7:13] = 2
    labels[3, 9:11] = 0
    labels[8, 0] = labels[8, 5] = 3
    rois = to_rois(label_outlines(labels))
    assert [roi.roitype for roi in rois] == [ROI_TYPE.TRACED, ROI_TYPE.RECT, ROI_TYPE.RECT]
    assert [roi.composite for roi in rois] == [False, True, True]
    for roi in rois:
        again = ImagejRoi.frombytes(roi.tobytes())
        filled = rasterise_rings(again.coordinates(multi=True), labels.shape)
        np.testing.assert_array_equal(filled, labels == int(roi.name))


def test_smallest_objects_survive():
    labels = np.array([[1, 0, 2, 2], [0, 0, 0, 0], [3, 0, 0, 0], [3, 0, 0, 4]])
    for roi in to_rois(label_outlines(labels)):
        filled = rasterise_rings(ImagejRoi.frombytes(roi.tobytes()).coordinates(multi=True), labels.shape)
        np.testing.assert_array_equal(filled, labels == int(roi.name))


@pytest.mark.parametrize("side", [32_770, 40_000, 60_540, 65_540, 70_000])
def test_far_corner_of_a_large_image(side):
    # Beyond 32767 the 16-bit box wraps and readers unwrap it; beyond 60535 they need coordinates in floats.
    labels = np.zeros((side, 10), np.int32)
    labels[side - 10 : side - 2, 1:3] = 1
    labels[side - 10 : side, 4:9] = 2
    labels[side - 6, 6] = 0
    for roi, bottom in zip(to_rois(label_outlines(labels)), (side - 2, side), strict=True):
        again = ImagejRoi.frombytes(roi.tobytes())
        corners = np.concatenate(again.coordinates(multi=True))
        assert corners[:, 1].min() == side - 10
        assert corners[:, 1].max() == bottom
        if bottom > 60_535:
            assert again.composite or again.options & ROI_OPTIONS.SUB_PIXEL_RESOLUTION  # so ImageJ ignores the box


def test_zip_is_reproducible():
    rois = to_rois(label_outlines(ellipses(3)))
    assert roi_zip_bytes(rois) == roi_zip_bytes(rois)


def test_nothing_gives_an_empty_valid_zip(tmp_path):
    outlines = label_outlines(np.zeros((5, 5), int))
    assert outlines == {}
    (tmp_path / "a.rois.zip").write_bytes(roi_zip_bytes(to_rois(outlines)))
    assert zipfile.ZipFile(tmp_path / "a.rois.zip").testzip() is None
    assert roiread(tmp_path / "a.rois.zip") == []


# --- GeoJSON ---


def test_geojson_features_follow_rfc_7946_and_qupath():
    labels = ellipses(4)
    table = measure_objects(labels, labels.astype(np.float32), 0.5)
    collection = json.loads(to_geojson(label_outlines(labels), table, classification="Nucleus"))
    assert collection["type"] == "FeatureCollection"
    assert len(collection["features"]) == len(table)
    for feature in collection["features"]:
        assert feature["type"] == "Feature"
        assert str(uuid.UUID(feature["id"])) == feature["id"]
        assert feature["properties"]["objectType"] == "detection"
        assert feature["properties"]["classification"] == {"name": "Nucleus"}
        geometry = shape(feature["geometry"])
        label = int(feature["properties"]["name"])
        assert geometry.is_valid
        np.testing.assert_array_equal(rasterise(geometry, labels.shape), labels == label)
        pieces = [feature["geometry"]["coordinates"]]
        if feature["geometry"]["type"] == "MultiPolygon":
            pieces = feature["geometry"]["coordinates"]
        for exterior, *holes in pieces:
            assert exterior[0] == exterior[-1]
            assert shapely.LinearRing(exterior).is_ccw
            assert not any(shapely.LinearRing(hole).is_ccw for hole in holes)
        measured = feature["properties"]["measurements"]
        assert measured["area_px"] == geometry.area
        assert measured["area_um2"] == geometry.area / 4
        assert measured["intensity_mean"] == label


def test_geojson_ids_are_stable_and_unique():
    outlines = label_outlines(ellipses(5))
    ids = [feature["id"] for feature in json.loads(to_geojson(outlines, image="a.tif"))["features"]]
    assert ids == [feature["id"] for feature in json.loads(to_geojson(outlines, image="a.tif"))["features"]]
    others = [feature["id"] for feature in json.loads(to_geojson(outlines, image="b.tif"))["features"]]
    assert len(set(ids + others)) == 2 * len(outlines)


def test_geojson_leaves_out_what_json_cannot_hold():
    labels = np.array([[1, 1, 0, 2]])
    table = measure_objects(labels).assign(odd=[np.nan, np.inf], image="a.tif")
    for feature in json.loads(to_geojson(label_outlines(labels), table))["features"]:
        measured = feature["properties"]["measurements"]
        assert not {"odd", "image", "label"} & measured.keys()
        assert measured["touches_border"] == 1
        assert None not in measured.values()


def test_geojson_of_nothing_and_of_half_a_table():
    assert json.loads(to_geojson({})) == {"type": "FeatureCollection", "features": []}
    assert to_geojson({}, measure_objects(np.zeros((3, 3), int))) == to_geojson({})
    labels = np.array([[1, 0, 2]])
    with pytest.raises(KaryosegError, match=r"lacks labels \[2\]"):
        to_geojson(label_outlines(labels), measure_objects(labels).query("label == 1"))


def test_float_labels_are_refused():
    with pytest.raises(KaryosegError, match="integers"):
        label_outlines(np.zeros((3, 3)))
