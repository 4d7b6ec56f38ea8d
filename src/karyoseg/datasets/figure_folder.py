"""Figures as PNG files, replaced as a whole."""

from __future__ import annotations

import base64
from typing import Any

from kedro.io import AbstractDataset, DatasetError
from kedro_datasets._typing import ImagePreview
from matplotlib.figure import Figure

from karyoseg.core.plots import to_png_bytes
from karyoseg.datasets.files import open_filesystem, write_whole

_SUFFIX = ".png"


class FigureFolder(AbstractDataset[dict[str, Figure], dict[str, bytes]]):
    """One PNG per figure of a dictionary; PNGs of an earlier run that are not drawn any more are removed at the end.

    Parameters
    ----------
    path : str
        Folder, local or any fsspec URL. It belongs to this dataset alone.
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

    def save(self, data: dict[str, Figure]) -> None:
        """Write the figures.

        Parameters
        ----------
        data : dict of str to Figure
            File names, ending in ``.png``, and figures.
        """
        wrong = [name for name in data if not name.endswith(_SUFFIX)]
        if wrong:
            raise DatasetError(f"figure names must end in {_SUFFIX}, got {wrong}")
        for name, figure in data.items():
            write_whole(self._fs, f"{self._path}/{name}", to_png_bytes(figure))
        for name in self._names():
            if name not in data:
                self._fs.rm_file(f"{self._path}/{name}")

    def load(self) -> dict[str, bytes]:
        """Read the PNG files.

        Returns
        -------
        dict of str to bytes
            By file name.
        """
        return {name: self._fs.cat_file(f"{self._path}/{name}") for name in self._names()}

    def preview(self) -> ImagePreview:
        """Show the first figure in kedro-viz.

        Returns
        -------
        str
            PNG as base64.
        """
        return ImagePreview(base64.b64encode(next(iter(self.load().values()))).decode())

    def _names(self) -> list[str]:
        self._fs.invalidate_cache(self._path)
        if not self._fs.exists(self._path):
            return []
        names = (str(path).rsplit("/", 1)[-1] for path in self._fs.ls(self._path, detail=False))
        return sorted(name for name in names if name.endswith(_SUFFIX))

    def _exists(self) -> bool:
        return bool(self._names())

    def _describe(self) -> dict[str, Any]:
        return {"path": self._path}
