"""Published StarDist models, kept in a local cache folder.

References
----------
.. [1] Weigert et al., stardist-models, https://github.com/stardist/stardist-models
"""

from __future__ import annotations

import os
from pathlib import Path

import pooch

from karyoseg.core.errors import KaryosegError
from karyoseg.core.io.archive import extract
from karyoseg.core.io.fetch import fetch
from karyoseg.models.stardist.architecture import CONFIG

_RELEASE = "https://github.com/stardist/stardist-models/releases/download/v0.1/python_{name}.zip"
_SHA256 = {
    "2D_versatile_fluo": "4ad678d0758eed6e55625f1b5ae30771e59adb79f1239e09b9772eac8846c3dd",
    "2D_versatile_he": "f1696ef0631bd7e1c0e5c0d3017e2b4c6a95e284c6aab9c22fc2f08317817b28",
    "2D_paper_dsb2018": "4c11cf68512341d9e8ce3d1278c64ceb8ac400582739f85fcab079a2e82840d2",
}
PRETRAINED = tuple(_SHA256)


def cache_folder() -> Path:
    """Return the folder of what is kept between runs: ``$KARYOSEG_CACHE``, else the user's cache folder."""
    return Path(os.environ.get("KARYOSEG_CACHE") or pooch.os_cache("karyoseg"))


def pretrained_folder(name: str, base_url: str = _RELEASE) -> Path:
    """Return the folder of a pretrained model, downloading it the first time.

    Parameters
    ----------
    name : str
        One of `PRETRAINED`.
    base_url : str
        URL with ``{name}`` in it.

    Returns
    -------
    Path
        StarDist model folder.

    Raises
    ------
    KaryosegError
        If the name is unknown, or the model is not in the cache and cannot be downloaded.
    """
    if name not in _SHA256:
        raise KaryosegError(
            f"model '{name}': not a registered pretrained model; needed: one of {', '.join(PRETRAINED)}. "
            f"Check the spelling, or give the path of a model folder."
        )
    cache = cache_folder() / "models"
    folder = cache / name
    if (folder / CONFIG).is_file():
        return folder
    url = base_url.format(name=name)
    try:
        archive = fetch(url, cache, sha256=_SHA256[name])
    except KaryosegError as error:
        raise KaryosegError(
            f"model '{name}': not in the cache {folder} and it cannot be downloaded ({error}). On a machine without "
            f"network, download {url} elsewhere and unpack it into {folder}, or set KARYOSEG_CACHE."
        ) from error
    unpacked = extract(Path(archive.path), folder, max_files=100, max_bytes=1_000_000_000)
    configs = sorted(unpacked.rglob(CONFIG))
    if not configs:
        raise KaryosegError(f"{archive.path}: holds no {CONFIG}; needed: a StarDist model. Delete it and try again.")
    return configs[0].parent
