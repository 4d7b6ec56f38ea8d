"""Finding the files of a data set, matching them by name, and giving samples safe ids."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from karyoseg.core.errors import KaryosegError, Problems
from karyoseg.core.io.images import IMAGE_SUFFIXES
from karyoseg.core.io.stems import stem

_LONGEST_ID = 120
_SEARCH_DEPTH = 3
_SHOWN = 8


def safe_id(name: str) -> str:
    """Turn a name into an id that is a safe file name everywhere.

    Parameters
    ----------
    name : str
        Any text.

    Returns
    -------
    str
        Letters, digits, ``.``, ``_`` and ``-``; starts with a letter, digit or ``_``.

    Examples
    --------
    >>> safe_id("Zelle 3 (ß)")
    'Zelle_3'
    >>> safe_id("a/b")
    'a_b'
    """
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    safe = re.sub(r"[^A-Za-z0-9._-]+", "_", plain).lstrip(".-").rstrip("._")
    if not safe:
        return _digest(name)
    return safe if len(safe) <= _LONGEST_ID else f"{safe[: _LONGEST_ID - 9]}-{_digest(name)}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:8]


def unique_ids(names: Sequence[Sequence[str]]) -> list[str]:
    """Give each sample the shortest safe id that no other has, letter case aside.

    An id does not depend on the order of the files. It stays the same when samples are added, unless one of the same
    name is among them.

    Parameters
    ----------
    names : sequence of sequences of str
        Per sample its folders and its name, such as ``("train", "a")``.

    Returns
    -------
    list of str
        The ids.

    Examples
    --------
    >>> unique_ids([("train", "a"), ("test", "a"), ("test", "b")])
    ['train-a', 'test-a', 'b']
    """
    ids = [safe_id(parts[-1]) for parts in names]
    longer: tuple[Callable[[Sequence[str]], str], ...] = (
        lambda parts: safe_id("-".join(parts)),
        lambda parts: f"{safe_id('-'.join(parts))}-{_digest('/'.join(parts))}",
    )
    for rename in longer:
        uses = Counter(sample_id.casefold() for sample_id in ids)
        ids = [
            rename(parts) if uses[sample_id.casefold()] > 1 else sample_id
            for sample_id, parts in zip(ids, names, strict=True)
        ]
    return ids


def image_files(folder: Path) -> list[Path]:
    """List the image files of a folder, sorted, hidden ones left out.

    Parameters
    ----------
    folder : Path
        The folder; its subfolders are not searched.

    Returns
    -------
    list of Path
        The files.
    """
    return sorted(
        p for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES and not p.name.startswith(".") and p.is_file()
    )


def subfolder(folder: Path, *names: str) -> Path | None:
    """Find a direct subfolder by name, letter case aside.

    Parameters
    ----------
    folder : Path
        Where to look.
    *names : str
        Accepted names, lower case, the preferred one first.

    Returns
    -------
    Path or None
        The folder.
    """
    found = {p.name.lower(): p for p in sorted(folder.iterdir(), reverse=True) if p.is_dir()}
    return next((found[name] for name in names if name in found), None)


def locate(folder: Path, is_root: Callable[[Path], bool], layout: str, needed: str) -> Path:
    """Find the folder in which a layout starts: the given one or, as archives often add a level, one inside.

    Parameters
    ----------
    folder : Path
        Unpacked data set.
    is_root : callable
        Tells whether a folder has the parts of the layout.
    layout : str
        Name of the layout, for the message.
    needed : str
        Parts of the layout, for the message.

    Returns
    -------
    Path
        The first such folder, the least nested one first.

    Raises
    ------
    KaryosegError
        If there is none.
    """
    if not folder.is_dir():
        raise KaryosegError(f"{folder} is not there any more. Run the download pipeline again.")
    level = [folder]
    for _ in range(_SEARCH_DEPTH):
        for candidate in level:
            if is_root(candidate):
                return candidate
        level = [p for c in level for p in sorted(c.iterdir()) if p.is_dir() and not p.name.startswith((".", "__"))]
    inside = sorted(p.name + "/" * p.is_dir() for p in folder.iterdir() if not p.name.startswith("."))
    shown = ", ".join(inside[:_SHOWN]) + (", ..." if len(inside) > _SHOWN else "")
    raise KaryosegError(
        f"{folder} does not have the layout {layout!r}: found {shown or 'nothing'}; needed {needed}. Set "
        "dataset.layout to the one that fits, or rearrange the files."
    )


def by_stem(files: Iterable[Path], problems: Problems, key: Callable[[str], str] = str.casefold) -> dict[str, Path]:
    """Key files by their stem; two files of the same key are a problem.

    Parameters
    ----------
    files : iterable of Path
        Files of one folder.
    problems : Problems
        Collects the doubles.
    key : callable
        Turns a stem into the key; by default letter case does not count.

    Returns
    -------
    dict of str to Path
        The files whose key is unique.
    """
    groups: dict[str, list[Path]] = {}
    for path in files:
        groups.setdefault(key(stem(path)), []).append(path)
    for paths in groups.values():
        if len(paths) > 1:
            problems.add(
                str(paths[0].parent),
                "several files for one sample: " + ", ".join(p.name for p in paths),
                "one file per sample",
                "Remove or rename all but one.",
            )
    return {key: paths[0] for key, paths in groups.items() if len(paths) == 1}


def pair(images: Path, masks: Path, problems: Problems) -> list[tuple[Path, Path]]:
    """Match the images of a folder with the masks of another by their stems.

    Parameters
    ----------
    images, masks : Path
        The two folders.
    problems : Problems
        Collects images without mask, masks without image and doubles.

    Returns
    -------
    list of (Path, Path)
        Image and mask, sorted.
    """
    image_paths, mask_paths = image_files(images), image_files(masks)
    by_image, by_mask = by_stem(image_paths, problems), by_stem(mask_paths, problems)
    mask_stems = {stem(path).casefold() for path in mask_paths}
    image_stems = {stem(path).casefold() for path in image_paths}
    for key, path in by_image.items():
        if key not in mask_stems:
            problems.add(
                str(path),
                "an image without mask",
                f"a mask named {stem(path)}.* in {masks.name}/",
                "Add the mask, or move the image away.",
            )
    for key, path in by_mask.items():
        if key not in image_stems:
            problems.add(
                str(path),
                "a mask without image",
                f"an image named {stem(path)}.* in {images.name}/",
                "Add the image, or move the mask away.",
            )
    return [(by_image[key], by_mask[key]) for key in sorted(by_image.keys() & by_mask.keys())]
