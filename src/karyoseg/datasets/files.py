"""Writing files so that a half-written one never looks whole, on any fsspec filesystem."""

from __future__ import annotations

import posixpath
from typing import Any

import fsspec
from kedro.io.core import get_protocol_and_path

from karyoseg.core.errors import KaryosegError

PART_SUFFIX = ".part"


def open_filesystem(
    filepath: str, credentials: dict[str, Any] | None, fs_args: dict[str, Any] | None
) -> tuple[fsspec.AbstractFileSystem, str]:
    """Return the filesystem and the path on it.

    Parameters
    ----------
    filepath : str
        Local path or fsspec URL.
    credentials, fs_args : dict, optional
        Arguments of the filesystem.

    Returns
    -------
    tuple
        Filesystem and path without protocol.
    """
    protocol, path = get_protocol_and_path(filepath)
    options = {**(credentials or {}), **(fs_args or {})}
    if protocol == "file":
        options.setdefault("auto_mkdir", True)
    return fsspec.filesystem(protocol, **options), path


def is_local(fs: fsspec.AbstractFileSystem) -> bool:
    """Tell whether a filesystem is the local disk.

    Parameters
    ----------
    fs : fsspec filesystem
        Any filesystem.
    """
    return "file" in ((fs.protocol,) if isinstance(fs.protocol, str) else fs.protocol)


def write_whole(fs: fsspec.AbstractFileSystem, path: str, content: bytes) -> None:
    """Write bytes under a temporary name, then rename.

    Object stores show an object only when its upload is complete, so there the temporary name is not needed.

    Parameters
    ----------
    fs : fsspec filesystem
        Where to write.
    path : str
        Final path.
    content : bytes
        The whole file.

    Raises
    ------
    KaryosegError
        If the place cannot be written.
    """
    try:
        if is_local(fs):
            fs.makedirs(posixpath.dirname(path), exist_ok=True)
            fs.pipe_file(path + PART_SUFFIX, content)
            fs.mv(path + PART_SUFFIX, path)
        else:
            fs.pipe_file(path, content)
    except OSError as error:
        raise KaryosegError(
            f"{path}: cannot be written ({error.strerror or error}); needed: a writable place with free space. "
            f"Check permissions and disk, or choose another path."
        ) from error
