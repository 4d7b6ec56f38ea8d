"""The evaluate pipeline with a model that is known to be right, wrong or off by one."""

from __future__ import annotations

import logging
from functools import partial
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from kedro.io import DataCatalog, MemoryDataset
from kedro.runner import SequentialRunner
from pydantic import ValidationError

from karyoseg.core.errors import KaryosegError, ProblemReport
from karyoseg.core.lazy import Lazy
from karyoseg.core.preparation import Preparation
from karyoseg.params.evaluate import EvaluateParams
from karyoseg.pipelines.evaluate import create_pipeline
from karyoseg.pipelines.evaluate.nodes import match_images, predict_split, summarise_metrics

OUTPUTS = {"test_labels_pred", "matches", "metrics", "metrics_per_image", "metrics_per_class", "ap_curve"}


class Thresholder:
    """Calls every grey value a label, on the grid asked for."""

    def __init__(self, fingerprint="v1"):
        self.fingerprint = fingerprint
        self.calls = []

    def use(self, engine, precision):
        return f"{engine} {precision}"

    def describe(self):
        return {"training": {"preparation": {"rescale": {"name": "diameter", "target": 28}}}}

    def predict(self, image, *, out_shape=None, scale=1.0, prob_thresh=None, nms_thresh=None):
        self.calls.append({"out_shape": out_shape, "scale": scale, "prob": prob_thresh, "nms": nms_thresh})
        rows, cols = ((np.arange(n) * scale).astype(int) for n in out_shape)
        return SimpleNamespace(labels=image[np.ix_(rows, cols)].astype(np.int32))


def truth(seed):
    labels = np.zeros((24, 30), np.int32)
    rng = np.random.default_rng(seed)
    for label, (y, x) in enumerate(rng.permutation([(y, x) for y in (0, 8, 16) for x in (0, 8, 16)])[:5], 1):
        labels[y : y + 6, x : x + 5] = label
    return labels


@pytest.fixture
def inputs():
    ids = ["a", "b", "c", "train1"]
    labels = {key: truth(i) for i, key in enumerate(ids)}
    manifest = pd.DataFrame(
        {
            "id": ids,
            "class": ["x", "y", None, "x"],
            "height": 24,
            "width": 30,
            "label_sha256": "0",
            "scale": 2.0,
        }
    )
    return {
        "model": Thresholder(),
        "primary_images": {
            key: Lazy(partial(np.kron, y.astype(np.float32), np.ones((2, 2), np.float32)), f"image {key}")
            for key, y in labels.items()
        },
        "primary_manifest": manifest,
        "splits": pd.DataFrame({"id": ids, "split": ["test"] * 3 + ["train"], "group": ids}),
        "intermediate_labels": {key: Lazy(partial(np.copy, y), f"labels {key}") for key, y in labels.items()},
        "manifest": manifest.drop(columns="scale"),
        "params:evaluate": EvaluateParams(),
        "preparation": Preparation(rescale={"name": "diameter", "target": 28.0}).to_dict(),
    }


def predict(inputs, **params):
    names = ["model", "primary_images", "primary_manifest", "splits", "preparation"]
    return predict_split(*(inputs[name] for name in names), EvaluateParams(**params))


def test_pipeline_from_model_to_tables(inputs):
    catalog = DataCatalog({name: MemoryDataset(value, copy_mode="assign") for name, value in inputs.items()})
    for name in OUTPUTS:
        catalog[name] = MemoryDataset(copy_mode="assign")
    SequentialRunner().run(create_pipeline(), catalog)
    metrics = catalog["metrics"].load()
    assert metrics["f1"] == metrics["map"] == metrics["ap_95"] == metrics["dsb_score"] == 1.0
    assert (metrics["n_images"], metrics["n_true"], metrics["n_pred"]) == (3, 15, 15)
    assert set(metrics["by_class"]) == {"x", "y", "unclassified"}
    per_image = catalog["metrics_per_image"].load()
    assert per_image["id"].tolist() == ["a", "b", "c"]
    wanted = {"id", "class", "n_true", "n_pred", "f1", "ap_50", "ap_75", "ap_mean", "dice", "aji", "pq"}
    assert wanted <= set(per_image)
    assert set(catalog["metrics_per_class"].load()["class"]) == set(metrics["by_class"])
    assert set(catalog["ap_curve"].load()["class"]) == {*metrics["by_class"], "all"}


def test_prediction_is_lazy_and_on_the_original_grid(inputs):
    predictions = predict(inputs, prob_thresh=0.3, nms_thresh=0.2)
    assert inputs["model"].calls == []
    np.testing.assert_array_equal(predictions["b"](), inputs["intermediate_labels"]["b"]())
    assert inputs["model"].calls == [{"out_shape": (24, 30), "scale": 2.0, "prob": 0.3, "nms": 0.2}]


