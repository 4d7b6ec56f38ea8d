"""Tables, JSON, text and single figures whose earlier version stays until the new one is whole.

The classes are those of kedro-datasets; they read and write whole files only.
"""

from __future__ import annotations

import copy
import tempfile
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

import fsspec
import pandas as pd
from kedro.io import DatasetError
from kedro_datasets._typing import ImagePreview, JSONPreview, TablePreview
from kedro_datasets.json import json_dataset
from kedro_datasets.matplotlib import matplotlib_dataset
from kedro_datasets.pandas import csv_dataset, parquet_dataset
from kedro_datasets.text import text_dataset

from karyoseg.core.errors import KaryosegError
from karyoseg.core.io.files import replacing
from karyoseg.core.io.sample_tables import READ_OPTIONS, fill_text
from karyoseg.core.io.storage import storage_errors
from karyoseg.core.previews import shrunken_figure
from karyoseg.datasets.files import RUN_EARLIER, is_local, read_whole, shown, write_errors
from karyoseg.datasets.previews import as_image, as_json, as_table, if_present


class _WholeFileMixin:
    """Save under a temporary name first, then rename; say what to do when there is nothing to load.

    On object stores the file is read and written here as a whole, through a temporary file on this disk: an upload
    is visible when it is complete, and a file that fails while it is encoded is never uploaded.
    """

    def load(self) -> Any:
        """Read the file; a missing or damaged one is named, with what to do."""
        path, fs = self._get_load_path(), self._fs  # type: ignore[attr-defined]
        where = shown(fs, str(path))
        try:
            if is_local(fs):
                return super().load()  # type: ignore[misc]
            with storage_errors(where), tempfile.TemporaryDirectory() as folder:
                local = self._at(Path(folder) / path.name)
                fs.get_file(str(path), str(local._filepath))
                return super(_WholeFileMixin, local).load()  # type: ignore[misc]
        except (OSError, ValueError, DatasetError) as error:
            cause = error.__cause__ if isinstance(error, DatasetError) else error  # Kedro wraps what `load` raises
            if isinstance(cause, FileNotFoundError):
                raise KaryosegError(
                    f"{where}: is not there; needed: the file of an earlier pipeline. {RUN_EARLIER}"
                ) from error
            if isinstance(cause, OSError | ValueError):
                raise KaryosegError(
                    f"{where}: cannot be read ({cause}); needed: the file as it was written. Delete it and run the "
                    f"pipeline that writes it again."
                ) from error
            raise

    def save(self, data: Any) -> None:
        """Write the file whole."""
        path, fs = self._get_save_path(), self._fs  # type: ignore[attr-defined]
        with write_errors(shown(fs, str(path))):
            if is_local(fs):
                fs.makedirs(str(path.parent), exist_ok=True)
                with replacing(Path(path)) as part:
                    super(_WholeFileMixin, self._at(part)).save(data)  # type: ignore[misc]
            else:
                with tempfile.TemporaryDirectory() as folder:
                    local = Path(folder) / path.name
                    super(_WholeFileMixin, self._at(local)).save(data)  # type: ignore[misc]
                    fs.put_file(str(local), str(path))
        self._invalidate_cache()  # type: ignore[attr-defined]

    def _at(self, local: Path) -> Any:
        """Return the same dataset at a local path."""
        staged: Any = copy.copy(self)
        if not is_local(self._fs):  # type: ignore[attr-defined]
            staged._fs, staged._protocol = fsspec.filesystem("file"), "file"
        staged._filepath, staged._version = PurePosixPath(local.as_posix()), None
        return staged


class CSVDataset(_WholeFileMixin, csv_dataset.CSVDataset):
    """Table as CSV; see :class:`kedro_datasets.pandas.CSVDataset`.

    Ids, classes and the like are text, also those that look like numbers ("001") or like "NA"; empty stays empty text.

    Parameters
    ----------
    optional : bool
        A file that was never written is an empty table; otherwise that is an error.
    **options : object
        Those of the class of kedro-datasets.
    """

    DEFAULT_LOAD_ARGS: ClassVar[dict[str, Any]] = READ_OPTIONS

    def __init__(self, *, optional: bool = False, **options: Any):
        super().__init__(**options)
        self._optional = optional

    @if_present
    def preview(self, nrows: int = 5) -> TablePreview:
        """Show the first rows in kedro-viz."""
        return as_table(super().preview(nrows))

    def load(self) -> pd.DataFrame:
        """Read the table."""
        if self._optional and not self._exists():
            return pd.DataFrame()
        return fill_text(super().load())


class ParquetDataset(_WholeFileMixin, parquet_dataset.ParquetDataset):
    """Table as Parquet; see :class:`kedro_datasets.pandas.ParquetDataset`."""

    @if_present
    def preview(self, nrows: int = 5) -> TablePreview:
        """Show the first rows in kedro-viz."""
        return as_table(self.load().head(nrows).to_dict(orient="split"))


class JSONDataset(_WholeFileMixin, json_dataset.JSONDataset):
    """JSON document; see :class:`kedro_datasets.json.JSONDataset`."""

    @if_present
    def preview(self) -> JSONPreview:
        """Show the document in kedro-viz."""
        return as_json(self.load())


class TextDataset(_WholeFileMixin, text_dataset.TextDataset):
    """Text file; see :class:`kedro_datasets.text.TextDataset`."""


class MatplotlibDataset(_WholeFileMixin, matplotlib_dataset.MatplotlibDataset):
    """One figure as PNG; see :class:`kedro_datasets.matplotlib.MatplotlibDataset`."""

    @if_present
    def preview(self) -> ImagePreview:
        """Show the figure in kedro-viz, reduced."""
        return as_image(shrunken_figure(read_whole(self._fs, str(self._get_load_path())), side=720))
