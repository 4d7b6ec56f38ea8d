"""A folder on an object store that is replaced as a whole, as object stores themselves cannot.

The new files first go below ``.upload/``, their index (name and sha256 of each) last. From then on the new folder
counts: it is copied over the earlier files by the store itself, and ``.upload/`` is removed. A reader takes
``.upload/`` if it has an index, so at no moment, and after no kill, does it get a mixture. Folders that others copied
to the store have no index and are read as they are.
"""

from __future__ import annotations

import atexit
import json
import logging
import shutil
import tempfile
from pathlib import Path
from typing import NamedTuple

import fsspec

from karyoseg.core.errors import KaryosegError
from karyoseg.core.io.archive import file_sha256
from karyoseg.core.io.storage import storage_errors

logger = logging.getLogger(__name__)

INDEX = ".index.json"
_UPLOAD = ".upload"

Index = dict[str, str]
"""Name of a file in the folder, with ``/``, and its sha256."""


def upload_folder(source: Path, fs: fsspec.AbstractFileSystem, path: str) -> None:
    """Replace a remote folder; until all is there, and if the upload is cut off, the earlier one stays.

    Parameters
    ----------
    source : Path
        Local folder.
    fs : fsspec filesystem
        Where to write.
    path : str
        Remote folder. Files in it that an earlier call did not write are left alone.

    Raises
    ------
    KaryosegError
        If the store cannot be reached or refuses.
    """
    files = sorted(file for file in source.rglob("*") if file.is_file())
    index = {file.relative_to(source).as_posix(): file_sha256(file) for file in files}
    upload = f"{path}/{_UPLOAD}"
    with storage_errors(str(fs.unstrip_protocol(path))):
        _finish(fs, path)  # what a killed upload left
        for name in index:
            fs.put_file(str(source / name), f"{upload}/{name}")
        fs.pipe_file(f"{upload}/{INDEX}", json.dumps(index, indent=1).encode())
        _finish(fs, path)
    logger.info("Uploaded %d files to %s", len(index), fs.unstrip_protocol(path))


def download_folder(fs: fsspec.AbstractFileSystem, path: str) -> Path:
    """Copy a remote folder to this disk, for as long as this process lives, and verify it.

    Parameters
    ----------
    fs : fsspec filesystem
        Where it is.
    path : str
        Remote folder.

    Returns
    -------
    Path
        Local folder; empty if there is nothing at the path.

    Raises
    ------
    KaryosegError
        If the store cannot be reached or refuses, or a file is not the one that was uploaded.
    """
    url = str(fs.unstrip_protocol(path))
    local = Path(tempfile.mkdtemp(prefix="karyoseg-"))
    atexit.register(shutil.rmtree, local, ignore_errors=True)
    with storage_errors(url):
        remote = _look(fs, path)
        missing = sorted(remote.sums.keys() - remote.names)
        for name in remote.names:
            (local / name).parent.mkdir(parents=True, exist_ok=True)
            try:
                fs.get_file(f"{remote.folder}/{name}", str(local / name))
            except FileNotFoundError:  # it was there a moment ago
                missing.append(name)
    damaged = [*missing, *(name for name, mark in remote.sums.items() if not _is(local / name, mark))]
    if damaged:
        raise KaryosegError(
            f"{url}: {', '.join(dict.fromkeys(damaged))} missing or changed since the upload; needed: the files as "
            f"they were written. If they are being replaced just now, run again; else write them again (for a model: "
            f"`kedro run --pipeline train`). If you changed them on purpose, delete {INDEX} there."
        )
    return local


def folder_has(fs: fsspec.AbstractFileSystem, path: str, name: str) -> bool:
    """Tell whether a remote folder has a file.

    Parameters
    ----------
    fs : fsspec filesystem
        Where it is.
    path : str
        Remote folder.
    name : str
        The file.

    Returns
    -------
    bool
        True if it has.
    """
    with storage_errors(str(fs.unstrip_protocol(path))):
        return name in _look(fs, path).names


class _Remote(NamedTuple):
    folder: str
    names: set[str]
    sums: Index


def _look(fs: fsspec.AbstractFileSystem, path: str) -> _Remote:
    """Find the files that count; one listing."""
    names = _find(fs, path)
    if f"{_UPLOAD}/{INDEX}" in names:
        index = _read_index(fs, f"{path}/{_UPLOAD}")
        return _Remote(f"{path}/{_UPLOAD}", {name for name in index if f"{_UPLOAD}/{name}" in names}, index)
    index = _read_index(fs, path) if INDEX in names else {}
    present = {name for name in names if not name.startswith(f"{_UPLOAD}/")}
    return _Remote(path, present & index.keys() if index else present, index)


def _finish(fs: fsspec.AbstractFileSystem, path: str) -> None:
    """Put a complete upload in the place of the earlier files; drop an incomplete one."""
    names, upload = _find(fs, path), f"{path}/{_UPLOAD}"
    if f"{_UPLOAD}/{INDEX}" in names:
        earlier = _read_index(fs, path) if INDEX in names else {}
        index = _read_index(fs, upload)
        for name in [*index, INDEX]:
            fs.cp_file(f"{upload}/{name}", f"{path}/{name}")
        for name in (earlier.keys() - index.keys()) & names:
            fs.rm_file(f"{path}/{name}")
        fs.rm_file(f"{upload}/{INDEX}")  # from here on the folder itself counts
    for name in names:
        if name.startswith(f"{_UPLOAD}/") and name != f"{_UPLOAD}/{INDEX}":
            fs.rm_file(f"{path}/{name}")


def _find(fs: fsspec.AbstractFileSystem, path: str) -> set[str]:
    fs.invalidate_cache()
    start = path.rstrip("/") + "/"
    return {str(file).removeprefix(start) for file in fs.find(path)}


def _read_index(fs: fsspec.AbstractFileSystem, folder: str) -> Index:
    index: Index = json.loads(fs.cat_file(f"{folder}/{INDEX}"))
    return index


def _is(file: Path, sha256: str) -> bool:
    return file.is_file() and file_sha256(file) == sha256
