"""Matching and metrics, against stardist.matching, scikit-learn and hand-made cases."""

from __future__ import annotations

import json
from itertools import pairwise, permutations

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import linear_sum_assignment
from skimage.draw import disk, ellipse
from sklearn.metrics import f1_score
from stardist.matching import matching, matching_dataset

from karyoseg.core.errors import KaryosegError
from karyoseg.core.matching import find_overlap
from karyoseg.core.metrics import (
    ALL_THRESHOLDS,
    AP_THRESHOLDS,
    MAP_THRESHOLDS,
    ap_curve,
    class_scores,
    image_scores,
    iou_matrix,
    match_objects,
    match_table,
    pooled_ap,
    score_image,
    summarise,
    true_positives,
)

SEEDS = range(12)


def blobs(rng, shape=(90, 110), n=25, labels=None):
    """Overlapping ellipses with labels in any order and with gaps."""
    out = np.zeros(shape, np.int32)
    for label in rng.permutation(400)[:n] + 1 if labels is None else labels:
        y, x = rng.uniform(0, shape[0]), rng.uniform(0, shape[1])
        out[ellipse(y, x, *rng.uniform(2, 11, 2), shape=shape, rotation=rng.uniform(0, 3))] = label
    return out


def perturbed(rng, labels):
    """Shift every object a little, lose some, invent some."""
    out = np.zeros_like(labels)
    for label in rng.permutation(np.unique(labels[labels > 0])):
        if rng.random() < 0.85:
            y, x = np.nonzero(labels == label)
            y, x = y + rng.integers(-3, 4), x + rng.integers(-3, 4)
            ok = (y >= 0) & (x >= 0) & (y < labels.shape[0]) & (x < labels.shape[1])
            out[y[ok], x[ok]] = label + 7
    extra = blobs(rng, labels.shape, n=3)
    return np.where((out == 0) & (extra > 0), extra + 1000, out)


def pair(seed):
    rng = np.random.default_rng(seed)
    y_true = blobs(rng)
    return y_true, perturbed(rng, y_true)


def dataset(pairs, classes=None):
    """Pool pairs the way the evaluate pipeline does."""
    tables, pixels = [], []
    for i, (y_true, y_pred) in enumerate(pairs):
        matches, counts = score_image(y_true, y_pred)
        name = {"id": f"s{i}", "class": "c" if classes is None else classes[i]}
        tables.append(matches.assign(**name))
        pixels.append(name | counts)
    return pd.concat(tables), pd.DataFrame(pixels)


def scores(*pairs, classes=None):
    return summarise(*dataset(pairs, classes))


# --- against stardist.matching ---


@pytest.mark.parametrize("seed", SEEDS)
def test_counts_equal_stardist(seed):
    y_true, y_pred = pair(seed)
    ours = match_table(y_true, y_pred, ALL_THRESHOLDS)
    for row, theirs in zip(ours.itertuples(), matching(y_true, y_pred, thresh=ALL_THRESHOLDS), strict=True):
        counts = (row.tp, row.fp, row.fn, row.n_true, row.n_pred)
        assert counts == (theirs.tp, theirs.fp, theirs.fn, theirs.n_true, theirs.n_pred), row.threshold
        np.testing.assert_allclose(row.sum_iou, theirs.mean_true_score * theirs.n_true, rtol=1e-5)


def test_noise_with_many_ties_equals_stardist():
    # Random pixels: IoUs are ratios of small numbers, objects compete, many are exactly at a threshold.
    rng = np.random.default_rng(0)
    competed = 0
    for _ in range(150):
        shape = rng.integers(3, 9, 2)
        y_true, y_pred = rng.integers(0, 6, shape), rng.integers(0, 6, shape)
        thresholds = (0, 0.05, 0.1, 0.125, 0.2, 0.25, 1 / 3, 0.5, 0.6, 1)
        for row, theirs in zip(
            match_table(y_true, y_pred, thresholds).itertuples(),
            matching(y_true, y_pred, thresh=thresholds),
            strict=True,
        ):
            assert (row.tp, row.fp, row.fn) == (theirs.tp, theirs.fp, theirs.fn)
            np.testing.assert_allclose(row.sum_iou, theirs.mean_true_score * theirs.n_true, rtol=1e-5, atol=1e-7)
            competed += np.count_nonzero(iou_matrix(y_true, y_pred) >= row.threshold) > row.tp > 0
    assert competed > 100


