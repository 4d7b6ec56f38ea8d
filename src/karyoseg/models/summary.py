"""How a model is about to predict, in one line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_TARGETS = {
    "diameter": "nuclei brought to {:g} px",
    "magnification": "images brought to {:g}x",
    "pixel_size": "pixels brought to {:g} um",
}


def summary(
    name: str,
    known: Mapping[str, Any],
    runs_in: str,
    *,
    prob_thresh: float | None = None,
    nms_thresh: float | None = None,
    scale: str | float = "auto",
) -> str:
    """Say which thresholds, size and engine a prediction uses.

    Parameters
    ----------
    name : str
        What the user calls the model.
    known : mapping
        From :meth:`karyoseg.models.base.Segmenter.describe`.
    runs_in : str
        From :meth:`karyoseg.models.base.Segmenter.use`.
    prob_thresh, nms_thresh : float, optional
        In place of the model's own, 0..1.
    scale : {"auto", "none"} or float
        Rescaling; ``auto`` as the model was trained.

    Returns
    -------
    str
        The line.

    Examples
    --------
    >>> known = {"thresholds": {"prob": 0.52, "nms": 0.3}, "training": {"diameter": 21.6, "diameter_range": [12, 40]}}
    >>> summary("mine", known, "keras f32", nms_thresh=0.5)
    'mine: prob 0.52, nms 0.50, nuclei of 12 to 40 px as they are, others brought to 21.6 px, keras f32'
    """
    prob = known["thresholds"]["prob"] if prob_thresh is None else prob_thresh
    nms = known["thresholds"]["nms"] if nms_thresh is None else nms_thresh
    return f"{name}: prob {prob:.2f}, nms {nms:.2f}, {_size(known['training'], scale)}, {runs_in}"


def _size(training: Mapping[str, Any], scale: str | float) -> str:
    rescale = training.get("preparation", {}).get("rescale", {"name": "none"})
    if scale not in ("auto", "none"):
        return f"images scaled by {scale:g}"
    if scale == "auto" and rescale["name"] in _TARGETS:
        return _TARGETS[rescale["name"]].format(rescale["target"])
    if scale == "auto" and training.get("diameter") and "diameter_range" in training:
        low, high = training["diameter_range"]
        return f"nuclei of {low:g} to {high:g} px as they are, others brought to {training['diameter']:g} px"
    return "images as they are"
