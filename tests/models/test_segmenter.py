"""The StarDist segmenter: opening, preparing, predicting, tiling, rescaling."""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import ndimage as ndi

from karyoseg.core.errors import KaryosegError
from karyoseg.core.labels import relabel
from karyoseg.core.metrics import match_table
from karyoseg.core.preparation import ImageFacts
from karyoseg.core.size import resize_image
from karyoseg.models import load_segmenter
from karyoseg.models.stardist import StarDistSegmenter


def copy_with(trained: StarDistSegmenter, folder: Path, **training: Any) -> StarDistSegmenter:
    """Copy of the trained model with other facts in training.json."""
    trained.save(folder)
    facts = json.loads((folder / "training.json").read_text()) | training
    (folder / "training.json").write_text(json.dumps(facts))
    return StarDistSegmenter.load(folder)


@pytest.mark.parametrize("engine", ["keras", "openvino"])
def test_the_folder_opens_with_plain_stardist_and_gives_the_same_labels(
    trained: StarDistSegmenter, sample: Callable, tmp_path: Path, engine: str
) -> None:
    from stardist.models import StarDist2D

    trained.save(tmp_path / "model")
    model = StarDistSegmenter.load(tmp_path / "model")
    model.use(engine, "f32")
    plain = StarDist2D(None, name="model", basedir=str(tmp_path))
    assert plain.thresholds._asdict() == trained.thresholds
    for seed in range(200, 204):
        image, truth = sample(seed)
        found = model.predict(image)
        labels, details = plain.predict_instances(image, predict_kwargs={"b": 0})
        np.testing.assert_array_equal(found.labels, labels)
        np.testing.assert_allclose(found.prob, details["prob"], rtol=1e-5)
        np.testing.assert_allclose(found.points, details["points"], atol=1e-5)
        np.testing.assert_allclose(found.polygons, details["coord"], atol=1e-3)
        assert match_table(truth, found.labels, [0.5])["tp"].item() >= 0.7 * truth.max()


def test_rows_of_a_prediction_belong_to_its_labels(trained: StarDistSegmenter, sample: Callable) -> None:
    found = trained.predict(sample(205)[0], nms_thresh=0.9, prob_thresh=0.2)  # overlapping: some hide others
    n = len(found.prob)
    assert found.labels.dtype == np.int32
    assert np.unique(found.labels[found.labels > 0]).tolist() == list(range(1, n + 1))
    assert found.points.shape == (n, 2)
    assert found.polygons.shape == (n, 2, 16)
    for index in range(n):
        y, x = np.round(found.polygons[index].mean(axis=1)).astype(int)
        region = found.labels[max(0, y - 12) : y + 13, max(0, x - 12) : x + 13]
        assert (region == index + 1).any()


@pytest.mark.parametrize("shape", [(300, 268), (513, 300)])
@pytest.mark.parametrize("n_tiles", [(1, 3), (3, 2), (9, 5)])
def test_tiled_prediction_equals_that_of_the_whole_image(
    trained: StarDistSegmenter,
    sample: Callable,
    monkeypatch: pytest.MonkeyPatch,
    shape: tuple[int, int],
    n_tiles: tuple[int, int],
) -> None:
    from karyoseg.models.stardist import instances

    model = StarDistSegmenter.load(trained.directory)
    model.use("openvino", "f32")
    image, _ = sample(1, shape=shape)
    whole = model.predict(image)
    monkeypatch.setattr(instances, "_n_tiles", lambda *_: n_tiles)
    tiled = model.predict(image)
    np.testing.assert_array_equal(tiled.labels, whole.labels)
    np.testing.assert_allclose(tiled.prob, whole.prob, rtol=1e-4)
    assert whole.labels.max() > 20


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (3, 5), (7, 64), (65, 33)])
def test_images_of_any_size_can_be_predicted(trained: StarDistSegmenter, shape: tuple[int, int]) -> None:
    found = trained.predict(np.random.default_rng(0).random(shape).astype(np.float32))
    assert found.labels.shape == shape
    assert len(found.prob) == found.labels.max()


def test_nothing_found_is_an_empty_prediction(trained: StarDistSegmenter) -> None:
    found = trained.predict(np.zeros((64, 64), np.float32), prob_thresh=0.99)
    assert not found.labels.any()
    assert found.points.shape == (0, 2)
    assert found.polygons.shape[0] == 0


