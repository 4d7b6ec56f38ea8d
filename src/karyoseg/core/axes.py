"""Axis letters of images and the way from any stack to ``(Y, X)`` or ``(Y, X, C)``.

Letters as in tifffile: Y and X, C for channels, S for the samples of a colour pixel, Z for depth, T for
time; anything else is an axis the file does not explain.
"""

from __future__ import annotations

import numpy as np

from karyoseg.core.errors import KaryosegError
from karyoseg.core.io.image_files import ImageError

CHANNEL_AXES = "CS"
_KNOWN = "YXCSZT"
_ADVICE = (
    "Split the stack (for example in Fiji: Image > Stacks > Stack to Images), or, if its pages are "
    "channels, set the parameter 'axes' (for example CYX)."
)


def parse_axes(axes: str) -> str:
    """Check an axes parameter.

    Parameters
    ----------
    axes : str
        One letter per axis of the stored array, slowest first, such as ``YX``, ``CYX`` or ``YXC``.

    Returns
    -------
    str
        The letters in capitals.

    Raises
    ------
    KaryosegError
        If Y or X is missing, a letter is unknown or repeated, or there are both C and S.

    Examples
    --------
    >>> parse_axes("cyx")
    'CYX'
    """
    letters = axes.upper()
    channels = sum(letters.count(letter) for letter in CHANNEL_AXES)
    if len(set(letters)) < len(letters) or not {"Y", "X"} <= set(letters) <= set(_KNOWN) or channels > 1:
        raise KaryosegError(
            f"axes: found {axes!r}; needed: Y and X and at most one C, each once, in the order of the "
            f"file, for example YX, CYX or YXC. Change the parameter 'axes'."
        )
    return letters


def to_yxc(array: np.ndarray, axes: str, where: str) -> tuple[np.ndarray, str]:
    """Bring an array into canonical axis order.

    Parameters
    ----------
    array : ndarray
        Image or stack.
    axes : str
        One letter per dimension of `array`. Axes of length 1 other than Y and X are dropped.
    where : str
        File named in errors.

    Returns
    -------
    image : (Y, X) or (Y, X, C) ndarray
        The image; a single channel has no channel axis.
    axes : str
        ``YX`` or ``YXC``.

    Raises
    ------
    ImageError
        If something other than Y, X and one channel axis is longer than 1.

    Examples
    --------
    >>> image, axes = to_yxc(np.zeros((3, 1, 8, 9)), "CZYX", "a.tif")
    >>> image.shape, axes
    ((8, 9, 3), 'YXC')
    """
    kept = [i for i, letter in enumerate(axes) if letter in "YX" or array.shape[i] != 1]
    letters = "".join(axes[i] for i in kept)
    shape = " x ".join(str(n) for n in array.shape)
    channels = [letter for letter in letters if letter in CHANNEL_AXES]
    others = [letter for letter in letters if letter not in "YX" + CHANNEL_AXES]
    if others:
        names = {"Z": "a depth stack (Z)", "T": "a time series (T)"}
        what = " and ".join(names.get(letter, "several pages whose meaning the file does not say") for letter in others)
        advice = "Save single planes, or a maximum projection." if set(others) <= set("ZT") else _ADVICE
        raise ImageError(where, f"{what}, {shape} as {axes}", "one 2-D image, with or without channels", advice)
    if len(channels) > 1:
        raise ImageError(
            where,
            f"channels that are colour images, {shape} as {axes}",
            "one channel axis",
            "Save the channels one by one.",
        )
    flat = array.reshape([array.shape[i] for i in kept])
    order = [letters.index(letter) for letter in ["Y", "X", *channels]]
    return flat.transpose(order), "YXC" if channels else "YX"


def assign_axes(shape: tuple[int, ...], axes: str, where: str) -> tuple[tuple[int, ...], str]:
    """Match an axes parameter with an array, ignoring unit axes that it does not name.

    Parameters
    ----------
    shape : tuple of int
        Shape of the stored array.
    axes : str
        What the user says the axes are.
    where : str
        File named in errors.

    Returns
    -------
    shape : tuple of int
        Shape with one entry per letter.
    axes : str
        The letters.

    Raises
    ------
    ImageError
        If the number of axes differs.

    Examples
    --------
    >>> assign_axes((1, 3, 8, 9), "CYX", "a.tif")
    ((3, 8, 9), 'CYX')
    """
    letters = parse_axes(axes)
    if len(shape) == len(letters):
        return shape, letters
    squeezed = tuple(n for n in shape if n != 1)
    if len(squeezed) == len(letters):
        return squeezed, letters
    raise ImageError(
        where,
        f"{len(shape)} axes of lengths {' x '.join(str(n) for n in shape)}",
        f"{len(letters)} axes, as the parameter axes={letters} says",
        "Correct or remove the parameter 'axes', or predict this file on its own.",
    )
