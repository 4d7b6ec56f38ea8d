"""Reading, listing and writing whole files on any fsspec filesystem; a half-written one never looks whole."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fsspec
from kedro.io.core import DatasetError, get_protocol_and_path

from karyoseg.core.errors import KaryosegError
from karyoseg.core.io.files import replacing
from karyoseg.core.io.storage import storage_errors, storage_problem

#: What to do if a file of an earlier pipeline is missing.
RUN_EARLIER = (
    "Run the pipelines in order: download, preprocess, augment, train, evaluate, visualize. What the others need and "
    "write is in docs/reference/pipelines.md."
)


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


def shown(fs: fsspec.AbstractFileSystem, path: str) -> str:
    """Return a path as users write it: with its protocol, unless it is local.

    Parameters
    ----------
    fs : fsspec filesystem
        Where it is.
    path : str
        Path without protocol.
    """
    return path if is_local(fs) else str(fs.unstrip_protocol(path))


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
    with write_errors(shown(fs, path)):
        if is_local(fs):
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            with replacing(Path(path)) as part:
                part.write_bytes(content)
        else:
            fs.pipe_file(path, content)


@contextmanager
def write_errors(path: str) -> Iterator[None]:
    """Say what to do if a place cannot be written.

    Parameters
    ----------
    path : str
        What is written.

    Raises
    ------
    KaryosegError
        In place of an OSError and of what object stores answer.
    """
    try:
        with storage_errors(path):
            yield
    except (OSError, DatasetError) as error:
        cause = error.__cause__ if isinstance(error, DatasetError) else error  # Kedro wraps what `save` raises
        if not isinstance(cause, OSError):
            raise
        raise KaryosegError(
            f"{path}: cannot be written ({cause.strerror or cause}); needed: a writable place with free space. "
            f"Check permissions and disk, or choose another path."
        ) from error


def read_whole(fs: fsspec.AbstractFileSystem, path: str) -> bytes:
    """Read a file.

    Parameters
    ----------
    fs : fsspec filesystem
        Where it is.
    path : str
        Its path.

    Returns
    -------
    bytes
        All of it.

    Raises
    ------
    OSError
        If the file is missing or unreadable.
    KaryosegError
        If the object store cannot be reached or refuses.
    """
    with storage_errors(shown(fs, path)):
        content: bytes = fs.cat_file(path)
    return content


def remove(fs: fsspec.AbstractFileSystem, path: str) -> None:
    """Delete a file.

    Parameters
    ----------
    fs : fsspec filesystem
        Where it is.
    path : str
        Its path.

    Raises
    ------
    KaryosegError
        If it cannot be deleted.
    """
    with write_errors(shown(fs, path)):
        fs.rm_file(path)


def list_names(fs: fsspec.AbstractFileSystem, folder: str) -> set[str]:
    """List the files of a folder as they are now, with one listing however many there are.

    Parameters
    ----------
    fs : fsspec filesystem
        Where it is.
    folder : str
        Its path.

    Returns
    -------
    set of str
        Names, also of links to files (DVC may put them in place of files); empty if there is no such folder.

    Raises
    ------
    KaryosegError
        If the object store cannot be reached or refuses.
    """
    fs.invalidate_cache(folder)
    with storage_errors(shown(fs, folder)):
        try:
            entries = fs.ls(folder, detail=True)
        except (FileNotFoundError, NotADirectoryError) as error:
            if storage_problem(folder, error):  # a missing bucket is no empty folder
                raise
            return set()
    files = (e for e in entries if e["type"] == "file" or (e.get("islink") and fs.isfile(e["name"])))
    return {str(entry["name"]).rstrip("/").rsplit("/", 1)[-1] for entry in files}