def test_pooled_scores_equal_stardist():
    pairs = [pair(seed) for seed in SEEDS]
    ours = scores(*pairs)
    theirs = matching_dataset(*zip(*pairs, strict=True), thresh=AP_THRESHOLDS, show_progress=False)
    for stats in theirs:
        assert ours[f"ap_{round(stats.thresh * 100)}"] == pytest.approx(stats.accuracy)
    names = {
        "f1": "f1",
        "iou": "accuracy",
        "precision": "precision",
        "recall": "recall",
        "pq": "panoptic_quality",
    }
    for name, their_name in names.items():
        assert ours[name] == pytest.approx(getattr(theirs[0], their_name), rel=1e-5)
    assert ours["ap_mean"] == pytest.approx(np.mean([stats.accuracy for stats in theirs]))
    by_image = matching_dataset(*zip(*pairs, strict=True), thresh=AP_THRESHOLDS, show_progress=False, by_image=True)
    assert ours["dsb_score"] == pytest.approx(np.mean([stats.accuracy for stats in by_image]))


def test_map_is_the_mean_over_classes_of_the_area_below_the_curve():
    pairs = [pair(seed) for seed in range(6)]
    classes = ["a", "a", "b", "b", "b", "c"]
    expected = []
    for name in "abc":
        members = [p for p, c in zip(pairs, classes, strict=True) if c == name]
        stats = matching_dataset(*zip(*members, strict=True), thresh=MAP_THRESHOLDS, show_progress=False)
        area = sum(s.precision * (s.recall - t.recall) for s, t in pairwise(stats))
        expected.append(area + stats[-1].precision * stats[-1].recall)
    ours = scores(*pairs, classes=classes)
    assert ours["map"] == pytest.approx(np.mean(expected))
    assert [ours["by_class"][name]["map"] for name in "abc"] == pytest.approx(expected)


# --- hand-made cases ---


def test_iou_of_shifted_squares():
    y_true, y_pred = np.zeros((2, 20, 30), int)
    y_true[5:15, 5:15] = 9
    for shift in range(12):
        y_pred[:] = 0
        y_pred[5:15, 5 + shift : 15 + shift] = 4
        common = 10 * max(10 - shift, 0)
        assert iou_matrix(y_true, y_pred).tolist() == [[common / (200 - common)]]


def test_iou_of_shifted_disks_approaches_the_lens_formula():
    radius, shift = 60, 30
    y_true, y_pred = np.zeros((2, 140, 180), int)
    y_true[disk((70, 70), radius)] = 1
    y_pred[disk((70, 70 + shift), radius)] = 1
    lens = 2 * radius**2 * np.arccos(shift / (2 * radius)) - shift / 2 * np.sqrt(4 * radius**2 - shift**2)
    assert iou_matrix(y_true, y_pred)[0, 0] == pytest.approx(lens / (2 * np.pi * radius**2 - lens), abs=0.005)


def test_iou_matrix_equals_the_definition():
    y_true, y_pred = pair(1)
    expected = [
        [np.sum((y_true == t) & (y_pred == p)) / np.sum((y_true == t) | (y_pred == p)) for p in np.unique(y_pred)[1:]]
        for t in np.unique(y_true)[1:]
    ]
    np.testing.assert_allclose(iou_matrix(y_true, y_pred), expected, rtol=1e-12)


def test_assignment_is_optimal_not_greedy():
    # Greedy takes 0.45 and leaves the second true object alone; the best assignment matches both.
    iou = [[0.45, 0.40], [0.42, 0.0]]
    assert true_positives(iou, 0.4) == 2
    assert true_positives(iou, 0.43) == 1


def test_assignment_is_as_good_as_trying_everything():
    rng = np.random.default_rng(4)
    for _ in range(60):
        iou = rng.uniform(0, 1, (4, 4)) * (rng.random((4, 4)) < 0.6)
        for threshold in (0.1, 0.3, 0.5):
            best = max(sum(iou[i, j] >= threshold for i, j in enumerate(p)) for p in permutations(range(4)))
            assert true_positives(iou, threshold) == best


