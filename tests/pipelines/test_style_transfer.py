"""The style_transfer pipeline: from weak and synthetic labels to images, on disk."""

from __future__ import annotations

import logging
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from kedro.io import DataCatalog, MemoryDataset
from kedro.runner import SequentialRunner

from karyoseg.core.errors import KaryosegError
from karyoseg.core.lazy import Lazy
from karyoseg.datasets import CSVDataset, MatplotlibDataset, SamplePartitions, StyleModels
from karyoseg.params.style_transfer import StyleTransferParams
from karyoseg.pipelines.style_transfer import create_pipeline
from karyoseg.pipelines.style_transfer.nodes import (
    check_clusters,
    gather_samples,
    generate_images,
    judge_generators,
    require_passed,
    train_generators,
)

SHAPE = (40, 48)
ANYTHING = {"max_kid_ratio": 1e9, "min_contrast": 0}


def draw(seed: int, kind: str, *, empty: bool = False) -> np.ndarray:
    rng = np.random.default_rng(seed)
    y, x = np.ogrid[: SHAPE[0], : SHAPE[1]]
    labels = np.zeros(SHAPE, np.int32)
    for index in range(1, 5):
        labels[np.hypot(y - rng.uniform(0, SHAPE[0]), x - rng.uniform(0, SHAPE[1])) < 7] = index
    if kind == "labels":
        return labels * (not empty)
    image = np.where(labels[..., None] > 0, (90, 50, 140), (210, 190, 220)) + rng.normal(0, 8, (*SHAPE, 3))
    return image.clip(0, 255).astype(np.uint8)


def lazies(names: list[str], kind: str, empty: tuple[str, ...] = ()) -> dict[str, Lazy[np.ndarray]]:
    return {name: Lazy(partial(draw, i, kind, empty=name in empty), f"{kind}-{i}") for i, name in enumerate(names)}


def make_params(workspace: Path, **changes: Any) -> StyleTransferParams:
    tiny = {
        "workspace": str(workspace),
        "tile_size": 16,
        "generator": {"filters": 2, "depth": 3},
        "discriminator": {"filters": 2, "n_layers": 1},
        "constant_steps": 1,
        "decay_steps": 1,
        "quality": ANYTHING,
    }
    return StyleTransferParams(**(tiny | changes))


IDS = ["001", "002", "x", "y", "z"]
CLUSTERS = pd.DataFrame({"id": IDS, "cluster": ["group_001", "group_001", "group_002", "group_003", "group_003"]})
MASKS = pd.DataFrame(
    {"id": ["group_001_000", "group_001_001", "group_003_000"], "cluster": ["group_001", "group_001", "group_003"]}
)


def manifest(empty: tuple[str, ...] = (), bright: tuple[str, ...] = ()) -> pd.DataFrame:
    """What presegment wrote of the images, as it comes back from disk."""
    facts = {"height": SHAPE[0], "width": SHAPE[1], "n_objects": [0 if key in empty else 4 for key in IDS]}
    contrast = [np.nan if key in empty else "bright" if key in bright else "dark" for key in IDS]
    return pd.DataFrame({"id": IDS, "source": IDS} | facts | {"contrast": contrast})


@pytest.fixture
def catalog(tmp_path: Path) -> DataCatalog:
    """Inputs on disk: in group_002 nothing was found, in group_003 in one of two images."""

    def partitions(path: str, file_format: Any) -> SamplePartitions:
        return SamplePartitions(path=str(tmp_path / path), file_format=file_format)

    def table(path: str) -> CSVDataset:
        return CSVDataset(filepath=str(tmp_path / path), save_args={"index": False})

    found = DataCatalog(
        {
            "style_images": partitions("03/images", "image"),
            "style_labels": partitions("03/labels", "labels"),
            "style_clusters": table("03/clusters.csv"),
            "style_manifest": table("03/manifest.csv"),
            "synthetic_labels": partitions("05/labels", "labels"),
            "synthetic_masks_table": table("05/masks.csv"),
            "style_models": StyleModels(path=str(tmp_path / "06/style")),
            "synthetic_images": partitions("05/images", "image"),
            "synthetic_images_table": table("05/painted.csv"),
            "style_quality": table("08/quality.csv"),
            "style_samples_figure": MatplotlibDataset(filepath=str(tmp_path / "08/samples.png")),
            "params:style_transfer": MemoryDataset(make_params(tmp_path / "06/.training")),
        }
    )
    found.save("style_images", lazies(IDS, "image"))
    found.save("style_labels", lazies(IDS, "labels", empty=("x", "z")))
    found.save("style_clusters", CLUSTERS)
    found.save("style_manifest", manifest(("x", "z")))
    found.save("synthetic_labels", lazies([*MASKS["id"]], "labels"))
    found.save("synthetic_masks_table", MASKS)
    return found


