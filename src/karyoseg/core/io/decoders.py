"""From the bytes of a file to an array with axis letters: tifffile for TIFF, Pillow and imagecodecs for the rest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import BinaryIO

import imagecodecs
import numpy as np
import tifffile
from PIL import Image, UnidentifiedImageError

from karyoseg.core.io.foreign_tiffs import TiffImage, invert, open_tiff
from karyoseg.core.io.image_files import ImageError

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


def check_size(shape: tuple[int, ...], where: str) -> None:
    """Refuse an image that is too large to be read whole.

    Parameters
    ----------
    shape : tuple of int
        Its size, channels included.
    where : str
        File named in the error.

    Raises
    ------
    ImageError
        Above :data:`MAX_VALUES`.
    """
    if np.prod([float(n) for n in shape]) > MAX_VALUES:
        raise ImageError(
            where,
            f"an image of {' x '.join(str(n) for n in shape)} values",
            f"at most {MAX_VALUES} (32768 x 32768 gray pixels)",
            "Cut it into tiles or downsample it.",
        )


def _checked_png(stream: BinaryIO, head: bytes, where: str) -> bytes:
    check_size((int.from_bytes(head[20:24]), int.from_bytes(head[16:20]), 4), where)
    return stream.read()


def _decode_pillow(stream: BinaryIO, where: str, *, indexed: bool) -> Decoded:
    try:
        image: Image.Image = Image.open(stream, formats=_PILLOW_FORMATS)
        check_size((image.height, image.width, len(image.getbands())), where)
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


def _decode_tiff(stream: BinaryIO, where: str, *, indexed: bool) -> Decoded:
    tiff = open_tiff(stream, where)
    check_size(tiff.series.shape, where)
    array, axes = tiff.read(), tiff.axes
    if not indexed:
        array, axes = _intensities(array, axes, tiff)
    page = tiff.series.keyframe
    return Decoded(
        array,
        axes,
        n_extra=tiff.n_alpha,
        stack=True,
        binary=page.bitspersample == 1,
        pixel_size_um=tiff.pixel_size_um,
        lossy=page.compression in _JPEG_IN_TIFF,
    )


def _intensities(array: np.ndarray, axes: str, tiff: TiffImage) -> tuple[np.ndarray, str]:
    """Make numbers that grow with the light of those that a file stores, and colours of a palette."""
    if tiff.black is not None:
        array = invert(array, tiff.black)
    if tiff.palette is not None:
        if (tiff.palette == tiff.palette[0]).all():  # all of it gray
            return tiff.palette[0][array], axes
        return np.moveaxis(tiff.palette[:, array], 0, -1), axes + "S"
    return array, axes