@pytest.mark.parametrize("scale", [0.5, 0.37, 2.0, 1.6])
def test_predictions_come_back_to_the_original_grid(trained: StarDistSegmenter, sample: Callable, scale: float) -> None:
    """The network sees disks of the size it learnt; the raw image has them larger or smaller by 1 / scale."""
    prepared, truth = sample(210, shape=(128, 144))
    raw = resize_image(prepared, 1 / scale)
    found = trained.predict(resize_image(raw, scale), scale=scale, out_shape=raw.shape[:2])
    assert found.labels.shape == raw.shape
    direct = trained.predict(prepared)
    factor = np.divide(raw.shape, prepared.shape)
    matched = 0
    for label in np.unique(truth[truth > 0]):
        centre = np.array(ndi.center_of_mass(truth == label))
        if not all(14 < c < n - 14 for c, n in zip(centre, truth.shape, strict=True)):
            continue
        expected = (centre + 0.5) * factor - 0.5
        here = found.labels[tuple(np.round(expected).astype(int))]
        assert here > 0
        error = np.array(ndi.center_of_mass(found.labels == here)) - expected
        assert np.abs(error).max() < max(1.0, 1.0 / scale)
        area = np.count_nonzero(found.labels == here) * scale**2
        assert area == pytest.approx(np.count_nonzero(truth == label), rel=0.3)
        matched += 1
    assert matched >= 3
    assert abs(int(found.labels.max()) - int(direct.labels.max())) <= 1


def test_polygons_scale_with_the_labels(trained: StarDistSegmenter, sample: Callable) -> None:
    image, _ = sample(211)
    once, twice = trained.predict(image), trained.predict(image, scale=0.5)
    assert twice.labels.shape == (192, 160)
    np.testing.assert_allclose(twice.points, once.points * 2 + 0.5, atol=1e-6)
    np.testing.assert_allclose(twice.polygons, once.polygons * 2 + 0.5, atol=1e-3)


def test_thresholds_of_the_call_replace_those_of_the_model(trained: StarDistSegmenter, sample: Callable) -> None:
    from stardist.models import StarDist2D

    plain = StarDist2D(None, name=trained.directory.name, basedir=str(trained.directory.parent))
    model = StarDistSegmenter.load(trained.directory)
    model.use("keras", "f32")  # with others, probabilities next to a threshold may be on its other side
    image = np.maximum(sample(212)[0], sample(213)[0])  # disks overlap
    whole = (slice(0, image.shape[0]), slice(0, image.shape[1]))
    counts = {}
    for prob_thresh, nms_thresh in itertools.product((0.2, 0.6), (0.05, 0.9)):
        thresholds = {"prob_thresh": prob_thresh, "nms_thresh": nms_thresh}
        labels, details = plain.predict_instances(image, **thresholds, predict_kwargs={"b": 0})
        predicted = model.predict(image, **thresholds)
        found = model.find(image, origin=(0, 0), valid=whole, factor=(1, 1), **thresholds)
        np.testing.assert_array_equal(predicted.labels, relabel(labels))  # without those that others hide
        assert sorted(map(tuple, found.points)) == sorted(map(tuple, details["points"]))
        counts[prob_thresh, nms_thresh] = np.array([len(predicted.prob), len(found.prob)])
    assert (counts[0.6, 0.05] < counts[0.6, 0.9]).all()
    assert (counts[0.6, 0.9] < counts[0.2, 0.9]).all()
    assert not model.predict(image, prob_thresh=0.999).labels.any()


def test_prepare_without_rescaling(trained: StarDistSegmenter, sample: Callable, tmp_path: Path) -> None:
    raw = (sample(213)[0] * 100 + 50).clip(0).astype(np.uint16)
    prepared, scale = trained.prepare(raw)
    assert scale == 1
    assert prepared.dtype == np.float32
    assert prepared.shape == raw.shape
    colour = np.stack([raw] * 3, axis=-1)
    np.testing.assert_array_equal(trained.prepare(colour)[0], prepared)
    np.testing.assert_array_equal(trained.prepare(colour, channels=[1])[0], prepared)
    assert trained.prepare(raw, scale=0.5)[1] == 0.5


def test_a_model_of_natural_sizes_rescales_only_far_off_images(trained: StarDistSegmenter, sample: Callable) -> None:
    image, _ = sample(214, shape=(300, 300))
    assert trained.prepare(image)[1] == 1
    far = resize_image(image, 3)
    prepared, scale = trained.prepare(far)
    assert scale == pytest.approx(1 / 3, rel=0.3)
    assert prepared.shape == tuple(max(1, round(n * scale)) for n in far.shape)
    assert trained.prepare(far, facts=ImageFacts(diameter=3 * trained.diameter))[1] == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("rescale", "facts", "expected"),
    [
        ({"name": "magnification", "target": 20}, ImageFacts(magnification=40), 0.5),
        ({"name": "pixel_size", "target": 0.5}, ImageFacts(pixel_size_um=0.25), 0.5),
        ({"name": "diameter", "target": 32}, ImageFacts(diameter=16), 2.0),
    ],
)
def test_a_model_of_one_size_uses_what_is_known(
    trained: StarDistSegmenter, tmp_path: Path, rescale: dict, facts: ImageFacts, expected: float
) -> None:
    model = copy_with(trained, tmp_path / "m", preparation={"rescale": rescale})
    assert model.prepare(np.eye(40, dtype=np.uint8), facts=facts)[1] == expected


