"""Segmentation model families behind one protocol, :class:`karyoseg.models.base.Segmenter`."""

from __future__ import annotations

from karyoseg.models.base import Segmenter
from karyoseg.models.resolve import bundled_models, download_model, model_folder

__all__ = ["bundled_models", "download_model", "load_segmenter", "model_folder"]


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
