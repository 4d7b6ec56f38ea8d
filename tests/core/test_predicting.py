"""Files of one prediction."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
import tifffile
from PIL import Image
from roifile import ImagejRoi
from shapely.geometry import shape

from karyoseg.core.io.image_files import ImageError
from karyoseg.core.io.images import read_image
from karyoseg.core.io.tiffs import encode_labels
from karyoseg.core.measure import measure_objects
from karyoseg.core.predicting import (
    PredictionResult,
    overlay_png,
    read_input,
    result_files,
)


def blocks(size: int, step: int = 10) -> np.ndarray:
    """Label image of squares 6 px wide on a grid."""
    labels = np.zeros((size, size), np.int32)
    rows, columns = np.meshgrid(np.arange(2, size - 6, step), np.arange(2, size - 6, step), indexing="ij")
    for index, (y, x) in enumerate(zip(rows.ravel(), columns.ravel(), strict=True), start=1):
        labels[y : y + 6, x : x + 6] = index
    return labels


def test_every_file_tells_the_same_objects(tmp_path) -> None:
    labels = blocks(60)
    files = result_files(PredictionResult(labels, labels, measure_objects(labels, labels), 0.5), "a")
    assert files.keys() == {".tif", ".rois.zip", ".geojson", ".png"}
    assert np.array_equal(tifffile.imread(io.BytesIO(files[".tif"])), labels)
    (tmp_path / "a.rois.zip").write_bytes(files[".rois.zip"])
    rois = ImagejRoi.fromfile(tmp_path / "a.rois.zip")
    assert [int(roi.name) for roi in rois] == list(range(1, labels.max() + 1))
    features = json.loads(files[".geojson"])["features"]
    for roi, feature in zip(rois, features, strict=True):
        polygon = shape(feature["geometry"])
        assert polygon.area == 36
        assert (roi.left, roi.top, roi.right, roi.bottom) == polygon.bounds
        assert labels[roi.top, roi.left] == int(feature["properties"]["name"])


@pytest.mark.parametrize("size", [1, 5])
def test_no_objects_still_gives_valid_files(size: int) -> None:
    labels = np.zeros((size, size), np.int32)
    files = result_files(PredictionResult(labels, labels, measure_objects(labels, labels)), "a")
    assert json.loads(files[".geojson"])["features"] == []
    assert not tifffile.imread(io.BytesIO(files[".tif"])).any()
    assert Image.open(io.BytesIO(files[".png"])).size == (size, size)
    assert files[".rois.zip"][:2] == b"PK"


@pytest.mark.parametrize(("top", "dtype"), [(1, "uint16"), (65535, "uint16"), (65536, "uint32"), (2**31 - 1, "uint32")])
def test_label_type_grows_with_the_number_of_objects(top: int, dtype: str) -> None:
    labels = np.array([[0, top]], np.int32)
    stored = tifffile.imread(io.BytesIO(encode_labels(labels)))
    assert stored.dtype == dtype
    assert np.array_equal(stored, labels)


def test_label_tiff_is_deflated_and_keeps_the_pixel_size(tmp_path) -> None:
    (tmp_path / "a.tif").write_bytes(encode_labels(blocks(60), 0.325))
    assert read_image(tmp_path / "a.tif").pixel_size_um == pytest.approx(0.325, rel=1e-6)
    with tifffile.TiffFile(tmp_path / "a.tif") as tif:
        assert tif.pages[0].compression == tifffile.COMPRESSION.ADOBE_DEFLATE
        assert tif.pages[0].predictor == 1
        assert tif.pages[0].tags["ResolutionUnit"].value == 3


@pytest.mark.parametrize(
    ("shape_", "expected"),
    [((30, 40), (40, 30)), ((300, 700), (100, 43)), ((1, 500), (100, 1)), ((101, 3), (2, 51))],
)
def test_overlay_size(shape_: tuple[int, int], expected: tuple[int, int]) -> None:
    for channels in ((), (1,), (2,), (3,), (5,)):
        image = np.random.default_rng(0).random((*shape_, *channels))
        png = overlay_png(image, np.ones(shape_, np.int32), max_side=100)
        assert Image.open(io.BytesIO(png)).size == expected


def test_overlay_colours_only_outlines() -> None:
    labels = blocks(60)
    image = np.full(labels.shape, 7, np.uint16)
    rgb = np.asarray(Image.open(io.BytesIO(overlay_png(image, labels))))
    coloured = (rgb != rgb[0, 0]).any(axis=-1)
    assert np.array_equal(coloured & (labels == 0), np.zeros_like(coloured))
    assert np.count_nonzero(coloured) == labels.max() * 20  # the rim of a 6 x 6 square
    assert len(np.unique(rgb[coloured], axis=0)) == labels.max()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_pixels_that_are_no_numbers(tmp_path, bad: float) -> None:
    image = np.zeros((8, 8), np.float32)
    image[3, 4] = bad
    tifffile.imwrite(tmp_path / "a.tif", image)
    with pytest.raises(ImageError, match="1 of 64 pixels are NaN or infinite"):
        read_input(str(tmp_path / "a.tif"))