def test_groups_of_competing_objects_are_solved_as_if_all_were_one():
    y_true = np.kron(np.arange(1, 626).reshape(25, 25), np.ones((8, 8), int))
    y_pred = np.roll(y_true, (2, 1), axis=(0, 1))
    y_pred[np.isin(y_pred, [40, 41, 300, 325, 560])] = 300
    iou = iou_matrix(y_true, y_pred)
    for threshold in (0.05, 0.26, 0.47):
        gain = (iou >= threshold) + iou / (2 * min(iou.shape))
        rows, cols = linear_sum_assignment(gain, maximize=True)
        assert true_positives(iou, threshold) == np.sum(iou[rows, cols] >= threshold) > 0


def test_threshold_zero_matches_everything_and_equality_counts():
    assert true_positives(np.zeros((3, 5)), 0) == 3
    assert true_positives(np.zeros((3, 5)), 0.01) == 0
    y_true, y_pred = np.array([[1, 1, 1, 0, 0]]), np.array([[0, 0, 1, 1, 1]])
    assert match_table(y_true, y_pred, [0.2, 0.21])["tp"].tolist() == [1, 0]
    for threshold in AP_THRESHOLDS:
        size = round(threshold * 100)
        row = np.arange(100)[None]
        assert match_table((row < 100).astype(int), (row < size).astype(int), [threshold])["tp"].item() == 1


def test_match_objects_names_every_object_once():
    y_true = np.array([[1, 1, 0, 2, 2, 0, 0, 0]])
    y_pred = np.array([[8, 8, 0, 0, 0, 0, 5, 5]])
    table = match_objects(y_true, y_pred)
    assert sorted(table.itertuples(index=False, name=None)) == [
        (0, 5, 0.0, "fp"),
        (1, 8, 1.0, "tp"),
        (2, 0, 0.0, "fn"),
    ]
    y_true, y_pred = pair(3)
    table = match_objects(y_true, y_pred, 0.5)
    assert sorted(table.loc[table["true"] > 0, "true"]) == np.unique(y_true)[1:].tolist()
    assert sorted(table.loc[table["pred"] > 0, "pred"]) == np.unique(y_pred)[1:].tolist()
    assert (table["outcome"] == "tp").sum() == match_table(y_true, y_pred, [0.5])["tp"].item()


# --- invariants ---


@pytest.mark.parametrize("seed", range(4))
def test_numbers_of_labels_do_not_matter(seed):
    y_true, y_pred = pair(seed)
    rng = np.random.default_rng(seed)
    other = np.append(0, rng.permutation(5000)[: y_pred.max()] + 10**9).astype(np.int64)[y_pred]
    pd.testing.assert_frame_equal(score_image(y_true, other)[0], score_image(y_true, y_pred)[0])
    assert score_image(y_true, other)[1] == score_image(y_true, y_pred)[1]


@pytest.mark.parametrize("seed", range(4))
def test_swapping_the_images_swaps_false_positives_and_negatives(seed):
    y_true, y_pred = pair(seed)
    forth, back = match_table(y_true, y_pred), match_table(y_pred, y_true)
    np.testing.assert_array_equal(forth[["tp", "fp", "fn"]], back[["tp", "fn", "fp"]])
    np.testing.assert_allclose(forth["sum_iou"], back["sum_iou"])


def test_every_dtype_and_layout_counts_the_same():
    y_true, y_pred = pair(2)
    expected = match_table(y_true, y_pred)
    pd.testing.assert_frame_equal(match_table(y_true.astype(np.uint16), np.asfortranarray(y_pred)), expected)
    pd.testing.assert_frame_equal(match_table(y_true.T, y_pred.T.astype(np.int64)), expected)


def test_perfect_prediction_scores_one():
    y_true, _ = pair(0)
    result = scores((y_true, y_true + 5 * (y_true > 0)))
    sizes = {"n_images", "n_true", "n_pred", "by_class"}
    assert {name: value for name, value in result.items() if name not in sizes} == pytest.approx(
        dict.fromkeys(result.keys() - sizes, 1.0)
    )
    assert result["n_true"] == result["n_pred"] == np.unique(y_true).size - 1


