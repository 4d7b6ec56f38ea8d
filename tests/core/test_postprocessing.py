"""Rules A to D of the post-processing, each on drawings whose answer is known, and against slow references."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pytest
from scipy import ndimage as ndi
from skimage.measure import regionprops
from skimage.morphology import dilation, disk, erosion

from karyoseg.core.errors import KaryosegError
from karyoseg.core.postprocessing import rules
from karyoseg.core.postprocessing.combine import PostProcessing, combine
from karyoseg.core.postprocessing.rules import (
    correct_contours,
    drop_unsupported,
    keep_largest_parts,
    mend,
    merge_runs,
    touching_pairs,
)
from karyoseg.core.regions import find_regions


def draw(*circles: tuple[float, float, float], shape: tuple[int, int] = (60, 80)) -> np.ndarray:
    """Circles (y, x, radius), numbered from 1; later ones cover earlier ones."""
    labels = np.zeros(shape, np.int32)
    y, x = np.ogrid[: shape[0], : shape[1]]
    for index, (cy, cx, radius) in enumerate(circles, start=1):
        labels[np.hypot(y - cy, x - cx) <= radius] = index
    return labels


def crowd(seed: int, n: int = 12) -> np.ndarray:
    """Circles at random, many of them touching."""
    rng = np.random.default_rng(seed)
    return draw(*zip(rng.uniform(0, 60, n), rng.uniform(0, 80, n), rng.uniform(3, 10, n), strict=True))


# Rule A


def test_an_object_in_a_hole_disappears() -> None:
    labels = draw((30, 40, 15), (30, 40, 10))
    labels[30, 40] = 0
    assert np.array_equal(mend(labels), draw((30, 40, 15)))
    assert np.array_equal(mend(3 - labels * (labels > 0) - 3 * (labels == 0)), draw((30, 40, 15)))


def test_a_crescent_joins_its_nucleus_and_touching_disks_stay_apart() -> None:
    whole = (30, 20, 12)
    labels = draw(whole, (30, 58, 9), (30, 76, 9))
    labels[(draw((30, 12, 9)) > 0) & (labels == 1)] = 4  # leaves a crescent
    mended = mend(labels)
    assert np.array_equal(mended > 0, labels > 0)
    assert len(np.unique(mended[draw(whole) > 0])) == 1
    assert touching_pairs(mended).tolist() == [[1, 2]]
    assert mended.max() == 3


def test_fragments_of_fragments_are_merged_in_later_rounds() -> None:
    labels = draw((30, 40, 20), (30, 28, 14), (30, 22, 9))  # two crescents and a core, which lacks nothing itself
    assert len(touching_pairs(labels)) == 2
    assert np.array_equal(mend(labels), draw((30, 40, 20), (30, 28, 14), (30, 22, 9)) > 0)


def test_pairs_are_merged_one_after_the_other_in_a_round(monkeypatch: pytest.MonkeyPatch) -> None:
    for pairs, merged in (([[1, 2], [1, 3]], [1, 1, 2]), ([[1, 3], [2, 3]], [1, 1, 1]), ([[1, 2], [2, 3]], [1, 1, 1])):
        rounds = iter([np.array(pairs), np.zeros((0, 2), int)])
        monkeypatch.setattr(rules, "_fragments", lambda _, rounds=rounds: next(rounds))
        assert mend(np.array([[1, 2, 3]])).tolist() == [merged]


@pytest.mark.parametrize("seed", range(6))
def test_pairs_and_united_regions_agree_with_a_slow_reference(seed: int) -> None:
    labels = crowd(seed)
    grown = {i: ndi.binary_dilation(labels == i, np.ones((3, 3))) for i in np.unique(labels[labels > 0])}
    expected = [[i, j] for i in grown for j in grown if i < j and (grown[i] & (labels == j)).any()]
    pairs = touching_pairs(labels)
    assert pairs.tolist() == expected
    regions = find_regions(labels)
    joint = regions.united(np.searchsorted(regions.labels, pairs))
    for k, pair in enumerate(pairs):
        (both,) = regionprops(np.isin(labels, pair).astype(int))
        assert (joint.area[k], joint.convex_areas()[k]) == (both.area, both.area_convex)
        assert tuple(side[k] for side in joint.boxes()) == both.bbox


@pytest.mark.parametrize("seed", range(6))
def test_what_is_mended_cannot_be_mended_further(seed: int) -> None:
    labels = crowd(seed)
    mended = mend(labels)
    assert np.array_equal(mended, mend(mended))
    for i, j in touching_pairs(mended):
        lacking = [sum(p.area_convex - p.area for p in regionprops((mended == k).astype(int))) for k in (i, j)]
        (joint,) = regionprops(np.isin(mended, (i, j)).astype(int))
        assert sum(lacking) <= joint.area_convex - joint.area


# Rule B


def test_large_nuclei_are_taken_from_the_first_run_alone() -> None:
    first, second = draw((30, 20, 12)), draw((30, 60, 5))
    assert np.array_equal(merge_runs(first, second, max_occupied=0.5, large_nuclei=23), first)
    assert merge_runs(first, second, max_occupied=0.5, large_nuclei=30).max() == 2


def test_a_run_that_found_nothing_leaves_the_other_as_it_is() -> None:
    nothing, found = draw(), draw((30, 20, 8), (30, 60, 8))
    for pair in ((nothing, found), (found, nothing)):
        assert np.array_equal(merge_runs(*pair, max_occupied=0.5, large_nuclei=5), found)
    assert not merge_runs(nothing, nothing, max_occupied=0.5, large_nuclei=5).any()


def test_nuclei_of_either_run_are_kept_once() -> None:
    both = (20, 20, 8)
    merged = merge_runs(draw(both, (20, 60, 8)), draw(both, (45, 40, 8)), max_occupied=0.5, large_nuclei=30)
    assert np.array_equal(merged > 0, draw(both, (20, 60, 8), (45, 40, 8)) > 0)
    assert merged.max() == 3


def test_typical_objects_come_first_and_give_nothing_away() -> None:
    small = draw((20, 20, 8), (20, 60, 8))
    blob = draw((20, 26, 16))  # covers the first
    merged = merge_runs(small, blob, max_occupied=0.76, large_nuclei=30)
    assert set(np.unique(merged[small == 2])) == {merged[20, 60]}
    assert set(np.unique(merged[small == 1])) == {merged[20, 20]}
    assert merged[20, 38] == merged[20, 15 + 18]
    assert merged.max() == 3
    assert merge_runs(small, blob, max_occupied=0.2, large_nuclei=30).max() == 2


# Rule C


@pytest.mark.parametrize(("inward", "outward"), [(0, 0), (0, 1), (1, 2), (2, 0), (2, 3)])
def test_contours_move_within_disks_and_only_with_the_map(inward: int, outward: int) -> None:
    labels = crowd(3)
    rng = np.random.default_rng(0)
    foreground = rng.random(labels.shape) < 0.5
    moved = correct_contours(labels, foreground, erosion_radius=inward, dilation_radius=outward)
    union = labels > 0
    core, reach = erosion(union, disk(inward)), dilation(union, disk(outward))
    assert np.array_equal(moved > 0, core | (reach & foreground))
    assert np.array_equal(moved[union & (moved > 0)], labels[union & (moved > 0)])
    nearest = ndi.distance_transform_edt(~union, return_distances=True, return_indices=True)
    new = (moved > 0) & ~union
    to_own = [ndi.distance_transform_edt(labels != value)[new & (moved == value)] for value in np.unique(moved[new])]
    near = [nearest[0][new & (moved == value)] for value in np.unique(moved[new])]
    for own, least in zip(to_own, near, strict=True):
        assert np.allclose(own, least)


def test_contours_of_an_image_full_of_one_object_and_of_none() -> None:
    for labels in (np.ones((8, 9), np.int32), np.zeros((8, 9), np.int32)):
        moved = correct_contours(labels, np.zeros(labels.shape, bool), erosion_radius=2, dilation_radius=2)
        assert np.array_equal(moved, labels)


def test_the_largest_part_decides_and_stays() -> None:
    labels = np.zeros((12, 30), np.int32)
    labels[1:4, 1:3] = labels[5:9, 1:5] = 7  # 6 + 16 px
    labels[1:4, 10:13] = labels[4:7, 13:16] = 3  # 9 + 9 px that meet at a corner
    kept = keep_largest_parts(labels, 10)
    assert np.array_equal(kept == 7, np.pad(np.ones((4, 4), bool), ((5, 3), (1, 25))))
    assert not (kept == 3).any()  # 18 px in all are not enough: the larger part counts
    assert (keep_largest_parts(labels, 9) == 3).sum() == 9


# Rule D


def test_support_and_size_decide() -> None:
    labels = draw((15, 15, 3), (15, 40, 6), (45, 15, 6), (45, 50, 13))
    foreground = np.isin(labels, (1, 2))
    areas = np.bincount(labels.ravel())
    smallest = int(areas[2])
    assert areas[1] < smallest < areas[4] / 3.9
    kept = drop_unsupported(labels, foreground, min_overlap=0.5, min_area=smallest)
    # 1 is too small, 2 is confirmed, 3 is not, 4 needs no confirmation at four times the area.
    assert np.array_equal(kept, np.where(labels == 2, 1, 0) + np.where(labels == 4, 2, 0))


# All of them


def test_nothing_changes_when_nothing_is_asked_for() -> None:
    labels = mend(draw((20, 20, 8), (20, 60, 8)))
    lenient = PostProcessing(min_run_area=0, min_corrected_area=0, min_area=0, dilation_radius=0, min_overlap=0)
    for foreground in (None, np.zeros(labels.shape), labels.astype(float)):
        assert np.array_equal(combine(labels, labels, foreground, lenient), labels)


def test_inputs_stay_and_empty_ones_are_fine() -> None:
    first, second, foreground = crowd(1), crowd(2), np.random.default_rng(3).random((60, 80))
    copies = first.copy(), second.copy(), foreground.copy()
    once = combine(first, second, foreground, PostProcessing(erosion_radius=1))
    assert np.array_equal(once, combine(first, second, foreground, PostProcessing(erosion_radius=1)))
    assert all(np.array_equal(*pair) for pair in zip((first, second, foreground), copies, strict=True))
    assert not combine(first * 0, second * 0, foreground, PostProcessing()).any()


def test_foreground_adds_a_rim_and_removes_what_it_denies() -> None:
    labels = draw((20, 20, 8), (40, 60, 4))
    foreground = (draw((20, 20, 9.5)) > 0).astype(np.float32)
    combined = combine(labels, labels, foreground, PostProcessing(dilation_radius=2))
    assert np.array_equal(combined, draw((20, 20, 9.5)))


@pytest.mark.parametrize("radius", [2, 3, 8])
def test_small_nuclei_stay_where_all_are_small(radius: int) -> None:
    nuclei = draw(*((y, x, radius + 0.3) for y in (10, 30, 50) for x in (10, 30, 50, 70)))
    debris = draw((20, 20, 1))
    both = np.where(debris > 0, 13, nuclei)
    for first, second in ((both, both), (both, both * 0), (both * 0, both)):  # either run may find nothing
        assert np.array_equal(combine(first, second, None, PostProcessing()), nuclei)


def test_parameters_come_back_from_json() -> None:
    parameters = PostProcessing(max_occupied=0.5, erosion_radius=2)
    text = json.dumps({"parameters": asdict(parameters), "score": 0.7})
    assert PostProcessing.from_json(text, "a.json") == parameters
    assert PostProcessing.from_json('{"parameters": {}}', "a.json") == PostProcessing()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"parameters": {"typo": 1}}', '{"parameters": {"min_area": "x"}}'])
def test_other_json_is_refused_with_its_name(text: str) -> None:
    with pytest.raises(KaryosegError, match=r"a\.json: no parameters"):
        PostProcessing.from_json(text, "a.json")


@pytest.mark.parametrize("wrong", [{"foreground": 1.1}, {"min_area": -1}, {"large_nuclei": float("nan")}])
def test_values_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(KaryosegError, match=next(iter(wrong))):
        PostProcessing(**wrong)  # type: ignore[arg-type]
