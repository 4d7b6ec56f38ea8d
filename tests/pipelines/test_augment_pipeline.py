"""The augment pipeline."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from karyoseg.core.augment import Augmenter
from karyoseg.core.errors import KaryosegError
from karyoseg.core.lazy import Lazy
from karyoseg.params.augment import AugmentParams
from karyoseg.pipelines.augment import create_pipeline
from karyoseg.pipelines.augment.nodes import build_policy, draw_contact_sheet

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


def test_pipeline_reads_and_writes_the_agreed_names() -> None:
    pipeline = create_pipeline()
    assert pipeline.inputs() == {"params:augment", "primary_images", "primary_labels", "splits"}
    assert pipeline.all_outputs() == {"augmentation_policy", "augmentation_sheet"}
