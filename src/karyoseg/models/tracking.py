"""Which file tracks a model folder for DVC, and what it records."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from karyoseg.core.errors import KaryosegError
from karyoseg.core.io.files import replace_text
from karyoseg.core.runs.provenance import recorded_outputs

MODELS = Path("data/06_models")
LOCK = Path("dvc.lock")
_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*"


@dataclass(frozen=True)
class Tracked:
    """A model as its tracking file names it.

    Parameters
    ----------
    file : Path
        The tracking file, relative to the project.
    text : str
        Its content.
    md5 : str
        Checksum of the model folder.
    """

    file: Path
    text: str
    md5: str


def tracking_files(name: str) -> tuple[Path, Path]:
    """Return the files that may track a model: its own, and that of the pipeline.

    Parameters
    ----------
    name : str
        Model.
    """
    return MODELS / f"{name}.dvc", LOCK


def read_tracked(name: str, file: Path, text: str) -> Tracked | None:
    """Look up a model in a tracking file.

    Parameters
    ----------
    name : str
        Model.
    file : Path
        One of :func:`tracking_files`.
    text : str
        Its content.

    Returns
    -------
    Tracked or None
        None if the file does not record the model.

    Raises
    ------
    KaryosegError
        If the file is damaged.
    """
    try:
        outputs = recorded_outputs(text)
    except ValueError as error:
        raise KaryosegError(f"{file}: {error}; needed: the file as DVC wrote it. Restore it from git.") from error
    out = outputs.get((MODELS / name).relative_to(file.parent).as_posix())
    return Tracked(file, text, str(out["md5"])) if out else None


def checked_name(text: str, kind: str) -> str:
    """Return a name that may be part of a path and of a tag.

    Parameters
    ----------
    text : str
        What the user gave.
    kind : str
        What it names.

    Raises
    ------
    KaryosegError
        If it cannot.
    """
    if not re.fullmatch(_NAME, text) or ".." in text or text.endswith((".", ".lock")):
        raise KaryosegError(f"{kind} {text!r}: no valid name; needed: letters, digits, '.', '_' and '-'. Change it.")
    return text


def replace_file(path: Path, text: str | None) -> None:
    """Give a file new content, whole or not at all.

    Parameters
    ----------
    path : Path
        The file.
    text : str or None
        Content; None removes the file.
    """
    if text is None:
        path.unlink(missing_ok=True)
        return
    replace_text(path, text)
