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


def known_axes(shape: tuple[int, ...], letters: str, axes: str | None, where: str) -> str:
    """Tell the axes of an array: those its file states, or else those the user gives.

    Parameters
    ----------
    shape : tuple of int
        Shape of the stored array.
    letters : str
        One letter per dimension, as the file has it.
    axes : str or None
        What the user says the axes are; counts only if the file leaves an axis longer than 1 unexplained. Unit axes
        need not be named.
    where : str
        File named in errors.

    Returns
    -------
    str
        One letter per dimension.

    Raises
    ------
    ImageError
        If the number of axes that the user gives does not fit.

    Examples
    --------
    >>> known_axes((1, 3, 8, 9), "QQYX", "CYX", "a.tif")
    'QCYX'
    >>> known_axes((8, 9, 3), "YXS", "CYX", "a.tif")
    'YXS'
    """
    if axes is None or all(letter in _KNOWN for letter, n in zip(letters, shape, strict=True) if n != 1):
        return letters
    given = parse_axes(axes)
    if len(given) == len(shape):
        return given
    if len(given) == sum(n != 1 for n in shape):
        rest = iter(given)
        return "".join("Q" if n == 1 else next(rest) for n in shape)
    raise ImageError(
        where,
        f"{len(shape)} axes of lengths {' x '.join(str(n) for n in shape)}",
        f"{len(given)} axes, as the parameter axes={given} says",
        "Correct or remove the parameter 'axes', or predict this file on its own.",
    )
