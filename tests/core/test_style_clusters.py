"""Clusters: what looks alike is together, every image is in one, and the same seed gives the same."""

from __future__ import annotations

import itertools
import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy.spatial.distance import cdist
from sklearn.metrics import adjusted_rand_score

from karyoseg.core.style.clusters import cluster_by_distance, cluster_by_parts, cluster_table
from karyoseg.core.style.features import FEATURES, LOCAL_FEATURES, part_features
from karyoseg.core.style.figure import clusters_figure
from karyoseg.core.style.kmeans import correlation_kmeans, judge, unit_rows
from karyoseg.params.style_clusters import StyleClustersParams
from karyoseg.pipelines.style_clusters.nodes import find_clusters

STYLES = {  # colours of background and nuclei
    "fluorescence": ((12, 12, 12), (150, 150, 150)),
    "purple": ((180, 160, 215), (80, 30, 160)),
    "white": ((235, 230, 235), (120, 40, 130)),
}


def nuclei(style: str, rng: np.random.Generator, size: int = 96) -> np.ndarray:
    """Disks on a background with noise, as many as it happens."""
    background, nucleus = (np.array(colour, float) for colour in STYLES[style])
    y, x = np.mgrid[:size, :size]
    mask = np.zeros((size, size), bool)
    for cy, cx, radius in zip(*rng.integers(0, size, (2, int(rng.integers(6, 18)))), itertools.cycle([5, 6, 7, 8])):
        mask |= (y - cy) ** 2 + (x - cx) ** 2 < radius**2
    image = np.where(mask[..., None], nucleus, background)
    return np.clip(image + rng.normal(0, 5, (size, size, 1)), 0, 255).astype(np.uint8)


