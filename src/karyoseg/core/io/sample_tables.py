"""Tables of samples as CSV: ids, classes and the like are text, also those that look like numbers or like "NA"."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

_TEXT = ("id", "class", "split", "group", "image", "source", "origin", "dtype", "image_sha256", "label_sha256")

#: Arguments of pandas.read_csv.
READ_OPTIONS: dict[str, Any] = {"dtype": dict.fromkeys(_TEXT, str), "keep_default_na": False, "na_values": [""]}


def fill_text(table: pd.DataFrame) -> pd.DataFrame:
    """Let empty text be empty, not missing.

    Parameters
    ----------
    table : DataFrame
        Read with ``READ_OPTIONS``; changed in place.

    Returns
    -------
    DataFrame
        The same table.
    """
    text = [name for name in _TEXT if name in table]
    table[text] = table[text].fillna("")
    return table


def read_samples(path: Path) -> pd.DataFrame:
    """Read a table of samples.

    Parameters
    ----------
    path : Path
        CSV file.

    Returns
    -------
    DataFrame
        The table.

    Raises
    ------
    OSError, ValueError
        If it cannot be read.
    """
    return fill_text(pd.read_csv(path, **READ_OPTIONS))
