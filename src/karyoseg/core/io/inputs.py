"""Finding a user's images: one file, a folder, a glob pattern, a zip archive, local or remote."""

from __future__ import annotations

import io
import logging
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote

import fsspec
from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from karyoseg.core.errors import KaryosegError, Problem
from karyoseg.core.io.image_files import is_url, open_binary
from karyoseg.core.io.images import IMAGE_SUFFIXES
from karyoseg.core.io.large_images import ZARR_SUFFIX, is_zarr
from karyoseg.core.io.links import LinkingFileSystem
from karyoseg.core.io.stems import stem, unique_stems
from karyoseg.core.io.storage import storage_errors, storage_problem
from karyoseg.core.runs.privacy import public_url

logger = logging.getLogger(__name__)

#: Folder in which `predict` notes what it has written into the folder around.
RECORDS = ".objects"
_KINDS = ", ".join((*IMAGE_SUFFIXES, ZARR_SUFFIX))
#: Files of microscopes that only Bio-Formats reads as a whole.
_MICROSCOPES = (
    ".czi", ".lif", ".nd2", ".lsm", ".oib", ".oif", ".vsi", ".svs", ".ndpi", ".scn", ".mrxs", ".ims", ".dv", ".stk",
)  # fmt: skip
#: Files that stand beside images without being any.
_BESIDE = (".txt", ".csv", ".tsv", ".json", ".geojson", ".xml", ".md", ".log", ".yml", ".yaml", ".parquet", ".html")
_CLUTTER = ("thumbs.db", "desktop.ini")
#: What of a file changes with its content.
_STAMPS = ("size", "mtime", "ETag", "LastModified", "etag", "updated", "Last-Modified")
#: Files at the top of a Zarr store.
_DESCRIPTIONS = ("zarr.json", ".zattrs", ".zgroup", ".zarray")
_WILD, _DEEP = "*?[", "**"
_SHOWN = 8
_MAX_MEMBER_BYTES = 2**33
_ENCRYPTED = 1


@dataclass(frozen=True)
class InputImage:
    """One image to predict.

    Parameters
    ----------
    path : str
        Path or fsspec URL; ``zip://MEMBER::ARCHIVE`` inside an archive.
    stem : str
        Base name of the files written for it, unique among all inputs.
    stamp : str
        Changes when the file changes: size with time of modification, checksum or entity tag.
    """

    path: str
    stem: str
    stamp: str = ""


def find_images(spec: str, exclude: str | None = None, *, skip_results: bool = False) -> list[InputImage]:
    """List the images that a path stands for.

    Parameters
    ----------
    spec : str
        - a file, whatever its suffix;
        - a folder: its images, not those of subfolders;
        - a folder whose name ends with ``.zarr``, or a path in it such as ``plate.zarr/A/1/0``: one image;
        - a glob pattern such as ``scans/**/*.tif`` (``**`` enters subfolders);
        - a ``.zip`` archive: its images at any depth, read in memory, nothing is extracted;
        - any of these as an fsspec URL such as ``s3://bucket/folder``.

        Hidden files and folders and ``__MACOSX`` are skipped, and files that do not end like an image; the log names
        those that may be images all the same. Links are followed, but not into a folder that holds the link.
    exclude : str, optional
        Folder whose files are not taken, at any depth: the output of an earlier run.
    skip_results : bool
        Whether a pattern with ``**`` passes over the output folders of `predict`.

    Returns
    -------
    list of InputImage
        In order of path. Names are given by :func:`~karyoseg.core.io.stems.unique_stems`.

    Raises
    ------
    KaryosegError
        If there is nothing, or no image; the message lists what is there.
    """
    listed, named = _listed(spec)
    found = listed if named else [one for one in listed if _is_image(one[0])]
    if not found:
        names = [one[0] for one in listed]
        pattern = public_url(spec).rstrip("/") + "/**/*.tif"
        advice = f"Check the path; for images in subfolders use a pattern such as '{pattern}'."
        if any(name.lower().endswith(_MICROSCOPES) for name in names):
            advice = "Export them as OME-TIFF (Fiji: Plugins > Bio-Formats > Bio-Formats Exporter)."
        raise _refusal(spec, f"found {_listing(names)}", f"at least one image ({_KINDS})", advice)
    if not named:
        _log_left_out(listed, exclude)
    if exclude is not None:
        all_found, found = found, [one for one in found if not is_inside(one[1], exclude)]
        if not found:
            raise _refusal(
                spec,
                f"all {len(all_found)} image(s) lie in the output folder {exclude}",
                "results apart from images",
                "Choose another output folder.",
            )
    if skip_results and _DEEP in spec:
        found = _without_results(spec, found)
    names = unique_stems([name for name, _, _ in found])
    return [InputImage(path, name, stamp) for (_, path, stamp), name in zip(found, names, strict=True)]


