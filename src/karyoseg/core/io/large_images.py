"""Images that are read in parts: Zarr and OME-Zarr (NGFF 0.4 and 0.5), here or at a URL, and large TIFF files."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import tifffile
import zarr

from karyoseg.core.axes import CHANNEL_AXES, known_axes, to_yxc
from karyoseg.core.blocks.grid import Window, sample_windows
from karyoseg.core.io.decoders import MAX_VALUES
from karyoseg.core.io.foreign_tiffs import invert, open_tiff
from karyoseg.core.io.image_files import ImageError, image_errors, is_url
from karyoseg.core.io.storage import storage_errors
from karyoseg.core.pixel_size import unit_in_um

ZARR_SUFFIX = ".zarr"
#: Facts about a whole image are taken from this many of its pixels.
SAMPLE = 32e6
_SAMPLE_SIDE = 1024
_TIFF_SUFFIXES = (".tif", ".tiff")
_DAMAGED = ("cannot be read", "a complete image", "Copy or export the image again.")
_SQUARE = 2  # dimensions


@dataclass(frozen=True)
class LargeImage:
    """An image that stays on disk.

    Parameters
    ----------
    where : str
        Path or URL.
    shape : tuple of int
        Size (Y, X) [px].
    n_channels : int or None
        None without a channel axis.
    dtype : dtype
        Of the pixels.
    pixel_size_um : float or None
        Side of a pixel [um], if known.
    ngff : str or None
        Version of OME-NGFF it follows: ``0.4``, ``0.5``.
    """

    where: str
    shape: tuple[int, int]
    n_channels: int | None
    dtype: np.dtype[Any]
    pixel_size_um: float | None
    ngff: str | None
    _array: zarr.Array
    _axes: str
    _black: int | None = None

    @property
    def has_stains(self) -> bool:
        """Whether there are several channels, and not those of colour pixels."""
        return (self.n_channels or 1) > 1 and "S" not in self._axes

    def read(self, window: Window, channels: Sequence[int] | None = None) -> np.ndarray:
        """Read a part.

        Parameters
        ----------
        window : tuple of slice
            Which (Y, X) [px].
        channels : sequence of int, optional
            Channels to read, in this order; None reads all.

        Returns
        -------
        (Y, X) or (Y, X, C) ndarray
            Pixels in native byte order.

        Raises
        ------
        ImageError
            If it cannot be read, a channel does not exist, or pixels are no finite numbers.
        """
        channels = range(self.n_channels or 1) if channels is None else channels
        self._check(channels)
        picked: dict[str, Any] = dict(zip("YX", window, strict=True)) | {axis: list(channels) for axis in CHANNEL_AXES}
        with image_errors(self.where, *_DAMAGED), storage_errors(self.where):
            part = np.asarray(self._array.oindex[tuple(picked.get(axis, slice(None)) for axis in self._axes)])
        part, _ = to_yxc(part.astype(part.dtype.newbyteorder("="), copy=False), self._axes, self.where)
        if part.dtype.kind == "f" and not np.isfinite(part).all():
            raise ImageError(
                self.where, f"NaN or infinite pixels in {_shown(window)}", "finite numbers", "Replace them."
            )
        if part.dtype == bool:
            part = part.astype(np.uint8)
        return part if self._black is None else invert(part, self._black)

    def sample(self, channels: Sequence[int] | None = None, limit: float = SAMPLE) -> np.ndarray:
        """Read the whole image if it is small; else parts of it, spread evenly, one below the other.

        Parameters
        ----------
        channels : sequence of int, optional
            Channels to read; None reads all.
        limit : float
            Most pixels.

        Returns
        -------
        (Y, X) or (Y, X, C) ndarray
            Pixels. Parts of one value, such as what a slide scanner left out, count only if there are no others.
        """
        parts = [self.read(window, channels) for window in sample_windows(self.shape, _SAMPLE_SIDE, limit)]
        return np.concatenate([part for part in parts if np.ptp(part) > 0] or parts)

    def _check(self, channels: Sequence[int]) -> None:
        missing = [c for c in channels if c >= (self.n_channels or 1)]
        if missing:
            raise ImageError(
                self.where,
                f"{self.n_channels or 1} channel(s), not one with number {missing[0]}",
                "channels that exist, counted from 0",
                "Change the parameter 'channels'.",
            )


def is_zarr(path: str) -> bool:
    """Tell by its name whether a path is a Zarr store, or lies in one, as the fields of a plate do.

    Parameters
    ----------
    path : str
        Path or URL.

    Returns
    -------
    bool
        True for ``slide.zarr`` and ``plate.zarr/A/1/0``.
    """
    return any(part.lower().endswith(ZARR_SUFFIX) for part in path.split("/"))


def is_large(path: str, megapixels: float) -> bool:
    """Tell whether an image is to be read in parts: Zarr always, TIFF if large or of too many values to be read whole.

    Parameters
    ----------
    path : str
        Path or URL; TIFF files at URLs are read whole.
    megapixels : float
        The size [million pixels].

    Returns
    -------
    bool
        False also if the file cannot be opened.
    """
    if is_zarr(path):
        return True
    if is_url(path) or not path.lower().endswith(_TIFF_SUFFIXES):
        return False
    try:
        with tifffile.TiffFile(path) as tif:
            page = tif.pages.first
            n_pixels = float(page.imagelength) * page.imagewidth
            return n_pixels > megapixels * 1e6 or math.prod(tif.series[0].shape) > MAX_VALUES
    except Exception:  # noqa: BLE001 - whoever reads it says what is wrong
        return False


def open_large(path: str, axes: str | None = None) -> LargeImage:
    """Open an image without reading its pixels.

    Parameters
    ----------
    path : str
        Zarr array or group, or TIFF file. Of several resolutions the first, finest is taken.
    axes : str, optional
        Axes of an array that does not say itself.

    Returns
    -------
    LargeImage
        The image.

    Raises
    ------
    ImageError
        If there is none, or it is not one 2-D image with or without channels.
    """
    return _open_zarr(path, axes) if is_zarr(path) else _open_tiff(path, axes)


def label_path(path: str) -> str:
    """Find the labels of a Zarr store.

    Parameters
    ----------
    path : str
        Store of an OME-Zarr image with labels, as `predict` writes them; or labels themselves.

    Returns
    -------
    str
        Path of the label image.

    Raises
    ------
    ImageError
        If it cannot be opened, or holds several label images.
    """
    node = _open_node(path)
    if not isinstance(node, zarr.Group) or "labels" not in node:
        return path
    names = sorted(_ngff(node["labels"]).get("labels", ()))
    if len(names) != 1:
        found = f"{len(names)} label images in one store ({', '.join(names[:4]) or 'none is named'})"
        raise ImageError(path, found, "one", f"Name it with its path: {path.rstrip('/')}/labels/NAME.")
    return f"{path.rstrip('/')}/labels/{names[0]}"


def _open_node(path: str) -> zarr.Array[Any] | zarr.Group:
    needed = ("a Zarr array or an OME-Zarr image", "Check the path.")
    with image_errors(path, "no Zarr that can be opened", *needed), storage_errors(path):
        return zarr.open(path, mode="r")


def _ngff(node: Any) -> Mapping[str, Any]:
    """Attributes of OME-NGFF; since version 0.5 they are apart from others."""
    attributes: Mapping[str, Any] = dict(node.attrs)
    return attributes.get("ome", attributes)


def _open_zarr(path: str, axes: str | None) -> LargeImage:
    node = _open_node(path)
    ngff = _ngff(node)
    if isinstance(node, zarr.Group) and "multiscales" not in ngff and ("bioformats2raw.layout" in ngff):
        images = [name for name in node.group_keys() if name.isdecimal()]
        if len(images) > 1:
            found = f"{len(images)} images in one store ({', '.join(sorted(images)[:4])} ...)"
            raise ImageError(path, found, "one image", f"Name one of them: {path.rstrip('/')}/{images[0]}.")
        node = node["0"]
        ngff = _ngff(node)
    if isinstance(node, zarr.Array):
        attributes: Mapping[str, Any] = dict(node.attrs)
        names = getattr(node.metadata, "dimension_names", None) or attributes.get("_ARRAY_DIMENSIONS") or ()
        return _arranged(path, node, _letters(names), axes, None, None)
    if "multiscales" not in ngff:
        what = "a plate of wells" if "plate" in ngff else f"a group with {', '.join(sorted(node.keys())) or 'nothing'}"
        raise ImageError(
            path, what, "one image: an array, or a group with 'multiscales'", "Name one image in it, with its path."
        )
    image = ngff["multiscales"][0]
    finest = image["datasets"][0]
    named = [axis if isinstance(axis, dict) else {"name": axis} for axis in image.get("axes", "tczyx")]
    array = node[finest["path"]]
    if not isinstance(array, zarr.Array) or array.ndim != len(named):
        raise ImageError(path, f"{len(named)} axes for {finest['path']}", "one for each dimension", "Export it again.")
    version = str(ngff.get("version") or image.get("version") or "0.4")
    return _arranged(path, array, _letters([axis["name"] for axis in named]), axes, _ngff_size(image, named), version)


def _letters(names: Sequence[Any]) -> str:
    return "".join(str(name)[:1].upper() or "Q" for name in names)


def _ngff_size(image: Mapping[str, Any], axes: list[dict[str, Any]]) -> float | None:
    """Side of a pixel of the finest resolution [um]; the geometric mean if pixels are not square."""
    changes = [*image["datasets"][0].get("coordinateTransformations", ()), *image.get("coordinateTransformations", ())]
    sides = np.ones(len(axes))
    for change in changes:
        sides = sides * np.asarray(change.get("scale", 1.0), float)
    units = [unit_in_um(str(axis.get("unit", ""))) or math.nan for axis in axes]
    of_plane = [str(axis["name"]).lower() in ("y", "x") for axis in axes]
    area = float(np.prod((sides * units)[of_plane]))
    return round(math.sqrt(area), 9) if area > 0 else None


def _open_tiff(path: str, axes: str | None) -> LargeImage:
    with image_errors(path, *_DAMAGED):
        tiff = open_tiff(path, path, sparse=True)
        array: Any = zarr.open(tiff.series.aszarr(level=0), mode="r")
    if tiff.palette is not None:
        raise ImageError(path, "a palette", "gray or RGB", "Convert the image to gray or RGB.")
    image = _arranged(path, array, tiff.axes, axes, tiff.pixel_size_um, None)
    n_channels = image.n_channels and max(1, image.n_channels - tiff.n_alpha)
    return replace(image, n_channels=n_channels, _black=tiff.black)


def _arranged(
    path: str, array: Any, letters: str, axes: str | None, size: float | None, ngff: str | None
) -> LargeImage:
    """Check the axes, which are known or given."""
    if array.ndim == _SQUARE and not set(letters) & set("YX"):  # whatever its axes are called
        letters = "YX"
    letters = letters or "Q" * array.ndim
    letters = known_axes(array.shape, letters, axes, path)
    if array.dtype.kind not in "buif" or not array.size:
        raise ImageError(path, f"{array.dtype} pixels, {array.shape}", "integers or real numbers", "Convert the image.")
    # An array that takes no memory goes the way that the pixels will go.
    shape = to_yxc(np.broadcast_to(np.zeros((), array.dtype), array.shape), letters, path)[0].shape
    n_channels = shape[2] if len(shape) > _SQUARE else None
    return LargeImage(path, (shape[0], shape[1]), n_channels, array.dtype, size, ngff, array, letters)


def _shown(window: Window) -> str:
    return " x ".join(f"{side.start}:{side.stop}" for side in window)