def test_more_is_pooled_not_averaged():
    # One image with 1 of 1 found, one with 0 of 3: pooled F1 is 2/(2+3), the mean of images would be 0.5.
    one = np.array([[1, 1, 0, 0, 0, 0, 0]])
    three = np.array([[1, 0, 2, 0, 3, 0, 0]])
    result = scores((one, one), (three, np.zeros_like(three)))
    assert result["f1"] == pytest.approx(0.4)
    assert result["iou"] == pytest.approx(0.25)
    assert result["dsb_score"] == pytest.approx(0.5)


# --- pixels ---


def test_dice_equals_scikit_learn():
    pairs = [pair(seed) for seed in range(3)]
    flat = [np.concatenate([(p[i] > 0).ravel() for p in pairs]) for i in (0, 1)]
    assert scores(*pairs)["dice"] == pytest.approx(f1_score(*flat))


def kumar_aji(y_true, y_pred):
    """Algorithm 1 of Kumar et al. 2017, literally."""
    preds, used = np.unique(y_pred[y_pred > 0]), set()
    common = union = 0
    for t in np.unique(y_true[y_true > 0]):
        candidates = [(np.sum((y_true == t) & (y_pred == p)), np.sum((y_true == t) | (y_pred == p)), p) for p in preds]
        best = max(candidates, key=lambda c: c[0] / c[1], default=(0, 0, None))
        if best[0] == 0:
            union += np.sum(y_true == t)
            continue
        common, union = common + best[0], union + best[1]
        used.add(best[2])
    return common / (union + sum(np.sum(y_pred == p) for p in preds if p not in used))


@pytest.mark.parametrize("seed", range(4))
def test_aji_follows_kumar(seed):
    assert scores(pair(seed))["aji"] == pytest.approx(kumar_aji(*pair(seed)))


# --- nothing to count ---

NONE, ONE = np.zeros((4, 4), int), np.eye(4, dtype=int)


def test_nothing_against_nothing_is_agreement():
    result = scores((NONE, NONE))
    assert result["dsb_score"] == result["f1"] == result["dice"] == result["aji"] == result["map"] == 1.0
    assert result["n_true"] == result["n_pred"] == 0


@pytest.mark.parametrize(("y_true", "y_pred"), [(NONE, ONE), (ONE, NONE)])
def test_one_side_empty_scores_zero(y_true, y_pred):
    result = scores((y_true, y_pred))
    for name in ("f1", "iou", "map", "ap_50", "precision", "recall", "pq", "aji", "dice", "dsb_score"):
        assert result[name] == 0.0, name


def test_class_without_objects_stays_out_of_map():
    y_true, y_pred = pair(0)
    result = scores((y_true, y_pred), (NONE, NONE), (NONE, ONE), classes=["full", "empty", "false"])
    assert result["map"] == result["by_class"]["full"]["map"]
    assert result["by_class"]["empty"]["map"] is None
    assert result["by_class"]["false"]["map"] is None
    text = json.dumps(result, allow_nan=False)
    assert json.loads(text) == result


def test_empty_image_changes_no_pooled_number():
    alone, joined = scores(pair(0)), scores(pair(0), (NONE, NONE))
    assert joined["dsb_score"] == pytest.approx((alone["dsb_score"] + 1) / 2)
    for name in ("f1", "map", "ap_75", "ap_mean", "pq", "aji", "dice", "n_true", "n_pred"):
        assert joined[name] == pytest.approx(alone[name])


def test_images_without_pixels_have_no_objects():
    empty = np.zeros((0, 5), int)
    assert iou_matrix(empty, empty).shape == (0, 0)


# --- not annotated ---


def test_pixels_without_annotation_do_not_count():
    y_true = np.array([[1, 1, -1, -1, 0, 0]])
    y_pred = np.array([[1, 1, 1, 0, 0, 0]])
    assert iou_matrix(y_true, y_pred).tolist() == [[1.0]]
    assert score_image(y_true, y_pred)[1]["pixels_pred"] == 2


