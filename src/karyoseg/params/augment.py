"""Parameters of the augment pipeline: which random changes training images get."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from karyoseg.params.base import Params


def _ascending(values: tuple[float, float]) -> tuple[float, float]:
    if values[0] > values[1]:
        raise ValueError(f"the range {list(values)} runs backwards; write [smallest, largest]")
    return values


Probability = Annotated[float, Field(ge=0, le=1)]
Factor = Annotated[float, Field(ge=0.1, le=10)]
Factors = Annotated[tuple[Factor, Factor], AfterValidator(_ascending)]
Degrees = Annotated[float, Field(ge=-180, le=180)]
Offset = Annotated[float, Field(ge=-2, le=2)]
Offsets = Annotated[tuple[Offset, Offset], AfterValidator(_ascending)]
Amount = Annotated[float, Field(ge=0, le=10)]
Share = Annotated[float, Field(ge=0, le=1)]


class Flip(Params):
    """Mirror along each of the named axes independently."""

    name: Literal["flip"]
    """Selects this transform."""
    axes: Literal["yx", "y", "x"] = "yx"
    """Axes that may be mirrored: y (up and down), x (left and right)."""
    p: Probability = 0.5
    """Probability, per axis."""


class Rotate90(Params):
    """Turn by 90, 180 or 270 degrees (patches that are not square: by 180)."""

    name: Literal["rotate90"]
    """Selects this transform."""
    p: Probability = 0.75
    """Probability; 0.75 makes the four orientations equally likely."""


class Rotate(Params):
    """Turn by any angle about the centre; the corners show more of the image, mirrored where it ends."""

    name: Literal["rotate"]
    """Selects this transform."""
    degrees: Annotated[tuple[Degrees, Degrees], AfterValidator(_ascending)] = (-45.0, 45.0)
    """Range of the angle [degrees]."""
    p: Probability = 0.3
    """Probability."""


class Scale(Params):
    """Zoom about the centre; zooming out shows more of the image, mirrored where it ends."""

    name: Literal["scale"]
    """Selects this transform."""
    factor: Factors = (0.8, 1.25)
    """Range of the factor, drawn on a logarithmic scale; above 1 objects grow."""
    p: Probability = 0.3
    """Probability."""


class Elastic(Params):
    """Bend smoothly: the knots of a coarse grid move at random, what is between them follows."""

    name: Literal["elastic"]
    """Selects this transform."""
    magnitude: float = Field(default=3.0, ge=0, le=100)
    """Largest displacement of a knot along each axis [px]."""
    spacing: float = Field(default=32.0, ge=4, le=1024)
    """Distance of the knots [px]."""
    p: Probability = 0.3
    """Probability."""

    @model_validator(mode="after")
    def _no_folds(self) -> Elastic:
        if self.magnitude > self.spacing / 4:
            raise ValueError(
                f"magnitude {self.magnitude:g} px folds the image at spacing {self.spacing:g} px; "
                "needed: at most a quarter of spacing"
            )
        return self


class Brightness(Params):
    """Multiply all intensities, as a longer or shorter exposure would."""

    name: Literal["brightness"]
    """Selects this transform."""
    factor: Factors = (0.6, 1.7)
    """Range of the factor, drawn on a logarithmic scale."""
    p: Probability = 0.5
    """Probability."""


class ObjectBrightness(Params):
    """Make each nucleus brighter or dimmer than the others, by a factor of its own."""

    name: Literal["object_brightness"]
    """Selects this transform."""
    factor: Factors = (0.25, 2.0)
    """Range of the factors, drawn on a logarithmic scale."""
    p: Probability = 0.4
    """Probability."""


class Background(Params):
    """Add light that changes slowly across the image."""

    name: Literal["background"]
    """Selects this transform."""
    amplitude: Annotated[tuple[Amount, Amount], AfterValidator(_ascending)] = (0.0, 0.6)
    """Range of the difference between the brightest and the darkest place [normalised intensity]."""
    p: Probability = 0.25
    """Probability."""


class Shading(Params):
    """Dim the image unevenly, as a vignette does."""

    name: Literal["shading"]
    """Selects this transform."""
    depth: Annotated[tuple[Share, Share], AfterValidator(_ascending)] = (0.0, 0.7)
    """Range of the share of light lost at the darkest place [0..1]."""
    p: Probability = 0.25
    """Probability."""


class Haze(Params):
    """Lay light from out of focus over the image."""

    name: Literal["haze"]
    """Selects this transform."""
    amount: Annotated[tuple[Amount, Amount], AfterValidator(_ascending)] = (0.0, 1.5)
    """Range of the light from out of focus relative to that in focus."""
    p: Probability = 0.15
    """Probability."""


class Saturation(Params):
    """Cut intensities off at a level, as a too long exposure does; that level becomes 1."""

    name: Literal["saturation"]
    """Selects this transform."""
    level: Factors = (0.25, 1.0)
    """Range of the level [normalised intensity], drawn on a logarithmic scale."""
    p: Probability = 0.2
    """Probability."""


class Contrast(Params):
    """Spread or squeeze intensities about the mean of each channel."""

    name: Literal["contrast"]
    """Selects this transform."""
    factor: Factors = (0.7, 1.4)
    """Range of the factor, drawn on a logarithmic scale."""
    p: Probability = 0.3
    """Probability."""


class Gamma(Params):
    """Raise positive intensities to a power; values below 0 stay."""

    name: Literal["gamma"]
    """Selects this transform."""
    gamma: Factors = (0.7, 1.4)
    """Range of the exponent, drawn on a logarithmic scale; above 1 dims what is faint."""
    p: Probability = 0.3
    """Probability."""


class IntensityShift(Params):
    """Add one offset to all intensities, as a brighter or darker background would."""

    name: Literal["intensity_shift"]
    """Selects this transform."""
    offset: Offsets = (-0.1, 0.1)
    """Range of the offset [normalised intensity]."""
    p: Probability = 0.5
    """Probability."""


class ChannelShift(Params):
    """Add an offset of its own to each channel, as another stain or white balance would."""

    name: Literal["channel_shift"]
    """Selects this transform."""
    offset: Offsets = (-0.1, 0.1)
    """Range of the offsets [normalised intensity]."""
    p: Probability = 0.3
    """Probability."""


class GaussianBlur(Params):
    """Blur, as a slightly wrong focus would."""

    name: Literal["gaussian_blur"]
    """Selects this transform."""
    sigma: Annotated[
        tuple[Annotated[float, Field(ge=0, le=50)], Annotated[float, Field(ge=0, le=50)]],
        AfterValidator(_ascending),
    ] = (0.5, 1.5)
    """Range of the standard deviation [px]."""
    p: Probability = 0.2
    """Probability."""


class GaussianNoise(Params):
    """Add independent normal noise to every pixel, as camera electronics do."""

    name: Literal["gaussian_noise"]
    """Selects this transform."""
    sigma: Annotated[
        tuple[Annotated[float, Field(ge=0, le=2)], Annotated[float, Field(ge=0, le=2)]],
        AfterValidator(_ascending),
    ] = (0.01, 0.06)
    """Range of the standard deviation [normalised intensity]."""
    p: Probability = 0.3
    """Probability."""


class PoissonNoise(Params):
    """Add photon shot noise, which grows with the square root of the intensity."""

    name: Literal["poisson_noise"]
    """Selects this transform."""
    photons: Annotated[
        tuple[Annotated[float, Field(ge=1, le=1e6)], Annotated[float, Field(ge=1, le=1e6)]],
        AfterValidator(_ascending),
    ] = (50.0, 1000.0)
    """Range of the photons that make intensity 1, drawn on a logarithmic scale; fewer photons, more noise."""
    p: Probability = 0.2
    """Probability."""


class Grain(Params):
    """Add noise of a few pixels' size, as in images that were enlarged or smoothed."""

    name: Literal["grain"]
    """Selects this transform."""
    sigma: Annotated[tuple[Share, Share], AfterValidator(_ascending)] = (0.02, 0.2)
    """Range of the standard deviation before enlarging [normalised intensity]."""
    p: Probability = 0.2
    """Probability."""


