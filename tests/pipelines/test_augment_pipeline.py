"""The augment pipeline."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from karyoseg.core.augmentation.augmenter import Augmenter
from karyoseg.core.errors import KaryosegError
from karyoseg.core.lazy import Lazy
from karyoseg.core.size import median_diameter, resize_labels
from karyoseg.datasets import SamplePartitions
from karyoseg.params.augment import AugmentParams, StyleParams
from karyoseg.params.preprocess import PreprocessParams
from karyoseg.pipelines.augment.nodes import (
    build_policy,
    draw_contact_sheet,
    prepare_style_images,
    prepare_style_labels,
)

CONF = Path(__file__).parents[2] / "conf/base"


@pytest.fixture
def params() -> AugmentParams:
    text = (CONF / "parameters_augment.yml").read_text().replace("${globals:seed}", "42")
    return AugmentParams(**yaml.safe_load(text)["augment"])


def partitions(values: dict[str, np.ndarray]) -> dict[str, Lazy[Any]]:
    return {key: Lazy(partial(np.copy, value), key) for key, value in values.items()}


def samples() -> tuple[dict[str, Lazy[Any]], dict[str, Lazy[Any]], pd.DataFrame]:
    labels = np.zeros((50, 70), np.int32)
    labels[10:30, 10:30] = 4
    image = (labels > 0).astype(np.float32)
    splits = pd.DataFrame({"id": list("abcd"), "split": ["train", "test", "train", "val"]})
    return partitions(dict.fromkeys("abcd", image)), partitions(dict.fromkeys("abcd", labels)), splits


def test_policy_is_complete_json_and_gives_the_same_augmenter(params: AugmentParams) -> None:
    policy = build_policy(params)
    again = json.loads(json.dumps(policy))
    assert again == policy
    assert [entry["name"] for entry in policy["transforms"]] == [t.name for t in params.transforms]
    image = np.random.default_rng(0).random((32, 32)).astype(np.float32)
    labels = np.zeros((32, 32), np.int32)
    first = Augmenter(policy["transforms"])(image, labels, 1)[0]
    np.testing.assert_array_equal(first, Augmenter(again["transforms"])(image, labels, 1)[0])


def test_contact_sheet_shows_train_samples_only(params: AugmentParams) -> None:
    images, labels, splits = samples()
    figure = draw_contact_sheet(build_policy(params), images, labels, splits, params)
    assert len(figure.axes) == 2 * (params.contact_sheet.n_variants + 1)
    assert {ax.get_ylabel() for ax in figure.axes} - {""} == {"a", "c"}


def test_contact_sheet_without_train_samples_is_an_error(params: AugmentParams) -> None:
    images, labels, splits = samples()
    with pytest.raises(KaryosegError, match="train split"):
        draw_contact_sheet(build_policy(params), images, labels, splits.assign(split="test"), params)


def style_params(params: AugmentParams, **style: Any) -> AugmentParams:
    return params.model_copy(update={"style": StyleParams(use=True, **style)})


def style_pairs(disks: np.ndarray) -> tuple[dict[str, Lazy[Any]], dict[str, Lazy[Any]]]:
    """Dark nuclei on a bright background at two sizes, and an image without nuclei."""
    labels = {"g_000": disks, "g_001": resize_labels(disks, (192, 224)), "g_002": np.zeros((50, 60), np.int32)}
    images = {
        key: np.where((found > 0)[..., None], np.uint8([90, 50, 140]), np.uint8([235, 225, 240]))
        for key, found in labels.items()
    }
    return partitions(images), partitions(labels)


def prepared(
    prepare: Callable[..., Any],
    images: Any,
    labels: Any,
    painted: pd.DataFrame,
    params: Any,
    preprocess: PreprocessParams,
) -> Any:
    """Prepare synthetic images or labels as the training images were."""
    cleaning = [preprocess] if prepare is prepare_style_labels else []
    return prepare(images, labels, painted, preprocess.preparation().to_dict(), params, *cleaning)


def painted_from(labels: dict[str, Lazy[Any]]) -> pd.DataFrame:
    """What style_transfer writes of its images."""
    return pd.DataFrame({"id": list(labels), "labels_fingerprint": [label.fingerprint for label in labels.values()]})


NO_TABLE = pd.DataFrame()


def test_policy_says_whether_synthetic_samples_are_used(params: AugmentParams) -> None:
    assert "style" not in build_policy(params)
    assert build_policy(style_params(params, share=0.4))["style"] == {"share": 0.4}


@pytest.mark.parametrize("dark", ["density", "keep"])
def test_synthetic_pairs_get_the_size_and_the_form_of_the_training_images(
    params: AugmentParams, disks: np.ndarray, dark: str
) -> None:
    recipe = PreprocessParams(channels=[4], rescale={"name": "diameter", "target": 12})
    pairs = style_pairs(disks)
    images = prepared(prepare_style_images, *pairs, painted_from(pairs[1]), style_params(params, dark=dark), recipe)
    labels = prepared(prepare_style_labels, *pairs, painted_from(pairs[1]), style_params(params), recipe)
    assert set(images) == set(labels) == {"g_000", "g_001", "g_002"}
    for key in images:
        image, found = images[key](), labels[key]()
        assert image.dtype == np.float32
        assert image.shape == found.shape
        if key != "g_002":
            assert median_diameter(found) == pytest.approx(12, rel=0.05)
            assert found.max() == disks.max()
            brightness = image[found > 0].mean(), image[found == 0].mean()
            bright, rest = brightness if dark == "density" else brightness[::-1]
            assert bright > 0.7
            assert rest < 0.3
    assert images["g_002"]().shape == (50, 60)


def test_fingerprints_of_synthetic_pairs_follow_what_they_depend_on(params: AugmentParams, disks: np.ndarray) -> None:
    pairs = style_pairs(disks)
    target = PreprocessParams(rescale={"name": "diameter", "target": 12})
    for prepare in (prepare_style_images, prepare_style_labels):
        first = prepared(prepare, *pairs, NO_TABLE, style_params(params), target)
        again = prepared(prepare, *pairs, NO_TABLE, style_params(params, share=0.9), target)
        other = prepared(prepare, *pairs, NO_TABLE, style_params(params), PreprocessParams())
        for key, value in first.items():
            assert value.fingerprint == again[key].fingerprint != other[key].fingerprint


def test_synthetic_pairs_are_left_alone_unless_asked_for(params: AugmentParams, disks: np.ndarray) -> None:
    by_size = PreprocessParams(rescale={"name": "pixel_size", "target": 0.5})
    for prepare in (prepare_style_images, prepare_style_labels):
        assert prepared(prepare, *style_pairs(disks), NO_TABLE, params, by_size) == {}


def test_synthetic_pairs_that_cannot_be_used_are_an_error(params: AugmentParams, disks: np.ndarray) -> None:
    images, labels = style_pairs(disks)
    some = {key: labels[key] for key in ("g_000", "g_002")}
    by_magnification = PreprocessParams(rescale={"name": "magnification", "target": 20})
    with pytest.raises(KaryosegError, match="no synthetic images"):
        prepared(prepare_style_images, {}, labels, NO_TABLE, style_params(params), PreprocessParams())
    with pytest.raises(KaryosegError, match="without their labels: g_001"):
        prepared(prepare_style_images, images, some, NO_TABLE, style_params(params), PreprocessParams())
    with pytest.raises(KaryosegError, match="is magnification, which synthetic images do not have"):
        prepared(prepare_style_labels, images, labels, NO_TABLE, style_params(params), by_magnification)


@pytest.mark.parametrize("prepare", [prepare_style_images, prepare_style_labels])
def test_images_and_labels_of_different_runs_are_refused(
    params: AugmentParams, disks: np.ndarray, prepare: Callable[..., Any]
) -> None:
    images, labels = style_pairs(disks)
    painted = painted_from(labels)
    redrawn = labels | {"g_001": Lazy(labels["g_001"].compute, "drawn by a second run")}
    with pytest.raises(KaryosegError, match=r"1 synthetic image\(s\), such as g_001, .*Run style_transfer again"):
        prepared(prepare, images, redrawn, painted, style_params(params), PreprocessParams())
    with pytest.raises(KaryosegError, match="such as g_000"):
        prepared(prepare, images, labels, painted[1:], style_params(params), PreprocessParams())
    assert set(prepared(prepare, images, labels, painted, style_params(params), PreprocessParams())) == set(images)


def test_the_second_run_of_style_transfer_is_noticed_on_disk(
    params: AugmentParams, disks: np.ndarray, tmp_path: Path
) -> None:
    """As after a run that drew other masks under the same ids and was killed before it painted them."""
    images, labels = style_pairs(disks)
    store = SamplePartitions(path=str(tmp_path / "labels"), file_format="labels")
    store.save(labels)
    painted = painted_from(store.load())
    store.save({key: Lazy(label.compute, "of the second run") for key, label in labels.items()})
    with pytest.raises(KaryosegError, match=r"3 synthetic image\(s\)"):
        prepared(prepare_style_labels, images, store.load(), painted, style_params(params), PreprocessParams())
