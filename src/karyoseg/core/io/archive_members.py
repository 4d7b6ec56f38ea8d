"""Judge the members of an archive by their headers, before anything is unpacked."""

from __future__ import annotations

import stat
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from karyoseg.core.errors import Problem, Problems

_JUNK = {"__MACOSX", ".DS_Store", "Thumbs.db", "desktop.ini"}
_LONGEST_NAME = 255
_ADVICE = "Use this archive only if you trust it: unpack it by hand and use the folder in its place."


@dataclass(frozen=True)
class Member:
    """One file of an archive as its header declares it.

    Parameters
    ----------
    name : str
        Name, with ``/`` between folders.
    size : int
        Bytes when unpacked.
    refused : str
        Why it may not be unpacked; empty if it may.
    handle : object
        What the archive library calls it.
    """

    name: str
    size: int
    refused: str
    handle: Any


def unsafe_name(name: str) -> str:
    """Say why a member name may not be used as a path below the target folder.

    Parameters
    ----------
    name : str
        Name with ``/`` (or ``\\``) between folders.

    Returns
    -------
    str
        The reason, or an empty string for a harmless name.

    Examples
    --------
    >>> unsafe_name("images/a.tif")
    ''
    >>> unsafe_name("../a.tif")
    'it leaves the target folder (..)'
    """
    parts = name.replace("\\", "/").split("/")
    if not name.strip("/\\"):
        return "the name is empty"
    if not parts[0] or (len(parts[0]) > 1 and parts[0][1] == ":"):
        return "the path is absolute"
    if ".." in parts:
        return "it leaves the target folder (..)"
    if any(ord(character) < 32 for character in name):  # noqa: PLR2004
        return "the name has control characters"
    if any(len(part.encode("utf-8", "replace")) > _LONGEST_NAME for part in parts):
        return f"the name is longer than {_LONGEST_NAME} bytes"
    return ""


def zip_members(archive: zipfile.ZipFile) -> Iterator[Member]:
    """List the files of a zip archive.

    Parameters
    ----------
    archive : ZipFile
        Open archive.

    Yields
    ------
    Member
        Each file; folders are left out.
    """
    for info in archive.infolist():
        mode = stat.S_IFMT(info.external_attr >> 16)
        if info.is_dir():
            continue
        refused = ""
        if info.flag_bits & 0x1:
            refused = "it is encrypted"
        elif mode not in (0, stat.S_IFREG):
            refused = "it is a link" if mode == stat.S_IFLNK else "it is not a plain file"
        yield _member(info.filename, info.file_size, refused, info)


def tar_members(archive: tarfile.TarFile) -> Iterator[Member]:
    """List the files of a tar archive, reading no further than asked.

    Parameters
    ----------
    archive : TarFile
        Open archive.

    Yields
    ------
    Member
        Each file, link and device; folders are left out.
    """
    for info in archive:
        if info.isdir():
            continue
        refused = ""
        if info.issym() or info.islnk():
            refused = f"it is a link to {info.linkname!r}"
        elif not info.isreg():
            refused = "it is not a plain file"
        yield _member(info.name, info.size, refused, info)


def _member(stored: str, size: int, refused: str, handle: Any) -> Member:
    """Bring the name to one form: some Windows programs write backslashes, tar often starts with ``./``."""
    name = stored.replace("\\", "/")
    while name.startswith("./"):
        name = name[2:]
    return Member(name, size, refused or unsafe_name(name), handle)


def _is_junk(name: str) -> bool:
    return any(part in _JUNK or part.startswith("._") for part in name.split("/"))


def plan_members(members: Iterator[Member], shown: str, max_files: int, max_bytes: int) -> list[Member]:
    """Choose what to unpack, or refuse the whole archive with one report.

    Listing stops at the limits, so that a bomb is not even read to its end. Leftovers of desktops
    (``__MACOSX``, ``.DS_Store``, ``Thumbs.db``) are left out.

    Parameters
    ----------
    members : iterator of Member
        What the archive holds.
    shown : str
        Name of the archive for messages.
    max_files, max_bytes : int
        Limits.

    Returns
    -------
    list of Member
        Files with unique, safe names.

    Raises
    ------
    ProblemReport
        If any member is refused or a limit is exceeded.
    """
    problems = Problems()
    plan: dict[str, Member] = {}
    n_files = n_bytes = 0
    for member in members:
        if _is_junk(member.name):
            continue
        n_files, n_bytes = n_files + 1, n_bytes + member.size
        if over := _over_limit(shown, n_files, n_bytes, max_files, max_bytes):
            problems.extend([over])
            break
        refused = member.refused or ("the name occurs twice" if member.name in plan else "")
        if refused:
            problems.add(repr(member.name), refused, "plain files with unique, relative names", _ADVICE)
        else:
            plan[member.name] = member
    for name in plan:
        if clash := next((str(p) for p in PurePosixPath(name).parents if str(p) in plan), None):
            problems.add(repr(name), f"{clash!r} is a file and a folder", "one of both", _ADVICE)
    problems.raise_if_any(f"{shown} is refused, nothing was unpacked")
    return list(plan.values())


def _over_limit(shown: str, n_files: int, n_bytes: int, max_files: int, max_bytes: int) -> Problem | None:
    if n_files > max_files:
        return Problem(
            shown,
            f"more than {max_files} files",
            f"at most {max_files}",
            "Raise the limit if the archive is meant to be so large.",
        )
    if n_bytes > max_bytes:
        return Problem(
            shown,
            f"more than {max_bytes / 1e9:g} GB when unpacked",
            f"at most {max_bytes / 1e9:g} GB",
            "Raise the limit if the archive is meant to be so large.",
        )
    return None
