"""Data sets in the layouts they are published in, all read through :class:`Source`.

A new layout is one module with an ``open_<layout>(folder, options) -> Source`` function and a line in
``LAYOUTS``.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from karyoseg.core.errors import KaryosegError
from karyoseg.core.metrics import ALL_IMAGES
from karyoseg.core.sources.base import SampleRecord, Source, SourceOptions
from karyoseg.core.sources.bsst265 import open_bsst265
from karyoseg.core.sources.dsb2018 import open_dsb2018
from karyoseg.core.sources.folder import open_folder
from karyoseg.core.sources.stardist_layout import open_stardist

LAYOUTS: dict[str, Callable[[Path, SourceOptions], Source]] = {
    "bsst265": open_bsst265,
    "dsb2018": open_dsb2018,
    "stardist": open_stardist,
    "folder": open_folder,
    "sample": open_bsst265,
}
"""Function that opens each layout; the embedded sample is written in that of S-BSST265."""


def open_source(folder: Path, layout: str, options: SourceOptions | None = None) -> Source:
    """Open a data set; only names are read, pixels on demand.

    Parameters
    ----------
    folder : Path
        Unpacked data set.
    layout : str
        One of ``LAYOUTS``.
    options : SourceOptions, optional
        What the user states about the data set.

    Returns
    -------
    Source
        Samples, problems and readers.

    Raises
    ------
    KaryosegError
        If the layout is unknown, the folder does not have it, it holds no sample at all, or a class has the name that
        stands for all images.
    """
    if layout not in LAYOUTS:
        raise KaryosegError(f"Unknown layout {layout!r}. Needed: one of {', '.join(LAYOUTS)} (dataset.layout).")
    source = LAYOUTS[layout](Path(folder), options or SourceOptions())
    if not source.records and not len(source.problems):
        raise KaryosegError(
            f"{folder} holds no sample in the layout {layout!r}. Needed: at least one image. Check "
            "dataset.url and dataset.layout."
        )
    if named := [record.id for record in source.records if record.sample_class == ALL_IMAGES]:
        raise KaryosegError(
            f"{folder}: {named[0]} is of the class {ALL_IMAGES!r}, under which the scores of all images stand. Needed: "
            "another name, in the table of the data set or as dataset.sample_class."
        )
    return source


__all__ = ["LAYOUTS", "SampleRecord", "Source", "SourceOptions", "open_source"]
