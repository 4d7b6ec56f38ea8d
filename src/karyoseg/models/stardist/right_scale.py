"""Objects of an image whose size was only estimated, found at the scale that they themselves ask for."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from karyoseg.core.blocks.grid import Objects
from karyoseg.core.scale_check import centred_in, check_windows
from karyoseg.core.scale_search import right_scale
from karyoseg.core.size import polygon_diameters
from karyoseg.models.stardist.instances import candidates, distinct

if TYPE_CHECKING:
    from karyoseg.models.stardist.engines import Engine


def find_at_right_scale(
    engine: Engine,
    prepare: Callable[..., np.ndarray],
    image: np.ndarray,
    scale: float,
    out_shape: tuple[int, int],
    *,
    target: float | None,
    prob_thresh: float,
    nms_thresh: float,
) -> tuple[Objects, float]:
    """Find the objects of an image, see :func:`karyoseg.core.scale_search.right_scale`.

    Parameters
    ----------
    engine : Engine
        Network.
    prepare : callable
        Called with another scale, gives the image prepared at it; with a part (Y, X) [output px] besides, only that.
    image : (Y, X) or (Y, X, C) float32 ndarray
        Prepared image.
    scale : float
        Prepared pixels per output pixel.
    out_shape : tuple of int
        Size of the output (Y, X) [px].
    target : float or None
        The size that objects should have [px of the prepared image]; None if the scale is known.
    prob_thresh, nms_thresh : float
        Thresholds, 0..1.

    Returns
    -------
    objects : Objects
        On the grid of the output, the most probable first.
    scale : float
        At which they were found.
    """

    def find_in(seen: np.ndarray, factor: np.ndarray) -> Objects:
        return distinct(candidates(engine, seen, prob_thresh), nms_thresh, factor)

    @cache
    def find(at: float) -> Objects:
        seen = image if at == scale else prepare(at)
        return find_in(seen, np.divide(out_shape, seen.shape[:2]))

    if target is None:
        return find(scale), scale
    windows = check_windows(out_shape)

    def diameters(at: float) -> np.ndarray:
        found = find(at)
        return polygon_diameters(found.polygons[centred_in(windows, found.points)])

    right = right_scale(diameters, prepare, lambda seen, at: find_in(seen, np.full(2, 1 / at)), scale, target)
    return find(right), right
