"""Label images: invariants, and comparison with scikit-image."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from scipy import ndimage as ndi
from skimage.measure import regionprops
from skimage.segmentation import relabel_sequential

from karyoseg.core.labels import (
    clean_labels,
    fill_holes,
    n_cleaned_away,
    n_objects,
    object_boxes,
    relabel,
    remove_small,
)
from karyoseg.core.size import median_diameter


@pytest.fixture
def messy(rng: np.random.Generator) -> np.ndarray:
    """Sparse ids, instances in several pieces, not annotated pixels."""
    labels = rng.choice([0, 0, 3, 17, 400, 70000], size=(40, 50)).astype(np.int32)
    labels[30:, 40:] = -1
    labels[:3, :3] = -7
    return labels


def test_relabel_numbers_in_ascending_order_and_keeps_the_partition(messy: np.ndarray) -> None:
    new = relabel(messy)
    assert new.dtype == np.int32
    assert np.unique(new[new > 0]).tolist() == [1, 2, 3, 4]
    for old_id, new_id in zip([3, 17, 400, 70000], [1, 2, 3, 4], strict=True):
        assert np.array_equal(messy == old_id, new == new_id)
    assert np.array_equal(new[messy <= 0], messy[messy <= 0])  # background and negatives stay


def test_relabel_agrees_with_scikit_image(messy: np.ndarray) -> None:
    positive = np.maximum(messy, 0)
    assert np.array_equal(relabel(positive), relabel_sequential(positive)[0])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32, np.int32, np.int64])
def test_relabel_takes_every_integer_type_and_is_idempotent(dtype: type) -> None:
    labels = np.array([[0, 9], [200, 9]], dtype)
    once = relabel(labels)
    assert once.tolist() == [[0, 1], [2, 1]]
    assert np.array_equal(relabel(once), once)


def test_n_objects_counts_positive_ids_only(messy: np.ndarray) -> None:
    assert n_objects(messy) == 4
    assert n_objects(np.zeros((3, 3), int)) == 0
    assert n_objects(np.full((3, 3), -1)) == 0


def test_fill_holes_agrees_with_scipy_per_instance(disks: np.ndarray) -> None:
    holed = disks.copy()
    holed[18:22, 18:22] = holed[58:60, 38:45] = 0
    filled = fill_holes(holed)
    for label in range(1, 5):
        assert np.array_equal(filled == label, ndi.binary_fill_holes(holed == label))
    assert np.array_equal(fill_holes(filled), filled)


def test_fill_holes_spares_other_instances_and_not_annotated_pixels() -> None:
    labels = np.full((9, 9), 5)
    labels[2:7, 2:7] = 0
    labels[4, 4] = 2
    labels[3, 3] = -1
    filled = fill_holes(labels)
    assert filled[4, 4] == 2
    assert filled[3, 3] == -1
    assert np.count_nonzero(filled == 5) == 81 - 2


def test_fill_holes_leaves_bays_and_border_gaps_open() -> None:
    bay = np.array([[1, 1, 1], [1, 0, 0], [1, 1, 1]])
    assert np.array_equal(fill_holes(bay), bay)


@pytest.mark.parametrize("min_area", [0, 1, 50, 10_000])
def test_remove_small_keeps_exactly_the_large_enough(messy: np.ndarray, disks: np.ndarray, min_area: int) -> None:
    for labels in (messy, disks):
        kept = remove_small(labels, min_area)
        assert kept.dtype == labels.dtype
        assert np.array_equal(kept[labels < 0], labels[labels < 0])
        expected = {p.label for p in regionprops(np.maximum(labels, 0)) if p.area >= min_area}
        assert set(np.unique(kept[kept > 0])) == expected
        assert np.isin(kept[kept != labels], 0).all()


def test_permuting_ids_permutes_results(messy: np.ndarray) -> None:
    ids = np.unique(messy)
    renamed = np.where(messy > 0, messy + 1000, messy)
    assert len(np.unique(renamed)) == len(ids)
    for function in (fill_holes, lambda labels: remove_small(labels, 300)):
        direct = function(messy)
        assert np.array_equal(np.where(direct > 0, direct + 1000, direct), function(renamed))


def test_inputs_are_not_changed(messy: np.ndarray) -> None:
    before = messy.copy()
    relabel(messy), fill_holes(messy), remove_small(messy, 100)
    assert np.array_equal(messy, before)


def test_labels_for_training_are_on_the_grid_of_the_image_clean_and_numbered(disks: np.ndarray) -> None:
    holed = np.where(disks > 0, disks + 10, 0)
    holed[18:22, 18:22] = 0  # inside the first
    holed[50, 100] = 77  # debris
    cleaned = clean_labels(holed, 0.5, min_area=9)
    assert cleaned.shape == (48, 56)
    assert cleaned.dtype == np.int32
    assert np.unique(cleaned).tolist() == [0, 1, 2, 3, 4]
    assert cleaned[10, 10] == 1
    assert clean_labels(holed, 0.5, fill=False)[10, 10] == 0
    np.testing.assert_array_equal(clean_labels(disks, 1.0), disks)


@pytest.mark.parametrize("scale", [1.0, 0.5, 0.1])
@pytest.mark.parametrize("fill", [True, False])
def test_what_cleaning_leaves_out_is_counted(disks: np.ndarray, messy: np.ndarray, scale: float, fill: bool) -> None:
    ring = np.zeros((20, 20), np.int32)
    ring[4:10, 4:10] = 5
    ring[5:9, 5:9] = 0  # 20 pixels, 36 once it is filled
    for labels in (disks, messy, ring, ring * 0):
        for min_area in (0, 9, 30):
            options = {"fill": fill, "min_area": min_area}
            left = n_objects(clean_labels(labels, scale, **options))
            assert n_cleaned_away(labels, scale, **options) == n_objects(labels) - left


@pytest.mark.parametrize(("dtype", "largest"), [(np.int32, 2**31 - 1), (np.uint32, 2**32 - 1), (np.int64, 2**40)])
def test_large_ids_need_no_memory(disks: np.ndarray, dtype: type, largest: int) -> None:
    disks = disks.copy()
    disks[20, 20] = 0  # a hole
    labels = disks.astype(dtype)
    labels[labels == 2] = largest
    tracemalloc.start()
    try:
        assert median_diameter(labels) == median_diameter(disks)
        assert sorted(map(str, dict(object_boxes(labels)).values())) == sorted(map(str, ndi.find_objects(disks)))
        filled = fill_holes(labels)
        cleaned = clean_labels(labels, 1.0)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 5e6
    assert np.array_equal(relabel(filled), cleaned)
    assert np.array_equal(cleaned > 0, fill_holes(disks) > 0)