def is_inside(path: str, folder: str) -> bool:
    """Tell whether a local file lies in a local folder, at any depth.

    Parameters
    ----------
    path, folder : str
        Paths; for URLs the texts are compared.

    Returns
    -------
    bool
        True if it does.
    """
    if is_url(path) or is_url(folder):
        return path.startswith(folder.rstrip("/") + "/")
    return Path(path).resolve().is_relative_to(Path(folder).resolve())


def _listed(spec: str) -> tuple[list[tuple[str, str, str]], bool]:
    """List what a path stands for as name, path and stamp; tell whether it names one file, which counts as an image."""
    fs, root = _filesystem(spec)
    path = _full_path(fs, root)
    if _name(fs, root).lower().endswith(".zip") and fs.isfile(root):
        return _zip_members(path), False
    if is_zarr(root) and (stamp := _zarr_stamp(fs, root)):
        return [(_zarr_name(root), path.rstrip("/"), stamp)], True
    if fs.isfile(root):
        return [(_name(fs, root), path, _stamp(fs, fs.info(root)))], True
    entries = sorted(_entries(fs, root, spec).items())
    return [
        (_name(fs, name), _full_path(fs, name), _stamp(fs, info) if info["type"] == "file" else _zarr_stamp(fs, name))
        for name, info in entries
    ], False


def _filesystem(spec: str) -> tuple[fsspec.AbstractFileSystem, str]:
    try:
        with storage_errors(spec):
            fs, root = url_to_fs(spec)
            fs = LinkingFileSystem() if isinstance(fs, LocalFileSystem) else fs
            fs.invalidate_cache()
            try:
                fs.info(root)
            except FileNotFoundError as error:
                if storage_problem(spec, error):  # no such bucket
                    raise
    except KaryosegError:
        raise
    except Exception as error:
        raise _refusal(
            spec,
            f"cannot be reached ({' '.join(str(error).split())[:200]})",
            "an existing file, folder, pattern or archive",
            "Check the path, the network and the credentials.",
        ) from error
    return fs, root


def _entries(fs: fsspec.AbstractFileSystem, root: str, spec: str) -> dict[str, dict[str, Any]]:
    try:
        if fs.isdir(root):
            listed = {info["name"]: info for info in fs.ls(root, detail=True)}
        else:
            found = fs.glob(root, detail=True) if any(sign in root for sign in _WILD) else {}
            listed = {path: info for path, info in found.items() if not _in_hidden_folder(path, root)}
    except OSError as error:
        advice = "Check the network and the address." if is_url(spec) else "Check permissions."
        raise _refusal(spec, f"cannot be listed ({error})", "a readable folder", advice) from error
    if not listed and not fs.isdir(root):
        raise _refusal(
            spec,
            "nothing there",
            "an image, a folder of images, a pattern such as 'folder/*.tif' or a .zip",
            f"Check the path: it starts from {Path.cwd()}.",
        )
    return {path: info for path, info in listed.items() if info["type"] == "file" or _suffix(path) == ZARR_SUFFIX}


def _zip_members(spec: str) -> list[tuple[str, str, str]]:
    with open_binary(spec) as stream:
        try:
            members = zipfile.ZipFile(io.BufferedReader(stream)).infolist()  # type: ignore[type-var]
        except (zipfile.BadZipFile, OSError, ValueError) as error:
            found = f"not a complete zip archive ({error})"
            raise _refusal(spec, found, "a .zip", "Copy or download it again.") from error
    for member in members:
        parts = PurePosixPath(member.filename.replace("\\", "/"))
        if parts.is_absolute() or ".." in parts.parts:
            what = f"a member named {member.filename!r} that points outside"
        elif member.flag_bits & _ENCRYPTED:
            what = f"the encrypted member {member.filename!r}"
        elif member.file_size > _MAX_MEMBER_BYTES:
            what = f"the member {member.filename!r} of {member.file_size} bytes"
        else:
            continue
        raise _refusal(spec, f"has {what}", "a plain archive of images", "Pack the images again.")
    # The file system instance of an archive is cached with its table of contents; forget it, the file may
    # be new.
    fsspec.get_filesystem_class("zip").clear_instance_cache()
    return sorted(
        (member.filename, f"zip://{member.filename}::{spec}", f"{member.file_size}:{member.CRC:08x}")
        for member in members
        if not member.is_dir()
    )


