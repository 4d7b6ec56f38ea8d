"""Predictions at two scales, of a model that finds only nuclei near the size it has learnt."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from skimage.measure import label, regionprops

from karyoseg.core.postprocessing.combine import PostProcessing, combine
from karyoseg.core.preparation import ImageFacts, Plan, Preparation
from karyoseg.core.size import resize_labels
from karyoseg.models.two_scales import segment_at_two_scales
from recipes import OnlyRescaled

TRAINED = 20.0


class Choosy:
    """Finds bright disks whose diameter is within half and one and a half times that of its training."""

    def __init__(self, rescale: str = "diameter", first_guess: float = 1.0):
        self.preparation = Preparation(rescale={"name": rescale, "target": TRAINED})
        self.diameter = TRAINED
        self.first_guess = first_guess
        self.runs: list[tuple[float, bool]] = []

    def plan(self, image: np.ndarray, *, facts: ImageFacts, scale: float | None, channels: Any) -> Plan:
        """Rescale; the estimate of the size is a given one."""
        stated = scale or (TRAINED / facts.diameter if facts.diameter else None)
        by_size = self.preparation.rescale["name"] == "diameter"
        return Plan(OnlyRescaled(), stated or self.first_guess, estimated=by_size and not stated)

    def predict(
        self, image: np.ndarray, *, scale: float, out_shape: tuple[int, int], check_size: bool, **_: Any
    ) -> SimpleNamespace:
        """Label what has the right size."""
        self.runs.append((scale, check_size))
        found = label(image > 0.5)
        for region in regionprops(found):
            if not TRAINED / 2 < region.equivalent_diameter_area < 1.5 * TRAINED:
                found[found == region.label] = 0
        return SimpleNamespace(labels=resize_labels(found.astype(np.int32), out_shape), scale=scale)


def disks(*diameters: float) -> np.ndarray:
    """Bright disks side by side, 60 px apart."""
    image = np.zeros((60, 60 * len(diameters)), np.float32)
    y, x = np.ogrid[:60, : image.shape[1]]
    for index, diameter in enumerate(diameters):
        image[np.hypot(y - 30, x - 60 * index - 30) <= diameter / 2] = 1
    return image


def run(model: Choosy, image: np.ndarray, second_scale: float = 2.0, **options: Any) -> Any:
    """Segment an image of unknown facts."""
    return segment_at_two_scales(model, image, second_scale=second_scale, **({"facts": ImageFacts()} | options))  # type: ignore[arg-type]


def test_small_nuclei_among_normal_ones_need_the_second_run() -> None:
    image = disks(20, 8, 20, 20)
    found = run(Choosy(), image)
    assert found.first.max() == 3
    assert found.second.max() == 1
    both = combine(found.first, found.second, None, PostProcessing(large_nuclei=30))
    assert np.array_equal(both > 0, image > 0.5)
    assert both.max() == 4


def test_the_scale_follows_the_nuclei_that_a_first_prediction_finds() -> None:
    model = Choosy(first_guess=1.0)
    found = run(model, disks(14, 14, 14))
    assert found.scale == pytest.approx(TRAINED / 14, rel=0.05)
    assert [check for _, check in model.runs] == [True, False, False]
    assert model.runs[2][0] == pytest.approx(2 * found.scale)


def test_a_scale_that_is_right_already_costs_no_further_run() -> None:
    model = Choosy()
    run(model, disks(20, 20), second_scale=1.5)
    assert [scale for scale, _ in model.runs] == [1.0, 1.5]


@pytest.mark.parametrize(
    ("options", "rescale"),
    [({"scale": 1.0}, "diameter"), ({"facts": ImageFacts(diameter=20)}, "diameter"), ({}, "pixel_size")],
)
def test_what_is_stated_is_not_estimated(options: dict[str, Any], rescale: str) -> None:
    model = Choosy(rescale)
    assert run(model, disks(14, 14), **options).scale == 1
    assert model.runs == [(1, False), (2, False)]


def test_an_image_without_nuclei() -> None:
    found = run(Choosy(), disks(0.0)[:, :60] * 0)
    assert not found.first.any()
    assert not found.second.any()
    assert found.scale == 1


def test_an_image_too_large_for_the_second_scale_gets_what_is_possible_and_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    model = Choosy()
    run(model, np.zeros((20, 4000), np.float32), second_scale=2.0, facts=ImageFacts("big.tif"))
    assert [scale for scale, _ in model.runs] == [1.0, 1.5]
    assert "big.tif: 4000 px at scale 2.00 are more than 6000 px; the second run is at 1.50" in caplog.text


def test_the_second_run_is_left_out_where_it_would_be_the_first_again(caplog: pytest.LogCaptureFixture) -> None:
    model = Choosy()
    found = run(model, np.zeros((20, 5700), np.float32), facts=ImageFacts("big.tif"))
    assert len(model.runs) == 1
    assert not found.second.any()
    assert found.second.shape == (20, 5700)
    assert not math.isnan(found.scale)
    assert "big.tif: 5700 px at scale 2.00 are more than 6000 px; there is no second run" in caplog.text


def test_an_image_that_fits_is_not_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    model = Choosy()
    run(model, np.zeros((20, 3000), np.float32))
    assert [scale for scale, _ in model.runs] == [1.0, 2.0]
    assert caplog.text == ""
