"""What an output folder of ``predict`` knows of its images: which files are its own, from what, and the
measurements."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fsspec
import pandas as pd
import pyarrow as pa
from pyarrow import parquet

from karyoseg.core.errors import KaryosegError
from karyoseg.core.io.image_files import is_url
from karyoseg.core.io.inputs import RECORDS
from karyoseg.core.predicting import GEOJSON, LABELS, OVERLAY, ROIS, STORE
from karyoseg.datasets.files import list_names, read_whole, write_whole

logger = logging.getLogger(__name__)

#: Ends of the names of all files that an image may have.
SUFFIXES = (LABELS, ROIS, GEOJSON, OVERLAY, STORE)
_RECORD, _TABLE = ".json", ".parquet"
_READERS = 16
_SHOWN = 3
_NOTE = "README.txt"
_NOTE_TEXT = b"""karyoseg notes here what it has written in the folder around: which files are its own and need not be
made again. Without these notes it takes them for files of yours, and leaves them alone.
"""


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


def refuse_others(folder: str, sources: Mapping[str, str], records: Mapping[str, Record]) -> None:
    """Refuse to write results of images over those of others that have the same name.

    Parameters
    ----------
    folder : str
        The output folder.
    sources : mapping of str to str
        File or URL by image id; ``zip://MEMBER::ARCHIVE`` in an archive.
    records : mapping of str to Record
        What is there.

    Raises
    ------
    KaryosegError
        If an image was another file, which is still there. If it is gone, the images were moved.
    """
    made = {key: str(records[key].info.get("source", "")) for key in sources if key in records}
    others = [key for key, earlier in made.items() if earlier and _is_another(sources[key], earlier)]
    if others:
        pairs = "; ".join(f"{key} from {made[key]}, now from {sources[key]}" for key in others[:_SHOWN])
        raise KaryosegError(
            f"{folder}: already has results of {len(others)} other image(s) of the same name ({pairs}"
            f"{' ...' if len(others) > _SHOWN else ''}); needed: one image for each name. Choose another "
            f"predict.output for these images, or rename them."
        )


def renamed(sources: Mapping[str, str], records: Mapping[str, Record]) -> list[str]:
    """List what is there of these images under another name: names depend on which images are predicted together.

    Parameters
    ----------
    sources : mapping of str to str
        File or URL by image id.
    records : mapping of str to Record
        What is there.

    Returns
    -------
    list of str
        Ids of finished images, none of those in `sources`.
    """
    known = {_spelled_out(source) for source in sources.values() if source}
    return [
        key
        for key, record in records.items()
        if key not in sources and record.fingerprint and _spelled_out(str(record.info.get("source", ""))) in known
    ]


def _spelled_out(source: str) -> str:
    return source if is_url(source) or not source else str(Path(source).resolve())


def _is_another(source: str, earlier: str) -> bool:
    source, earlier = source.rpartition("::")[2], earlier.rpartition("::")[2]
    if is_url(source) or is_url(earlier):
        return source != earlier
    # One file has many spellings: relative, through links, in capitals.
    file, other = Path(source), Path(earlier)
    return file.exists() and other.exists() and not file.samefile(other)


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
        self.folder = f"{output}/{RECORDS}"

    def exist(self) -> bool:
        """Tell whether there is any."""
        return any(name.endswith(_RECORD) for name in list_names(self._fs, self.folder))

    def is_new(self) -> bool:
        """Tell whether no run has written into the output folder yet."""
        return not list_names(self._fs, self.folder)

    def claim(self) -> None:
        """Note that tables in the output folder are ours from now on.

        Raises
        ------
        KaryosegError
            If the folder cannot be written.
        """
        write_whole(self._fs, f"{self.folder}/{_NOTE}", _NOTE_TEXT)

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
            return Record(frozenset(record["files"]), record["fingerprint"], record.get("info", {}), measured)
        except (ValueError, KeyError, TypeError):  # no JSON, or another form
            logger.warning("%s is damaged: its image is predicted again", self._path(key, _RECORD))
            return Record(frozenset(SUFFIXES))

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

    def withdraw(self, key: str, earlier: Record) -> None:
        """Note that what was finished does not count any more; its files stay, known to be ours and of which image.

        Parameters
        ----------
        key : str
            Image id.
        earlier : Record
            What was known of it.
        """
        self._write(key, {"fingerprint": "", "files": sorted(earlier.files), "info": earlier.info})

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
