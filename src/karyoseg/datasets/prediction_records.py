"""What an output folder of ``predict`` knows of its images: which files are its own, from what, and the
measurements."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import fsspec
import pandas as pd
import pyarrow as pa
from pyarrow import parquet

from karyoseg.core.errors import KaryosegError
from karyoseg.core.predicting import GEOJSON, LABELS, OVERLAY, ROIS, STORE
from karyoseg.datasets.files import list_names, read_whole, write_whole

logger = logging.getLogger(__name__)

#: Ends of the names of all files that an image may have.
SUFFIXES = (LABELS, ROIS, GEOJSON, OVERLAY, STORE)
_FOLDER = ".objects"
_RECORD, _TABLE = ".json", ".parquet"
_READERS = 16


@dataclass(frozen=True)
class Record:
    """What is known of an image.

    Parameters
    ----------
    files : frozenset of str
        Suffixes of its files.
    fingerprint : str
        Of what they were made from; empty while they are not all written.
    info : dict
        Source file, model and scale.
    measured : bool
        Whether there are measurements.
    """

    files: frozenset[str] = frozenset()
    fingerprint: str = ""
    info: dict[str, Any] = field(default_factory=dict)
    measured: bool = False

    def is_done(self, key: str, present: set[str]) -> bool:
        """Tell whether the image needs nothing more.

        Parameters
        ----------
        key : str
            Its id.
        present : set of str
            Names of the files that are there.
        """
        return bool(self.fingerprint) and self.measured and {f"{key}{suffix}" for suffix in self.files} <= present


class PredictionRecords:
    """The folder ``.objects`` in an output folder: per image a record and a table of measurements.

    Parameters
    ----------
    fs : fsspec filesystem
        Where it is.
    output : str
        The output folder.
    """

    def __init__(self, fs: fsspec.AbstractFileSystem, output: str):
        self._fs = fs
        self.folder = f"{output}/{_FOLDER}"

    def exist(self) -> bool:
        """Tell whether there is any."""
        return bool(list_names(self._fs, self.folder))

    def read(self) -> dict[str, Record]:
        """Read all records, by image id; one that is damaged counts as unfinished."""
        present = list_names(self._fs, self.folder)
        keys = sorted(name.removesuffix(_RECORD) for name in present if name.endswith(_RECORD))
        with ThreadPoolExecutor(_READERS) as pool:  # object stores answer many requests at a time
            contents = list(pool.map(lambda key: read_whole(self._fs, self._path(key, _RECORD)), keys))
        return {
            key: self._parse(key, content, measured=f"{key}{_TABLE}" in present)
            for key, content in zip(keys, contents, strict=True)
        }

    def _parse(self, key: str, content: bytes, *, measured: bool) -> Record:
        try:
            record = json.loads(content)
        except ValueError:
            logger.warning("%s is damaged: its image is predicted again", self._path(key, _RECORD))
            return Record(frozenset(SUFFIXES))
        return Record(frozenset(record["files"]), record["fingerprint"], record.get("info", {}), measured)

    def begin(self, key: str, files: Iterable[str]) -> None:
        """Note that files will be written: should the run be killed in between, they are known to be ours.

        Parameters
        ----------
        key : str
            Image id.
        files : iterable of str
            Suffixes of the files, those of an earlier run included.
        """
        self._write(key, {"fingerprint": "", "files": sorted(files)})

    def finish(self, key: str, files: Iterable[str], fingerprint: str, info: dict[str, Any]) -> None:
        """Note that an image is done.

        Parameters
        ----------
        key : str
            Image id.
        files : iterable of str
            Suffixes of its files.
        fingerprint : str
            Of what they were made from.
        info : dict
            Source file, model and scale.
        """
        self._write(key, {"fingerprint": fingerprint, "files": sorted(files), "info": info})

    def write_table(self, key: str, table: pd.DataFrame) -> None:
        """Write measurements.

        Parameters
        ----------
        key : str
            Image id.
        table : DataFrame
            One row per object, numbers only.
        """
        # As pandas does it, it takes four times as long.
        columns = pa.table({str(name): column.to_numpy() for name, column in table.items()})
        buffer = pa.BufferOutputStream()
        plain: dict[str, Any] = {"use_dictionary": False, "write_statistics": False, "store_schema": False}
        parquet.write_table(columns, buffer, compression="none", **plain)
        write_whole(self._fs, self.table_path(key), buffer.getvalue().to_pybytes())

    def read_table(self, key: str) -> pd.DataFrame:
        """Read measurements.

        Parameters
        ----------
        key : str
            Image id.

        Raises
        ------
        KaryosegError
            If they cannot be read.
        """
        path = self.table_path(key)
        try:
            content = pa.BufferReader(read_whole(self._fs, path))
            return parquet.ParquetFile(content).read(use_threads=False).to_pandas()
        except (OSError, ValueError) as error:
            raise KaryosegError(
                f"{path}: cannot be read back ({error}); needed: the file as it was written. Delete it "
                f"and predict again."
            ) from error

    def table_path(self, key: str) -> str:
        """Return where the measurements of an image are.

        Parameters
        ----------
        key : str
            Image id.
        """
        return self._path(key, _TABLE)

    def _path(self, key: str, suffix: str) -> str:
        return f"{self.folder}/{key}{suffix}"

    def _write(self, key: str, record: dict[str, Any]) -> None:
        write_whole(self._fs, self._path(key, _RECORD), json.dumps(record, indent=1, default=str).encode())
