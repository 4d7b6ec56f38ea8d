"""Parameters of the visualize pipeline: which images the report shows."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from karyoseg.params.base import Params


class VisualizeParams(Params):
    """Figures and report."""

    title: str = "Nucleus segmentation"
    """Heading of the report."""
    ids: tuple[str, ...] = ()
    """Evaluated images to show in any case, by id."""
    n_worst: int = Field(default=6, ge=0, le=100)
    """How many of the lowest scoring images to show."""
    n_best: int = Field(default=3, ge=0, le=100)
    """How many of the highest scoring images to show."""
    rank_by: Literal["f1", "ap_50", "ap_75", "ap_mean", "dice", "aji", "pq"] = "ap_50"
    """Score that decides which images are worst and best."""
    n_gallery: int = Field(default=8, ge=0, le=60)
    """Example images of the data set, spread over its classes."""
    dpi: int = Field(default=150, ge=50, le=600)
    """Resolution of all figures [dots per inch]."""