def test_the_pipeline_runs_from_disk_to_disk_and_repeats_nothing(
    catalog: DataCatalog, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    SequentialRunner().run(create_pipeline(), catalog)
    assert "group_002 is left out: presegmentation found no objects" in caplog.text
    quality = catalog.load("style_quality").set_index("cluster")
    assert quality["passed"].tolist() == [True, False, True]
    assert "found no objects" in quality.loc["group_002", "why"]
    assert quality.loc["group_001", "n_tiles"] == 2 * 3 * 3
    assert quality.loc["group_001", "steps"] == 2
    assert catalog.load("style_models")["group_003"].training["images"] == ["y"]
    images = catalog.load("synthetic_images")
    assert list(images) == list(MASKS["id"])
    first = {key: image() for key, image in images.items()}
    assert all(image.shape == (*SHAPE, 3) and image.dtype == np.uint8 for image in first.values())
    painted = catalog.load("synthetic_images_table").set_index("id")["labels_fingerprint"].to_dict()
    assert painted == {key: label.fingerprint for key, label in catalog.load("synthetic_labels").items()}
    assert (tmp_path / "08" / "samples.png").stat().st_size > 10_000

    monkeypatch.setattr("keras.Model.fit", lambda *args, **kwargs: pytest.fail("training began"))
    with caplog.at_level(logging.INFO):
        SequentialRunner().run(create_pipeline(), catalog)
    assert "Generators: 2 trained before, 0 to do" in caplog.text
    for key, image in catalog.load("synthetic_images").items():
        np.testing.assert_array_equal(image(), first[key])


def test_if_no_cluster_passes_the_reasons_are_told_and_kept(catalog: DataCatalog, tmp_path: Path) -> None:
    strict = make_params(tmp_path / "06/.training", quality={"max_kid_ratio": 1e-9})
    catalog["params:style_transfer"] = MemoryDataset(strict)
    with pytest.raises(
        KaryosegError, match=r"no cluster passed .*group_001: KID is .*group_002: presegmentation found"
    ):
        SequentialRunner().run(create_pipeline(), catalog)
    assert not catalog.load("style_quality")["passed"].any()
    assert (tmp_path / "08" / "samples.png").stat().st_size > 10_000


def unlike_images(labels: dict[str, Lazy[np.ndarray]]) -> dict[str, Lazy[np.ndarray]]:
    """Images that show nothing of their labels."""
    return {key: Lazy(partial(draw, 100 + i, "image"), f"other-{i}") for i, key in enumerate(labels)}


def test_clusters_that_no_generator_could_save_are_left_out_before_the_training(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    labels = lazies(IDS, "labels", empty=("x",))
    images = lazies(IDS, "image") | {key: unlike_images(labels)[key] for key in ("y", "z")}
    params = make_params(tmp_path)
    samples = gather_samples(images, labels, CLUSTERS, manifest(("x",)))
    made = {"synthetic_labels": lazies([*MASKS["id"]], "labels"), "masks": MASKS}
    checks = check_clusters(images=images, labels=labels, samples=samples, params=params, **made)
    assert checks["why"].tolist() == [
        "",
        "presegmentation found no objects in any of its images",
        "the objects of the weak masks do not stand out in the real images",
    ]
    assert list(train_generators(images, labels, samples, checks, params)) == ["group_001"]
    assert "group_003 is left out: the objects of the weak masks do not stand out" in caplog.text
    left_out = checks[checks["why"] != ""]
    quality = judge_generators(
        models={}, images=images, labels=labels, samples=samples, checks=left_out, params=params, **made
    )
    assert quality["why"].tolist() == left_out["why"].tolist()
    assert not quality["passed"].any()


def test_a_cluster_without_masks_is_not_learnt(tmp_path: Path) -> None:
    images, labels = lazies(IDS, "image"), lazies(IDS, "labels")
    samples = gather_samples(images, labels, CLUSTERS, manifest())
    checks = check_clusters(
        images=images,
        labels=labels,
        samples=samples,
        synthetic_labels=lazies(["group_003_000"], "labels"),
        masks=MASKS,
        params=make_params(tmp_path),
    )
    assert checks["why"].tolist() == ["it has no synthetic masks", "it has no synthetic masks", ""]


def test_if_no_cluster_can_be_learnt_the_run_ends_before_training_with_the_reasons(tmp_path: Path) -> None:
    images, labels = lazies(IDS, "image"), lazies(IDS, "labels", empty=tuple(IDS))
    samples = gather_samples(images, labels, CLUSTERS, manifest(tuple(IDS)))
    assert samples["n_objects"].tolist() == [0] * 5
    params = make_params(tmp_path)
    checks = check_clusters(
        images=images, labels=labels, samples=samples, synthetic_labels={}, masks=MASKS, params=params
    )
    with pytest.raises(KaryosegError, match=r"no cluster can be learnt \(group_001: presegmentation found no objects"):
        train_generators(images, labels, samples, checks, params)


@pytest.mark.parametrize("others", ["empty", "learnt"])
def test_a_cluster_of_bright_and_dark_nuclei_that_fails_is_called_mixed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, others: str
) -> None:
    empty = ("001", "002", "x") if others == "empty" else ("x",)
    labels = lazies(IDS, "labels", empty=empty)
    images = lazies(IDS, "image") | {key: unlike_images(labels)[key] for key in ("y", "z")}
    samples = gather_samples(images, labels, CLUSTERS, manifest(empty, bright=("001", "y")))
    made = {"synthetic_labels": lazies([*MASKS["id"]], "labels"), "masks": MASKS}
    checks = check_clusters(images=images, labels=labels, samples=samples, params=make_params(tmp_path), **made)
    reason = "do not stand out in the real images; it mixes 1 image(s) with bright and 1 with dark nuclei"
    assert checks["why"].iloc[2].endswith(reason)
    if others == "learnt":  # mixed as well, but it does no harm there
        assert list(train_generators(images, labels, samples, checks, make_params(tmp_path))) == ["group_001"]
    else:
        with pytest.raises(KaryosegError, match=r"style_clusters\.method\.n_clusters.* Look at the labels"):
            train_generators(images, labels, samples, checks, make_params(tmp_path))
        with pytest.raises(KaryosegError) as caught:
            train_generators(images, labels, samples, checks[2:], make_params(tmp_path))
        assert "style_clusters.method.n_clusters" in str(caught.value)
        assert "lower threshold" not in str(caught.value)
    assert f"{reason}. Tell them apart with style_clusters.method.n_clusters" in caplog.text


@pytest.mark.parametrize("missing", ["image", "labels", "manifest"])
def test_samples_that_are_listed_but_missing_are_named(missing: str) -> None:
    images, labels = (lazies(IDS[1:] if missing == kind else IDS, kind) for kind in ("image", "labels"))
    known = manifest()[1:] if missing == "manifest" else manifest()
    with pytest.raises(KaryosegError, match=r"001 in clusters\.csv, but without image, labels or row"):
        gather_samples(images, labels, CLUSTERS, known)


@pytest.mark.parametrize("still", [["group_001"], []])
def test_images_of_clusters_that_no_longer_pass_are_removed(
    catalog: DataCatalog, tmp_path: Path, still: list[str]
) -> None:
    class Model:
        fingerprint = "weights"

        def paint(self, labels: np.ndarray, seed: int, *, dropout: bool) -> np.ndarray:
            return np.zeros((*labels.shape, 3), np.uint8)

    def generate(passed: list[str]) -> None:
        clusters = ["group_001", "group_003"]
        quality = pd.DataFrame({"cluster": clusters, "passed": [c in passed for c in clusters], "why": "some reason"})
        models, labels = dict.fromkeys(clusters, Model()), catalog.load("synthetic_labels")
        images, table = generate_images(models, labels, MASKS, quality, make_params(tmp_path))
        catalog.save("synthetic_images", images)
        catalog.save("synthetic_images_table", table)
        require_passed(quality, table)

    generate(["group_001", "group_003"])
    kept = MASKS.loc[MASKS["cluster"].isin(still), "id"].tolist()
    before = {key: (tmp_path / "05/images" / f"{key}.tif").stat().st_mtime_ns for key in kept}
    with pytest.raises(KaryosegError, match=r"no cluster passed .*some reason") if not still else nullcontext():
        generate(still)
    files = sorted((tmp_path / "05/images").glob("*.tif"))
    assert {path.stem: path.stat().st_mtime_ns for path in files} == before
    assert list(catalog.load("synthetic_images")) == catalog.load("synthetic_images_table")["id"].tolist() == kept


def test_an_image_is_made_again_only_if_something_it_depends_on_changed(tmp_path: Path) -> None:
    class Model:
        fingerprint = "weights"

    labels = lazies([*MASKS["id"]], "labels")
    quality = pd.DataFrame({"cluster": ["group_001", "group_003"], "passed": [True, False], "why": ["ok", "bad"]})

    def marks(model: Any = Model, **changes: Any) -> dict[str, str]:
        models = {"group_001": model(), "group_003": model()}
        made, _ = generate_images(models, labels, MASKS, quality, make_params(tmp_path, **changes))
        return {key: lazy.fingerprint for key, lazy in made.items()}

    assert list(marks()) == ["group_001_000", "group_001_001"]  # those of the cluster that passed
    assert marks() == marks(checkpoint_steps=7, quality=ANYTHING | {"n_images": 5})
    changed = type("Other", (Model,), {"fingerprint": "other weights"})
    for other in (marks(changed), marks(seed=1), marks(generation={"dropout": False})):
        assert all(other[key] != mark for key, mark in marks().items())
