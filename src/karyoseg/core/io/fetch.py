"""Bring a data set to this disk: once, whole, and verified.

An archive is downloaded to ``<name>.part`` and renamed only after its length and checksum hold, so a file
under its final name is complete. The checksum is pinned by the user or, failing that, recorded beside the
file after the first download (``<name>.sha256``, readable by ``sha256sum --check``) and compared on every
later run.
"""

from __future__ import annotations

import hashlib
import logging
import re
import shutil
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from fsspec.core import split_protocol

from karyoseg.core.errors import KaryosegError
from karyoseg.core.io.archive import check_archive, file_sha256
from karyoseg.core.io.archive_members import unsafe_name
from karyoseg.core.io.files import alone, replace_text, replacing
from karyoseg.core.io.transfer import copy_file, download, list_folder, retry
from karyoseg.core.progress import Progress
from karyoseg.core.runs.privacy import public_url

logger = logging.getLogger(__name__)

TIMEOUT = 30.0
"""Seconds without a byte from the server before a try counts as failed."""


@dataclass(frozen=True)
class Fetched:
    """A data set on this disk.

    Parameters
    ----------
    path : Path
        The archive, or the folder.
    sha256 : str
        Checksum of the archive; empty for a local folder, whose files are hashed one by one later.
    url : str
        Where it came from, without user names, passwords and signatures.
    """

    path: Path
    sha256: str
    url: str


def cache_name(url: str) -> str:
    """Name the local copy of a URL: its last part plus eight digits that tell equal names of two URLs apart.

    Parameters
    ----------
    url : str
        Any URL.

    Returns
    -------
    str
        A safe file name.

    Examples
    --------
    >>> cache_name("https://example.org/files/dataset.zip")
    'dataset-3ba15bb6.zip'
    """
    last = unquote(PurePosixPath(urlsplit(url).path).name) or "dataset"
    stem, dot, suffix = last.partition(".")
    safe = re.sub(r"[^A-Za-z0-9_-]+", "_", stem)[:80] or "dataset"
    digest = hashlib.sha256(url.encode()).hexdigest()[:8]
    return f"{safe}-{digest}" + re.sub(r"[^A-Za-z0-9.]+", "_", (dot + suffix)[-20:])


def fetch(
    url: str,
    directory: Path,
    sha256: str | None = None,
    retries: int = 3,
    pause: float = 1.0,
    timeout: float = TIMEOUT,
) -> Fetched:
    """Make a data set available on this disk; nothing is transferred twice.

    Parameters
    ----------
    url : str
        http(s), any other fsspec URL (``s3://``, ``memory://`` ...), ``file://`` or a plain path. A local
        file or folder is used where it is.
    directory : Path
        Where downloads are kept.
    sha256 : str, optional
        Known checksum of the archive. Without it, the checksum of the first download is recorded and must
        hold later.
    retries : int
        How many more times to try after a lost connection or a busy server.
    pause : float
        Seconds before the second try; doubled for each further one.
    timeout : float
        Seconds without a byte from an http server before a try counts as failed.

    Returns
    -------
    Fetched
        Local path, checksum and origin.

    Raises
    ------
    KaryosegError
        If the data set cannot be reached, is not what was promised, or cannot be written.
    """
    protocol, rest = split_protocol(url)
    if protocol in (None, "file", "local"):
        return _local(Path(rest).expanduser(), sha256)
    directory = Path(directory)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with alone(directory / cache_name(url)):
            if protocol not in ("http", "https"):
                remote_folder = _fetch_folder(url, directory, sha256, retries, pause)
                if remote_folder is not None:
                    return remote_folder
            return _fetch_file(url, directory / cache_name(url), sha256, retries, pause, timeout)
    except OSError as error:
        raise KaryosegError(
            f"Cannot write {public_url(url)} into {directory}: {error}. Needed: a writable folder with "
            "enough free space. Choose another one, or free some space."
        ) from error


