"""Segmentation model families behind one protocol, :class:`karyoseg.models.base.Segmenter`."""

from __future__ import annotations

from pathlib import Path

import fsspec
from fsspec.core import url_to_fs

from karyoseg.core.errors import KaryosegError
from karyoseg.core.image_files import is_url
from karyoseg.core.remote_folder import download_folder
from karyoseg.core.storage import storage_errors
from karyoseg.models.base import Segmenter

__all__ = ["download_model", "load_segmenter", "model_folder"]


def load_segmenter(name_or_path: str) -> Segmenter:
    """Open a model; its network is read at the first prediction.

    Parameters
    ----------
    name_or_path : str
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

    return StarDistSegmenter.load(model_folder(name_or_path))


def model_folder(name_or_path: str) -> Path:
    """Find the folder of a model on this disk, or bring it here.

    Parameters
    ----------
    name_or_path : str
        Folder, URL of a folder such as ``s3://bucket/models/stardist``, or name of a published StarDist model:
        ``2D_versatile_fluo``, ``2D_versatile_he``, ``2D_paper_dsb2018``.

    Returns
    -------
    Path
        Local folder; of a URL, a copy for as long as the process lives.

    Raises
    ------
    KaryosegError
        If there is no model at the URL, or it cannot be downloaded.
    """
    from karyoseg.models.stardist.pretrained import PRETRAINED, pretrained_folder

    if is_url(name_or_path):
        with storage_errors(name_or_path):
            fs, path = url_to_fs(name_or_path)
        return download_model(fs, path)
    folder = Path(name_or_path)
    return pretrained_folder(name_or_path) if not folder.exists() and name_or_path in PRETRAINED else folder


def download_model(fs: fsspec.AbstractFileSystem, path: str) -> Path:
    """Copy a model folder to this disk, for as long as the process lives.

    Parameters
    ----------
    fs : fsspec filesystem
        Where it is.
    path : str
        Its path there.

    Returns
    -------
    Path
        Local folder.

    Raises
    ------
    KaryosegError
        If there is none, or it is damaged.
    """
    folder = download_folder(fs, path.rstrip("/"))
    if not (folder / "config.json").is_file():
        raise KaryosegError(
            f"{fs.unstrip_protocol(path)}: no model there; needed: a model folder. Train one with `kedro run "
            f"--pipeline train`, or check the address."
        )
    return folder
