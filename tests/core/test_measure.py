"""Measurements against numbers worked out by hand, and against scikit-image."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from scipy import ndimage as ndi
from skimage.draw import ellipse
from skimage.measure import label as label_regions
from skimage.measure import regionprops_table

from karyoseg.core import regions
from karyoseg.core.errors import KaryosegError
from karyoseg.core.measure import measure_objects


@pytest.fixture
def labels():
    out = np.zeros((12, 20), np.int32)
    out[2:6, 3:13] = 7  # 4 x 10
    out[9:12, 0:3] = 3  # 3 x 3, in the corner
    out[0, 19] = -1
    return out


def test_rectangle_by_hand(labels):
    table = measure_objects(labels).set_index("label")
    assert table.index.tolist() == [3, 7]
    big = table.loc[7]
    assert (big["y"], big["x"]) == (3.5, 7.5)
    assert big["area_px"] == 40
    assert big["equivalent_diameter_px"] == pytest.approx(np.sqrt(4 * 40 / np.pi))
    # Ellipse of the same second moments: 4 standard deviations of 10 (of 4) equally spaced pixel centres.
    assert big["major_axis_px"] == pytest.approx(4 * np.sqrt((10**2 - 1) / 12))
    assert big["minor_axis_px"] == pytest.approx(4 * np.sqrt((4**2 - 1) / 12))
    assert big["perimeter_px"] == 2 * (9 + 3)  # through the centres of the border pixels
    assert big["eccentricity"] == pytest.approx(np.sqrt(1 - (4**2 - 1) / (10**2 - 1)))
    assert big["solidity"] == 1
    assert abs(big["orientation"]) == pytest.approx(np.pi / 2)
    assert big[["bbox_y0", "bbox_x0", "bbox_y1", "bbox_x1"]].tolist() == [2, 3, 6, 13]
    assert table["touches_border"].to_dict() == {3: True, 7: False}


def test_micrometres_follow_pixels(labels):
    plain, scaled = measure_objects(labels), measure_objects(labels, pixel_size_um=0.25)
    assert not [name for name in plain if "um" in name.split("_")[-1]]
    pd.testing.assert_frame_equal(scaled[plain.columns], plain)
    np.testing.assert_allclose(scaled["area_um2"], plain["area_px"] / 16)
    for name in ("equivalent_diameter", "major_axis", "minor_axis", "perimeter"):
        np.testing.assert_allclose(scaled[f"{name}_um"], plain[f"{name}_px"] / 4)
    np.testing.assert_allclose(scaled[["y_um", "x_um"]], plain[["y", "x"]] / 4)
    pd.testing.assert_frame_equal(measure_objects(labels, pixel_size_um=float("nan")), plain)


def test_intensities_by_hand(labels):
    image = np.arange(labels.size, dtype=np.uint16).reshape(labels.shape)
    table = measure_objects(labels, image).set_index("label")
    for label in (3, 7):
        values = image[labels == label].astype(float)
        expected = [values.mean(), values.min(), values.max(), values.std(), values.sum()]
        columns = [f"intensity_{name}" for name in ("mean", "min", "max", "std", "sum")]
        np.testing.assert_allclose(table.loc[label, columns].astype(float), expected)


def test_channels_are_measured_each(labels):
    rng = np.random.default_rng(0)
    image = rng.uniform(-1, 1, (*labels.shape, 3)).astype(np.float32)
    table = measure_objects(labels, image)
    for channel in range(3):
        single = measure_objects(labels, image[..., channel])
        for name in ("mean", "min", "max", "std", "sum"):
            np.testing.assert_allclose(table[f"intensity_{name}_{channel}"], single[f"intensity_{name}"], rtol=1e-5)
    assert "intensity_mean" not in table
    assert "intensity_mean_0" in measure_objects(labels, image[..., :1])


@pytest.mark.parametrize("channels", [(), (2,)])
def test_no_objects_give_the_same_columns_and_types(labels, channels):
    image = np.zeros((*labels.shape, *channels), np.uint8)
    full, empty = measure_objects(labels, image, 0.5), measure_objects(np.zeros_like(labels), image, 0.5)
    assert len(empty) == 0
    pd.testing.assert_series_equal(empty.dtypes, full.dtypes)


def test_rotated_ellipse():
    labels = np.zeros((200, 200), int)
    labels[ellipse(100, 100, 60, 25, rotation=0.4)] = 1
    row = measure_objects(labels).iloc[0]
    assert row["major_axis_px"] == pytest.approx(120, rel=0.01)
    assert row["minor_axis_px"] == pytest.approx(50, rel=0.01)
    assert abs(row["orientation"]) == pytest.approx(0.4, abs=0.01)
    assert row["eccentricity"] == pytest.approx(np.sqrt(1 - (25 / 60) ** 2), abs=0.01)


def test_tiny_objects_raise_no_warning_and_no_nan():
    labels = np.array([[1, 0, 2, 2, 0, 3], [0, 0, 0, 0, 0, 3], [4, 4, 4, 0, 5, 0]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table = measure_objects(labels, labels * 2.0)
    assert table["area_px"].tolist() == [1, 2, 2, 3, 1]
    assert np.isfinite(table.drop(columns="touches_border").to_numpy()).all()


def test_huge_labels_cost_no_memory():
    table = measure_objects(np.array([[0, 2_000_000_000, 5]], np.int32))
    assert table["label"].tolist() == [5, 2_000_000_000]
    assert table["x"].tolist() == [2, 1]


def test_image_that_does_not_fit_is_refused(labels):
    with pytest.raises(KaryosegError, match="on one grid"):
        measure_objects(labels, np.zeros((5, 5)))
    with pytest.raises(KaryosegError, match="integers"):
        measure_objects(labels.astype(float))
    with pytest.raises(KaryosegError, match="positive"):
        measure_objects(labels, pixel_size_um=0.0)


SAME = {
    "label": "label",
    "y": "centroid-0",
    "x": "centroid-1",
    "area_px": "area",
    "equivalent_diameter_px": "equivalent_diameter_area",
    "major_axis_px": "axis_major_length",
    "minor_axis_px": "axis_minor_length",
    "perimeter_px": "perimeter",
    "eccentricity": "eccentricity",
    "solidity": "solidity",
    "bbox_y0": "bbox-0",
    "bbox_x0": "bbox-1",
    "bbox_y1": "bbox-2",
    "bbox_x1": "bbox-3",
    "intensity_mean": "intensity_mean",
    "intensity_min": "intensity_min",
    "intensity_max": "intensity_max",
    "intensity_std": "intensity_std",
}


def blobs(seed, smooth, level, connectivity):
    noise = np.random.default_rng(seed).normal(size=(150, 170))
    return label_regions(ndi.gaussian_filter(noise, smooth) > level, connectivity=connectivity)


@pytest.mark.parametrize("block", [regions._BLOCK, 500])
@pytest.mark.parametrize("form", [(3, 0.02, 1), (1, 0.05, 2), (0, 0.5, 2), (0, 1.2, 1)])
def test_as_scikit_image(form, block, monkeypatch):
    monkeypatch.setattr(regions, "_BLOCK", block)
    labels = blobs(len(str(form)), *form)
    image = np.random.default_rng(1).integers(0, 60_000, labels.shape).astype(np.uint16)
    table = measure_objects(labels, image)
    names = sorted({name.split("-")[0] for name in SAME.values()} | {"orientation"})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = pd.DataFrame(regionprops_table(labels, image, properties=names))
    assert len(table) > 20
    for ours, theirs in SAME.items():
        np.testing.assert_allclose(table[ours], expected[theirs], rtol=1e-9, atol=1e-6, err_msg=ours)
    np.testing.assert_allclose(table["intensity_sum"], expected["intensity_mean"] * expected["area"])
    long = table["eccentricity"] > 0.1  # a round object has no direction
    turned = np.abs(table["orientation"] - expected["orientation"])[long]
    np.testing.assert_allclose(np.minimum(turned, np.pi - turned), 0, atol=1e-6)


def test_first_column_of_a_view_is_no_other_row():
    labels = np.zeros((6, 8), int)
    labels[1:3, 6:] = 1
    labels[2:4, :2] = 1  # follows in memory
    assert measure_objects(labels[:, ::1]).loc[0, ["bbox_x0", "bbox_x1", "area_px"]].tolist() == [0, 8, 8]
    assert measure_objects(labels.T).loc[0, ["bbox_y0", "bbox_y1", "area_px"]].tolist() == [0, 8, 8]
