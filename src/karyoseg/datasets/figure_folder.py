"""Figures as PNG files, replaced as a whole."""

from __future__ import annotations

from typing import Any

from kedro.io import AbstractDataset, DatasetError
from kedro_datasets._typing import ImagePreview
from matplotlib.figure import Figure

from karyoseg.core.plots import to_png_bytes
from karyoseg.core.previews import shrunken_figure, spread
from karyoseg.core.progress import Progress
from karyoseg.datasets.files import list_names, open_filesystem, read_whole, remove, write_whole
from karyoseg.datasets.previews import as_sheet, if_present

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
        for name, figure in Progress(data.items(), desc="writing figures", unit="figure"):
            write_whole(self._fs, f"{self._path}/{name}", to_png_bytes(figure))
        for name in self._names():
            if name not in data:
                remove(self._fs, f"{self._path}/{name}")

    def load(self) -> dict[str, bytes]:
        """Read the PNG files.

        Returns
        -------
        dict of str to bytes
            By file name.
        """
        return {name: read_whole(self._fs, f"{self._path}/{name}") for name in self._names()}

    @if_present
    def preview(self, n_figures: int = 6) -> ImagePreview:
        """Show the figures in kedro-viz, reduced, with their names.

        Parameters
        ----------
        n_figures : int
            Largest number of figures; they are spread evenly over the names.

        Returns
        -------
        str
            PNG, base64.
        """
        names = spread(self._names(), n_figures)
        tiles = {name: shrunken_figure(read_whole(self._fs, f"{self._path}/{name}"), side=420) for name in names}
        return as_sheet(tiles)

    def _names(self) -> list[str]:
        return sorted(name for name in list_names(self._fs, self._path) if name.endswith(_SUFFIX))

    def _exists(self) -> bool:
        return bool(self._names())

    def _describe(self) -> dict[str, Any]:
        return {"path": self._path}
