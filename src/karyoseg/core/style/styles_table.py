"""Styles of some images as a person knows them."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from karyoseg.core.errors import KaryosegError
from karyoseg.core.io.storage import storage_errors


def read_styles(path: str, ids: Sequence[str]) -> list[str]:
    """Read a table of styles.

    Parameters
    ----------
    path : str
        CSV with the columns ``id`` and ``style``, local or any fsspec URL; further columns do not matter.
    ids : sequence of str
        Images that there are.

    Returns
    -------
    list of str
        Style of each image of `ids`; empty where the table does not say it.

    Raises
    ------
    KaryosegError
        If it cannot be read, lacks a column, names an image that is not there, or one twice.
    """
    try:
        with storage_errors(path):
            table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise KaryosegError(
            f"{path}: cannot be read ({error}); needed: a CSV table with the columns id and style. Check the path."
        ) from error
    if not {"id", "style"} <= set(table.columns):
        raise KaryosegError(
            f"{path}: found the columns {', '.join(map(str, table.columns))}; needed: id and style. Rename them."
        )
    wrong = sorted(set(table["id"]) - set(ids)) + sorted(table.loc[table["id"].duplicated(), "id"])
    if wrong:
        raise KaryosegError(
            f"{path}: names {len(wrong)} image(s) that are not there or were named before ({', '.join(wrong[:5])}); "
            f"needed: images that are there, such as {ids[0]}, each once. Correct the column id."
        )
    styles = dict(zip(table["id"], table["style"].str.strip(), strict=True))
    return [styles.get(key, "") for key in ids]
