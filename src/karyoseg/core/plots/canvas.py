"""What all figures share: colours, display of images, outlines, files."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence

import cv2
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from skimage.measure import find_contours

from karyoseg.core.labels import object_boxes
from karyoseg.core.previews import to_rgb8

# Okabe and Ito's palette, told apart under every common colour blindness (https://jfly.uni-koeln.de/color).
SKY, ORANGE, YELLOW, PURPLE = "#56B4E9", "#E69F00", "#F0E442", "#CC79A7"
BLUE, GREEN, VERMILLION, BLACK = "#0072B2", "#009E73", "#D55E00", "#000000"
CYCLE = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, "#8C6BB1", "#7F7F7F")

# Outlines of truth and prediction, on dark and on bright pictures.
_ON_DARK, _ON_BRIGHT = (SKY, ORANGE), (BLUE, VERMILLION)
_BRIGHT = 128

#: Resolution of new figures [dots per inch].
DPI = 150

#: Images are shown with at most this many pixels along their longer side.
DISPLAY_SIDE = 800


def new_figure(width: float, height: float) -> Figure:
    """Make an empty figure in the style of the project.

    Parameters
    ----------
    width, height : float
        Size [inch].

    Returns
    -------
    Figure
        White, with constrained layout.
    """
    return Figure(figsize=(width, height), dpi=DPI, layout="constrained", facecolor="white")


def style_axes(ax: Axes) -> None:
    """Give a chart light grid lines and no box.

    Parameters
    ----------
    ax : Axes
        Changed in place.
    """
    ax.grid(visible=True, color="#DDDDDD", linewidth=0.6)
    ax.set_axisbelow(True)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    ax.tick_params(labelsize=9)


def shrink(image: np.ndarray, *labels: np.ndarray, side: int = DISPLAY_SIDE) -> tuple[np.ndarray, list[np.ndarray]]:
    """Reduce an image and its label images for display.

    Parameters
    ----------
    image : (Y, X) or (Y, X, C) ndarray
        Image of any real dtype.
    *labels : (Y, X) integer ndarray
        Label images of the same size.
    side : int
        Longest side afterwards [px]; smaller images stay as they are.

    Returns
    -------
    image : ndarray
        Averaged over blocks.
    labels : list of ndarray
        Sampled at the centres of the same blocks.
    """
    step = max(1, int(np.ceil(max(image.shape[:2]) / side)))
    if step == 1:
        return image, list(labels)
    small = [label[step // 2 :: step, step // 2 :: step] for label in labels]
    height, width = (max(1, len(range(step // 2, size, step))) for size in image.shape[:2])
    blocks = image[: height * step, : width * step].astype(np.float32)
    return cv2.resize(blocks, (width, height), interpolation=cv2.INTER_AREA), small


def show_image(ax: Axes, image: np.ndarray, *, stretch: bool = True) -> None:
    """Show an image without axes.

    Parameters
    ----------
    ax : Axes
        Where.
    image : (Y, X) or (Y, X, C) ndarray
        Image of any real dtype.
    stretch : bool
        Whether its percentiles become black and white; otherwise 0 and 1 do.
    """
    rgb = to_rgb8(image) if stretch else _as_rgb8(image)
    ax.imshow(rgb, interpolation="antialiased", interpolation_stage="rgba")
    bare(ax)


def _as_rgb8(image: np.ndarray) -> np.ndarray:
    """Turn an image that spans 0 to 1 into 8-bit RGB."""
    channels = image[..., None] if image.ndim == 2 else image[..., :3]  # noqa: PLR2004
    if channels.shape[-1] < 3:  # noqa: PLR2004
        channels = np.repeat(channels.mean(axis=-1, keepdims=True), 3, axis=-1)
    return (255 * np.clip(channels, 0, 1)).astype(np.uint8)


def bare(ax: Axes) -> None:
    """Remove ticks and frame.

    Parameters
    ----------
    ax : Axes
        Changed in place.
    """
    ax.set_xticks([])
    ax.set_yticks([])
    for spine in ax.spines.values():
        spine.set_visible(False)


def outlines(labels: np.ndarray, only: Iterable[int] | None = None) -> list[np.ndarray]:
    """Trace the outline of every object.

    Parameters
    ----------
    labels : (Y, X) integer ndarray
        Label image.
    only : iterable of int, optional
        Labels to trace; all by default.

    Returns
    -------
    list of (n, 2) ndarray
        Closed lines, x and y [px].
    """
    wanted = None if only is None else set(only)
    lines = []
    for identity, box in object_boxes(labels):
        if wanted is not None and identity not in wanted:
            continue
        mask = np.pad(labels[box] == identity, 1)
        for line in find_contours(mask.astype(np.float32), 0.5):
            lines.append(line[:, ::-1] + (box[1].start - 1, box[0].start - 1))
    return lines


def outline_colours(image: np.ndarray) -> tuple[str, str]:
    """Choose colours for truth and prediction that stand out from the picture.

    Parameters
    ----------
    image : (Y, X) or (Y, X, C) ndarray
        Image of any real dtype.

    Returns
    -------
    truth, prediction : str
        Light colours for fluorescence, dark ones for bright field.
    """
    return _ON_BRIGHT if np.median(to_rgb8(image)) >= _BRIGHT else _ON_DARK


def draw_outlines(ax: Axes, lines: list[np.ndarray], colour: str, width: float = 1.0, *, dashed: bool = False) -> None:
    """Draw outlines on a shown image.

    Parameters
    ----------
    ax : Axes
        Where.
    lines : list of (n, 2) ndarray
        From :func:`outlines`.
    colour : str
        Colour.
    width : float
        Line width [pt].
    dashed : bool
        Leave gaps, through which lines drawn before can be seen.
    """
    style = (0, (3, 2)) if dashed else "solid"
    ax.add_collection(LineCollection(lines, colors=colour, linewidths=width, linestyles=[style]), autolim=False)


def legend_below(ax: Axes, handles: Sequence[Line2D | Patch]) -> None:
    """Put a frameless legend under a panel.

    Parameters
    ----------
    ax : Axes
        Where.
    handles : sequence of artists
        Legend entries.
    """
    ax.legend(
        handles=list(handles),
        loc="upper center",
        bbox_to_anchor=(0.5, 0.0),
        ncols=len(handles),
        frameon=False,
        fontsize=9,
        handlelength=1.2,
        columnspacing=1.2,
        borderaxespad=0.3,
    )


def shorten(text: str, length: int = 28) -> str:
    """Shorten a long id in the middle, where hashes differ least for the eye.

    Parameters
    ----------
    text : str
        Any text.
    length : int
        Largest number of characters.

    Returns
    -------
    str
        The text, with an ellipsis if it was longer.

    Examples
    --------
    >>> shorten("00071198d059ba7f5914a526d124d28e6d01", 13)
    '000711…8e6d01'
    """
    if len(text) <= length:
        return text
    half = (length - 1) // 2
    return f"{text[:half]}…{text[-half:]}"


def to_png_bytes(figure: Figure, dpi: int | None = None) -> bytes:
    """Render a figure as PNG.

    Parameters
    ----------
    figure : Figure
        Figure.
    dpi : int, optional
        Resolution [dots per inch]; that of the figure by default.

    Returns
    -------
    bytes
        PNG file.
    """
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi or figure.dpi)
    return buffer.getvalue()


def to_jpeg_bytes(figure: Figure, dpi: int | None = None, quality: int = 88) -> bytes:
    """Render a figure as JPEG, several times smaller than PNG for photographs.

    Parameters
    ----------
    figure : Figure
        Figure.
    dpi : int, optional
        Resolution [dots per inch]; that of the figure by default.
    quality : int
        1 to 95.

    Returns
    -------
    bytes
        JPEG file.
    """
    buffer = io.BytesIO()
    figure.savefig(
        buffer,
        format="jpeg",
        dpi=dpi or figure.dpi,
        pil_kwargs={"quality": quality, "optimize": True, "subsampling": 0},
    )
    return buffer.getvalue()
