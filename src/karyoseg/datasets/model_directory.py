"""A trained model as a folder."""

from __future__ import annotations

import filecmp
import logging
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kedro.io import AbstractDataset
from kedro_datasets._typing import JSONPreview

from karyoseg.core.errors import KaryosegError
from karyoseg.core.io.remote_folder import folder_has, upload_folder
from karyoseg.datasets.files import is_local, open_filesystem
from karyoseg.datasets.previews import as_json, if_present
from karyoseg.models import download_model, load_foreground, load_segmenter
from karyoseg.models.base import Segmenter
from karyoseg.models.stardist.architecture import CONFIG, WEIGHTS
from karyoseg.models.stardist.folder import INT8

logger = logging.getLogger(__name__)


class ModelDirectory(AbstractDataset[Segmenter, Segmenter]):
    """Model folder, replaced as a whole: the earlier model stays until the new one is complete.

    Parameters
    ----------
    filepath : str
        Folder, local or any fsspec URL.
    load_from : str, optional
        Another model to load, as for :func:`karyoseg.models.model_folder`; the folder is then only saved to.
    credentials, fs_args : dict, optional
        Arguments of the fsspec filesystem.
    metadata : dict, optional
        Ignored here; kedro-viz reads the layer from it.
    """

    def __init__(
        self,
        *,
        filepath: str,
        load_from: str | None = None,
        credentials: dict[str, Any] | None = None,
        fs_args: dict[str, Any] | None = None,
        metadata: dict[str, Any] | None = None,
    ):
        self._fs, path = open_filesystem(filepath, credentials, fs_args)
        self._path = path.rstrip("/")
        self._load_from = load_from
        self.metadata = metadata

    def load(self) -> Segmenter:
        """Open the model.

        Raises
        ------
        KaryosegError
            If there is none.
        """
        if self._load_from:
            return self._open(self._load_from)
        if is_local(self._fs):
            _restore(Path(self._path))
            return self._open(self._path)
        return self._open(str(download_model(self._fs, self._path)))

    def save(self, data: Segmenter) -> None:
        """Replace the folder.

        Parameters
        ----------
        data : Segmenter
            Trained model.
        """
        if is_local(self._fs):
            self._save_local(data, Path(self._path))
            return
        with tempfile.TemporaryDirectory() as folder:
            data.save(Path(folder))
            upload_folder(Path(folder), self._fs, self._path)

    def _save_local(self, data: Segmenter, final: Path) -> None:
        part, old = _beside(final, "part"), _beside(final, "old")
        try:
            final.parent.mkdir(parents=True, exist_ok=True)
            _restore(final)
            for leftover in (part, old):
                shutil.rmtree(leftover, ignore_errors=True)
            data.save(part)
            for kept in _kept(final, part):
                shutil.copy2(kept, part)
            if final.exists():
                final.rename(old)
            try:
                part.rename(final)
            finally:
                _restore(final)
            shutil.rmtree(old, ignore_errors=True)
        except OSError as error:
            raise KaryosegError(
                f"{final}: the model cannot be written ({error.strerror or error}); needed: a writable folder with "
                f"free space. Check permissions and disk; the training itself is kept and need not be repeated."
            ) from error
        logger.info("Model saved to %s", final)

    @if_present
    def preview(self) -> JSONPreview:
        """Show the facts of the model in kedro-viz.

        Returns
        -------
        str
            JSON.
        """
        return as_json(self.load().describe())

    def _open(self, model: str) -> Any:
        return load_segmenter(model)

    def _exists(self) -> bool:
        if self._load_from:
            return True
        if is_local(self._fs):
            _restore(Path(self._path))
            return Path(self._path, "config.json").is_file()
        return folder_has(self._fs, self._path, "config.json")

    def _release(self) -> None:
        self._fs.invalidate_cache(self._path)

    def _describe(self) -> dict[str, Any]:
        return {"filepath": self._path, "load_from": self._load_from}


class ForegroundDirectory(ModelDirectory):
    """Folder of a foreground model, see :class:`ModelDirectory`."""

    def _open(self, model: str) -> Any:
        return load_foreground(model)


def _beside(final: Path, mark: str) -> Path:
    return final.with_name(f".{final.name}.{mark}")


def _kept(final: Path, part: Path) -> Iterator[Path]:
    """Give the files of the earlier model that stay: pointers of DVC, and the network in 8 bit of the same weights."""
    yield from final.parent.glob(f"{final.name}/*.dvc")
    made_of = [[folder / name for name in (CONFIG, WEIGHTS)] for folder in (final, part)]
    if all(path.is_file() for paths in made_of for path in paths) and all(map(_is_same, *made_of)):
        yield from (final / name for name in INT8 if (final / name).is_file())


def _is_same(one: Path, other: Path) -> bool:
    return filecmp.cmp(one, other, shallow=False)


def _restore(final: Path) -> None:
    """Bring the earlier model back if a kill came between its going and the new one's coming."""
    old = _beside(final, "old")
    if old.exists() and not final.exists():
        old.rename(final)
