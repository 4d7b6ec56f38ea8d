"""Tables, JSON, text and single figures whose earlier version stays until the new one is whole.

The classes are those of kedro-datasets; only ``save`` differs: it writes to a temporary name and renames.
"""

from __future__ import annotations

import contextlib
import copy
from pathlib import PurePosixPath
from typing import Any, ClassVar

import pandas as pd
from kedro.io import DatasetError
from kedro_datasets.json import json_dataset
from kedro_datasets.matplotlib import matplotlib_dataset
from kedro_datasets.pandas import csv_dataset, parquet_dataset
from kedro_datasets.text import text_dataset

from karyoseg.core.errors import KaryosegError
from karyoseg.datasets.files import PART_SUFFIX


class _WholeFileMixin:
    """Save to ``<path>.part`` first, then rename; say what to do when there is nothing to load."""

    def load(self) -> Any:
        """Read the file; a missing or damaged one is named, with what to do."""
        path = self._filepath  # type: ignore[attr-defined]
        try:
            return super().load()  # type: ignore[misc]
        except (OSError, ValueError, DatasetError) as error:
            cause = error.__cause__ if isinstance(error, DatasetError) else error  # Kedro wraps what `load` raises
            if isinstance(cause, FileNotFoundError):
                raise KaryosegError(
                    f"{path}: is not there; needed: the file of an earlier pipeline. Run the pipelines in order: "
                    f"download, preprocess, augment, train, evaluate, visualize."
                ) from error
            if isinstance(cause, OSError | ValueError):
                raise KaryosegError(
                    f"{path}: cannot be read ({cause}); needed: the file as it was written. Delete it and run the "
                    f"pipeline that writes it again."
                ) from error
            raise

    def save(self, data: Any) -> None:
        """Write the file whole."""
        final = self._get_save_path()  # type: ignore[attr-defined]
        staged: Any = copy.copy(self)
        staged._filepath = PurePosixPath(f"{final}{PART_SUFFIX}")
        staged._version = None
        fs = self._fs  # type: ignore[attr-defined]
        try:
            fs.makedirs(str(final.parent), exist_ok=True)
            super(_WholeFileMixin, staged).save(data)  # type: ignore[misc]
            fs.mv(str(staged._filepath), str(final))
        except (OSError, DatasetError) as error:
            cause = error.__cause__ if isinstance(error, DatasetError) else error  # Kedro wraps what `save` raises
            if not isinstance(cause, OSError):
                raise
            raise KaryosegError(
                f"{final}: cannot be written ({cause.strerror or cause}); needed: a writable place with free space. "
                f"Check permissions and disk, or choose another path."
            ) from error
        finally:
            with contextlib.suppress(OSError):
                if fs.exists(str(staged._filepath)):
                    fs.rm_file(str(staged._filepath))
        self._invalidate_cache()  # type: ignore[attr-defined]


_TEXT = ("id", "class", "split", "group", "image", "source", "origin", "dtype", "image_sha256", "label_sha256")


class CSVDataset(_WholeFileMixin, csv_dataset.CSVDataset):
    """Table as CSV; see :class:`kedro_datasets.pandas.CSVDataset`.

    Ids, classes and the like are text, also those that look like numbers ("001") or like "NA"; empty stays empty text.
    """

    DEFAULT_LOAD_ARGS: ClassVar[dict[str, Any]] = {
        "dtype": dict.fromkeys(_TEXT, str),
        "keep_default_na": False,
        "na_values": [""],
    }

    def load(self) -> pd.DataFrame:
        """Read the table."""
        table = super().load()
        text = [name for name in _TEXT if name in table]
        table[text] = table[text].fillna("")
        return table


class ParquetDataset(_WholeFileMixin, parquet_dataset.ParquetDataset):
    """Table as Parquet; see :class:`kedro_datasets.pandas.ParquetDataset`."""


class JSONDataset(_WholeFileMixin, json_dataset.JSONDataset):
    """JSON document; see :class:`kedro_datasets.json.JSONDataset`."""


class TextDataset(_WholeFileMixin, text_dataset.TextDataset):
    """Text file; see :class:`kedro_datasets.text.TextDataset`."""


class MatplotlibDataset(_WholeFileMixin, matplotlib_dataset.MatplotlibDataset):
    """One figure as PNG; see :class:`kedro_datasets.matplotlib.MatplotlibDataset`."""