def test_a_model_of_one_size_estimates_what_is_not_known(
    trained: StarDistSegmenter, sample: Callable, tmp_path: Path
) -> None:
    model = copy_with(trained, tmp_path / "m", preparation={"rescale": {"name": "diameter", "target": 16}})
    image, _ = sample(215, shape=(300, 300))
    assert model.prepare(image)[1] == pytest.approx(1, rel=0.25)
    assert model.prepare(resize_image(image, 2))[1] == pytest.approx(0.5, rel=0.25)
    assert model.prepare(np.zeros((50, 50), np.uint8))[1] == 1  # nothing to estimate
    other = copy_with(trained, tmp_path / "p", preparation={"rescale": {"name": "pixel_size", "target": 0.5}})
    with pytest.raises(KaryosegError, match=r"x\.tif: pixel size is unknown"):
        other.prepare(image, facts=ImageFacts("x.tif"))


def test_other_channel_count_is_refused(trained: StarDistSegmenter, tmp_path: Path) -> None:
    model = copy_with(trained, tmp_path / "m", preparation={"colour": "keep"})
    with pytest.raises(KaryosegError, match=r"y\.tif: 3 channel\(s\) after selection, the model .* takes 1"):
        model.prepare(np.zeros((9, 9, 3), np.uint8), facts=ImageFacts("y.tif"))


def test_a_plain_stardist_folder_opens(trained: StarDistSegmenter, sample: Callable, tmp_path: Path) -> None:
    trained.save(tmp_path / "m")
    for name in ("training.json", "model_card.md", "thresholds.json"):
        (tmp_path / "m" / name).unlink()
    model = load_segmenter(str(tmp_path / "m"))
    image, _ = sample(216)
    prepared, scale = model.prepare(image)
    assert scale == 1
    assert model.predict(prepared).labels.max() > 0
    assert model.describe()["thresholds"] == {"prob": 0.5, "nms": 0.4}


def test_fingerprint_follows_weights_thresholds_and_preparation(trained: StarDistSegmenter, tmp_path: Path) -> None:
    trained.save(tmp_path / "a")
    same = StarDistSegmenter.load(tmp_path / "a")
    assert same.fingerprint == trained.fingerprint
    marks = {same.fingerprint}
    for name, content in (("thresholds.json", b'{"prob": 0.1, "nms": 0.1}'), ("weights_best.h5", b"other")):
        trained.save(tmp_path / name)
        (tmp_path / name / name).write_bytes(content)
        marks.add(StarDistSegmenter.load(tmp_path / name).fingerprint)
    marks.add(copy_with(trained, tmp_path / "p", preparation={"pmin": 3}).fingerprint)
    assert len(marks) == 4


@pytest.mark.parametrize("name", ["config.json", "weights_best.h5"])
def test_missing_files_are_named(trained: StarDistSegmenter, tmp_path: Path, name: str) -> None:
    trained.save(tmp_path / "m")
    (tmp_path / "m" / name).unlink()
    with pytest.raises(KaryosegError, match=rf"m: no model there \({name} missing\)"):
        load_segmenter(str(tmp_path / "m"))


def test_weights_that_do_not_fit_are_a_clear_error(trained: StarDistSegmenter, tmp_path: Path) -> None:
    trained.save(tmp_path / "m")
    (tmp_path / "m" / "weights_best.h5").write_bytes(b"not HDF5")
    with pytest.raises(KaryosegError, match="cannot be opened"):
        StarDistSegmenter.load(tmp_path / "m").predict(np.zeros((32, 32), np.float32))
    config = json.loads((tmp_path / "m" / "config.json").read_text()) | {"unet_n_filter_base": 4}
    shutil.copy(trained.directory / "weights_best.h5", tmp_path / "m" / "weights_best.h5")
    (tmp_path / "m" / "config.json").write_text(json.dumps(config))
    with pytest.raises(KaryosegError, match="config and weights written together"):
        StarDistSegmenter.load(tmp_path / "m").predict(np.zeros((32, 32), np.float32))


def test_opening_prints_nothing(trained: StarDistSegmenter, tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    trained.save(tmp_path / "m")
    capfd.readouterr()
    StarDistSegmenter.load(tmp_path / "m").predict(np.zeros((32, 32), np.float32))
    assert capfd.readouterr().out == ""


def test_description_is_json_and_the_card_names_the_thresholds(trained: StarDistSegmenter) -> None:
    facts = json.loads(json.dumps(trained.describe()))
    assert facts["family"] == "StarDist2D"
    assert facts["training"]["n_train"] == 12
    card = (trained.directory / "model_card.md").read_text()
    assert f"prob {trained.thresholds['prob']:.2f}, nms {trained.thresholds['nms']:.2f}" in card
