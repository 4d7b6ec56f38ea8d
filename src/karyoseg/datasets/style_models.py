"""Generators of style transfer, one folder per cluster, trained one by one."""

from __future__ import annotations

import json
import logging
import shutil
import tempfile
from pathlib import Path
from typing import Any

from kedro.io import AbstractDataset
from kedro_datasets._typing import JSONPreview

from karyoseg.core.errors import KaryosegError
from karyoseg.core.io.files import replace_folder
from karyoseg.core.io.remote_folder import download_folder, upload_folder
from karyoseg.core.lazy import Lazy
from karyoseg.datasets.files import is_local, open_filesystem, read_whole, write_errors, write_whole
from karyoseg.datasets.previews import as_json, if_present
from karyoseg.models.pix2pix import StyleGenerator

logger = logging.getLogger(__name__)

_INDEX = "index.json"


class StyleModels(AbstractDataset[dict[str, Lazy[StyleGenerator]], dict[str, StyleGenerator]]):
    """One generator per cluster, plus ``index.json`` with the fingerprint of each.

    Saving takes ``{cluster: Lazy}`` with *all* clusters. Those already stored with the same fingerprint are skipped,
    the others are trained one after the other, each stored as soon as it is trained. Folders of clusters that no
    longer exist are not loaded.

    Parameters
    ----------
    path : str
        Folder, local or any fsspec URL.
    credentials, fs_args : dict, optional
        Arguments of the fsspec filesystem.
    metadata : dict, optional
        Ignored here; kedro-viz reads the layer from it.
    """

    def __init__(
        self,
        *,
        path: str,
        credentials: dict[str, Any] | None = None,
        fs_args: dict[str, Any] | None = None,
        metadata: dict[str, Any] | None = None,
    ):
        self._fs, self._path = open_filesystem(path, credentials, fs_args)
        self._path = self._path.rstrip("/")
        self.metadata = metadata

    def load(self) -> dict[str, StyleGenerator]:
        """Open the generators; their networks are read when they are needed.

        Raises
        ------
        KaryosegError
            If there are none, not all are trained, or one is damaged.
        """
        index = self._read_index()
        if not index["complete"]:
            raise KaryosegError(
                f"{self._path}: {len(index['clusters'])} clusters are trained; needed: all. Run style_transfer: it "
                f"continues where it stopped."
            )
        return {cluster: StyleGenerator.load(self._folder(cluster)) for cluster in sorted(index["clusters"])}

    def save(self, data: dict[str, Lazy[StyleGenerator]]) -> None:
        """Train and store what is new or changed.

        Parameters
        ----------
        data : dict of str to Lazy
            All clusters.
        """
        stored = self._read_index()["clusters"]
        done = {cluster: mark for cluster, mark in stored.items() if self._is_done(cluster, mark, data)}
        todo = [cluster for cluster in data if cluster not in done]
        logger.info("Generators: %d trained before, %d to do", len(done), len(todo))
        self._write_index(done, complete=False)
        for number, cluster in enumerate(todo, start=1):
            logger.info("Training the generator of %s (%d of %d)", cluster, number, len(todo))
            self._store(cluster, data[cluster]())
            done[cluster] = data[cluster].fingerprint
            self._write_index(done, complete=False)
        self._write_index(done, complete=True)

    @if_present
    def preview(self) -> JSONPreview:
        """Show the facts of the generators in kedro-viz.

        Returns
        -------
        str
            JSON.
        """
        facts = ("n_tiles", "tile_size", "steps", "minutes", "created")
        return as_json({name: {key: g.training[key] for key in facts} for name, g in self.load().items()})

    def _is_done(self, cluster: str, mark: str, data: dict[str, Lazy[StyleGenerator]]) -> bool:
        if cluster not in data or data[cluster].fingerprint != mark:
            return False
        try:
            StyleGenerator.load(self._folder(cluster))
        except KaryosegError as error:
            logger.warning("%s Training it again.", error)
            return False
        return True

    def _store(self, cluster: str, generator: StyleGenerator) -> None:
        place = f"{self._path}/{cluster}"
        if not is_local(self._fs):
            with tempfile.TemporaryDirectory() as folder:
                generator.save(Path(folder))
                upload_folder(Path(folder), self._fs, place)
            return
        with write_errors(place):
            part = Path(self._path, f".{cluster}.part")
            shutil.rmtree(part, ignore_errors=True)
            generator.save(part)
            replace_folder(Path(place), part)

    def _folder(self, cluster: str) -> Path:
        place = f"{self._path}/{cluster}"
        return Path(place) if is_local(self._fs) else download_folder(self._fs, place)

    def _read_index(self) -> dict[str, Any]:
        path = f"{self._path}/{_INDEX}"
        try:
            index: dict[str, Any] = json.loads(read_whole(self._fs, path))
            if not (isinstance(index, dict) and index.keys() == {"complete", "clusters"}):
                raise ValueError("it has other fields")
        except FileNotFoundError:
            return {"complete": False, "clusters": {}}
        except (OSError, ValueError) as error:
            raise KaryosegError(
                f"{path}: is damaged or unreadable ({error}); needed: the file as it was written. Delete it and run "
                f"style_transfer again."
            ) from error
        return index

    def _write_index(self, clusters: dict[str, str], *, complete: bool) -> None:
        content = json.dumps({"complete": complete, "clusters": clusters}, indent=1)
        write_whole(self._fs, f"{self._path}/{_INDEX}", content.encode())

    def _exists(self) -> bool:
        return bool(self._read_index()["complete"])

    def _release(self) -> None:
        self._fs.invalidate_cache(self._path)

    def _describe(self) -> dict[str, Any]:
        return {"path": self._path}
