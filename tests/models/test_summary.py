"""The line that says how a model is about to predict."""

from __future__ import annotations

from typing import Any

import pytest

from karyoseg.models.summary import summary

NATURAL: dict[str, Any] = {"diameter": 20, "diameter_range": [12, 40]}
BY_SIZE: dict[str, Any] = {"diameter": 19.8, "preparation": {"rescale": {"name": "diameter", "target": 20}}}
BY_PIXEL: dict[str, Any] = {"diameter": 20, "preparation": {"rescale": {"name": "pixel_size", "target": 0.5}}}


@pytest.mark.parametrize(
    ("training", "options", "size"),
    [
        (NATURAL, {}, "nuclei of 12 to 40 px as they are, others brought to 20 px"),
        (NATURAL, {"diameter": 38}, "nuclei of 38 px brought to 20 px"),
        (NATURAL, {"second_scale": 1.5}, "nuclei brought to 20 px, then 1.5 times as large"),
        (BY_SIZE, {}, "nuclei brought to 20 px"),
        (BY_SIZE, {"diameter": 38, "second_scale": 2}, "nuclei of 38 px brought to 20 px, then 2 times as large"),
        (BY_PIXEL, {"diameter": 38}, "pixels brought to 0.5 um"),
        ({}, {}, "images as they are"),
        ({}, {"diameter": 38}, "nuclei of 38 px brought to what the model expects"),
        (NATURAL, {"scale": "none", "diameter": 38}, "images as they are"),
        (NATURAL, {"scale": 0.5, "second_scale": 1.5}, "images scaled by 0.5, then 1.5 times as large"),
    ],
)
def test_the_size_is_that_of_the_prediction(training: dict[str, Any], options: dict[str, Any], size: str) -> None:
    known = {"thresholds": {"prob": 0.5, "nms": 0.4}, "training": training}
    assert summary("m", known, "keras f32", **options) == f"m: prob 0.50, nms 0.40, {size}, keras f32"
