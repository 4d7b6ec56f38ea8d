"""Long tables, on disk until they are written."""

from __future__ import annotations

import io
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from karyoseg.core.spooled_table import SpooledTable


def tables() -> list[pd.DataFrame]:
    """As of a gray image, one without objects, one in colour, and one of known pixel size."""
    return [
        pd.DataFrame({"image": ["001", "001"], "label": [1, 2], "touches_border": [True, False], "mean": [0.25, 1.5]}),
        pd.DataFrame({"image": pd.Series(dtype="str"), "label": pd.Series(dtype="int64")}),
        pd.DataFrame({"image": ['é,"b'], "label": [7], "touches_border": [False], "mean_0": [3.0], "mean_1": [4.0]}),
        pd.DataFrame({"image": ["c"], "label": [9], "touches_border": [True], "mean": [1.0], "area_um2": [1e-7]}),
    ]


@pytest.mark.parametrize("rows", [1, 2, 3, 100])
def test_files_are_those_of_concat(tmp_path: Path, rows: int) -> None:
    joined = pd.concat([table for table in tables() if len(table)], ignore_index=True)
    spooled = SpooledTable(iter(tables()), rows=rows)
    assert len(spooled) == len(joined)
    assert spooled.columns == list(joined)
    for index, sep in ((False, ","), (True, ";")):
        file, expected = io.StringIO(), io.StringIO(joined.to_csv(index=index, sep=sep))
        spooled.to_csv(file, index=index, sep=sep)
        file.seek(0)
        texts = {"sep": sep, "dtype": {"image": str}}
        pd.testing.assert_frame_equal(
            pd.read_csv(file, **texts).rename(columns={"": "Unnamed: 0"}), pd.read_csv(expected, **texts)
        )
    spooled.to_parquet(tmp_path / "objects.parquet")
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "objects.parquet"), joined)


def test_whole_numbers_that_are_missing_elsewhere(tmp_path: Path) -> None:
    parts = [pd.DataFrame({"a": [1], "n": [5]}), pd.DataFrame({"a": [2]}), pd.DataFrame({"a": [3], "n": [0.5]})]
    SpooledTable(parts, rows=1).to_parquet(tmp_path / "t.parquet")
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "t.parquet"), pd.concat(parts, ignore_index=True))


def test_without_rows_the_columns_are_there(tmp_path: Path) -> None:
    spooled = SpooledTable([pd.DataFrame({"image": [], "label": []})] * 2)
    file = io.StringIO()
    spooled.to_csv(file)
    assert file.getvalue() == '"image","label"\n'
    spooled.to_parquet(tmp_path / "t.parquet")
    assert list(pd.read_parquet(tmp_path / "t.parquet")) == ["image", "label"]
    assert len(spooled) == 0


def test_memory_does_not_grow_with_the_number_of_tables() -> None:
    def many(number: int) -> Iterator[pd.DataFrame]:
        for index in range(number):
            yield pd.DataFrame({f"c{column}": np.full(1000, float(index)) for column in range(20)})

    peaks = []
    for number in (10, 80):
        tracemalloc.start()
        SpooledTable(many(number), rows=2000).to_csv(io.TextIOWrapper(io.FileIO("/dev/null", "w")))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0]  # the tables have 160 kB each
