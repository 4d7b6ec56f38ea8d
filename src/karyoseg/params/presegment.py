"""Parameters of the presegment pipeline."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from karyoseg.core.preparation import Contrast
from karyoseg.params.base import Axes, Engine, Params, Precision


class PresegmentParams(Params):
    """From images without masks to weak labels, the raw material of style transfer."""

    input: str | None = None
    """Images without masks: a folder, a pattern such as `scans/**/*.tif`, a file, a zip, or any of these as a URL."""
    labels: str | None = None
    """Label images of your own to use in place of weak ones: a folder or as for `input`, with a file for each image, of
    the same name but for the suffix; null lets `model` make the labels."""
    model: str = "nuclei-fluo"
    """Model that makes the weak labels; as for `predict.model`."""
    contrast: Contrast = "auto"
    """Whether nuclei are brighter or darker than what is around them; `auto` decides per image. Without effect for a
    model of colour images, which sees images as they are."""
    diameter_px: float | None = Field(default=None, gt=2)
    """Typical nucleus diameter in the images [px]; null decides per image: the size of bright nuclei
    is estimated, that of dark ones is searched."""
    prob_thresh: float | None = Field(default=None, ge=0, le=1)
    """Objects below this probability are dropped [0..1]; null takes the model's own."""
    min_area: int = Field(default=20, ge=0)
    """Smaller objects are dropped [px]."""
    axes: Axes | None = None
    """Axes of TIFF stacks that do not say themselves, such as `CYX`; null trusts the files."""
    channels: list[Annotated[int, Field(ge=0)]] | None = Field(default=None, min_length=1, max_length=3)
    """Channels to take as red, green and blue, or the only one, counted from 0; null takes the first three."""
    max_megapixels: float = Field(default=36, gt=0)
    """Larger images are refused: cut fields out of them [million px]."""
    engine: Engine = "auto"
    """What runs the network; as for `predict.engine`."""
    precision: Precision = "auto"
    """Numbers the network calculates with; as for `predict.precision`."""
    on_bad_image: Literal["stop", "skip"] = "stop"
    """`stop` reports every image that cannot be used before the first is segmented; `skip` leaves them out."""
