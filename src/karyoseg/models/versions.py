"""Versions of trained models: DVC keeps the files, git the tracking file, a tag gives the version its name.

A model folder is tracked by the file ``<model>.dvc`` beside it or, if it is an output of dvc.yaml, by dvc.lock. The
version 1.2 of the model ``nuclei`` is the tag ``nuclei-v1.2``.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from karyoseg.core.errors import KaryosegError
from karyoseg.core.runs.provenance import git
from karyoseg.models import load_segmenter
from karyoseg.models.dvc_errors import dvc_errors, git_says
from karyoseg.models.stardist.pretrained import cache_folder
from karyoseg.models.tracking import LOCK, MODELS, Tracked, checked_name, read_tracked, replace_file, tracking_files

if TYPE_CHECKING:  # dvc takes a second to import
    from dvc.repo import Repo


@dataclass(frozen=True)
class Release:
    """A version of a model.

    Parameters
    ----------
    tag : str
        Name of the version in git.
    commit : str
        Revision it stands for.
    new : bool
        Whether the tag was made now.
    uploaded : int
        Number of files that the remote did not have yet.
    """

    tag: str
    commit: str
    new: bool
    uploaded: int


class ModelVersions:
    """Versions of the models of a project.

    Parameters
    ----------
    project : Path
        Root of the project, a working tree of git with DVC.
    remote : str, optional
        Where DVC keeps the files; None means DVC's default.

    Raises
    ------
    KaryosegError
        If git or DVC is missing there.
    """

    def __init__(self, project: Path, remote: str | None = None):
        self.project = project.resolve()
        self._remote = remote
        try:
            git(self.project, "rev-parse", "--show-toplevel")
        except (FileNotFoundError, subprocess.CalledProcessError) as error:
            raise KaryosegError(
                f"{self.project}: {git_says(error)}; needed: a git repository, for a version is a tagged commit. Clone "
                f"the project with git, or run `git init` and commit it."
            ) from error
        with self._dvc(self.project):
            pass  # opens, so there is a project

    def push(self, name: str, version: str) -> Release:
        """Upload a model, commit its tracking file, and tag the commit.

        The tag comes last, so that every tag names files that are in the remote. Pushing again after an interruption
        continues.

        Parameters
        ----------
        name : str
            Model, a folder in data/06_models.
        version : str
            For example 1.2.

        Returns
        -------
        Release
            What was made; a complete version is left as it is.

        Raises
        ------
        KaryosegError
            If there is nothing to release or the upload fails.
        """
        tag = f"{checked_name(name, 'model')}-v{checked_name(version.removeprefix('v'), 'version')}"
        load_segmenter(str(self.project / MODELS / name))
        is_output = self._is_output(name)
        if not is_output:
            with self._dvc(MODELS / name) as repo:
                repo.add([str(self.project / MODELS / name)])
        now = self._found(name)
        versions = {other: found.md5 for other in self._tags(name) if (found := self._find(name, other))}
        if versions.get(tag, now.md5) != now.md5:
            raise KaryosegError(
                f"version {tag}: exists with other files; needed: a version that is not taken. Taken are "
                f"{', '.join(versions)}."
            )
        same = [other for other, md5 in versions.items() if md5 == now.md5]
        if same and tag not in versions:
            raise KaryosegError(
                f"{MODELS / name}: these files are {same[0]} already; needed: a changed model. Train it, or use "
                f"{same[0]}."
            )
        with self._dvc(MODELS / name) as repo:
            uploaded = repo.push(
                targets=[str(self.project / ("dvc.yaml" if is_output else now.file))], remote=self._remote
            )
        if tag not in versions:
            self._commit_and_tag(now.file, tag)
        return Release(tag, git(self.project, "rev-parse", f"{tag}^{{commit}}"), tag not in versions, uploaded)

    def pull(self, name: str, rev: str | None = None, *, force: bool = False) -> str | None:
        """Bring a model to this disk.

        With `rev`, the tracking file becomes that of the revision: commit it to go back to that version for good.

        Parameters
        ----------
        name : str
            Model.
        rev : str, optional
            Version (1.2 or nuclei-v1.2) or any revision of git; None takes what the working tree asks for.
        force : bool
            Replace a model folder that no version holds.

        Returns
        -------
        str or None
            The tracking file, if it differs from the last commit now.

        Raises
        ------
        KaryosegError
            If there is no such model or revision, the download fails, or unsaved work would be lost.
        """
        checked_name(name, "model")
        found = self._found(name, rev)
        path = self.project / found.file
        before = path.read_text(encoding="utf-8") if path.is_file() else None
        if before not in (None, found.text) and not self._is_known(path):
            raise KaryosegError(
                f"{found.file}: has changes that no commit holds; needed: a committed file. Commit it, or discard "
                f"the changes with `git checkout {found.file}`."
            )
        # With the lock of another revision, metrics and figures of that revision come too.
        target = self.project / ("dvc.yaml" if rev and found.file == LOCK else MODELS / name)
        try:
            replace_file(path, found.text)
            with self._dvc(MODELS / name) as repo:
                repo.pull(targets=[str(target)], remote=self._remote, force=force)
        except BaseException:
            replace_file(path, before)
            raise
        return str(found.file) if git(self.project, "status", "--porcelain", "--", str(found.file)) else None

    def at(self, model: Path, rev: str) -> Path:
        """Bring a model, as it was in a revision, to the user's cache; the working tree stays as it is.

        Parameters
        ----------
        model : Path
            Its folder, relative to the project.
        rev : str
            Version (1.2 or nuclei-v1.2) or any revision of git.

        Raises
        ------
        KaryosegError
            If there is no such revision, the model is not in it, or the download fails.
        """
        commit = self._resolve(model.name, rev)
        folder = cache_folder() / "revisions" / commit / model
        if folder.is_dir():
            return folder
        with dvc_errors(f"{model}@{rev}"):
            from dvc.api import DVCFileSystem

            then = DVCFileSystem(str(self.project), rev=commit, remote=self._remote)
            if not then.isdir(model.as_posix()):
                raise KaryosegError(f"{model}@{rev}: is not in that revision. {self._known(model.name)}")
            folder.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=folder.parent) as part:
                then.get(model.as_posix(), f"{part}/{model.name}", recursive=True)
                try:
                    Path(part, model.name).replace(folder)
                except OSError:
                    if not folder.is_dir():  # else another process was first; a commit means the same files to all
                        raise
        return folder

    @contextmanager
    def _dvc(self, where: Path) -> Iterator[Repo]:
        """Open the repository as it is now, for one operation."""
        with dvc_errors(str(where)):
            from dvc.repo import Repo

            with Repo(str(self.project)) as repo:
                repo.scm_context.quiet = True  # no hints to commit: that is done here
                yield repo

    def _is_output(self, name: str) -> bool:
        """Tell whether the model is an output of dvc.yaml; refuse one that cannot be traced to a commit."""
        from dvc.exceptions import OutputNotFoundError

        with self._dvc(MODELS / name) as repo:
            try:
                (out,) = repo.find_outs_by_path(str(self.project / MODELS / name))
            except OutputNotFoundError:
                return False
            if out.stage.is_data_source:
                return False
            changed = bool(out.status())
        if changed:
            raise KaryosegError(
                f"{MODELS / name}: is not what {LOCK} records; needed: the model that `dvc repro` wrote. Run it, or "
                f"train under another name (`model` in a globals.yml) to release a model of your own."
            )
        others = git(self.project, "status", "--porcelain", "--", ":/", f":(top,exclude){LOCK}").splitlines()
        if others:
            raise KaryosegError(
                f"{self.project}: {len(others)} files differ from the last commit ({others[0].split()[-1]}, ...); "
                f"needed: committed code and parameters, for {MODELS / name} is made from them. Commit them first."
            )
        return True

    def _found(self, name: str, rev: str | None = None) -> Tracked:
        found = self._find(name, self._resolve(name, rev) if rev else None)
        if found is None:
            raise KaryosegError(
                f"model {name}: {f'is not in revision {rev}' if rev else 'is not tracked here'}; needed: a model with "
                f"a tracking file. {self._known(name)}"
            )
        return found

    def _find(self, name: str, commit: str | None) -> Tracked | None:
        """Look for a model in a commit, or in the working tree."""
        texts = ((file, self._read(file, commit)) for file in tracking_files(name))
        found = (read_tracked(name, file, text) for file, text in texts if text is not None)
        return next(filter(None, found), None)

    def _read(self, file: Path, commit: str | None) -> str | None:
        if commit is None:
            path = self.project / file
            return path.read_text(encoding="utf-8") if path.is_file() else None
        try:
            return git(self.project, "show", f"{commit}:./{file.as_posix()}") + "\n"
        except subprocess.CalledProcessError:
            return None

    def _resolve(self, name: str, rev: str) -> str:
        for candidate in (f"refs/tags/{name}-v{rev.removeprefix('v')}", rev):
            try:
                return git(self.project, "rev-parse", "--verify", "--end-of-options", f"{candidate}^{{commit}}")
            except subprocess.CalledProcessError:
                continue
        raise KaryosegError(
            f"revision {rev}: git does not know it; needed: a version, tag, branch or commit. {self._known(name)} "
            f"`git fetch --tags` brings those of colleagues."
        )

    def _tags(self, name: str) -> list[str]:
        return git(self.project, "tag", "--list", f"{name}-v*", "--sort=v:refname").split()

    def _known(self, name: str) -> str:
        tags = self._tags(name)
        return f"Versions here: {', '.join(tags)}." if tags else f"No version of {name} is known here."

    def _is_known(self, path: Path) -> bool:
        """Tell whether git holds a file with this content."""
        try:
            git(self.project, "cat-file", "-e", git(self.project, "hash-object", str(path)))
        except subprocess.CalledProcessError:
            return False
        return True

    def _commit_and_tag(self, tracking: Path, tag: str) -> None:
        try:
            git(self.project, "add", "--", str(tracking))
            if git(self.project, "status", "--porcelain", "--", str(tracking)):
                git(self.project, "commit", "--quiet", "--only", "-m", f"Release {tag}", "--", str(tracking))
            git(self.project, "tag", "--annotate", tag, "-m", tag)
        except subprocess.CalledProcessError as error:
            raise KaryosegError(
                f"version {tag}: uploaded, but git refuses to commit or tag it ({git_says(error)}); needed: both. Mend "
                f"that and push again."
            ) from error
