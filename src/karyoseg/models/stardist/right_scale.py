"""Objects of an image whose size was only estimated, found at the scale that they themselves ask for."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from karyoseg.core.blocks.grid import Objects
from karyoseg.core.preparation import scaled
from karyoseg.core.scale_check import ENOUGH, centred_in, check_scale, check_windows
from karyoseg.core.scale_search import busiest_part, search_scale
from karyoseg.core.size import polygon_diameters
from karyoseg.models.stardist.instances import candidates, distinct

if TYPE_CHECKING:
    from karyoseg.models.stardist.engines import Engine

_STANDS_OUT = 0.5  # of the intensity range; an empty field is not stretched so far
_SEARCHED = 512  # px of the image a side


def find_at_right_scale(
    engine: Engine,
    prepare: Callable[[float], np.ndarray],
    image: np.ndarray,
    scale: float,
    out_shape: tuple[int, int],
    *,
    target: float | None,
    prob_thresh: float,
    nms_thresh: float,
) -> tuple[Objects, float]:
    """Find the objects of an image.

    If they are far from the size that they should have, the estimate of it was wrong: they are found again at the scale
    that they ask for, see :func:`karyoseg.core.scale_check.check_scale`. If next to nothing is found, but the image is
    not empty, nuclei of other sizes are looked for in its busiest part, see
    :func:`karyoseg.core.scale_search.search_scale`.

    Parameters
    ----------
    engine : Engine
        Network.
    prepare : callable
        Gives the image prepared at another scale.
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

    def seen_at(at: float) -> np.ndarray:
        return image if at == scale else prepare(at)

    @cache
    def find(at: float) -> Objects:
        seen = seen_at(at)
        return distinct(candidates(engine, seen, prob_thresh), nms_thresh, np.divide(out_shape, seen.shape[:2]))

    if target is None:
        return find(scale), scale
    windows = check_windows(out_shape)

    def diameters(at: float) -> np.ndarray:
        found = find(at)
        return polygon_diameters(found.polygons[centred_in(windows, found.points)])

    right = check_scale(diameters, scale, target)
    if len(find(right).prob) < ENOUGH and image.max() > _STANDS_OUT:
        part = busiest_part(image, max(1, round(_SEARCHED * scale)))

        def find_in_part(at: float) -> Objects:
            rows, columns = (scaled(side, at / scale, n) for side, n in zip(part, image.shape, strict=False))
            return distinct(candidates(engine, seen_at(at)[rows, columns], prob_thresh), nms_thresh, np.full(2, 1 / at))

        right = search_scale(find_in_part, target) or right
    return find(right), right
