"""Reading images and label images of any usual format.

TIFF is read by tifffile with imagecodecs, PNG, JPEG and BMP by Pillow (16-bit colour PNG by imagecodecs);
the content of the file decides, not its suffix. Zarr is read whole. What cannot be read raises
:class:`~karyoseg.core.io.image_files.ImageError`.
"""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike, fspath

import numpy as np
from scipy import ndimage as ndi
from skimage.measure import label

from karyoseg.core.axes import known_axes, to_yxc
from karyoseg.core.io.decoders import Decoded, check_size, decode
from karyoseg.core.io.image_files import ImageError, image_errors, open_binary
from karyoseg.core.io.large_images import is_zarr, label_path, open_large

#: Suffixes taken for images when a folder or archive is searched, lower case.
IMAGE_SUFFIXES = (".tif", ".tiff", ".png", ".jpg", ".jpeg", ".bmp")

_MAX_INT32 = np.iinfo(np.int32).max
_MAX_UINT8 = 255
_MAX_FRAGMENTS = 3
_MAX_AGAIN = 1.2
_DAMAGED = ("a damaged image file", "a complete image file", "Copy or export the image again.")


@dataclass(frozen=True)
class ImageFile:
    """An image as stored.

    Parameters
    ----------
    array : (Y, X) or (Y, X, C) ndarray
        Pixels in the file's own type, native byte order; bool becomes uint8.
    axes : str
        ``YX`` or ``YXC``.
    pixel_size_um : float or None
        Side of a pixel [um] from the metadata, if believable; see :mod:`karyoseg.core.pixel_size`.
    lossy : bool
        Whether JPEG has changed the values: no harm to an image, but to labels and masks.
    colour : bool
        Whether channels are those of colour pixels, in place of separate stains.
    """

    array: np.ndarray
    axes: str
    pixel_size_um: float | None = None
    lossy: bool = False
    colour: bool = False

    @property
    def has_stains(self) -> bool:
        """Whether there are several channels, and not those of colour pixels."""
        return self.array.ndim > 2 and not self.colour  # noqa: PLR2004


def read_image(path: str | PathLike[str], axes: str | None = None) -> ImageFile:
    """Read a 2-D image with or without channels.

    Alpha channels are dropped, palettes become colour (or gray, if they are), CMYK becomes RGB, and
    white-is-zero TIFFs are inverted. Pages that an ImageJ or OME file calls channels are read as channels;
    other multi-page files need `axes`.

    Parameters
    ----------
    path : str or path
        TIFF, PNG, JPEG, BMP, Zarr or OME-Zarr; local or any fsspec URL.
    axes : str, optional
        Axes of a TIFF stack or Zarr that does not say itself, such as ``CYX``. Others ignore it.

    Returns
    -------
    ImageFile
        Pixels, axes and pixel size.

    Raises
    ------
    ImageError
        If the file is missing, empty, damaged, no image, a Z or T stack, several images, or of complex type.
    """
    where = fspath(path)
    decoded = _decode(where, axes, indexed=False)
    array, letters, colour = _arrange(decoded, axes, where)
    if letters == "YXC" and decoded.n_extra:
        array = array[..., : array.shape[-1] - decoded.n_extra]
        array, letters = (array[..., 0], "YX") if array.shape[-1] == 1 else (array, letters)
    return ImageFile(np.ascontiguousarray(array), letters, decoded.pixel_size_um, decoded.lossy, colour)


def read_labels(path: str | PathLike[str], axes: str | None = None) -> np.ndarray:
    """Read a label image; see :func:`read_label_file`.

    Parameters
    ----------
    path : str or path
        TIFF, PNG, BMP, Zarr or OME-Zarr; local or any fsspec URL.
    axes : str, optional
        Axes of a TIFF or Zarr that does not say itself.

    Returns
    -------
    (Y, X) int32 ndarray
        The labels.

    Raises
    ------
    ImageError
        If the file cannot be read or is no label image.
    """
    return read_label_file(path, axes).array