Transform = Annotated[
    Flip
    | Rotate90
    | Rotate
    | Scale
    | Elastic
    | Brightness
    | ObjectBrightness
    | Background
    | Shading
    | Haze
    | Saturation
    | Contrast
    | Gamma
    | IntensityShift
    | ChannelShift
    | GaussianBlur
    | GaussianNoise
    | PoissonNoise
    | Grain,
    Field(discriminator="name"),
]


class ContactSheetParams(Params):
    """The figure that shows what training will see."""

    n_samples: int = Field(default=6, ge=1, le=50)
    """Rows: training images, drawn at random."""
    n_variants: int = Field(default=6, ge=1, le=20)
    """Columns after the original: random variants of it."""
    patch_size: int = Field(default=256, ge=16, le=2048)
    """Side of the patch that is cut around an object [px]."""


class StyleParams(Params):
    """Synthetic images in the style of images without masks, from the pipeline style."""

    use: bool = False
    """Train on them too."""
    share: float = Field(default=0.3, gt=0, lt=1)
    """Share of the training patches that are cut from them [0..1]; few are used repeatedly, of many some are drawn."""
    dark: Literal["density", "keep"] = "density"
    """What is learnt from if their nuclei are dark: the optical density, as `predict` shows such images to a model that
    knows bright nuclei; or `keep` the images, if nuclei of the real training images are dark, too."""


class AugmentParams(Params):
    """Random changes of the training images."""

    transforms: list[Transform]
    """Transforms in the order they are applied; an empty list for none."""
    seed: int = Field(default=42, ge=0)
    """Seed of the changes, of which synthetic images are taken, and of the figure; where patches are cut is up to the
    seed of the training."""
    contact_sheet: ContactSheetParams = ContactSheetParams()
    """What the figure shows."""
    style: StyleParams = StyleParams()
    """Synthetic images to train on beside the real ones."""