def features_of(styles: list[str], seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.stack([part_features(nuclei(style, rng)) for style in styles])


@pytest.fixture(scope="module")
def mixture() -> tuple[np.ndarray, list[str]]:
    styles = [style for style in STYLES for _ in range(6)]
    return features_of(styles), styles


def usable(features: np.ndarray) -> np.ndarray:
    return np.ones(len(features), bool)


def test_styles_are_separated_and_their_number_is_found(mixture: tuple[np.ndarray, list[str]]) -> None:
    features, styles = mixture
    found = cluster_by_parts(features, usable(features))
    assert adjusted_rand_score(styles, found.labels) == 1
    assert found.tried.loc[found.tried["chosen"], "clusters"].tolist() == [3]


def test_styles_that_differ_less_than_others_are_told_apart() -> None:
    """Beside fluorescence, two stains on a bright background look like one at first."""
    styles = ["fluorescence"] * 6 + ["purple"] * 6 + ["white"] * 6
    features = features_of(styles)
    found = cluster_by_parts(features, usable(features), max_clusters=2)
    assert found.tried.loc[found.tried["chosen"], "clusters"].tolist() == [2]
    assert adjusted_rand_score(styles, found.labels) == 1
    assert cluster_by_parts(features, usable(features), max_clusters=2, divide_from=19).labels.max() == 1


def test_images_of_one_style_are_one_cluster() -> None:
    features = features_of(["purple"] * 9)
    assert set(cluster_by_parts(features, usable(features)).labels) == {0}


def test_the_number_of_clusters_can_be_given(mixture: tuple[np.ndarray, list[str]]) -> None:
    features, _ = mixture
    for number in (1, 2, 18):
        found = cluster_by_parts(features, usable(features), n_clusters=number)
        assert len(set(found.labels)) == number
    assert len(set(cluster_by_parts(features[:3], usable(features[:3]), n_clusters=9).labels)) == 3


def test_a_single_odd_image_is_a_cluster_of_its_own() -> None:
    features = features_of(["purple"] * 8 + ["fluorescence"])
    found = cluster_by_parts(features, usable(features))
    assert adjusted_rand_score([0] * 8 + [1], found.labels) == 1
    table = cluster_table(list("abcdefghi"), found)
    assert table["cluster"].value_counts().to_dict() == {"group_001": 8, "group_002": 1}
    assert table.loc[table["id"] == "i", "distance"].item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("method", [cluster_by_parts, cluster_by_distance])
def test_one_image_is_one_cluster(method: Any) -> None:
    features = features_of(["white"])
    found = method(features, usable(features))
    table = cluster_table(["only"], found)
    assert table[["id", "cluster"]].to_numpy().tolist() == [["only", "group_001"]]
    assert np.isfinite(table[["distance", "x", "y"]].to_numpy(float)).all()
    assert table["silhouette"].isna().all()


@pytest.mark.parametrize("method", [cluster_by_parts, cluster_by_distance])
@pytest.mark.parametrize("levels", [(9, 9, 9), (9, 90, 200), (9, 9, 200, 200)])
def test_constant_images_are_clustered_too(method: Any, levels: tuple[int, ...]) -> None:
    features = np.stack([part_features(np.full((20, 30), level, np.uint8)) for level in levels])
    found = method(features, usable(features))
    table = cluster_table([str(index) for index in range(len(levels))], found)
    assert len(table) == len(levels)
    assert np.isfinite(table[["distance", "x", "y"]].to_numpy(float)).all()


@pytest.mark.parametrize("method", [cluster_by_parts, cluster_by_distance])
def test_unusable_images_make_no_cluster_but_are_in_one(method: Any) -> None:
    styles = ["purple"] * 6 + ["white"] * 6 + ["fluorescence"] * 3
    features = features_of(styles)
    takes_part = np.array([style != "fluorescence" for style in styles])
    found = method(features, takes_part)
    assert (found.labels >= 0).all()
    assert set(found.labels[~takes_part]) <= set(found.labels[takes_part])


@pytest.mark.parametrize("method", [cluster_by_parts, cluster_by_distance])
def test_same_seed_same_clusters(method: Any, mixture: tuple[np.ndarray, list[str]]) -> None:
    features = mixture[0][::2]
    first, second = (method(features, usable(features), seed=4) for _ in range(2))
    np.testing.assert_array_equal(first.labels, second.labels)
    np.testing.assert_array_equal(first.distance, second.distance)
    pd.testing.assert_frame_equal(first.tried, second.tried)


def test_reference_clusters_are_pure(mixture: tuple[np.ndarray, list[str]]) -> None:
    features, styles = mixture
    given = [style if index % 2 else "" for index, style in enumerate(styles)]
    for known in (None, given):
        found = cluster_by_distance(features, usable(features), styles=known)
        table = pd.crosstab(np.array(styles), found.labels)
        assert table.shape == (3, round(18 / 5))
        assert table.max(axis=0).sum() == len(styles)


def test_reference_keeps_the_images_next_to_the_centres(mixture: tuple[np.ndarray, list[str]]) -> None:
    features, _ = mixture
    everything = cluster_by_distance(features, usable(features))
    kept = cluster_by_distance(features, usable(features), keep=3)
    for cluster in set(everything.labels):
        inside = np.flatnonzero(everything.labels == cluster)
        nearest = inside[np.argsort(everything.distance[inside], kind="stable")[:3]]
        assert set(np.flatnonzero(kept.labels == cluster)) == set(nearest)
    assert len(cluster_table([str(i) for i in range(18)], kept)) == (kept.labels >= 0).sum() < 18


def test_without_known_styles_the_size_of_an_image_is_no_style(mixture: tuple[np.ndarray, list[str]]) -> None:
    features = mixture[0][::2].copy()
    before = cluster_by_distance(features, usable(features))
    of_size = [index for index, name in enumerate(FEATURES) if name not in LOCAL_FEATURES]
    features[::2, :, of_size] *= 9
    np.testing.assert_array_equal(cluster_by_distance(features, usable(features)).labels, before.labels)


@pytest.mark.parametrize(("n", "told"), [(1, False), (2, True), (3, True), (4, False)])
def test_images_too_few_to_tell_styles_apart_are_told(n: int, told: bool, caplog: pytest.LogCaptureFixture) -> None:
    features = features_of(["fluorescence", "purple", "white", "purple"][:n])
    ids = np.repeat([f"i{index}" for index in range(n)], features.shape[1])
    table = pd.DataFrame(features.reshape(len(ids), -1), columns=list(FEATURES)).assign(id=ids)
    manifest = pd.DataFrame({"id": np.unique(ids), "n_objects": 1, "contrast": "bright"})
    find_clusters(table, manifest, StyleClustersParams())
    assert (f"{n} images with nuclei are too few to tell styles apart; they are treated as one" in caplog.text) == told
    caplog.clear()
    find_clusters(table, manifest, StyleClustersParams(method={"name": "auto", "n_clusters": n}))
    assert "too few" not in caplog.text


def test_correlation_kmeans_finds_the_cheapest_partition(rng: np.random.Generator) -> None:
    rows = rng.normal(size=(8, 5))
    unit = unit_rows(rows)

    def cost(labels: tuple[int, ...]) -> float:
        # Within a cluster the best centre is the normalised mean: the sum of correlations is the length of the sum.
        groups = (unit[np.array(labels) == cluster] for cluster in set(labels))
        return sum(len(group) - np.linalg.norm(group.sum(axis=0)) for group in groups)

    cheapest = min(cost(labels) for labels in itertools.product(range(3), repeat=8) if len(set(labels)) == 3)
    labels, centres, found = correlation_kmeans(rows, 3, restarts=50)
    assert found == pytest.approx(cheapest)
    apart = cdist(rows, centres, "correlation")
    assert found == pytest.approx(apart[np.arange(8), labels].sum())
    np.testing.assert_array_equal(labels, apart.argmin(axis=1))


def test_correlation_kmeans_leaves_no_cluster_empty() -> None:
    rows = np.repeat(np.eye(2, 4), [5, 1], axis=0)
    labels, _, _ = correlation_kmeans(np.vstack([rows, np.ones((1, 4))]), 4, restarts=3)
    assert set(labels) == {0, 1, 2, 3}


def test_correlation_kmeans_refuses_more_clusters_than_rows() -> None:
    with pytest.raises(ValueError, match="3 clusters of 2 rows"):
        correlation_kmeans(np.eye(2), 3)


def test_separate_groups_are_stable_and_their_parts_are_not(rng: np.random.Generator) -> None:
    points = rng.normal(size=(30, 3)) + 40 * np.repeat(np.eye(3), 10, axis=0)
    right, wrong = judge(points, 3, 0), judge(points, 8, 0)
    assert right["stability"] == 1
    assert right["silhouette"] > 0.9
    assert wrong["stability"] < 0.9
    assert wrong["silhouette"] < 0.6


def test_largest_cluster_comes_first(mixture: tuple[np.ndarray, list[str]]) -> None:
    features = mixture[0][:14]  # 6, 6, 2
    table = cluster_table([f"i{n:02d}" for n in range(14)], cluster_by_parts(features, usable(features), n_clusters=3))
    assert table["cluster"].value_counts(sort=False).to_dict() == {"group_001": 6, "group_002": 6, "group_003": 2}
    assert (table.groupby("cluster")["distance"].diff().dropna() >= 0).all()


def test_figure_shows_a_sheet_per_cluster() -> None:
    ids = [f"i{n}" for n in range(7)]
    table = pd.DataFrame(
        {"id": ids, "cluster": ["group_001"] * 6 + ["group_002"], "distance": range(7), "x": range(7), "y": 0.0}
    )
    tried = pd.DataFrame({"clusters": [1, 2], "silhouette": [np.nan, 0.8], "stability": [np.nan, 1], "chosen": [0, 1]})
    images = {key: lambda: np.zeros((30, 40, 3), np.uint8) for key in ids}
    figure = clusters_figure(images, table, tried, n_columns=4)
    places, choice, *sheets = figure.axes
    assert [len(collection.get_offsets()) for collection in places.collections] == [6, 1]
    assert [line.get_label() for line in choice.lines] == ["silhouette", "stability", "chosen: 2"]
    assert [sum(bool(ax.images) for ax in sheets[row : row + 4]) for row in (0, 4)] == [4, 1]
    assert sheets[0].get_xlabel() == "i0"
    assert sheets[0].get_title("left") == "group_001: 6 images"
    assert sheets[4].get_title("left") == "group_002: 1 image"
    only_one = clusters_figure(images, table, tried, n_columns=4, max_rows=1)
    assert len(only_one.axes) == 2 + 4


def shared_images(archive: Path, test_ids: Path) -> dict[str, np.ndarray]:
    left_out = set(test_ids.read_text().split())
    with zipfile.ZipFile(archive) as file:
        names = [name for name in file.namelist() if "/images/" in name and name.split("/")[0] not in left_out]
        return {
            name.split("/")[0]: np.asarray(Image.open(BytesIO(file.read(name))).convert("RGB"))
            for name in sorted(names)[::6]
        }


@pytest.mark.shared
@pytest.mark.slow
def test_real_stains_are_not_mixed(shared_data: Path) -> None:
    images = shared_images(shared_data / "bbbc038-stage1-subset.zip", shared_data / "stage1-subset-test.txt")
    features = np.stack([part_features(image) for image in images.values()])
    found = cluster_by_parts(features, usable(features))

    def stain(image: np.ndarray) -> str:
        """By the colour of the brightest fifth: what is behind the cells, in absorption."""
        gray = image.mean(axis=-1)
        background = image[gray >= np.percentile(gray, 80)].mean(axis=0)
        if gray.mean() < 70:
            return "fluorescence"
        if np.ptp(image.mean(axis=(0, 1))) < 1:
            return "gray"
        return "purple" if background[2] - background[1] > 25 else "white"

    table = pd.crosstab(np.array([stain(image) for image in images.values()]), found.labels)
    assert set(table.index) == {"fluorescence", "purple", "white"}
    # One section is pink, as no other here: it may be in any cluster.
    assert table.max(axis=0).sum() >= len(images) - 1
    assert table.shape[1] <= 5
