"""From the bytes of a file to an array with axis letters: tifffile for TIFF, Pillow and imagecodecs for the
rest."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import BinaryIO

import imagecodecs
import numpy as np
import tifffile
from PIL import Image, UnidentifiedImageError

from karyoseg.core.io.image_files import ImageError
from karyoseg.core.pixel_size import tiff_pixel_size

#: Largest image that is read, pixels times channels; a 32 768 x 32 768 gray image.
MAX_VALUES = 2**30

_TIFF_MAGIC = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")
_PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
_PNG_DEPTH, _PNG_COLOUR = 24, 25  # offsets of bit depth and colour type in a PNG file
_DEEP = 16
_PILLOW_FORMATS = ("PNG", "JPEG", "BMP")
_LOSSLESS = ("PNG", "BMP")
_JPEG_IN_TIFF = {
    tifffile.COMPRESSION.OJPEG,
    tifffile.COMPRESSION.JPEG,
    tifffile.COMPRESSION.ALT_JPEG,
    tifffile.COMPRESSION.JPEG_LOSSY,
}
_RGB = 3

# Ours is larger, and checked before any pixel is decoded. Set once: files are read in several threads.
Image.MAX_IMAGE_PIXELS = None


@dataclass(frozen=True)
class Decoded:
    """A decoded file.

    Parameters
    ----------
    array : ndarray
        All its pixels.
    axes : str
        One letter per dimension.
    n_extra : int
        How many of the last samples are alpha.
    stack : bool
        Whether an axes parameter may explain it (TIFF).
    binary : bool
        Whether the file stores one bit per pixel.
    pixel_size_um : float or None
        Side of a pixel [um].
    lossy : bool
        Whether JPEG has changed the values.
    """

    array: np.ndarray
    axes: str
    n_extra: int = 0
    stack: bool = False
    binary: bool = False
    pixel_size_um: float | None = None
    lossy: bool = False


def decode(stream: BinaryIO, where: str, *, indexed: bool) -> Decoded:
    """Decode an image file.

    Parameters
    ----------
    stream : BinaryIO
        The file, seekable.
    where : str
        File named in errors.
    indexed : bool
        Keep the indices of palette images rather than their colours.

    Returns
    -------
    Decoded
        Pixels and what is known about them.

    Raises
    ------
    ImageError
        If the file is no image or not of a supported kind. Damaged files raise whatever the library raises.
    """
    head = stream.read(32)
    stream.seek(0)
    if head[:4] in _TIFF_MAGIC:
        return _decode_tiff(stream, where, indexed=indexed)
    if head.startswith(_PNG_MAGIC) and head[_PNG_DEPTH] == _DEEP and head[_PNG_COLOUR]:
        # Pillow would cut 16-bit colour to 8 bit.
        array = imagecodecs.png_decode(_checked_png(stream, head, where))
        return Decoded(array, "YXS"[: array.ndim], n_extra=int(array.shape[-1] in (2, 4)))
    return _decode_pillow(stream, where, indexed=indexed)


def _check_size(shape: tuple[int, ...], where: str) -> None:
    if np.prod([float(n) for n in shape]) > MAX_VALUES:
        raise ImageError(
            where,
            f"an image of {' x '.join(str(n) for n in shape)} values",
            f"at most {MAX_VALUES} (32768 x 32768 gray pixels)",
            "Cut it into tiles or downsample it.",
        )


def _checked_png(stream: BinaryIO, head: bytes, where: str) -> bytes:
    _check_size((int.from_bytes(head[20:24]), int.from_bytes(head[16:20]), 4), where)
    return stream.read()


def _decode_pillow(stream: BinaryIO, where: str, *, indexed: bool) -> Decoded:
    try:
        image: Image.Image = Image.open(stream, formats=_PILLOW_FORMATS)
        _check_size((image.height, image.width, len(image.getbands())), where)
        image.load()
    except UnidentifiedImageError as error:
        raise ImageError(
            where,
            "not an image that can be read",
            "TIFF, PNG, JPEG or BMP",
            "Convert it (Fiji: File > Save As), or remove it from the input.",
        ) from error
    binary, lossy = image.mode == "1", image.format not in _LOSSLESS
    if image.mode == "P" and not indexed:
        image = _apply_palette(image)
    elif image.mode in ("CMYK", "YCbCr"):
        image = image.convert("RGB")
    array = np.asarray(image)
    n_extra = int(image.mode in ("LA", "RGBA", "PA"))
    return Decoded(array, "YXS"[: array.ndim], n_extra=n_extra, binary=binary, lossy=lossy)


def _apply_palette(image: Image.Image) -> Image.Image:
    # Pillow picks RGBA when the palette has transparency; alpha is dropped anyway.
    image = image.convert("RGB") if "transparency" not in image.info else image.convert("RGBA").convert("RGB")
    red, green, blue = image.split()
    return red if red.tobytes() == green.tobytes() == blue.tobytes() else image


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


def _decode_tiff(stream: BinaryIO, where: str, *, indexed: bool) -> Decoded:
    with _tifffile_complaints() as complaints, tifffile.TiffFile(stream, _multifile=False) as tif:
        series = _only_series(tif, complaints, where)
        _check_size(series.shape, where)
        _check_segments(series, tif.filehandle.size)
        page = series.keyframe
        array = series.asarray()
        size = tiff_pixel_size(tif)
        # ImageJ stores gray images shown with a colour table as palette images: there the indices are the intensities.
        palette = not (indexed or tif.is_imagej)
    array, axes = _intensities(array, series.axes, page, where, indexed=indexed, palette=palette)
    return Decoded(
        array,
        axes,
        n_extra=n_alpha(page),
        stack=True,
        binary=page.bitspersample == 1,
        pixel_size_um=size,
        lossy=page.compression in _JPEG_IN_TIFF,
    )


def _only_series(tif: tifffile.TiffFile, complaints: list[str], where: str) -> tifffile.TiffPageSeries:
    """Return the image of a file; raise if it holds several or is damaged."""
    # A reduced page is the thumbnail of the image before it, and levels of a pyramid belong to their series.
    series = [one for one in tif.series if not one.keyframe.is_reduced] or list(tif.series)
    broken = [text for text in complaints if "page" in text.lower() and "TiffTag" not in text]
    if broken or any("corrupted" in text for text in complaints):
        raise ValueError((broken or complaints)[0])
    if len(series) > 1:
        shapes = ", ".join(" x ".join(str(n) for n in one.shape) for one in series[:4])
        raise ImageError(
            where,
            f"{len(series)} images in one file ({shapes} ...)",
            "one image per file",
            "Save them one by one.",
        )
    return series[0]


def _intensities(
    array: np.ndarray, axes: str, page: tifffile.TiffPage, where: str, *, indexed: bool, palette: bool
) -> tuple[np.ndarray, str]:
    """Make numbers that grow with the light of those that a file stores; `palette`: look up colours."""
    if page.photometric == tifffile.PHOTOMETRIC.SEPARATED:
        raise ImageError(where, "CMYK colours", "gray or RGB", "Convert the image to RGB.")
    if page.photometric == tifffile.PHOTOMETRIC.MINISWHITE and not indexed and array.dtype.kind in "bu":
        array = ~array if array.dtype == bool else np.array(2**page.bitspersample - 1, array.dtype) - array
    if page.photometric == tifffile.PHOTOMETRIC.PALETTE and page.colormap is not None and palette:
        colours = (page.colormap.astype(np.uint16) >> 8).astype(np.uint8)
        gray = (colours == colours[0]).all()
        array, axes = (colours[0][array], axes) if gray else (np.moveaxis(colours[:, array], 0, -1), axes + "S")
    return array, axes


def n_alpha(page: tifffile.TiffPage) -> int:
    """Count the samples of a colour pixel that are transparency.

    Parameters
    ----------
    page : tifffile.TiffPage
        Page of a TIFF file.
    """
    alpha = [kind for kind in page.extrasamples if kind in (1, 2)]
    colour = page.photometric in (tifffile.PHOTOMETRIC.RGB, tifffile.PHOTOMETRIC.YCBCR)
    if colour and page.samplesperpixel > _RGB:
        return int(page.samplesperpixel) - _RGB
    return len(alpha) if page.samplesperpixel > len(alpha) else 0


def _check_segments(series: tifffile.TiffPageSeries, size: int) -> None:
    """Raise if strips or tiles are missing or end behind the end of the file."""
    for page in series.pages:
        if page is None:
            raise ValueError("pages are missing")
        for offset, count in zip(page.dataoffsets, page.databytecounts, strict=False):
            if count == 0 or offset + count > size:
                raise ValueError(f"truncated: the file has {size} bytes, its pixels need {offset + count}")
