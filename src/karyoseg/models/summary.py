"""How a model is about to predict, in one line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_TARGETS = {
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
    diameter: float | None = None,
    second_scale: float | None = None,
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
    diameter : float, optional
        Of the nuclei in the images, if it was stated [px].
    second_scale : float, optional
        Of the second run of the full mode.

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
    size = _size(known["training"], scale, diameter, full=second_scale is not None)
    if second_scale is not None:
        size += f", then {second_scale:g} times as large"
    prob = known["thresholds"]["prob"] if prob_thresh is None else prob_thresh
    nms = known["thresholds"]["nms"] if nms_thresh is None else nms_thresh
    return f"{name}: prob {prob:.2f}, nms {nms:.2f}, {size}, {runs_in}"


def _size(training: Mapping[str, Any], scale: str | float, diameter: float | None, *, full: bool) -> str:
    if scale != "auto":
        return "images as they are" if scale == "none" else f"images scaled by {scale:g}"
    rescale = training.get("preparation", {}).get("rescale", {"name": "none"})
    if rescale["name"] in _TARGETS:
        return _TARGETS[rescale["name"]].format(rescale["target"])
    target = rescale["target"] if rescale["name"] == "diameter" else training.get("diameter")
    if diameter is not None:
        return f"nuclei of {diameter:g} px brought to " + (f"{target:g} px" if target else "what the model expects")
    if target and (full or rescale["name"] == "diameter"):
        return f"nuclei brought to {target:g} px"
    if target and "diameter_range" in training:
        low, high = training["diameter_range"]
        return f"nuclei of {low:g} to {high:g} px as they are, others brought to {target:g} px"
    return "images as they are"
