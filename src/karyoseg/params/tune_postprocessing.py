"""Parameters of the tune_postprocessing pipeline."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from karyoseg.core.postprocessing.search import RANGES
from karyoseg.params.base import Engine, Params, Precision

Limit = Annotated[float, Field(ge=0)]
Range = tuple[Limit, Limit]


class SearchRanges(Params):
    """Where each parameter of the post-processing is searched: [lowest, highest]; twice the same value fixes it."""

    max_occupied: Range = RANGES["max_occupied"]
    """An object of one scale is accepted if less than this share of it is taken by accepted objects [0..1]."""
    large_nuclei: Range = RANGES["large_nuclei"]
    """If the median diameter of the nuclei is above this, the second scale is ignored [px]."""
    min_run_area: Range = RANGES["min_run_area"]
    """Smallest object of one scale [px]."""
    foreground: Range = RANGES["foreground"]
    """Where the foreground map is at least this, there are nuclei [0..1]."""
    erosion_radius: Range = RANGES["erosion_radius"]
    """How far inward the map may move a contour [px]."""
    dilation_radius: Range = RANGES["dilation_radius"]
    """How far outward [px]."""
    min_corrected_area: Range = RANGES["min_corrected_area"]
    """Smallest object after the contours were moved [px]."""
    min_overlap: Range = RANGES["min_overlap"]
    """Smallest share of foreground in an object [0..1]."""
    min_area: Range = RANGES["min_area"]
    """Smallest object in the end; four times larger ones stay whatever the map says [px]."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        for name, (low, high) in self:
            if low > high or (high > 1 and RANGES[name][1] <= 1):
                raise ValueError(f"{name} [{low:g}, {high:g}]: the lowest value first, and shares up to 1")
        return self


class TunePostprocessingParams(Params):
    """How the parameters of `predict.mode: full` are searched."""

    model: str = "nuclei-fluo"
    """The model that will predict, as `predict.model`."""
    foreground_model: str | None = None
    """As `predict.full.foreground_model`."""
    second_scale: float = Field(default=1.5, gt=1, le=2)
    """As `predict.full.second_scale`."""
    split: Literal["val", "train"] = "val"
    """Samples to search on; those of the test split are for results."""
    n_images: int = Field(default=50, ge=1)
    """At most so many of them, chosen at random: all are kept in memory."""
    n_trials: int = Field(default=1000, ge=1)
    """Vectors of parameters to try."""
    minutes: float = Field(default=30, gt=0)
    """Time limit of the search [min]; predicting the images comes before."""
    ranges: SearchRanges = SearchRanges()
    """Where each parameter is searched."""
    engine: Engine = "auto"
    """What runs the network, as `predict.engine`."""
    precision: Precision = "auto"
    """Numbers it calculates with, as `predict.precision`."""
    seed: int = Field(default=42, ge=0)
    """Seed of the choice of images and of the search."""
