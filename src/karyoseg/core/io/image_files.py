"""Opening image files anywhere, and the error that says what is wrong with one."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import fsspec

from karyoseg.core.errors import KaryosegError, Problem, causes
from karyoseg.core.io.storage import StorageError, storage_errors


class ImageError(KaryosegError):
    """One image file that cannot be used.

    Parameters
    ----------
    where : str
        File, as the user named it; see :class:`karyoseg.core.errors.Problem`.
    found : str
        What is there.
    needed : str
        What karyoseg needs instead.
    advice : str
        What the user can do.
    """

    def __init__(self, where: str, found: str, needed: str, advice: str):
        self.problem = Problem(where, found, needed, advice)
        super().__init__(str(self.problem))

    def __reduce__(self) -> tuple[type[ImageError], tuple[str, ...]]:
        # Pickled when it comes from another process.
        return type(self), (self.problem.where, self.problem.found, self.problem.needed, self.problem.advice)


@contextmanager
def image_errors(where: str, found: str, needed: str, advice: str) -> Iterator[None]:
    """Turn whatever a decoding library raises into an :class:`ImageError`.

    Parameters
    ----------
    where, found, needed, advice : str
        The problem; the library's own message is added to `found`.

    Raises
    ------
    ImageError
        In place of any foreign exception. Errors of ours pass unchanged.
    """
    try:
        yield
    except KaryosegError:
        raise
    except MemoryError as error:
        raise ImageError(
            where, "too large for the memory of this machine", "free memory", "Crop or downsample the image."
        ) from error
    except Exception as error:
        text = " ".join(str(error).split())[:200] or type(error).__name__
        raise ImageError(where, f"{found} ({text})", needed, advice) from error


def is_url(path: str) -> bool:
    """Tell whether a path is an fsspec URL such as ``s3://bucket/a.tif`` or ``zip://a.tif::b.zip``.

    Parameters
    ----------
    path : str
        Path or URL.

    Returns
    -------
    bool
        True for a URL.
    """
    return "://" in path


def open_binary(path: str) -> BinaryIO:
    """Open a local file, or read a remote one into memory.

    Parameters
    ----------
    path : str
        Path or fsspec URL.

    Returns
    -------
    BinaryIO
        Seekable and not empty.

    Raises
    ------
    ImageError
        If the file is missing, unreadable or has no bytes.
    StorageError
        If the server or object store fails: that is no fault of the file.
    """
    stream: BinaryIO
    try:
        if is_url(path):
            with storage_errors(path), fsspec.open(path, "rb") as remote:
                stream = io.BytesIO(remote.read())
        else:
            stream = Path(path).open("rb")  # noqa: SIM115
    except StorageError:
        raise
    except FileNotFoundError as error:
        if is_url(path):
            _require_answer(path, error)
        raise ImageError(path, "no such file", "an image file", "Check the path.") from error
    except Exception as error:
        text = " ".join(str(error).split())[:200] or type(error).__name__
        raise ImageError(
            path,
            f"cannot be opened ({text})",
            "a readable file",
            "Check permissions, credentials and the network.",
        ) from error
    if stream.seek(0, io.SEEK_END) == 0:
        stream.close()
        raise ImageError(path, "an empty file (0 bytes)", "an image file", "Copy or export the image again.")
    stream.seek(0)
    return stream


def _require_answer(path: str, error: FileNotFoundError) -> None:
    """Tell a server that says there is no such file from one that says nothing: to fsspec both are the former."""
    from aiohttp import ClientConnectionError  # takes a while, and only URLs need it

    for cause in causes(error):
        if isinstance(cause, ClientConnectionError | TimeoutError):
            found = f"the server does not answer ({str(cause) or type(cause).__name__})"
            advice = "Check the address and the network, or try again later."
            raise StorageError(str(Problem(path, found, "a server that can be reached", advice))) from error