@pytest.mark.parametrize(("hidden", "counted"), [(1, 1), (2, 1), (3, 0), (4, 0)])
def test_object_mostly_without_annotation_is_no_false_positive(hidden, counted):
    y_true = np.zeros((1, 6), int)
    y_true[0, :hidden] = -1
    y_pred = np.array([[3, 3, 3, 3, 0, 0]])
    assert match_table(y_true, y_pred, [0.5])[["fp", "n_pred"]].iloc[0].tolist() == [counted, counted]


def test_annotating_less_of_the_background_leaves_the_rest_alone():
    y_true, y_pred = pair(5)
    left = np.zeros_like(y_true, bool)
    left[:, :55] = True
    keep_true = np.where(np.isin(y_true, np.unique(y_true[left])), 0, y_true)
    keep_pred = np.where(np.isin(y_pred, np.unique(y_pred[left])), 0, y_pred)
    only_left_pred = np.where(np.isin(y_pred, np.unique(y_pred[~left])), 0, y_pred)
    everything = keep_pred + only_left_pred
    hidden = np.where(left, -1, keep_true)
    assert np.count_nonzero(np.unique(only_left_pred)) > 2
    pd.testing.assert_frame_equal(match_table(hidden, everything), match_table(keep_true, keep_pred))


# --- tables ---


def test_tables_agree_with_the_summary(tmp_path):
    pairs = [pair(seed) for seed in range(4)]
    matches, pixels = dataset(pairs, classes=["a", "b", "a", "b"])
    metrics = summarise(matches, pixels)
    per_image = image_scores(matches, pixels)
    assert per_image["id"].tolist() == ["s0", "s1", "s2", "s3"]
    assert per_image["n_true"].sum() == metrics["n_true"]
    assert per_image["ap_mean"].mean() == pytest.approx(metrics["dsb_score"])
    assert per_image.loc[2, "f1"] == scores(pairs[2])["f1"]
    curve = ap_curve(matches)
    whole = curve[curve["class"] == "all"].set_index("threshold")
    assert whole["ap"].is_monotonic_decreasing
    assert whole.loc[0.75, "ap"] == metrics["ap_75"]
    assert class_scores(metrics).set_index("class").loc["b", "pq"] == metrics["by_class"]["b"]["pq"]
    for name, table in (("matches", matches), ("images", per_image)):
        table.to_csv(tmp_path / name, index=False)
    again = summarise(pd.read_csv(tmp_path / "matches"), pd.read_csv(tmp_path / "images"))
    again_flat, flat = ({k: v for k, v in m.items() if k != "by_class"} for m in (again, metrics))
    assert again_flat == pytest.approx(flat)


def test_unusable_input_is_refused():
    with pytest.raises(KaryosegError, match="same shape"):
        match_table(np.zeros((3, 4), int), np.zeros((4, 3), int))
    with pytest.raises(KaryosegError, match="integer labels"):
        iou_matrix(np.zeros((3, 4)), np.zeros((3, 4), int))


def test_memory_does_not_grow_with_the_square_of_the_objects():
    # 250 000 one-pixel objects: a dense matrix would take 500 GB.
    y_true = np.arange(1, 250_001).reshape(500, 500)
    overlap = find_overlap(y_true, y_true[::-1])
    assert overlap.rows.size == 250_000
    assert match_table(y_true, y_true[::-1], [0.1, 0.9])["tp"].tolist() == [250_000, 250_000]


def test_pooled_ap_is_that_of_the_summary():
    pairs = [pair(seed) for seed in range(4)]
    ap = pooled_ap(match_table(*each, AP_THRESHOLDS) for each in pairs)
    assert ap.index.tolist() == list(AP_THRESHOLDS)
    assert (ap.iloc[0], ap.mean()) == pytest.approx([scores(*pairs)[name] for name in ("ap_50", "ap_mean")])
    nothing, something = np.zeros((5, 5), int), np.eye(5, dtype=int)
    for y_pred, expected in ((nothing, 1), (something, 0)):
        assert (pooled_ap([match_table(nothing, y_pred, AP_THRESHOLDS)]) == expected).all()
