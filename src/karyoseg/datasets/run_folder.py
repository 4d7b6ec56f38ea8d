"""The folder with one JSON file per run, on disk or in a bucket."""

from __future__ import annotations

import itertools
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from karyoseg.datasets.files import is_local, list_names, open_filesystem, read_whole, write_whole

logger = logging.getLogger(__name__)

_SUFFIX = ".json"


class RunFolder:
    """Records of runs; nothing is ever removed.

    Parameters
    ----------
    path : str
        Folder, local or any fsspec URL.
    """

    def __init__(self, path: str):
        self._fs, folder = open_filesystem(path, None, None)
        self._path = folder.rstrip("/")

    def reserve(self, name: str) -> str:
        """Find a free file name.

        On a disk the file is made at once, so that of many runs that start in the same second each has its own.

        Parameters
        ----------
        name : str
            Wanted name, without suffix.

        Returns
        -------
        str
            Path of the file.
        """
        numbered = (f"{name}-{number}" for number in itertools.count(2))
        paths = (f"{self._path}/{name}{_SUFFIX}" for name in itertools.chain([name], numbered))
        return next(path for path in paths if self._take(path))

    def _take(self, path: str) -> bool:
        if not is_local(self._fs):
            return not self._fs.exists(path)
        self._fs.makedirs(self._path, exist_ok=True)
        try:
            Path(path).touch(exist_ok=False)
        except FileExistsError:
            return False
        return True

    def write(self, path: str, record: Mapping[str, Any]) -> None:
        """Write a record as a whole.

        Parameters
        ----------
        path : str
            From :meth:`reserve`.
        record : mapping
            The record.
        """
        write_whole(self._fs, path, json.dumps(record, indent=1).encode())

    def read(self, last: int | None = None) -> dict[str, dict[str, Any]]:
        """Read the records; what is no record is passed over.

        Parameters
        ----------
        last : int, optional
            Only this many, the newest.

        Returns
        -------
        dict of str to dict
            By file name without suffix, oldest first.
        """
        files = (name for name in list_names(self._fs, self._path) if name.endswith(_SUFFIX))
        names = sorted(name.removesuffix(_SUFFIX) for name in files)
        records = {}
        for name in names[-last:] if last else names:
            try:
                records[name] = json.loads(read_whole(self._fs, f"{self._path}/{name}{_SUFFIX}"))
            except ValueError:
                logger.debug("%s: is no record", name)
        return records