def test_fingerprint_follows_everything_that_matters(inputs):
    def mark(**params):
        return predict(inputs, **params)["a"].fingerprint

    before = mark()
    assert mark() == before
    assert mark(prob_thresh=0.4) != before
    other_scale = inputs | {"primary_manifest": inputs["primary_manifest"].assign(scale=1.0)}
    assert predict(other_scale)["a"].fingerprint != before
    assert predict(inputs | {"model": Thresholder("v2")})["a"].fingerprint != before
    image = Lazy(inputs["primary_images"]["a"].compute, "changed")
    assert predict(inputs | {"primary_images": inputs["primary_images"] | {"a": image}})["a"].fingerprint != before


def test_another_split_can_be_evaluated(inputs):
    assert list(predict(inputs, split="train")) == ["train1"]


def test_images_must_be_prepared_as_those_the_model_learnt_from(inputs):
    assert len(predict(inputs)) == 3
    inputs["preparation"] = Preparation().to_dict()
    with pytest.raises(KaryosegError, match=r"prepared with rescale={'name': 'none'}; needed: rescale={'name': 'diam"):
        predict(inputs)
    inputs["model"].describe = lambda: {"training": {}}  # a published model does not say
    assert len(predict(inputs)) == 3


def test_empty_split_is_refused(inputs):
    with pytest.raises(KaryosegError, match=r"val split holds no samples .*'test': 3.*evaluate\.split"):
        predict(inputs, split="val")


def test_samples_that_cannot_be_scored_are_reported_together(inputs):
    manifest = inputs["primary_manifest"]
    manifest.loc[manifest["id"] == "b", "label_sha256"] = ""
    manifest = manifest[manifest["id"] != "c"]
    with pytest.raises(ProblemReport) as caught:
        predict(inputs | {"primary_manifest": manifest})
    assert {problem.where for problem in caught.value.problems} == {"b", "c"}
    assert "no label image" in str(caught.value)


def test_missing_image_is_reported(inputs):
    del inputs["primary_images"]["a"]
    with pytest.raises(ProblemReport, match="a: listed in the manifest, but there is no prepared image"):
        predict(inputs)


def test_missing_label_and_wrong_shape_are_reported_together(inputs):
    predictions = predict(inputs)
    del inputs["intermediate_labels"]["a"]
    inputs["intermediate_labels"]["b"] = Lazy(lambda: np.zeros((3, 3), int), "small")
    with pytest.raises(ProblemReport) as caught:
        match_images(predictions, inputs["intermediate_labels"], inputs["manifest"])
    assert {problem.where for problem in caught.value.problems} == {"a", "b"}


def test_any_number_of_threads_gives_the_same_tables(inputs, monkeypatch):
    predictions = predict(inputs)
    tables = []
    for threads in (1, 3):
        monkeypatch.setattr("karyoseg.pipelines.evaluate.nodes.n_threads", lambda n=threads: n)
        tables.append(match_images(predictions, inputs["intermediate_labels"], inputs["manifest"]))
    for one, other in zip(*tables, strict=True):
        pd.testing.assert_frame_equal(one, other)
    assert tables[0][1]["id"].tolist() == ["a", "b", "c"]


def test_ids_that_look_like_numbers_stay_text(inputs):
    rename = {"a": "001", "b": "002", "c": "003", "train1": "004"}
    for name in ("primary_images", "intermediate_labels"):
        inputs[name] = {rename[key]: value for key, value in inputs[name].items()}
    for name in ("primary_manifest", "splits", "manifest"):
        inputs[name] = inputs[name].assign(id=inputs[name]["id"].map(rename))
    matches, pixels = match_images(predict(inputs), inputs["intermediate_labels"], inputs["manifest"])
    assert pixels["id"].tolist() == ["001", "002", "003"]
    assert set(matches["id"]) == {"001", "002", "003"}


def test_class_without_objects_is_named_in_the_log(inputs, caplog):
    empty = Lazy(lambda: np.zeros((24, 30), np.int32), "empty")
    labels = inputs["intermediate_labels"] | {"b": empty}
    with caplog.at_level(logging.INFO):
        metrics, *_ = summarise_metrics(*match_images(predict(inputs), labels, inputs["manifest"]))
    assert metrics["map"] == 1.0
    assert metrics["by_class"]["y"]["precision"] == 0.0
    assert "No annotated objects in y" in caplog.text
    assert "unclassified" in caplog.text


def test_parameters_are_checked():
    for wrong in ({"split": "all"}, {"prob_thresh": 2}, {"nms_thresh": -1}, {"treshold": 1}):
        with pytest.raises(ValidationError):
            EvaluateParams(**wrong)
