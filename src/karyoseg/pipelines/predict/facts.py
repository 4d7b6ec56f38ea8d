"""What parameters and files say of an image, and what is kept beside its result; the same with and without blocks."""

from __future__ import annotations

from typing import Any

from karyoseg.core.preparation import ImageFacts, Preparation
from karyoseg.core.runs.privacy import public_url
from karyoseg.params.predict import PredictParams


def image_facts(params: PredictParams, where: str, pixel_size_um: float | None) -> ImageFacts:
    """Gather what is known about an image.

    Parameters
    ----------
    params : PredictParams
        All parameters; what they say counts first.
    where : str
        Path or URL of the image.
    pixel_size_um : float or None
        What its file says [um].

    Returns
    -------
    ImageFacts
        For the model.
    """
    pixel_size = params.pixel_size_um or pixel_size_um
    return ImageFacts(where, params.magnification, pixel_size, params.diameter_px, params.contrast)


def result_info(
    params: PredictParams, facts: ImageFacts, recipe: Preparation, scale: float, *, has_stains: bool
) -> dict[str, Any]:
    """Say how an image was segmented.

    Parameters
    ----------
    params : PredictParams
        All parameters.
    facts : ImageFacts
        What is known about the image.
    recipe : Preparation
        How it was prepared.
    scale : float
        Likewise [prepared px per px].
    has_stains : bool
        Whether it has several channels, and not those of colour pixels.

    Returns
    -------
    dict
        JSON-able, without passwords.
    """
    return {
        "source": public_url(facts.where),
        "model": public_url(params.model),
        "scale": scale,
        "pixel_size_um": facts.pixel_size_um,
        "optical_density": recipe.white is not None,
        "merged_channels": has_stains and recipe.mixes_channels,
    }
