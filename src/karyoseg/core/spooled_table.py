"""A table with a row per object of thousands of images: longer than what should be in memory."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
from pyarrow import csv, parquet

_ROWS = 100_000  # some 30 MB of measurements


class SpooledTable:
    """Many tables, one below the other, kept on disk in pieces of bounded size until they are written to one file.

    Rows, their order and columns are those of :func:`pandas.concat`: a column that a table does not have is empty
    there. It has the methods of a DataFrame by which the table datasets of Kedro save.

    Parameters
    ----------
    tables : iterable of DataFrame
        At least one; taken one at a time. Those without rows only count if all are.
    rows : int
        Tables are joined in memory until they have so many rows.

    Examples
    --------
    >>> import io
    >>> table = SpooledTable([pd.DataFrame({"a": [1]}), pd.DataFrame({"a": [2], "b": [0.5]})], rows=1)
    >>> len(table), table.columns
    (2, ['a', 'b'])
    >>> file = io.StringIO()
    >>> table.to_csv(file)
    >>> file.getvalue().split()
    ['"a","b"', '1,', '2,0.5']
    """

    def __init__(self, tables: Iterable[pd.DataFrame], rows: int = _ROWS):
        self._folder = tempfile.TemporaryDirectory(prefix="karyoseg-table-")
        self._pieces: list[Path] = []
        self._length = 0
        for joined in _joined(tables, rows):
            self._length += len(joined)
            self._pieces.append(Path(self._folder.name) / f"{len(self._pieces):06d}.parquet")
            joined.to_parquet(self._pieces[-1], index=False)
        schemas = [parquet.read_schema(piece) for piece in self._pieces]
        self._schema = pa.unify_schemas(schemas, promote_options="permissive")

    def __len__(self) -> int:
        return self._length

    @property
    def columns(self) -> list[str]:
        """Names of the columns."""
        return list(self._schema.names)

    def to_csv(self, path_or_buf: Any, *, index: bool = False, sep: str = ",") -> None:
        """Write as CSV; texts in quotes, missing values empty.

        Parameters
        ----------
        path_or_buf : text file
            Open for writing.
        index : bool
            Whether rows are numbered, in a first column without a name.
        sep : str
            Between columns.
        """
        start = 0
        for piece in self._read():
            if index:
                piece.insert(0, "", range(start, start + len(piece)))
            # Ten times as fast as pandas.
            written = io.BytesIO()
            options = csv.WriteOptions(include_header=start == 0, delimiter=sep)
            csv.write_csv(pa.Table.from_pandas(piece, preserve_index=False), written, options)
            path_or_buf.write(written.getvalue().decode())
            start += len(piece)

    def to_parquet(self, path: Any, *, compression: str = "snappy") -> None:
        """Write as Parquet.

        Parameters
        ----------
        path : binary file or str
            Where to.
        compression : str
            As in :meth:`pandas.DataFrame.to_parquet`.
        """
        with parquet.ParquetWriter(path, self._schema, compression=compression) as writer:
            for piece in self._read():
                writer.write_table(pa.Table.from_pandas(piece, self._schema, preserve_index=False))

    def _read(self) -> Iterator[pd.DataFrame]:
        for piece in self._pieces:
            yield pd.read_parquet(piece).reindex(columns=self.columns)


def _joined(tables: Iterable[pd.DataFrame], rows: int) -> Iterator[pd.DataFrame]:
    """Join tables until they have that many rows; give a table without rows only if there is nothing else."""
    pending: list[pd.DataFrame] = []
    empty: pd.DataFrame | None = None
    n_pending = n_given = 0
    for table in tables:
        if len(table):
            pending.append(table)
        elif empty is None:
            empty = table
        n_pending += len(table)
        if n_pending >= rows:
            yield pd.concat(pending, ignore_index=True)
            n_given += n_pending
            pending, n_pending = [], 0
    if pending:
        yield pd.concat(pending, ignore_index=True)
    elif not n_given and empty is not None:
        yield empty
