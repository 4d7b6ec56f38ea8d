"""Splits: groups, published splits, fractions, strata, tiny data sets."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from karyoseg.core.errors import KaryosegError
from karyoseg.core.splits import EXCLUDED, make_splits, sample_groups


def make_manifest(n: int, **columns: object) -> pd.DataFrame:
    ids = [f"s{i:03d}" for i in range(n)]
    defaults = {
        "id": ids,
        "split": "",
        "class": "a",
        "magnification": np.nan,
        "height": 256,
        "width": 256,
        "image_sha256": [f"hash-{name}" for name in ids],
        "label_sha256": "yes",
        "n_objects": 5,
    }
    return pd.DataFrame(defaults | columns)


def split(manifest: pd.DataFrame, **options: object) -> pd.DataFrame:
    return make_splits(manifest, **({"val_fraction": 0.1, "test_fraction": 0.15, "seed": 0} | options))


def assert_groups_undivided(splits: pd.DataFrame) -> None:
    assert len(splits[["group", "split"]].drop_duplicates()) == splits["group"].nunique()


def test_published_test_split_is_untouched_and_validation_comes_from_train() -> None:
    manifest = make_manifest(100, split=["train"] * 70 + ["test"] * 30)
    splits = split(manifest)
    assert splits["id"].tolist() == manifest["id"].tolist()
    assert splits.loc[splits["split"] == "test", "id"].tolist() == manifest["id"][70:].tolist()
    assert set(splits.loc[splits["split"] == "val", "id"]) < set(manifest["id"][:70])


@pytest.mark.parametrize("fraction", [0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.75, 0.97])
def test_fractions_are_about_right(fraction: float) -> None:
    splits = split(make_manifest(200), val_fraction=fraction, test_fraction=0)
    assert (splits["split"] == "val").mean() == pytest.approx(fraction, abs=0.03)
    splits = split(make_manifest(200), val_fraction=0.1, test_fraction=fraction)
    assert (splits["split"] == "test").mean() == pytest.approx(fraction, abs=0.03)


def test_same_seed_same_split_other_seed_other_split() -> None:
    manifest = make_manifest(80)
    assert split(manifest, seed=3).equals(split(manifest, seed=3))
    assert not split(manifest, seed=3).equals(split(manifest, seed=4))


@pytest.mark.parametrize("seed", range(5))
def test_groups_are_never_divided(seed: int) -> None:
    rng = np.random.default_rng(seed)
    slides = rng.integers(0, 25, 150)
    ids = [f"slide{s}_tile{i}" for i, s in enumerate(slides)]
    splits = split(make_manifest(150, id=ids), group_pattern=r"^(slide\d+)_", seed=seed)
    assert_groups_undivided(splits)
    assert splits["group"].nunique() == len(set(slides))
    assert set(splits["split"]) == {"train", "val", "test"}


def test_groups_chain_through_identical_images() -> None:
    manifest = make_manifest(4, id=["s1_a", "s2_a", "s2_b", "s3_a"], image_sha256=["x", "x", "y", "z"])
    groups = sample_groups(manifest, r"^(s\d)_")
    assert groups[0] == groups[1] == groups[2] != groups[3]


def test_unknown_hashes_do_not_tie_samples_together() -> None:
    for unknown in ("", None, np.nan):
        assert sample_groups(make_manifest(3, image_sha256=[unknown] * 3)).nunique() == 3


def test_pattern_without_group_takes_the_whole_match() -> None:
    manifest = make_manifest(3, id=["p1-x", "p1-y", "q"])
    assert sample_groups(manifest, r"p\d").tolist() == ["p1", "p1", "q"]


def test_training_images_identical_to_test_images_are_excluded() -> None:
    hashes = [f"h{i}" for i in range(20)]
    hashes[3] = hashes[19]
    manifest = make_manifest(20, split=["train"] * 15 + ["test"] * 5, image_sha256=hashes)
    splits = split(manifest).set_index("id")["split"]
    assert splits["s003"] == EXCLUDED
    assert (splits == EXCLUDED).sum() == 1
    assert splits["s019"] == "test"


def test_published_validation_split_is_kept_and_not_leaked_into() -> None:
    hashes = [f"h{i}" for i in range(20)]
    hashes[0] = hashes[15]
    hashes[16] = hashes[19]
    published = ["train"] * 15 + ["val"] * 3 + ["test"] * 2
    splits = split(make_manifest(20, split=published, image_sha256=hashes)).set_index("id")["split"]
    assert (splits == "val").sum() == 2
    assert splits[["s000", "s016"]].tolist() == [EXCLUDED, EXCLUDED]
    assert (splits == "test").sum() == 2


def test_strata_are_represented() -> None:
    classes = ["common"] * 160 + ["scarce"] * 40
    splits = split(make_manifest(200, **{"class": classes}), test_fraction=0.2)
    for name in ("test", "val"):
        chosen = splits.loc[splits["split"] == name, "id"]
        share = np.mean([classes[int(key[1:])] == "scarce" for key in chosen])
        assert share == pytest.approx(0.2, abs=0.05)


@pytest.mark.parametrize("seed", range(5))
def test_a_handful_of_odd_images_does_not_end_stratification(seed: int) -> None:
    height = [256] * 150 + [512] * 47 + [100, 200, 300]
    splits = split(make_manifest(200, height=height), test_fraction=0, seed=seed)
    heights = np.array(height)[splits["split"] == "val"]
    assert 4 <= np.count_nonzero(heights == 512) <= 6


def test_unlabelled_samples_are_left_out() -> None:
    splits = split(make_manifest(20, label_sha256=["yes"] * 12 + [""] * 8))
    assert len(splits) == 12


def test_no_labels_at_all() -> None:
    with pytest.raises(KaryosegError, match="none of the 3 samples has a label image"):
        split(make_manifest(3, label_sha256=""))


def test_three_samples_are_enough_for_three_splits() -> None:
    assert sorted(split(make_manifest(3))["split"]) == ["test", "train", "val"]


@pytest.mark.parametrize("n", range(3, 31))
@pytest.mark.parametrize("fraction", [0.5, 0.8, 0.9, 0.99])
def test_a_large_test_split_leaves_what_training_and_validation_need(n: int, fraction: float) -> None:
    splits = split(make_manifest(n), test_fraction=fraction)
    counts = splits["split"].value_counts()
    assert counts.min() >= 1
    assert set(counts.index) == {"train", "val", "test"}
    assert counts["test"] >= min(fraction, 1 - 2 / n) * n - 0.2 * n
    groups = [f"{i if i < 3 else 'rest'}_{i}" for i in range(n)]  # one of them large
    splits = split(make_manifest(n, id=groups), test_fraction=fraction, group_pattern=r"^(\w+?)_")
    assert set(splits["split"]) == {"train", "val", "test"}
    assert splits.groupby("group")["split"].nunique().max() == 1


def test_two_samples_are_enough_without_a_test_split() -> None:
    assert sorted(split(make_manifest(2), test_fraction=0)["split"]) == ["train", "val"]
    published = make_manifest(3, split=["train", "train", "test"])
    assert sorted(split(published)["split"]) == ["test", "train", "val"]


@pytest.mark.parametrize(("n", "published"), [(2, ""), (1, ""), (1, "train")])
def test_too_few_samples_say_what_is_needed(n: int, published: str) -> None:
    with pytest.raises(KaryosegError, match=rf"{n} labelled samples .* at least 3.*set test_fraction to 0"):
        split(make_manifest(n, split=published))


def test_one_group_cannot_be_divided_however_many_samples_it_has() -> None:
    with pytest.raises(KaryosegError, match=r"leave 1 group"):
        split(make_manifest(10, id=[f"one_{i}" for i in range(10)]), group_pattern=r"^one")


def test_everything_excluded_says_so() -> None:
    manifest = make_manifest(4, split=["train", "train", "test", "test"], image_sha256=["a", "b", "a", "b"])
    with pytest.raises(KaryosegError, match=r"leave 0 group.*2 excluded"):
        split(manifest)


def test_named_validation_samples_and_what_was_made_of_them_leave_the_training() -> None:
    names = ["a", "a_aug1f", "a_aug2e", "ab", "b", "b_augment", *[f"s{i}" for i in range(20)]]
    splits = split(make_manifest(len(names), id=names), validation=["a"], test_fraction=0)
    found = splits.set_index("id")["split"]
    assert found[found == "val"].index.tolist() == ["a"]
    assert found[found == EXCLUDED].index.tolist() == ["a_aug1f", "a_aug2e"]
    assert found.drop(["a", "a_aug1f", "a_aug2e"]).eq("train").all()


@pytest.mark.parametrize("published", ["", "test"])
def test_what_was_made_of_a_sample_stays_with_it(published: str) -> None:
    names = [f"f{n}" for n in range(12)]
    ids = names + [f"{name}_aug{n}" for name in names for n in (1, 2)] + ["august", "x_august"]
    manifest = make_manifest(len(ids), id=ids, split=[published] * 3 + [""] * (len(ids) - 3))
    splits = split(manifest).set_index("id")
    assert_groups_undivided(splits[splits["split"] != "excluded"])
    assert all(splits.loc[f"{name}_aug{n}", "group"] == name for name in names for n in (1, 2))
    assert splits.loc["x_august", "group"] == "x_august"
    made = [f"f{i}_aug{n}" for i in range(3) for n in (1, 2)]
    assert (set(splits.loc[made, "split"]) == {"excluded"}) == bool(published)


def test_names_of_originals_may_look_like_copies() -> None:
    ids = ["x_august_1", "x_august_1_aug1", "x_august_2", "y_aug1", "y_aug1_aug2", "y_aug3"]
    groups = ["x_august_1", "x_august_1", "x_august_2", "y_aug1", "y_aug1", "y_aug3"]
    assert sample_groups(make_manifest(6, id=ids)).tolist() == groups
    splits = split(make_manifest(6, id=ids), validation=["x_august_1"], test_fraction=0).set_index("id")["split"]
    assert splits["x_august_1_aug1"] == EXCLUDED


def test_named_copies_take_their_original_out_of_the_training() -> None:
    ids = ["a", "a_aug1", "a_aug2", "b", "c"]
    splits = split(make_manifest(5, id=ids), validation=["a_aug1"], test_fraction=0).set_index("id")["split"]
    assert splits.to_dict() == {"a": EXCLUDED, "a_aug1": "val", "a_aug2": EXCLUDED, "b": "train", "c": "train"}


def test_a_pattern_that_groups_nothing_is_refused(caplog: pytest.LogCaptureFixture) -> None:
    ids = [f"slide_{n}_tile_{m}" for n in range(6) for m in range(4)]
    with pytest.raises(KaryosegError, match=r"in none of the 24 ids, such as slide_0_tile_0.* blanks are replaced"):
        split(make_manifest(24, id=ids), group_pattern=r"^(slide \d+) ")
    assert split(make_manifest(24, id=ids), group_pattern=r"^(slide_\d+)_")["group"].nunique() == 6
    assert not caplog.records
    split(make_manifest(25, id=[*ids, "other"]), group_pattern=r"^(slide_\d+)_")
    assert "is not in 1 of 25 ids, such as other" in caplog.text


def test_named_validation_samples_take_their_group_with_them() -> None:
    manifest = make_manifest(40, id=[f"g{i // 4}_{i}" for i in range(40)])
    splits = split(manifest, validation=["g3_12"], group_pattern="^(g[0-9]+)_")
    rest = splits[(splits["group"] == "g3") & (splits["id"] != "g3_12")]
    assert rest["split"].eq(EXCLUDED).all()
    assert (splits["split"] == "test").any()


def test_names_that_are_not_to_train_on_are_refused() -> None:
    manifest = make_manifest(20, split=["train"] * 15 + ["test"] * 5)
    with pytest.raises(KaryosegError, match=r"2 name.*such as nobody"):
        split(manifest, validation=["nobody", "s000", "s019"])


def test_of_alternatives_the_group_that_matched_counts() -> None:
    table = pd.DataFrame({"id": ["slide1_a", "slide1_b", "well2_a", "well2_b", "x"], "image_sha256": list("vwxyz")})
    groups = ["slide1", "slide1", "well2", "well2", "x"]
    for pattern in (r"^(slide\d+)|^(well\d+)", r"^((?:slide|well)\d+)", r"^(?:slide|well)\d+", r"^(slide\d+)|^well\d+"):
        assert sample_groups(table, pattern).tolist() == groups
