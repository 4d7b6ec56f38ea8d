"""The style_clusters pipeline."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from pydantic import ValidationError

from karyoseg.core.errors import KaryosegError
from karyoseg.core.lazy import Lazy
from karyoseg.core.plots import to_png_bytes
from karyoseg.core.style.features import FEATURES
from karyoseg.datasets import CSVDataset, SamplePartitions
from karyoseg.params.style_clusters import ReferenceClusters, StyleClustersParams
from karyoseg.pipelines.style_clusters.nodes import draw_clusters, find_clusters, measure_styles

CONF = Path(__file__).parents[2] / "conf/base"
IDS = [f"{n:03d}" for n in range(9)]  # look like numbers


def default_params() -> StyleClustersParams:
    text = (CONF / "parameters_style_clusters.yml").read_text().replace("${globals:seed}", "42")
    return StyleClustersParams(**yaml.safe_load(text)["style_clusters"])


def stored_images(folder: Path) -> dict[str, Lazy[np.ndarray]]:
    """Write six dark and three bright images as presegment does, and load them."""
    rng = np.random.default_rng(0)
    arrays = {key: rng.normal(20 if n < 6 else 200, 8, (48, 56, 1)) for n, key in enumerate(IDS)}
    images = SamplePartitions(path=str(folder / "images"), file_format="image")
    images.save(
        {
            key: Lazy(partial(np.repeat, np.clip(array, 0, 255).astype(np.uint8), 3, axis=2), key)
            for key, array in arrays.items()
        }
    )
    return images.load()


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Lazy[np.ndarray]]:
    return stored_images(tmp_path_factory.mktemp("style"))


@pytest.fixture(scope="module")
def features(images: dict[str, Lazy[np.ndarray]], tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """As they come back from disk."""
    dataset = CSVDataset(filepath=str(tmp_path_factory.mktemp("features") / "features.csv"))
    dataset.save(measure_styles(images))
    return dataset.load()


def manifest(counts: dict[str, int], dark: tuple[str, ...] = ()) -> pd.DataFrame:
    """What presegment wrote, as it comes back from disk."""
    contrast = [("dark" if key in dark else "bright") if n else np.nan for key, n in counts.items()]
    return pd.DataFrame({"id": list(counts), "n_objects": list(counts.values()), "contrast": contrast})


def test_features_have_a_row_per_part(features: pd.DataFrame) -> None:
    assert list(features.columns) == ["id", "part", *FEATURES]
    assert features["id"].tolist() == [key for key in IDS for _ in range(5)]
    assert features["part"].tolist() == list(range(5)) * 9


def test_images_are_grouped_and_drawn(
    images: dict[str, Lazy[np.ndarray]], features: pd.DataFrame, caplog: pytest.LogCaptureFixture
) -> None:
    params = default_params()
    with caplog.at_level(logging.INFO):
        clusters, tried = find_clusters(features, manifest(dict.fromkeys(IDS, 4)), params)
    assert "9 image(s) in 2 cluster(s): group_001: 6, group_002: 3" in caplog.text
    assert list(clusters.columns)[:4] == ["id", "cluster", "distance", "silhouette"]
    assert set(clusters.loc[clusters["cluster"] == "group_002", "id"]) == set(IDS[6:])
    assert clusters["silhouette"].min() > 0.5
    assert tried["chosen"].sum() == 1
    assert to_png_bytes(draw_clusters(images, clusters, tried, params), 40)[:4] == b"\x89PNG"


def test_clusters_of_bright_and_dark_nuclei_are_named(features: pd.DataFrame, caplog: pytest.LogCaptureFixture) -> None:
    counts = dict.fromkeys(IDS, 4) | {IDS[0]: 0}
    find_clusters(features, manifest(counts, dark=tuple(IDS[6:])), default_params())  # as the clusters are
    assert "mixes" not in caplog.text
    find_clusters(features, manifest(counts, dark=tuple(IDS[4:])), default_params())
    assert "group_001 mixes 3 image(s) with bright and 2 with dark nuclei" in caplog.text
    assert "style_clusters.method.n_clusters" in caplog.text
    assert "group_002 mixes" not in caplog.text


def test_images_without_nuclei_go_to_the_nearest_cluster(
    features: pd.DataFrame, caplog: pytest.LogCaptureFixture
) -> None:
    counts = dict.fromkeys(IDS[:7], 3) | {IDS[7]: 0}  # the last one is not in the manifest at all
    clusters, _ = find_clusters(features, manifest(counts), default_params())
    assert "2 image(s) without nuclei go to the nearest cluster: 007, 008" in caplog.text
    together = clusters.set_index("id")["cluster"]
    assert sorted(together.index) == IDS
    assert together["006"] == together["007"] == together["008"] != together["000"]


def test_no_nuclei_at_all_is_an_error(features: pd.DataFrame) -> None:
    with pytest.raises(KaryosegError, match=r"no nuclei in any of the 9 image"):
        find_clusters(features, manifest(dict.fromkeys(IDS, 0)), default_params())


def test_reference_mode_learns_from_a_table_and_leaves_out(
    features: pd.DataFrame, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    table = tmp_path / "styles.csv"
    pd.DataFrame({"id": IDS[1:], "style": ["dark"] * 5 + ["bright"] * 3}).to_csv(table, index=False)
    method = ReferenceClusters(name="reference", styles=str(table), images_per_cluster=[5], keep=3, restarts=5)
    clusters, tried = find_clusters(
        features, manifest(dict.fromkeys(IDS, 1)), StyleClustersParams(method=method, seed=1)
    )
    assert tried["clusters"].tolist() == [2]
    bright, dark = sorted(clusters.groupby("cluster")["id"].apply(set), key=lambda ids: "006" not in ids)
    assert bright == set(IDS[6:])
    assert dark < set(IDS[:6])
    assert len(dark) == 3
    assert "3 image(s) far from the centres of clusters are left out" in caplog.text


@pytest.mark.parametrize(
    "values",
    [
        {"method": {"name": "auto", "n_clusters": 0}},
        {"method": {"name": "kmeans"}},
        {"method": {"name": "auto", "styles": "x.csv"}},
        {"method": {"name": "reference", "images_per_cluster": []}},
        {"images_shown": 1},
    ],
)
def test_parameters_that_make_no_sense_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        StyleClustersParams.model_validate(values)
