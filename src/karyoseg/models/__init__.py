"""Segmentation model families behind one protocol, :class:`karyoseg.models.base.Segmenter`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from karyoseg.models.base import Segmenter
from karyoseg.models.resolve import bundled_models, download_model, model_folder

if TYPE_CHECKING:
    from karyoseg.models.unet import ForegroundModel

__all__ = ["bundled_models", "download_model", "load_foreground", "load_segmenter", "model_folder"]


def load_segmenter(model: str) -> Segmenter:
    """Open a model; its network is read at the first prediction.

    Parameters
    ----------
    model : str
        As for :func:`model_folder`.

    Returns
    -------
    Segmenter
        The model.

    Raises
    ------
    KaryosegError
        If there is no such model.
    """
    from karyoseg.models.stardist.segmenter import StarDistSegmenter

    return StarDistSegmenter.load(model_folder(model))


def load_foreground(model: str) -> ForegroundModel:
    """Open a foreground model; its networks are read at the first prediction.

    Parameters
    ----------
    model : str
        As for :func:`model_folder` with `foreground`.

    Returns
    -------
    ForegroundModel
        The model.

    Raises
    ------
    KaryosegError
        If there is no such model.
    """
    from karyoseg.models.unet import ForegroundModel

    return ForegroundModel.load(model_folder(model, foreground=True))
