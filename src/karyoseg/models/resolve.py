"""From what a user calls a model to its folder on this disk."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from pathlib import Path

import fsspec
from fsspec.core import url_to_fs

from karyoseg.core.errors import KaryosegError
from karyoseg.core.io.image_files import is_url
from karyoseg.core.io.remote_folder import download_folder
from karyoseg.core.io.storage import storage_errors
from karyoseg.models.tracking import MODELS

_BUNDLED = Path(__file__).parents[1] / "bundled"
_CONFIG = "config.json"  # what every model folder has
_NETWORK = "network_0.weights.h5"  # what only a foreground model has
_TRAIN, _TRAIN_FOREGROUND = "kedro run --pipeline train", "kedro run --pipelines augment,train_foreground"


def bundled_models() -> dict[str, Path]:
    """Return the folders of the models that ship with the package, by name."""
    return {path.parent.name: path.parent for path in sorted(_BUNDLED.glob(f"*/{_CONFIG}"))}


def model_folder(model: str, project: Path | None = None, *, foreground: bool = False) -> Path:
    """Find the folder of a model on this disk, or bring it here.

    Parameters
    ----------
    model : str
        One of, in this order: the URL of a folder such as ``s3://bucket/models/stardist``; the name of a model that
        ships with the package (:func:`bundled_models`) or of a published StarDist model (``2D_versatile_fluo``,
        ``2D_versatile_he``, ``2D_paper_dsb2018``); a folder; the name of a folder in data/06_models; ``FOLDER@REV``,
        a folder that DVC tracks as it was in version, tag, branch or commit REV.
    project : Path, optional
        Root of the project; None means the current folder.
    foreground : bool
        Whether a foreground model is asked for; none ships or is published, so those names mean nothing then.

    Returns
    -------
    Path
        Local folder. Of a URL, a copy for as long as the process lives; of a revision, a copy in the user's cache.

    Raises
    ------
    KaryosegError
        If there is no such model, or it cannot be brought here.

    Examples
    --------
    >>> model_folder("nuclei-fluo").parent.name
    'bundled'
    """
    from karyoseg.models.stardist.pretrained import PRETRAINED, pretrained_folder

    if is_url(model):
        with storage_errors(model):
            fs, path = url_to_fs(model)
        return download_model(fs, path, foreground=foreground)
    bundled, published = ({}, ()) if foreground else (bundled_models(), PRETRAINED)
    if model in bundled:
        return bundled[model]
    if model in published:
        return pretrained_folder(model)
    project = project or Path()
    folders = [Path(model), *([project / MODELS / model] if Path(model).name == model else [])]
    # A folder without configuration counts last: opening it says which file is missing.
    complete = (folder for folder in folders if (folder / _CONFIG).is_file())
    found = next(complete, folders[0] if folders[0].is_dir() else None)
    if found is not None:
        return found
    path, _, revision = model.rpartition("@")
    tracked = _tracked_folder(path, project) if path else None
    if tracked:
        return _at_revision(*tracked, revision)
    near = _near(model, [*bundled, *published], folders, _NETWORK if foreground else _CONFIG)
    places = (
        f"a model folder (tried {' and '.join(map(str, folders))}), its URL, or FOLDER@VERSION of one that DVC tracks"
    )
    if foreground:
        raise KaryosegError(
            f"{model}: no foreground model there; needed: one that train_foreground wrote, as {places}.{near} "
            f"`{_TRAIN_FOREGROUND}` makes one; without one, leave out predict.full.foreground_model or "
            f"tune_postprocessing.foreground_model."
        )
    raise KaryosegError(
        f"{model}: no model there; needed: a model that ships ({', '.join(bundled)}), a published one "
        f"({', '.join(published)}), {places}.{near} `{_TRAIN}` trains a model, `kedro model pull` fetches one."
    )


def download_model(fs: fsspec.AbstractFileSystem, path: str, *, foreground: bool = False) -> Path:
    """Copy a model folder to this disk, for as long as the process lives.

    Parameters
    ----------
    fs : fsspec filesystem
        Where it is.
    path : str
        Its path there.
    foreground : bool
        Whether a foreground model is asked for.

    Returns
    -------
    Path
        Local folder.

    Raises
    ------
    KaryosegError
        If there is none, or it is damaged.
    """
    folder = download_folder(fs, path.rstrip("/"))
    if not (folder / _CONFIG).is_file():
        kind, command = ("foreground model", _TRAIN_FOREGROUND) if foreground else ("model", _TRAIN)
        raise KaryosegError(
            f"{fs.unstrip_protocol(path)}: no {kind} there; needed: a model folder. Train one with `{command}`, or "
            f"check the address."
        )
    return folder


def _tracked_folder(path: str, project: Path) -> tuple[Path, Path] | None:
    """Split a folder into a project that may track it, and its path there; None if it lies in no project."""
    folder = (project / (MODELS / path if Path(path).name == path else path)).absolute()
    root = next((parent for parent in folder.parents if (parent / ".dvc").is_dir()), project.absolute())
    return (root, folder.relative_to(root)) if folder.is_relative_to(root) else None


def _at_revision(root: Path, folder: Path, revision: str) -> Path:
    from karyoseg.models.versions import ModelVersions  # git and DVC take a second

    return ModelVersions(root).at(folder, revision)


def _near(model: str, names: list[str], folders: list[Path], marker: str) -> str:
    """Say what the user may have meant: a name, or a folder beside that has the file `marker`."""
    known = {name: name for name in names} | dict(_beside(folders, marker))
    near = difflib.get_close_matches(Path(model).name, known, n=1)
    return f" Did you mean {known[near[0]]}?" if near else ""


def _beside(folders: list[Path], marker: str) -> Iterator[tuple[str, str]]:
    for folder in folders:
        for file in sorted(folder.parent.glob(f"*/{marker}")):
            yield file.parent.name, str(file.parent)
