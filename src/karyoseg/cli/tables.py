"""Tables that a user names on the command line."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from karyoseg.core.errors import KaryosegError

if TYPE_CHECKING:  # takes a second to import
    import pandas as pd


def read_table(path: Path, needed: tuple[str, ...] = (), **options: Any) -> pd.DataFrame:
    """Read a CSV file.

    Parameters
    ----------
    path : Path
        The file.
    needed : tuple of str
        Columns that it must have.
    **options : object
        Of ``pandas.read_csv``.

    Returns
    -------
    DataFrame
        The table.

    Raises
    ------
    KaryosegError
        If there is none, or a column is missing.
    """
    import pandas as pd

    try:
        table = pd.read_csv(path, **options)
    except (OSError, ValueError) as error:
        raise KaryosegError(f"{path}: cannot be read ({error}); needed: a table (CSV). Check the path.") from error
    missing = [name for name in needed if name not in table]
    if missing:
        raise KaryosegError(
            f"{path}: has no column {' and '.join(missing)}; needed: {', '.join(needed)}. Name the columns so."
        )
    return table
