"""Parameters of the preprocess pipeline."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from karyoseg.core.preparation import Preparation
from karyoseg.params.base import Params


class NoRescale(Params):
    """Keep the pixel grid."""

    name: Literal["none"] = "none"
    """Keep images as they are."""


class RescaleMagnification(Params):
    """Bring all images to one objective magnification."""

    name: Literal["magnification"]
    """Use the magnification column of the data set."""
    target: float = Field(gt=0)
    """Magnification after rescaling [x]."""


class RescalePixelSize(Params):
    """Bring all images to one pixel size."""

    name: Literal["pixel_size"]
    """Use the pixel size of files or data set."""
    target: float = Field(gt=0)
    """Pixel size after rescaling [um]."""


class RescaleDiameter(Params):
    """Bring all images to one nucleus size.

    Training images are measured on their labels; all others are estimated from the image alone, as in prediction.
    """

    name: Literal["diameter"]
    """Use the median nucleus diameter."""
    target: float = Field(gt=2)
    """Median nucleus diameter after rescaling [px]."""


Rescale = Annotated[NoRescale | RescaleMagnification | RescalePixelSize | RescaleDiameter, Field(discriminator="name")]


class SplitParams(Params):
    """How samples are divided; a published test split is never touched."""

    val_fraction: float = Field(default=0.1, gt=0, lt=1)
    """Share of the training samples used for validation [0..1]."""
    test_fraction: float = Field(default=0.15, ge=0, lt=1)
    """Share used for testing if the data set has no test split [0..1]."""
    group_pattern: str | None = None
    """Regular expression searched in the id, such as `^(slide[0-9]+)_`: samples with the same match stay in one split.
    What is in parentheses counts, if something is: of several the first that matched."""
    validation: list[str] = Field(default=[])
    """Ids of training samples to validate on, in place of a random choice; samples made of them (`ID_aug...`) are left
    out of the training."""
    seed: int = Field(default=42, ge=0)
    """Seed of the choice."""

    @field_validator("group_pattern")
    @classmethod
    def _is_a_pattern(cls, value: str | None) -> str | None:
        try:
            re.compile(value or "")
        except re.error as error:
            raise ValueError(
                f"{value!r} is no regular expression ({error}); needed: for example '^(slide[0-9]+)_'"
            ) from error
        return value


class PreprocessParams(Params):
    """From checked samples to network input."""

    channels: list[Annotated[int, Field(ge=0)]] | None = Field(default=None, min_length=1)
    """Channels to keep, counted from 0; null keeps all."""
    colour: Literal["gray", "keep"] = "gray"
    """`gray` merges several channels into one; `keep` trains on all of them."""
    pmin: float = Field(default=1.0, ge=0, lt=100)
    """Percentile mapped to 0 [%]."""
    pmax: float = Field(default=99.8, gt=0, le=100)
    """Percentile mapped to 1 [%]."""
    joint: bool = False
    """One intensity range for all channels instead of one each."""
    rescale: Rescale = NoRescale()
    """Size normalisation: `none`, `magnification`, `pixel_size` or `diameter`."""
    fill_holes: bool = True
    """Fill holes inside the instances of training and validation labels."""
    min_area: int = Field(default=9, ge=0)
    """Instances smaller than this are removed from training and validation labels [px of the prepared image]."""
    splits: SplitParams = SplitParams()
    """How samples are divided."""

    @model_validator(mode="after")
    def _percentiles_in_order(self) -> Self:
        if self.pmin >= self.pmax:
            raise ValueError(f"pmin {self.pmin} must be below pmax {self.pmax}")
        return self

    def preparation(self) -> Preparation:
        """Return the recipe that travels with the model."""
        return Preparation.from_dict(self.model_dump())