def read_label_file(path: str | PathLike[str], axes: str | None = None) -> ImageFile:
    """Read a label image, one integer per object, 0 background, negative not annotated, and its pixel size.

    Palette images give their indices. Floats that are whole numbers and colour images with equal channels are
    accepted, as programs without integer types write them. A mask that marks all objects with one value is
    refused: which objects touch can no longer be told. It is recognised by a single value that is the
    largest of its type (255, 65535 or true) in more than one region, or any single value in more than three
    regions. So is a mask of classes: values up to 255, each in more than three regions on average, or all of them, a
    fifth more than once.

    Parameters
    ----------
    path : str or path
        TIFF, PNG, BMP, Zarr or OME-Zarr; local or any fsspec URL.
    axes : str, optional
        Axes of a TIFF or Zarr that does not say itself.

    Returns
    -------
    ImageFile
        The labels, (Y, X) int32, and the pixel size.

    Raises
    ------
    ImageError
        If the file cannot be read, is compressed as JPEG, or holds colours, fractions, a binary mask or values beyond
        int32.
    """
    where = fspath(path)
    decoded = _decode(where, axes, indexed=True)
    refuse_lossy(where, lossy=decoded.lossy)
    array, letters, _ = _arrange(decoded, axes, where)
    if letters == "YXC":
        array = array[..., : array.shape[-1] - decoded.n_extra]
        if any(not np.array_equal(array[..., 0], array[..., c]) for c in range(1, array.shape[-1])):
            raise ImageError(
                where,
                f"a colour image with {array.shape[-1]} channels",
                "a label image: one channel, one integer per object",
                "Export the labels as a 16-bit gray image.",
            )
        array = array[..., 0]
    if array.dtype.kind == "f" and not (np.isfinite(array).all() and (array == np.rint(array)).all()):
        raise ImageError(
            where,
            f"{array.dtype} with fractions or NaN",
            "whole numbers, one per object",
            "Save as 16-bit integers.",
        )
    low, high = (array.min(), array.max()) if array.size else (0, 0)
    if high > _MAX_INT32 or low < -_MAX_INT32:
        raise ImageError(
            where,
            f"label values from {low} to {high}",
            f"values up to {_MAX_INT32}",
            "Renumber the objects from 1.",
        )
    _refuse_binary(array, decoded.binary, where)
    return ImageFile(np.ascontiguousarray(array, dtype=np.int32), "YX", decoded.pixel_size_um)


def refuse_lossy(where: str, *, lossy: bool) -> None:
    """Refuse labels and masks that went through JPEG: around every edge it makes values that nobody drew.

    Parameters
    ----------
    where : str
        File named in the error.
    lossy : bool
        Whether they did; see :class:`ImageFile`.

    Raises
    ------
    ImageError
        If so.
    """
    if lossy:
        raise ImageError(
            where,
            "compressed as JPEG, which changes values",
            "labels or masks as they were drawn",
            "Save as PNG or TIFF without JPEG compression, from the original; converting this file does not mend it.",
        )


def _decode(where: str, axes: str | None, *, indexed: bool) -> Decoded:
    if is_zarr(where):
        return _decode_zarr(label_path(where) if indexed else where, axes)
    with open_binary(where) as stream, image_errors(where, *_DAMAGED):
        decoded = decode(stream, where, indexed=indexed)
    if decoded.array.dtype.kind not in "buif":
        raise ImageError(
            where,
            f"pixels of type {decoded.array.dtype}",
            "integers or real numbers",
            "Convert the image to 16 or 32 bit.",
        )
    return decoded


def _decode_zarr(where: str, axes: str | None) -> Decoded:
    image = open_large(where, axes)
    check_size((*image.shape, image.n_channels or 1), where)
    array = image.read((slice(0, image.shape[0]), slice(0, image.shape[1])))
    last = "C" if image.has_stains else "S"
    binary = image.dtype == bool  # though it is read as integers
    return Decoded(array, f"YX{last}"[: array.ndim], binary=binary, pixel_size_um=image.pixel_size_um)


def _arrange(decoded: Decoded, axes: str | None, where: str) -> tuple[np.ndarray, str, bool]:
    array, letters = decoded.array, decoded.axes
    if decoded.stack:
        letters = known_axes(array.shape, letters, axes, where)
    if not array.size:
        raise ImageError(where, "an image without pixels", "at least one pixel", "Export the image again.")
    if array.dtype == bool:
        array = array.astype(np.uint8)
    colour = "S" in letters
    array, letters = to_yxc(array.astype(array.dtype.newbyteorder("="), copy=False), letters, where)
    return array, letters, colour


def _refuse_binary(array: np.ndarray, binary: bool, where: str) -> None:
    top = array.max()
    mask = array > 0
    if top <= 0:
        return
    if (array[mask] != top).any():
        if top <= _MAX_UINT8:
            _refuse_classes(np.where(mask, array, 0).astype(np.uint8), where)
        return
    full = binary or (array.dtype.kind in "ui" and top == np.iinfo(array.dtype).max)
    n_regions = ndi.label(mask, np.ones((3, 3)))[1]
    if n_regions > (1 if full else _MAX_FRAGMENTS):
        raise ImageError(
            where,
            f"a binary mask: the one value {int(top)} in {n_regions} separate regions",
            "a label image: another integer for each object",
            "Label the objects first (for example skimage.measure.label, or MorphoLibJ in Fiji) and "
            "separate touching ones.",
        )


def _refuse_classes(array: np.ndarray, where: str) -> None:
    n_values = len(np.unique(array[array > 0]))
    n_regions = int(label(array, background=0, return_num=True, connectivity=2)[1])
    # More than 255 objects stored in 8 bit take all values, some of them again.
    if n_regions > n_values * (_MAX_AGAIN if n_values == _MAX_UINT8 else _MAX_FRAGMENTS):
        raise ImageError(
            where,
            f"{n_values} values in {n_regions} separate regions: classes, or numbers that began again after 255",
            "a label image: another integer for each object",
            "Export objects in place of classes, in 16 bit; or label the regions of one class (for example "
            "skimage.measure.label, or MorphoLibJ in Fiji) and separate touching ones.",
        )


__all__ = ["IMAGE_SUFFIXES", "ImageError", "ImageFile", "read_image", "read_label_file", "read_labels", "refuse_lossy"]
