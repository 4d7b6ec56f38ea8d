"""The threshold search against brute force along StarDist's own route."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

from karyoseg.core.metrics import iou_matrix
from karyoseg.models.base import Prediction
from karyoseg.models.stardist.thresholds import search_thresholds

IOUS = (0.3, 0.5, 0.7)


def prediction_of(labels: np.ndarray, prob: list[float]) -> Prediction:
    n = len(prob)
    return Prediction(labels.astype(np.int32), np.zeros((n, 2)), np.array(prob), np.zeros((n, 2, 8)))


def blocks(*columns: tuple[int, int], width: int = 100) -> np.ndarray:
    """Label image with a block per (start, stop) of columns."""
    labels = np.zeros((10, width), np.int32)
    for index, (start, stop) in enumerate(columns, start=1):
        labels[:, start:stop] = index
    return labels


def test_search_equals_brute_force_with_stardist(trained: Any, sample: Callable) -> None:
    """Predict at each pair of thresholds anew, match with StarDist's own matching."""
    from stardist.matching import matching_dataset

    from karyoseg.models.stardist.engines.keras import KerasEngine
    from karyoseg.models.stardist.instances import candidates, suppress
    from karyoseg.models.stardist.network import open_folder

    network = open_folder(trained.directory)
    # Noisy, so that the best thresholds are not trivial.
    rng = np.random.default_rng(1)
    pairs = [(image + rng.normal(0, 0.25, image.shape), labels) for image, labels in map(sample, range(300, 303))]
    pairs = [(image.astype(np.float32), labels) for image, labels in pairs]
    prob_grid, nms_grid = np.array([0.1, 0.25, 0.4, 0.55]), [0.05, 0.3, 0.6]

    expected = {}
    for nms in nms_grid:
        for prob in prob_grid:
            options = {"prob_thresh": prob, "nms_thresh": nms, "predict_kwargs": {"b": 0}}
            found = [network.predict_instances(i, **options)[0] for i, _ in pairs]
            stats = [matching_dataset([t for _, t in pairs], found, iou, show_progress=False) for iou in IOUS]
            expected[nms, prob] = float(np.mean([s.accuracy for s in stats]))

    found_at_lowest = [candidates(KerasEngine(network), image, 0.1) for image, _ in pairs]

    def predict(found: Any, shape: tuple[int, int], nms: float) -> Prediction:
        return suppress(found, nms_thresh=nms, shape=shape, out_shape=shape)

    images = [
        (truth, partial(predict, found, truth.shape)) for (_, truth), found in zip(pairs, found_at_lowest, strict=True)
    ]
    scores: dict[tuple[float, float], float] = {}
    for nms in nms_grid:
        for index, prob in enumerate(prob_grid):
            one = search_thresholds(images, [nms], prob_grid[index : index + 1], IOUS, tolerance=0)
            scores[nms, prob] = one.score
    assert scores == pytest.approx(expected, abs=1e-9)
    assert len({round(score, 6) for score in scores.values()}) > 3

    best = search_thresholds(images, nms_grid, prob_grid, IOUS, tolerance=0)
    assert best.score == pytest.approx(max(expected.values()), abs=1e-3)
    assert best.score == pytest.approx(expected[best.nms, best.prob], abs=1e-9)


def test_the_best_pair_is_found() -> None:
    truth = blocks((0, 10), (20, 30))
    at_nms = {
        0.3: prediction_of(blocks((0, 10), (20, 30), (50, 60)), [0.9, 0.8, 0.4]),
        0.5: prediction_of(blocks((0, 10), (50, 60), (70, 80)), [0.9, 0.8, 0.4]),
    }
    best = search_thresholds([(truth, at_nms.__getitem__)], [0.3, 0.5], np.array([0.2, 0.5, 0.7, 0.85]))
    assert best.nms == 0.3
    assert best.prob in (0.5, 0.7)
    assert best.score == 1


def test_the_middle_of_a_plateau_is_chosen() -> None:
    truth = blocks((0, 10))
    found = prediction_of(blocks((0, 10), (20, 30)), [0.9, 0.35])
    best = search_thresholds([(truth, lambda _: found)], [0.4], np.round(np.arange(0.2, 0.91, 0.1), 2), tolerance=0)
    assert best.prob == pytest.approx(0.6)  # 0.4 ... 0.8 are equally good


@pytest.mark.parametrize(("n_false", "prob"), [(1, 0.5), (3, 0.7)])
def test_a_lower_threshold_is_preferred_if_it_costs_next_to_nothing(n_false: int, prob: float) -> None:
    spans = [(4 * i, 4 * i + 2) for i in range(300 + n_false)]
    found = prediction_of(blocks(*spans, width=1300), [0.9] * 300 + [0.6] * n_false)
    best = search_thresholds(
        [(blocks(*spans[:300], width=1300), lambda _: found)], [0.4], np.array([0.3, 0.5, 0.7, 0.8, 0.85])
    )
    assert best.prob == prob  # 300 / 301 is within 0.005 of 1, 300 / 303 is not
    assert best.score == pytest.approx(300 / (300 + n_false) if prob == 0.5 else 1)


def test_counts_are_pooled_over_images() -> None:
    """A mean of the scores of the images would choose otherwise."""
    busy = blocks(*[(10 * i, 10 * i + 8) for i in range(9)])
    many = (busy, lambda _: prediction_of(busy, [0.45] * 9))
    single = blocks((0, 10))
    half = prediction_of(blocks((0, 10), (40, 50), (60, 70)), [0.9, 0.45, 0.45])
    best = search_thresholds([many, *[(single, lambda _: half)] * 3], [0.4], np.array([0.3, 0.6]))
    assert best.prob == 0.3
    assert best.score == pytest.approx(12 / (12 + 6))


def test_not_annotated_area_keeps_probabilities_and_objects_in_step() -> None:
    truth = blocks((0, 10), (20, 30), (40, 50))
    truth[:, 60:] = -1
    # The second object lies in not annotated area: it neither counts nor shifts the others.
    found = prediction_of(blocks((0, 10), (70, 80), (20, 30), (52, 58)), [0.9, 0.3, 0.8, 0.4])
    best = search_thresholds([(truth, lambda _: found)], [0.4], np.array([0.25, 0.5, 0.85]))
    assert iou_matrix(truth, found.labels).shape == (3, 3)
    assert best.prob == 0.5
    assert best.score == pytest.approx(2 / 3)


def test_a_model_that_finds_nothing_gets_the_usual_thresholds(caplog: pytest.LogCaptureFixture) -> None:
    empty = prediction_of(np.zeros((10, 100)), [])
    best = search_thresholds([(blocks((0, 10)), lambda _: empty)])
    assert (best.prob, best.nms, best.score) == (0.5, 0.4, 0)
    assert "hardly trained" in caplog.text


def test_empty_truth_and_empty_prediction_do_not_fail() -> None:
    nothing = np.zeros((10, 100), np.int32)
    assert search_thresholds([(nothing, lambda _: prediction_of(nothing, []))]).score == 0


def test_one_image_is_looked_at_after_the_other() -> None:
    """Candidates of many images would not fit in memory."""
    truth, events = blocks((0, 10)), []

    def images() -> Any:
        for number in range(3):
            events.append(("image", number))
            yield truth, lambda nms, number=number: events.append((nms, number)) or prediction_of(truth, [0.9])

    search_thresholds(images(), [0.3, 0.5])
    assert events == [(step, number) for number in range(3) for step in ("image", 0.3, 0.5)]
