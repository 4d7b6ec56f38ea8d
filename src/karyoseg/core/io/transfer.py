"""Move bytes from a server or bucket to this disk; tell failures that may pass from those that will not."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import fsspec
import requests
from pooch import HTTPDownloader

from karyoseg.core.errors import KaryosegError
from karyoseg.core.io.storage import storage_errors
from karyoseg.core.progress import Progress
from karyoseg.core.runs.privacy import public_url

logger = logging.getLogger(__name__)

T = TypeVar("T")
_CHUNK = 1 << 20
_LONGEST_PAUSE = 30.0
_SERVER_ERROR = 500
_BUSY = {408, 425, 429}


class Transient(Exception):
    """A failure that another try may mend."""


def retry(action: Callable[[], T], shown: str, retries: int, pause: float) -> T:
    """Run an action, again after a growing pause when it fails in a way that may pass.

    Parameters
    ----------
    action : callable
        Raises :class:`Transient` when another try makes sense.
    shown : str
        What is fetched, for messages.
    retries : int
        How many more times to try.
    pause : float
        Seconds before the second try; doubled for each further one, at most 30.

    Returns
    -------
    object
        What `action` returns.

    Raises
    ------
    KaryosegError
        If the last try fails too.
    """
    for attempt in range(retries + 1):
        try:
            return action()
        except Transient as error:
            if attempt == retries:
                raise KaryosegError(
                    f"Cannot download {shown}: {error} (tried {retries + 1} times). Check the network and "
                    "the address, or run again later."
                ) from error
            wait = min(pause * 2**attempt, _LONGEST_PAUSE)
            logger.warning("%s: %s; trying again in %.0f s.", shown, error, wait)
            time.sleep(wait)
    raise ValueError(f"retries must not be negative, got {retries}")


def download(url: str, part: Path, timeout: float) -> None:
    """Write the bytes behind a URL to a file, with a progress bar.

    Parameters
    ----------
    url : str
        http(s) or any other fsspec URL of a file.
    part : Path
        Where to write; overwritten.
    timeout : float
        Seconds without a byte before an http server counts as gone.

    Raises
    ------
    Transient
        If another try may help.
    KaryosegError
        If it will not.
    """
    if urlsplit(url).scheme in ("http", "https"):
        _download_http(url, part, timeout)
    else:
        copy_file(url, part)


def _download_http(url: str, part: Path, timeout: float) -> None:
    """Download with pooch's downloader; a body shorter than announced raises, as urllib3 counts the bytes."""
    shown = public_url(url)
    with Progress(desc=f"downloading {shown}", unit="B", unit_scale=True) as bar:
        # Without compression on the way, progress and length are those of the file.
        headers = {"Accept-Encoding": "identity"}
        get = HTTPDownloader(progressbar=bar, chunk_size=_CHUNK, timeout=timeout, headers=headers)
        try:
            get(url, str(part), None)
        except requests.HTTPError as error:
            status = error.response.status_code
            said = f"the server answered {status} {error.response.reason}"
            if status >= _SERVER_ERROR or status in _BUSY:
                raise Transient(said) from error
            raise KaryosegError(
                f"Cannot download {shown}: {said}. Check the address: is it complete, has the file moved, does "
                "it need a login?"
            ) from error
        except requests.exceptions.Timeout as error:
            raise Transient(f"no answer within {timeout:g} s") from error
        except requests.exceptions.ChunkedEncodingError as error:
            raise Transient("the connection was closed before the whole file had arrived") from error
        except requests.exceptions.ConnectionError as error:
            raise Transient(f"no connection ({_reason(error)})") from error
        except (requests.RequestException, UnicodeError) as error:
            raise KaryosegError(f"Cannot download {shown}: {_reason(error)}. Check the address.") from error


def _reason(error: BaseException) -> str:
    """Give the innermost cause that a network library wraps, without object addresses and URL queries."""
    inner: Any = error
    while True:
        causes = (getattr(inner, "reason", None), *getattr(inner, "args", ()))
        deeper = next((cause for cause in causes if isinstance(cause, BaseException)), None)
        if deeper is None:
            break
        inner = deeper
    text = re.sub(r"<[^>]*>|\w*Connection\([^)]*\):?|\?\S*", "", str(inner))
    return text.strip(" :") or type(inner).__name__


def _filesystem(url: str) -> tuple[Any, str]:
    try:
        with storage_errors(public_url(url)):
            return fsspec.core.url_to_fs(url)
    except KaryosegError:
        raise
    except Exception as error:  # each back-end has its own: unknown protocol, missing package, credentials
        raise KaryosegError(
            f"Cannot open {public_url(url)}: {error}. Needed: a path, http(s) or another fsspec URL such as "
            "s3://bucket/data.zip; a protocol may need its own package and credentials."
        ) from error


@contextmanager
def _remote_errors(shown: str) -> Iterator[None]:
    """Translate what a foreign file system raises."""
    try:
        with storage_errors(shown):
            yield
    except (KaryosegError, Transient):
        raise
    except FileNotFoundError as error:
        raise KaryosegError(f"{shown} does not exist. Check the address.") from error
    except PermissionError as error:
        raise KaryosegError(f"{shown} may not be read: {error}. Check the credentials of this storage.") from error
    except OSError as error:
        raise Transient(f"{type(error).__name__}: {error}") from error
    except Exception as error:  # each back-end has its own
        raise KaryosegError(
            f"{shown} cannot be read: {type(error).__name__}: {error}. Check address and credentials."
        ) from error


def copy_file(url: str, target: Path) -> None:
    """Copy one file of an fsspec file system; whether all of it came is decided by its announced size.

    Parameters
    ----------
    url : str
        fsspec URL of a file.
    target : Path
        Where to write; overwritten.

    Raises
    ------
    Transient
        If another try may help.
    KaryosegError
        If it will not.
    """
    shown = public_url(url)
    fs, path = _filesystem(url)
    with _remote_errors(shown):
        size = fs.size(path)
        remote = fs.open(path, "rb")
    bar = Progress(desc=f"downloading {target.name}", total=size, unit="B", unit_scale=True)
    with remote, bar, target.open("wb") as local:
        while True:
            with _remote_errors(shown):
                chunk = remote.read(_CHUNK)
            if not chunk:
                break
            local.write(chunk)
            bar.update(len(chunk))
    if size is not None and target.stat().st_size != size:
        raise Transient(f"{target.stat().st_size} of {size} bytes arrived")


def list_folder(url: str) -> dict[str, str] | None:
    """List a folder of an fsspec file system.

    Parameters
    ----------
    url : str
        fsspec URL.

    Returns
    -------
    dict of str to str, or None
        Relative name and URL of each file, subfolders included; None if the URL is not a folder.

    Raises
    ------
    Transient
        If another try may help.
    KaryosegError
        If it will not.
    """
    fs, path = _filesystem(url)
    with _remote_errors(public_url(url)):
        if not fs.isdir(path):
            return None
        files = [str(file) for file in fs.find(path)]
    start = path.rstrip("/") + "/"
    return {file.removeprefix(start): fs.unstrip_protocol(file) for file in files}
