"""TIFF files as microscopes and other programs write them: which image is in one, and whether all of it is there."""

from __future__ import annotations

import logging
import operator
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
import tifffile

from karyoseg.core.io.image_files import ImageError
from karyoseg.core.pixel_size import tiff_pixel_size

_RGB = 3
_COLOURS = (tifffile.PHOTOMETRIC.RGB, tifffile.PHOTOMETRIC.YCBCR)
_COLOUR_BITS = 8
_ALPHA = (tifffile.EXTRASAMPLE.ASSOCALPHA, tifffile.EXTRASAMPLE.UNASSALPHA)
#: Complaints about pages with these words do not mean that any is damaged.
_HARMLESS = ("TiffTag", "Philips series")

_COMPLAINTS: ContextVar[list[str] | None] = ContextVar("complaints", default=None)


class _CollectComplaints(logging.Filter):
    """Keep from the log what tifffile says of a file, and give it to the thread that reads this file."""

    def filter(self, record: logging.LogRecord) -> bool:
        complaints = _COMPLAINTS.get()
        if complaints is not None:
            complaints.append(record.getMessage())
        return complaints is None


logging.getLogger("tifffile").addFilter(_CollectComplaints())


@contextmanager
def _tifffile_complaints() -> Iterator[list[str]]:
    """Collect what tifffile only logs: it reads past a broken page chain without raising."""
    complaints: list[str] = []
    token = _COMPLAINTS.set(complaints)
    try:
        yield complaints
    finally:
        _COMPLAINTS.reset(token)


@dataclass(frozen=True)
class TiffImage:
    """The one image of a TIFF file; its pixels are not read yet.

    Parameters
    ----------
    series : tifffile.TiffPageSeries
        Its pages.
    axes : str
        One letter per axis; S only for samples that are colours.
    n_alpha : int
        How many of the last samples are alpha.
    black : int or None
        Value of black if white is 0; else None.
    palette : (3, n) uint8 ndarray or None
        Colours that the values stand for.
    pixel_size_um : float or None
        Side of a pixel [um].
    """

    series: tifffile.TiffPageSeries
    axes: str
    n_alpha: int
    black: int | None
    palette: np.ndarray | None
    pixel_size_um: float | None

    def read(self) -> np.ndarray:
        """Return the pixels as stored."""
        with _tifffile_complaints():
            return self.series.asarray()


def open_tiff(file: str | BinaryIO, where: str, *, sparse: bool = False) -> TiffImage:
    """Find the image of a TIFF file and check that all of it is there.

    Parameters
    ----------
    file : str or BinaryIO
        Path, or the file, seekable.
    where : str
        File named in errors.
    sparse : bool
        Whether tiles may be left out, as slide scanners do where there is nothing; they read as 0.

    Returns
    -------
    TiffImage
        The image.

    Raises
    ------
    ImageError
        If there are several, or it has CMYK colours. Damaged files raise whatever the library raises.
    """
    with _tifffile_complaints() as complaints:
        tif = tifffile.TiffFile(file, _multifile=False)
        series = _only_series(tif, complaints, where)
        _check_segments(series, tif.filehandle.size, sparse=sparse)
        pixel_size = tiff_pixel_size(tif)
    page = series.keyframe
    if page.photometric == tifffile.PHOTOMETRIC.SEPARATED:
        raise ImageError(where, "CMYK colours", "gray or RGB", "Convert the image to RGB.")
    inverted = page.photometric == tifffile.PHOTOMETRIC.MINISWHITE and series.dtype.kind in "bu"
    # ImageJ stores gray images shown with a colour table as palette images: there the indices are the intensities.
    colours = page.colormap if page.photometric == tifffile.PHOTOMETRIC.PALETTE and not tif.is_imagej else None
    colour, n_alpha = _samples(page)
    return TiffImage(
        series,
        series.axes if colour else series.axes.replace("S", "C"),
        n_alpha,
        2**page.bitspersample - 1 if inverted else None,
        None if colours is None else (colours.astype(np.uint16) >> 8).astype(np.uint8),
        pixel_size,
    )


def invert(array: np.ndarray, black: int) -> np.ndarray:
    """Make black 0 in pixels of a file in which white is.

    Parameters
    ----------
    array : bool or unsigned ndarray
        Pixels as stored.
    black : int
        Value of black, all bits set.

    Returns
    -------
    ndarray
        Pixels of the same type.
    """
    return np.asarray(array ^ array.dtype.type(black))


def _only_series(tif: tifffile.TiffFile, complaints: list[str], where: str) -> tifffile.TiffPageSeries:
    """Return the image of a file; raise if it holds several or is damaged."""
    # A reduced page is the thumbnail of the image before it, and levels of a pyramid belong to their series.
    series = [one for one in tif.series if not one.keyframe.is_reduced] or list(tif.series)
    said = [text.removeprefix(repr(tif)).strip() for text in complaints]  # the file may be called "page"
    broken = [text for text in said if "page" in text.lower() and not any(word in text for word in _HARMLESS)]
    if broken or any("corrupted" in text for text in said):
        raise ValueError((broken or said)[0])
    if len(series) > 1:
        shapes = ", ".join(" x ".join(str(n) for n in one.shape) for one in series[:4])
        raise ImageError(
            where,
            f"{len(series)} images in one file ({shapes} ...)",
            "one image per file",
            "Save them one by one.",
        )
    return series[0]


def _samples(page: tifffile.TiffPage) -> tuple[bool, int]:
    """Tell whether the samples of a pixel are its colour, not channels of a microscope, and how many are transparency.

    Programs call it RGB, and what exceeds three samples alpha, too, if they store three or four planes of 16 bit.
    """
    n_samples = int(page.samplesperpixel)
    n_alpha = sum(kind in _ALPHA for kind in page.extrasamples)
    if page.photometric not in _COLOURS or n_samples > _RGB + 1:
        return False, n_alpha if n_samples > n_alpha else 0
    if page.planarconfig == tifffile.PLANARCONFIG.SEPARATE and page.bitspersample > _COLOUR_BITS:
        return False, 0
    return True, max(0, n_samples - _RGB)


def _check_segments(series: tifffile.TiffPageSeries, size: int, *, sparse: bool) -> None:
    """Raise if strips or tiles are missing or end behind the end of the file; slides have millions of them."""
    for page in series.pages:
        if page is None:
            raise ValueError("pages are missing")
        counts = page.databytecounts
        if 0 in counts and not (sparse and series.keyframe.is_tiled and any(counts)):
            raise ValueError("strips or tiles are missing")
        end = max(map(operator.add, page.dataoffsets, counts), default=0)
        if end > size:
            raise ValueError(f"truncated: the file has {size} bytes, its pixels need {end}")