def _refusal(spec: str, found: str, needed: str, advice: str) -> KaryosegError:
    return KaryosegError(str(Problem(spec, found, needed, advice)))


def _is_image(name: str) -> bool:
    return _suffix(name) in (*IMAGE_SUFFIXES, ZARR_SUFFIX) and not _is_hidden(name)


def _suffix(name: str) -> str:
    return PurePosixPath(name).suffix.lower()


def _is_hidden(name: str) -> bool:
    path = PurePosixPath(name)
    return path.name.startswith(".") or "__MACOSX" in path.parts


def _in_hidden_folder(path: str, pattern: str) -> bool:
    """Tell whether a pattern found a file in a hidden folder that it does not name, such as a waste bin."""
    named = re.split(f"[{_WILD}]", pattern, maxsplit=1)[0].rpartition("/")[0]
    return any(part.startswith(".") for part in path.removeprefix(named).split("/")[:-1])


def _without_results(spec: str, found: list[tuple[str, str, str]]) -> list[tuple[str, str, str]]:
    """Leave out what lies in output folders of `predict`."""
    fs, _ = url_to_fs(spec)
    folders = {name.rpartition("/")[0] for name, _, _ in found}
    results = sorted(folder for folder in folders if fs.exists(f"{folder}/{RECORDS}"))
    kept = [one for one in found if one[0].rpartition("/")[0] not in results]
    if not kept:
        what = f"all {len(found)} image(s) lie in output folders of predict"
        raise _refusal(spec, what, "images", "Check the pattern.")
    if results:
        logger.warning("Output folders of predict are passed over: %s", _shorten(results))
    return kept


def _log_left_out(listed: list[tuple[str, str, str]], exclude: str | None) -> None:
    """Name the files that are not taken for images, so that nobody misses theirs silently."""
    names = [
        PurePosixPath(name).name
        for name, path, _ in listed
        if not (_is_image(name) or _is_hidden(name) or (exclude is not None and is_inside(path, exclude)))
    ]
    names = [name for name in names if not name.lower().endswith(_BESIDE) and name.lower() not in _CLUTTER]
    if names:
        logger.warning("%d file(s) are no TIFF, PNG, JPEG, BMP or Zarr: %s", len(names), _shorten(names))


def _full_path(fs: fsspec.AbstractFileSystem, path: str) -> str:
    return path if "file" in fs.protocol else str(fs.unstrip_protocol(path))


def _name(fs: fsspec.AbstractFileSystem, path: str) -> str:
    """Return what a file is called: addresses on web servers may carry signatures, and %20 in place of blanks."""
    return unquote(public_url(path)) if _is_web(fs) else path


def _stamp(fs: fsspec.AbstractFileSystem, info: dict[str, Any]) -> str:
    if _is_web(fs) and info.get("size") is None:  # web servers list names only
        info = fs.info(info["name"])
    return ":".join(str(info[key]) for key in _STAMPS if key in info)


def _zarr_stamp(fs: fsspec.AbstractFileSystem, store: str) -> str:
    """Stamp of what lies at the top of a Zarr store: its description, and arrays as folders; empty if there is none.

    Of a store on this machine, the newest file as well: pixels may change without the rest.
    """
    if _is_web(fs):  # not all list what there is
        paths = [f"{store.rstrip('/')}/{name}" for name in _DESCRIPTIONS]
        return ";".join(_stamp(fs, {"name": path}) for path in paths if fs.exists(path))
    if not fs.isdir(store):
        return ""
    stamps = [_stamp(fs, info) for info in sorted(fs.ls(store, detail=True), key=lambda info: str(info["name"]))]
    if "file" in fs.protocol:
        files = (path for path in Path(store).rglob("*") if path.is_file())
        stamps.append(str(max((path.stat().st_mtime_ns for path in files), default=0)))
    return ";".join(stamps)


def _zarr_name(path: str) -> str:
    """Name an image by its store, and where it lies in there."""
    parts = PurePosixPath(path).parts
    start = next(number for number, part in enumerate(parts) if is_zarr(part))
    return f"{'_'.join([stem(parts[start]), *parts[start + 1 :]])}{ZARR_SUFFIX}"


def _is_web(fs: fsspec.AbstractFileSystem) -> bool:
    return "http" in fs.protocol


def _listing(names: list[str]) -> str:
    if not names:
        return "no files"
    return f"{len(names)} file(s), no image: {_shorten([PurePosixPath(name).name for name in names])}"


def _shorten(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (" ..." if len(names) > _SHOWN else "")
