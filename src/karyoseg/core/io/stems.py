"""Names of images without their suffixes: what samples, results and rows of tables are called."""

from __future__ import annotations

import os
import re
import unicodedata
from collections import Counter
from pathlib import PurePath, PurePosixPath

_MAX_BYTES = 200  # with suffixes and a temporary name it still fits in the 255 of a file system


def stem(path: str | PurePath) -> str:
    """Return the name of an image file without its suffix, for ``.ome.tif`` and the like without both.

    Parameters
    ----------
    path : str or path
        An image file; any path with ``/``.

    Returns
    -------
    str
        The name, in composed letters (NFC): macOS decomposes accents in file names, others do not.

    Examples
    --------
    >>> stem("scans/field 1.ome.tif")
    'field 1'
    """
    name = unicodedata.normalize("NFC", PurePosixPath(path).stem)
    return re.sub(r"(?<=.)\.ome$", "", name, flags=re.IGNORECASE)


def unique_stems(names: list[str]) -> list[str]:
    """Name outputs after inputs so that no two agree, also on file systems that ignore case.

    The stem is the file name without its suffix, see :func:`stem`. Inputs that would share one get the first of these
    that is unique: stem and suffix (``a.png`` and ``a.tif`` give ``a_png`` and ``a_tif``), their path below
    the common folder (``x/a.png`` gives ``x_a_png``), a number.

    Parameters
    ----------
    names : list of str
        Paths with ``/``.

    Returns
    -------
    list of str
        One per path, without characters that file systems forbid.

    Examples
    --------
    >>> unique_stems(["x/a.png", "x/a.tif", "x/b.tif"])
    ['a_png', 'a_tif', 'b']
    """
    paths = [PurePosixPath(name) for name in names]
    common = os.path.commonpath([str(path.parent) for path in paths])
    suffixed = [_suffixed(path) for path in paths]
    nested = [
        "_".join([*path.relative_to(common).parts[:-1], name]) for path, name in zip(paths, suffixed, strict=True)
    ]
    stems = [_safe(stem(path)) for path in paths]
    for candidates in (suffixed, nested):
        shared = _shared(stems)
        stems = [
            _safe(other) if own.casefold() in shared else own for own, other in zip(stems, candidates, strict=True)
        ]
    shared = _shared(stems)
    taken = {own.casefold() for own in stems}
    unique = []
    for own in stems:
        name, number = own, 0
        while own.casefold() in shared and name.casefold() in taken:
            number += 1
            name = f"{own}_{number}"
        taken.add(name.casefold())
        unique.append(name)
    return unique


def _suffixed(path: PurePosixPath) -> str:
    own, name = stem(path), unicodedata.normalize("NFC", path.name)
    return f"{own}_{name[len(own) + 1 :].replace('.', '_')}"


def _shared(stems: list[str]) -> set[str]:
    """Return what occurs more than once, without regard to case."""
    return {stem for stem, count in Counter(stem.casefold() for stem in stems).items() if count > 1}


def _safe(name: str) -> str:
    name = os.fsencode(name).decode(errors="replace")  # names of other systems need not be UTF-8
    cleaned = re.sub(r'[\x00-\x1f<>:"/\\|?*]', "_", name).strip(" .")
    return cleaned.encode()[:_MAX_BYTES].decode(errors="ignore") or "image"
