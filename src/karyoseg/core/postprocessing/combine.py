"""One label image from predictions at two scales and a foreground map: rules A to D of nucleAIzer.

A. ``mend``: fill holes, merge touching fragments of one nucleus.
B. ``merge_runs``: choose between the two scales, or take the best of both.
C. ``correct_contours``, ``keep_largest_parts``: move contours towards the foreground map.
D. ``drop_unsupported``: remove objects that the map does not confirm.

The rules are pure functions of label images, in :mod:`karyoseg.core.postprocessing.rules`; :func:`combine` applies B to
D. Sizes are in pixels of the image; the published ones are in pixels of an image of twice the size. Areas below which
objects are dropped are never more than a third of that of the typical nucleus, whatever the scale of an image.

References
----------
.. [1] Hollandi et al., nucleAIzer: a parameter-free deep learning framework for nucleus segmentation using image style
   transfer, Cell Systems 10 (2020), doi:10.1016/j.cels.2020.04.003
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Self

import numpy as np

from karyoseg.core.errors import KaryosegError
from karyoseg.core.labels import remove_small
from karyoseg.core.postprocessing.rules import (
    Labels,
    correct_contours,
    drop_unsupported,
    keep_largest_parts,
    merge_runs,
)
from karyoseg.core.regions import find_regions
from karyoseg.core.size import typical_diameter

_DIGITS = 4
_AREAS = ("min_run_area", "min_corrected_area", "min_area")


@dataclass(frozen=True)
class PostProcessing:
    """The nine parameters of the rules.

    The defaults are the published ones, in pixels of the image, but for two: `max_occupied` (0.76) belongs to a rule
    that paints over accepted objects, and `foreground` (1) to an ensemble of seven networks. It is far above 0.5:
    a network trained with the Jaccard loss sees too much, because with an overlap of J a nucleus is worth its risk
    from a probability of J / (1 + J) on, and hardly any value of its map lies between 0 and 1.

    Parameters
    ----------
    max_occupied : float
        An object of one scale is accepted if less than this share of it is taken by accepted objects, 0..1 (rule B).
    large_nuclei : float
        If the median diameter of the first run is above this, the second run is ignored [px] (rule B).
    min_run_area : int
        Smallest object of a run [px] (before rule B).
    foreground : float
        Where the map is at least this, there are nuclei, 0..1 (rules C and D).
    erosion_radius : int
        How far inward the map may move a contour [px] (rule C).
    dilation_radius : int
        How far outward [px] (rule C).
    min_corrected_area : int
        Smallest object after the contours were moved [px] (rule C).
    min_overlap : float
        Smallest share of foreground in an object, 0..1 (rule D).
    min_area : int
        Smallest object; four times larger ones stay whatever the map says [px] (rule D).

    Raises
    ------
    KaryosegError
        If a value is out of its range.
    """

    max_occupied: float = 0.4
    large_nuclei: float = 21
    min_run_area: int = 12
    foreground: float = 0.9
    erosion_radius: int = 0
    dilation_radius: int = 1
    min_corrected_area: int = 33
    min_overlap: float = 0.0017
    min_area: int = 25

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            most = 1 if name in _SHARES else math.inf
            if not 0 <= value <= most:
                needed = "0 to 1" if name in _SHARES else "at least 0"
                raise KaryosegError(f"post-processing: {name} is {value}; needed: {needed}. Correct it.")

    def for_objects_like(self, labels: Labels) -> Self:
        """Limit the smallest areas to a third of that of the typical object.

        Parameters
        ----------
        labels : (Y, X) integer ndarray
            Label image. Half of the area of its objects is in smaller ones than the typical, so debris has little say.

        Returns
        -------
        PostProcessing
            The parameters for that image; without objects the same.
        """
        areas = find_regions(labels).area
        if not areas.size:
            return self
        third = int(typical_diameter(np.sqrt(areas)) ** 2 / 3)
        return replace(self, **{name: min(getattr(self, name), third) for name in _AREAS})

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> Self:
        """Build them from numbers by name; those that are missing keep their defaults.

        Parameters
        ----------
        values : mapping of str to float
            Rounded to what matters.

        Returns
        -------
        PostProcessing
            The parameters.
        """
        rounded = {name: round(float(value), _DIGITS) for name, value in values.items()}
        whole: dict[str, Any] = {name: int(value) for name, value in rounded.items() if name in WHOLE}
        return cls(**(rounded | whole))

    @classmethod
    def from_json(cls, text: str, where: str) -> Self:
        """Read parameters that :mod:`karyoseg.core.postprocessing.search` found.

        Parameters
        ----------
        text : str
            A JSON object that has them below ``parameters``; those that are missing keep their defaults.
        where : str
            File, named in errors.

        Returns
        -------
        PostProcessing
            The parameters.

        Raises
        ------
        KaryosegError
            If the text is something else.
        """
        try:
            return cls.from_values(json.loads(text)["parameters"])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise KaryosegError(
                f"{where}: no parameters of the post-processing ({error!r}); needed: the file as tune_postprocessing "
                f"wrote it. Run `kedro run --pipeline tune_postprocessing` again."
            ) from error


#: Parameters that are whole numbers.
WHOLE = tuple(field.name for field in fields(PostProcessing) if field.type == "int")
_SHARES = ("max_occupied", "foreground", "min_overlap")


def combine(first: Labels, second: Labels, foreground: np.ndarray | None, parameters: PostProcessing) -> Labels:
    """Apply rules B to D to the mended label images of two runs.

    Parameters
    ----------
    first, second : (Y, X) integer ndarray
        Results of ``mend``, nuclei at the size the network was trained at, and larger.
    foreground : (Y, X) float ndarray or None
        Probability of being nucleus, 0..1; without it contours stay, and every object counts as confirmed.
    parameters : PostProcessing
        The nine parameters.

    Returns
    -------
    (Y, X) int32 ndarray
        Objects numbered from 1. The inputs are not changed.
    """
    p = parameters.for_objects_like(first if np.any(first) else second)  # very small nuclei may show enlarged only
    runs = [remove_small(run, p.min_run_area) for run in (first, second)]
    labels = merge_runs(*runs, max_occupied=p.max_occupied, large_nuclei=p.large_nuclei)
    if foreground is None:
        nuclei = labels > 0
    else:
        nuclei = foreground >= p.foreground
        radii = {"erosion_radius": p.erosion_radius, "dilation_radius": p.dilation_radius}
        labels = correct_contours(labels, nuclei, **radii)
    labels = keep_largest_parts(labels, p.min_corrected_area)
    return drop_unsupported(labels, nuclei, min_overlap=p.min_overlap, min_area=p.min_area)