def _local(path: Path, sha256: str | None) -> Fetched:
    """Check a file or folder that is already here; it is neither copied nor changed."""
    if path.is_dir():
        if sha256:
            raise KaryosegError(
                f"{path} is a folder, but a checksum is given. A checksum needs one archive file: remove it, or "
                "give the archive."
            )
        return Fetched(path, "", str(path))
    if not path.exists():
        raise KaryosegError(
            f"{path.absolute()} does not exist. Needed: a folder or an archive (zip, tar). Check the path; a "
            "relative one starts at the folder where the command is run."
        )
    try:
        check_archive(path, str(path))
        found = file_sha256(path)
    except OSError as error:
        raise KaryosegError(f"{path} cannot be read: {error}. Check its permissions.") from error
    _require(found, sha256, str(path))
    return Fetched(path, found, str(path))


def _require(found: str, wanted: str | None, where: str) -> None:
    if wanted and found != wanted.lower():
        raise KaryosegError(
            f"{where} has the wrong checksum: found sha256 {found}, needed {wanted.lower()}. Either the file was "
            "damaged or changed on its way, or the checksum belongs to another version: compare it with the "
            "one its publisher states."
        )


def _record_path(target: Path) -> Path:
    return target.with_name(target.name + ".sha256")


def _recorded(target: Path) -> str | None:
    """Read the checksum noted after the first download, if any."""
    try:
        words = _record_path(target).read_text("utf-8", errors="replace").split()
    except FileNotFoundError:
        return None
    if not words or not re.fullmatch("[0-9a-f]{64}", words[0]):
        logger.warning("%s holds no checksum and is written anew.", _record_path(target))
        return None
    return words[0]


def _write_record(target: Path, sha256: str) -> None:
    replace_text(_record_path(target), f"{sha256}  {target.name}\n")


def _fetch_file(url: str, target: Path, pin: str | None, retries: int, pause: float, timeout: float) -> Fetched:
    """Return the cached copy when its checksum holds, else download it."""
    shown = public_url(url)
    recorded = _recorded(target)
    if target.exists():
        found = file_sha256(target)
        wanted = (pin or recorded or found).lower()
        if found == wanted:
            if recorded != found:
                logger.warning("No valid checksum beside %s; recorded it now: %s.", target, found)
                _write_record(target, found)
            return Fetched(target, found, shown)
        logger.warning("%s is not the file with sha256 %s (found %s); downloading it again.", target, wanted, found)
    with replacing(target) as part:
        retry(partial(download, url, part, timeout), shown, retries, pause)
        check_archive(part, shown)
        found = file_sha256(part)
        _require(found, pin, shown)
        if not pin and recorded and found != recorded:
            raise KaryosegError(
                f"{shown} has changed: sha256 was {recorded} at the first download, now it is {found}. If "
                f"the new version is wanted, delete {_record_path(target)} and run again; else restore the "
                f"old file as {target}."
            )
        _write_record(target, found)
    logger.info("Downloaded %s (%.1f MB), sha256 %s.", shown, target.stat().st_size / 1e6, found)
    return Fetched(target, found, shown)


def _fetch_folder(url: str, directory: Path, pin: str | None, retries: int, pause: float) -> Fetched | None:
    """Copy a remote folder file by file; None if the URL is not a folder.

    The folder gets its final name when all files are there. Its files are hashed one by one later.
    """
    shown = public_url(url)
    target = directory / cache_name(url)
    if target.is_dir():
        copied = datetime.fromtimestamp(target.stat().st_mtime).astimezone()
        logger.warning(
            "%s: using the copy of %s; to fetch again what has changed since, delete %s",
            shown,
            f"{copied:%Y-%m-%d %H:%M}",
            target,
        )
        return Fetched(target, "", shown)
    if target.is_file() or pin:
        return None
    files = retry(partial(list_folder, url), shown, retries, pause)
    if files is None:
        return None
    for name in files:
        if reason := unsafe_name(name):
            raise KaryosegError(f"{shown} holds a file named {name!r}: {reason}. Rename or remove it.")
    part = target.with_name(target.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    for name in Progress(files, desc=f"downloading {target.name}", unit="file"):
        (part / name).parent.mkdir(parents=True, exist_ok=True)
        retry(partial(copy_file, files[name], part / name), f"{shown}/{name}", retries, pause)
    part.replace(target)
    return Fetched(target, "", shown)
