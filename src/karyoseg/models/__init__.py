"""Segmentation model families behind one protocol, :class:`karyoseg.models.base.Segmenter`."""

from __future__ import annotations

from pathlib import Path

from karyoseg.models.base import Segmenter

__all__ = ["load_segmenter"]


def load_segmenter(name_or_path: str) -> Segmenter:
    """Open a model by the path of its folder or by the name of a published StarDist model.

    Parameters
    ----------
    name_or_path : str
        Folder, or one of ``2D_versatile_fluo``, ``2D_versatile_he``, ``2D_paper_dsb2018``.

    Returns
    -------
    Segmenter
        The model; its network is read at the first prediction.

    Raises
    ------
    KaryosegError
        If there is no such model.
    """
    from karyoseg.models.stardist.pretrained import PRETRAINED, pretrained_folder
    from karyoseg.models.stardist.segmenter import StarDistSegmenter

    folder = Path(name_or_path)
    if not folder.exists() and name_or_path in PRETRAINED:
        folder = pretrained_folder(name_or_path)
    return StarDistSegmenter.load(folder)
