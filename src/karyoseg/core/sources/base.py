"""What all layouts share: records of samples, what the user states, and reading one sample."""

from __future__ import annotations

import logging
import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import numpy as np

from karyoseg.core.errors import KaryosegError, Problems
from karyoseg.core.io.images import ImageFile, read_image, read_labels

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SampleRecord:
    """One sample of a data set, before its pixels are read.

    Parameters
    ----------
    id : str
        Unique and safe as a file name.
    image : Path
        Image file.
    labels : tuple of Path
        One label image, or one mask per object; empty for an image without annotation.
    split : str
        ``train`` or ``test`` as published; empty when nothing was published.
    sample_class : str
        Class that metrics are broken down by; empty if there is none.
    magnification : float
        Objective magnification; nan if unknown.
    """

    id: str
    image: Path
    labels: tuple[Path, ...] = ()
    split: str = ""
    sample_class: str = ""
    magnification: float = math.nan


@dataclass(frozen=True)
class SourceOptions:
    """What a user may state about a data set.

    Parameters
    ----------
    origin : str
        ``real`` or ``sample``, noted in the manifest.
    sample_class : str
        Class of all samples, for layouts that name none.
    pixel_size_um : float or None
        Side of a pixel [um] where the file does not say it.
    axes : str or None
        Axes of multi-page TIFF images.
    test_ids : tuple of str or None
        Samples of the published test split, for layouts that do not mark it.
    """

    origin: str = "real"
    sample_class: str = ""
    pixel_size_um: float | None = None
    axes: str | None = None
    test_ids: tuple[str, ...] | None = None


class Source(Protocol):
    """A data set on disk: its samples, what is wrong with its files, and how to read one sample."""

    layout: str
    records: list[SampleRecord]
    problems: Problems
    options: SourceOptions

    def read_image(self, sample_id: str) -> ImageFile:
        """Read the image of a sample."""

    def read_labels(self, sample_id: str) -> np.ndarray:
        """Read the ``(Y, X)`` labels of a sample."""


@dataclass
class FileSource:
    """Source with one image file and one label image per sample.

    Parameters
    ----------
    layout : str
        Name of the layout.
    records : list of SampleRecord
        The samples, sorted by id.
    problems : Problems
        Files that fit no sample.
    options : SourceOptions
        What the user stated.
    """

    layout: str
    records: list[SampleRecord]
    problems: Problems
    options: SourceOptions = field(default_factory=SourceOptions)

    def __post_init__(self) -> None:
        self.records = sorted(self.records, key=lambda record: record.id)
        self._by_id = {record.id: record for record in self.records}

    def record(self, sample_id: str) -> SampleRecord:
        """Return the record of a sample.

        Parameters
        ----------
        sample_id : str
            Sample id.

        Raises
        ------
        KaryosegError
            If the data set has no such sample.
        """
        try:
            return self._by_id[sample_id]
        except KeyError:
            raise KaryosegError(
                f"The data set has no sample {sample_id!r}, though the manifest lists it: files were "
                "removed since. Run the download pipeline again."
            ) from None

    def read_image(self, sample_id: str) -> ImageFile:
        """Read the image of a sample.

        Parameters
        ----------
        sample_id : str
            Sample id.

        Returns
        -------
        ImageFile
            ``(Y, X)`` or ``(Y, X, C)`` pixels as stored.
        """
        return read_image(self.record(sample_id).image, self.options.axes)

    def read_labels(self, sample_id: str) -> np.ndarray:
        """Read the label image of a sample.

        Parameters
        ----------
        sample_id : str
            Sample id.

        Returns
        -------
        (Y, X) int32 ndarray
            The labels.
        """
        return read_labels(self.record(sample_id).labels[0])


def apply_test_ids(
    records: Sequence[SampleRecord], names: Sequence[str], test_ids: tuple[str, ...] | None
) -> list[SampleRecord]:
    """Set the split of all samples from a list of test ids.

    Parameters
    ----------
    records : sequence of SampleRecord
        The samples.
    names : sequence of str
        Their names in the data set, which may differ from the safe ids; either is matched, letter case aside.
    test_ids : tuple of str or None
        The published test split; None leaves the records as they are.

    Returns
    -------
    list of SampleRecord
        Listed samples are ``test``, all others ``train``.

    Raises
    ------
    KaryosegError
        If not one listed id occurs.
    """
    if test_ids is None:
        return list(records)
    wanted = {_plain(name) for name in test_ids}
    hits = [{_plain(name), _plain(r.id)} & wanted for name, r in zip(names, records, strict=True)]
    absent = len(wanted) - len(set().union(*hits))
    if absent == len(wanted):
        raise KaryosegError(
            f"None of the {len(wanted)} ids in dataset.test_ids occurs in the data set (it has "
            f"{len(records)} samples, such as {', '.join(sorted(names)[:3]) or 'none'}). Needed: one sample "
            "id per line. Give the list that belongs to this data set."
        )
    if absent:
        logger.warning("%d of the %d ids in dataset.test_ids are not in this data set.", absent, len(wanted))
    return [replace(r, split="test" if hit else "train") for r, hit in zip(records, hits, strict=True)]


def _plain(name: str) -> str:
    # Accents are one letter in some files and two in others.
    return unicodedata.normalize("NFC", name).casefold()
