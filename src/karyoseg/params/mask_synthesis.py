"""Parameters of the mask_synthesis pipeline."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from karyoseg.params.base import Params


class MaskSynthesisParams(Params):
    """Synthetic label images that look like those of each style."""

    n_masks: int = Field(default=20, ge=1, le=10000)
    """Label images per style."""
    large_diameter: float = Field(default=80, gt=0)
    """Twice as many where the mean nucleus is larger than this, for each image holds fewer [px]."""
    size: int = Field(default=512, ge=64, le=4096)
    """Side of the label images; measured images are cut into tiles of at most this side [px]."""
    placement: Literal["measured", "tetris"] = "measured"
    """`measured` follows density, sizes, gaps and touching of the measured tiles; `tetris` fills the image, as the
    original work does."""
    density_quantile: float = Field(default=0.25, ge=0, lt=1)
    """Tiles are followed from this quantile of the coverage by nuclei on: a model that was made for other images misses
    nuclei, most of all in the emptier tiles; 0 follows all that have any [0..1]."""
    share_simulated: float = Field(default=0.5, ge=0, le=1)
    """Share of the shapes that are simulated; the others are those of annotated nuclei [0..1]."""
    n_similar: int = Field(default=10, ge=1, le=1000)
    """A shape is chosen at random among this many that are most like a measured nucleus."""
    shapes_per_image: int = Field(default=50, ge=1)
    """Annotated nuclei taken from each image of the train split at most."""
    min_area: int = Field(default=20, ge=1)
    """Smaller objects are ignored, and do not occur in the result [px]."""
    seed: int = Field(default=42, ge=0)
    """Seed of all random choices."""
