"""Parameters of the evaluate pipeline."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from karyoseg.params.base import Engine, Params, Precision


class EvaluateParams(Params):
    """What is evaluated. The IoU thresholds of the metrics are part of their definition and no parameter."""

    model: str | None = None
    """A model in place of the one that train wrote, as `predict.model`; only with `--params`, for the catalog reads it.
    The images must be prepared as it asks for."""
    split: Literal["test", "val", "train"] = "test"
    """Samples to evaluate: `test` for results; `val` and `train` only to understand a model."""
    prob_thresh: float | None = Field(default=None, gt=0, lt=1)
    """Smallest object probability [0..1]; null takes the one optimised on the validation samples."""
    nms_thresh: float | None = Field(default=None, ge=0, le=1)
    """Largest overlap of two predicted objects [0..1]; null takes the one optimised likewise."""
    engine: Engine = "auto"
    """What runs the network: `keras` (TensorFlow), `openvino` (faster on a processor), `onnxruntime` (an extra
    package), or `auto`: TensorFlow with a GPU, else the fastest whose output is close enough to TensorFlow's for this
    model."""
    precision: Precision = "auto"
    """Numbers the network calculates with: `f32`; with OpenVINO also `bf16` (half the bits, twice as fast on
    processors made for it) and `int8` (faster still; after `kedro model quantize`); or `auto`: the fastest that is
    close enough."""
