"""Where a result came from: git revision, tracked raw data, installed packages."""

from __future__ import annotations

import hashlib
import logging
import platform
import subprocess
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import yaml

logger = logging.getLogger(__name__)

RAW_DATA = "data/01_raw"
_PACKAGES = (
    "karyoseg",
    "kedro",
    "stardist",
    "csbdeep",
    "keras",
    "tensorflow",
    "tensorflow-cpu",
    "albumentations",
    "scikit-image",
    "numpy",
)


def git_state(folder: Path) -> dict[str, Any]:
    """Look up the git revision of a folder.

    Parameters
    ----------
    folder : Path
        Inside a working tree.

    Returns
    -------
    dict
        ``commit`` (full hash), ``branch`` (None if none is checked out), ``describe`` (nearest tag, distance and
        hash) and ``dirty`` (files differ from the commit; dvc.lock does not count, for runs of DVC write it). Empty
        without git, outside a working tree and before the first commit.
    """
    try:
        return {
            "commit": git(folder, "rev-parse", "--verify", "HEAD"),
            "branch": git(folder, "branch", "--show-current") or None,
            "describe": git(folder, "describe", "--always", "--tags"),
            "dirty": bool(git(folder, "status", "--porcelain", "--", ":/", ":(top,exclude)dvc.lock")),
        }
    except FileNotFoundError:
        logger.debug("git is not installed")
    except subprocess.CalledProcessError as error:
        # Most often simply no repository; but git also refuses folders of another user, as in containers.
        logger.debug("%s has no git revision: %s", folder, error.stderr.strip())
    return {}


def dvc_state(folder: Path, under: str = RAW_DATA) -> dict[str, str]:
    """Look up what DVC recorded of files that are on disk as recorded.

    What has changed since is left out: its checksum would name other data.

    Parameters
    ----------
    folder : Path
        With dvc.lock and .dvc files, usually the project.
    under : str
        Only paths below this one, relative to `folder`.

    Returns
    -------
    dict of str to str
        Checksum (MD5) by path; folders have that of DVC's listing, ending in ``.dir``, and count as unchanged if
        number and total size of their files are those recorded.
    """
    recorded = {path: out for path, out in _outputs(folder, under) if f"{path}/".startswith(f"{under}/")}
    return {path: str(out["md5"]) for path, out in sorted(recorded.items()) if _unchanged(folder / path, out)}


def package_versions() -> dict[str, str]:
    """Look up the versions that matter for the result.

    Returns
    -------
    dict of str to str
        Python and those of the important packages that are installed.
    """
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def recorded_outputs(text: str) -> dict[str, dict[str, Any]]:
    """Read which outputs a tracking file of DVC records.

    Parameters
    ----------
    text : str
        Content of dvc.lock or of a .dvc file.

    Returns
    -------
    dict of str to dict
        ``md5`` and more by path, relative to the folder of the file.

    Raises
    ------
    ValueError
        If the text is not that of such a file.
    """
    try:
        content = yaml.safe_load(text)
        stages = content["stages"].values() if "stages" in content else [content]
        return {out["path"]: out for stage in stages for out in stage.get("outs", ()) if "md5" in out}
    except (KeyError, TypeError, AttributeError, yaml.YAMLError) as error:
        raise ValueError(f"not a tracking file of DVC: {error}") from error


def git(folder: Path, *arguments: str) -> str:
    """Run git.

    Parameters
    ----------
    folder : Path
        Working tree.
    *arguments : str
        Command of git with its options.

    Returns
    -------
    str
        What it printed, without white space around.

    Raises
    ------
    subprocess.CalledProcessError
        If git refuses; ``stderr`` says why.
    FileNotFoundError
        If git is not installed.
    """
    command = ["git", "-C", str(folder), "--no-optional-locks", *arguments]
    run = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603
    return run.stdout.strip()


def _outputs(folder: Path, under: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Give path and record of every output in dvc.lock and in the .dvc files; broken files are passed over."""
    for file in [folder / "dvc.lock", *sorted((folder / under).rglob("*.dvc"))]:
        try:
            for path, out in recorded_outputs(file.read_text(encoding="utf-8")).items():
                yield (file.parent / path).relative_to(folder).as_posix(), out
        except FileNotFoundError:
            continue
        except (OSError, ValueError) as error:
            logger.warning("%s: cannot be read (%s); its outputs are not recorded", file, error)


def _unchanged(path: Path, out: Mapping[str, Any]) -> bool:
    if path.is_file():
        if out.get("size", path.stat().st_size) != path.stat().st_size:  # saves reading it
            return False
        with path.open("rb") as content:
            return hashlib.file_digest(content, lambda: hashlib.md5(usedforsecurity=False)).hexdigest() == out["md5"]
    sizes = [file.stat().st_size for file in path.rglob("*") if file.is_file()]
    return path.is_dir() and len(sizes) == out.get("nfiles") and sum(sizes) == out.get("size")
