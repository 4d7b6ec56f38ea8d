"""Unpack a downloaded archive without trusting it.

Every member is judged before the first byte is written, so a refused archive leaves nothing behind; what
passes is unpacked into a temporary folder that gets its final name when complete.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tarfile
import zipfile
import zlib
from contextlib import closing
from lzma import LZMAError
from pathlib import Path
from typing import IO, Any

from karyoseg.core.errors import KaryosegError
from karyoseg.core.io.archive_members import plan_members, tar_members, zip_members
from karyoseg.core.io.files import alone, replace_folder
from karyoseg.core.progress import Progress

MARKER = ".karyoseg-extracted.json"
"""Written last: a folder without it was not unpacked completely by this module."""
_CHUNK = 1 << 20
_READ_ERRORS = (
    zipfile.BadZipFile, tarfile.TarError, zlib.error, LZMAError, EOFError, NotImplementedError, OSError,
    RuntimeError,
)  # fmt: skip


def file_sha256(path: Path) -> str:
    """Hash a file.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    str
        64 hexadecimal digits.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_archive(path: Path, shown: str) -> None:
    """Refuse a file that is not a whole zip or tar archive, saying what it looks like instead.

    Parameters
    ----------
    path : Path
        The file.
    shown : str
        Name for the message, for example the URL.

    Raises
    ------
    KaryosegError
        If the file is empty, truncated or something else.
    """
    if path.stat().st_size == 0:
        raise KaryosegError(
            f"{shown} is empty (0 bytes). Needed: a zip or tar archive. The source is broken or the upload "
            "was cut: fetch it again or ask its publisher."
        )
    if zipfile.is_zipfile(path) or tarfile.is_tarfile(path):
        return
    with path.open("rb") as file:
        head = file.read(512)
    if head.startswith(b"PK\x03\x04"):
        found = "a zip archive whose end is missing (truncated)"
    elif head.lstrip().lower().startswith((b"<!doctype", b"<html")):
        found = "a web page (is this the address of the file itself, and does it need a login?)"
    else:
        found = f"not an archive (it starts with {head[:8]!r})"
    raise KaryosegError(
        f"{shown} is {found}. Needed: a complete zip or tar archive, or a folder. Check the address and fetch it again."
    )


def _write(source: IO[bytes], target: Path, size: int) -> None:
    """Copy a member; more bytes than declared mean a forged header."""
    target.parent.mkdir(parents=True, exist_ok=True)
    left = size
    with target.open("xb") as file:
        while chunk := source.read(_CHUNK):
            left -= len(chunk)
            if left < 0:
                raise zipfile.BadZipFile(f"{target.name} is larger than declared")
            file.write(chunk)
    if left:
        raise EOFError(f"{target.name} ends {left} bytes early")


def _contents(directory: Path) -> tuple[int, int]:
    """Count files and bytes below a folder, the marker aside."""
    sizes = [p.stat().st_size for p in directory.rglob("*") if p.is_file() and p.name != MARKER]
    return len(sizes), sum(sizes)


def _is_done(directory: Path, sha256: str) -> bool:
    """Tell whether the folder holds this very archive, with nothing lost since; additions do not matter."""
    try:
        note = json.loads((directory / MARKER).read_text("utf-8"))
        files, size = _contents(directory)
        return bool(note["sha256"] == sha256 and files >= note["files"] and size >= note["bytes"])
    except (OSError, ValueError, KeyError, TypeError):
        return False


def extract(
    archive: Path,
    directory: Path,
    *,
    sha256: str | None = None,
    max_files: int = 200_000,
    max_bytes: int = 100 * 10**9,
) -> Path:
    """Unpack a zip or tar archive once, safely and completely.

    Parameters
    ----------
    archive : Path
        zip, tar, tar.gz, tar.bz2 or tar.xz.
    directory : Path
        Target folder. It appears when everything is unpacked. If it holds the same archive already, nothing
        is done.
    sha256 : str, optional
        Checksum of the archive, noted in the folder; computed when not given.
    max_files : int
        Refuse archives with more files.
    max_bytes : int
        Refuse archives that unpack to more bytes, declared or actual.

    Returns
    -------
    Path
        `directory`.

    Raises
    ------
    ProblemReport
        If members are refused: absolute or climbing paths, links, devices, encryption, duplicates, limits.
    KaryosegError
        If the archive is damaged or the folder cannot be written.
    """
    if not archive.is_file():
        raise KaryosegError(f"{archive} does not exist. Needed: a zip or tar archive. Check the path.")
    sha256 = sha256 or file_sha256(archive)
    if _is_done(directory, sha256):
        return directory
    check_archive(archive, str(archive))
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise KaryosegError(f"Cannot unpack into {directory.parent}: {error}. Needed: a writable folder.") from error
    with alone(directory):
        if not _is_done(directory, sha256):
            _extract(archive, directory, sha256, max_files, max_bytes)
    return directory


def _extract(archive: Path, directory: Path, sha256: str, max_files: int, max_bytes: int) -> None:
    """Unpack beside the target, and rename."""
    if directory.exists() and not (directory / MARKER).exists() and any(directory.iterdir()):
        raise KaryosegError(
            f"{directory} exists and was not unpacked by karyoseg, so it is left alone. Move it away, or use it "
            "in place of the archive."
        )
    part = directory.with_name(directory.name + ".part")
    try:
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir()
    except OSError as error:
        raise KaryosegError(f"Cannot unpack into {directory.parent}: {error}. Needed: a writable folder.") from error
    try:
        _unpack(archive, part, max_files, max_bytes)
        files, size = _contents(part)
        (part / MARKER).write_text(json.dumps({"sha256": sha256, "files": files, "bytes": size}), "utf-8")
        replace_folder(directory, part)
    except _READ_ERRORS as error:
        raise KaryosegError(
            f"{archive} cannot be unpacked: {error or type(error).__name__}. Needed: an undamaged archive "
            f"and enough free space in {directory.parent}. Fetch it again if it is damaged."
        ) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _unpack(archive: Path, part: Path, max_files: int, max_bytes: int) -> None:
    is_zip = zipfile.is_zipfile(archive)
    opened: Any = zipfile.ZipFile(archive) if is_zip else tarfile.open(archive)  # noqa: SIM115
    with closing(opened):
        members = zip_members(opened) if is_zip else tar_members(opened)
        plan = plan_members(members, archive.name, max_files, max_bytes)
        if not plan:
            raise EOFError("it holds no files")
        for member in Progress(plan, desc=f"unpacking {archive.name}", unit="file"):
            target = part / member.name
            with opened.open(member.handle) if is_zip else opened.extractfile(member.handle) as source:
                _write(source, target, member.size)
