"""Targets of StarDist's network, as its own data generator computes them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from skimage.segmentation import clear_border
from stardist.geometry import star_dist
from stardist.utils import edt_prob


@dataclass(frozen=True)
class TargetSpec:
    """How labels become targets; the fields of StarDist's ``Config2D`` that matter for it.

    Parameters
    ----------
    n_rays : int
        Rays of each polygon.
    grid : tuple of int
        Subsampling of the targets (y, x).
    completion_crop : int
        Border cut off the patch for shape completion [px]; 0 = none.
    use_gpu : bool
        Compute distances by OpenCL.
    """

    n_rays: int
    grid: tuple[int, int]
    completion_crop: int = 0
    use_gpu: bool = False

    def targets(self, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Compute object probability and star distances of one patch.

        Parameters
        ----------
        labels : (Y, X) int32 ndarray
            Label patch; negative pixels get no loss.

        Returns
        -------
        prob : (Y', X', 1) float32 ndarray
            Normalised distance to the instance border on the grid; -1 where not annotated.
        dist : (Y', X', n_rays + 1) float32 ndarray
            Distances [px], last channel the weight of the distance loss.
        """
        crop = self.completion_crop
        inner = (slice(crop, -crop),) * 2 if crop else (slice(None),) * 2
        step = tuple(slice(None, None, g) for g in self.grid)
        ignored = labels[inner][step] < 0
        labels = np.maximum(labels, 0)
        prob = edt_prob(labels[inner][step])
        whole = clear_border(labels) if crop else labels
        mode = "opencl" if self.use_gpu else "cpp"
        if crop:
            dist = star_dist(whole, self.n_rays, mode=mode)[inner][step]
            weight = edt_prob(whole[inner][step])
        else:
            dist = star_dist(labels, self.n_rays, mode=mode, grid=self.grid)
            weight = prob
        weight = np.where(ignored, 0, weight)
        prob = np.where(ignored, -1, prob)  # what StarDist leaves out of the loss
        return prob[..., None].astype(np.float32), np.concatenate([dist, weight[..., None]], -1).astype(np.float32)
