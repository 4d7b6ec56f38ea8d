"""Whether generated images are good enough to learn from.

Three questions, each relative to something known, for none of the numbers means much alone:

- Is the texture that of the real images? The kernel inception distance (KID) of texture features, relative to that of
  label images painted in the two mean colours of objects and background. A generator that is farther away than those
  has learnt nothing, or has collapsed.
- Do the objects show? A classifier of pixels, trained on real images, must find the objects of the labels that an image
  was made from, compared with how well it finds those of real images. Images that do not show what their labels say
  would teach the segmentation wrong.
- Can a classifier of texture features tell generated from real tiles? That is the hardest test: a slight blur is
  enough. From which value on training suffers was not measured, so it is reported, and decides only if asked to.

The features are those of a small random convolutional network instead of Inception, whose weights would have to be
downloaded, and which has never seen a microscope.

References
----------
.. [1] Binkowski et al., "Demystifying MMD GANs", ICLR 2018. https://arxiv.org/abs/1801.01401
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

import cv2
import numpy as np
from scipy import ndimage as ndi
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from karyoseg.models.pix2pix.tiles import Pairs
from karyoseg.models.pix2pix.visibility import visibility

_FILTERS, _KERNEL, _SCALES = 48, 5, 3
_PERCENTILES = (5, 25, 50, 75, 95)
_FLAT = 1.0  # gray levels
_MOST_FOLDS = 5


@dataclass(frozen=True)
class Verdict:
    """What was found out about the generated images of a cluster.

    Parameters
    ----------
    kid : float
        Kernel inception distance between real and generated tiles.
    kid_ratio : float
        That, relative to the distance of label images painted in two colours.
    contrast : float
        How well the objects show, relative to the real images; 1 is as well, 0 not at all.
    accuracy : float
        Share of tiles that a classifier tells apart, 0.5..1.
    passed : bool
        Whether they are good enough.
    why : str
        What is wrong, or `ok`.
    """

    kid: float
    kid_ratio: float
    contrast: float
    accuracy: float
    passed: bool
    why: str

    def row(self) -> dict[str, Any]:
        """Return the fields by name."""
        return asdict(self)


def judge(real: Pairs, generated: Pairs, limits: Mapping[str, Any], seed: int) -> Verdict:
    """Judge generated images.

    Parameters
    ----------
    real : Pairs
        Tiles of the cluster's images, with the labels that the generator was trained with.
    generated : Pairs
        Tiles of generated images, with the labels that they were made from.
    limits : mapping
        ``max_kid_ratio``, ``min_contrast``, ``max_accuracy``; see ``QualityParams``.
    seed : int
        Seed of the choice of pixels and folds.

    Returns
    -------
    Verdict
        Numbers and decision.
    """
    features = {"real": texture_features(real.images), "made": texture_features(generated.images)}
    features["painted"] = texture_features(two_colours(real, generated.labels))
    distance = kernel_distance(features["real"], features["made"])
    ratio = float(np.maximum(0, distance) / np.maximum(kernel_distance(features["real"], features["painted"]), 1e-9))
    contrast, reason = visibility(real, generated, seed)
    accuracy = separability(features["real"], features["made"], real.groups, generated.groups, seed)
    reasons = [reason] if reason else []
    if generated.images.std(axis=(1, 2)).max() < _FLAT:
        reasons.append("the images are empty")
    if np.isnan(distance):
        reasons.append("too few tiles to judge")
    elif ratio > limits["max_kid_ratio"]:
        reasons.append(f"KID is {ratio:.2f} times that of painted labels, at most {limits['max_kid_ratio']:g} allowed")
    if contrast < limits["min_contrast"]:
        reasons.append(f"objects show {contrast:.2f} times as well as in real images, {limits['min_contrast']:g} asked")
    if np.isnan(accuracy) and not np.isnan(distance):
        reasons.append("no classifier could be trained to tell the tiles from real ones")
    if accuracy > limits["max_accuracy"]:
        reasons.append(f"{accuracy:.0%} of the tiles can be told from real ones, {limits['max_accuracy']:.0%} allowed")
    return Verdict(distance, ratio, contrast, accuracy, not reasons, "; ".join(reasons) or "ok")


@cache
def _filters() -> np.ndarray:
    """Random filters (F, K, K, 3) of mean 0 and norm 1; smooth, as noise is not what textures differ in."""
    filters = np.random.default_rng(0).normal(size=(_FILTERS, _KERNEL, _KERNEL, 3))
    filters = ndi.gaussian_filter(filters, (0, 0.7, 0.7, 0))
    filters -= filters.mean(axis=(1, 2, 3), keepdims=True)
    return (filters / np.sqrt((filters**2).sum(axis=(1, 2, 3), keepdims=True))).astype(np.float32)


def texture_features(tiles: np.ndarray) -> np.ndarray:
    """Describe colours and textures of tiles, whatever lies where in them.

    Parameters
    ----------
    tiles : (N, S, S, 3) uint8 ndarray
        RGB tiles.

    Returns
    -------
    (N, F) float ndarray
        Percentiles of the colours; mean and standard deviation of the responses of random filters, without their sign,
        at three scales.
    """
    rows = []
    for tile in tiles:
        image = tile.astype(np.float32) / 255
        parts = [np.percentile(image, _PERCENTILES, axis=(0, 1)).ravel()]
        for _ in range(_SCALES):
            responses = np.stack(
                [
                    np.abs(sum(cv2.filter2D(image[..., c], -1, kernel[..., c]) for c in range(3)))
                    for kernel in _filters()
                ]
            )
            parts += [responses.mean(axis=(1, 2)), responses.std(axis=(1, 2))]
            image = cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
        rows.append(np.concatenate(parts))
    return np.array(rows, np.float64)


def kernel_distance(real: np.ndarray, other: np.ndarray) -> float:
    """Compute the KID: the unbiased squared maximum mean discrepancy with the kernel ``(x.y / F + 1) ** 3``.

    Parameters
    ----------
    real, other : (N, F) and (M, F) ndarray
        Features; those of the real tiles set the scale of each.

    Returns
    -------
    float
        About 0 for samples of one distribution; may be slightly negative. nan for fewer than two tiles.
    """
    if min(len(real), len(other)) < 2:  # noqa: PLR2004
        return float("nan")
    centre, spread = real.mean(axis=0), real.std(axis=0) + 1e-3
    a, b = (real - centre) / spread, (other - centre) / spread

    def kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return (x @ y.T / x.shape[1] + 1) ** 3

    def within(x: np.ndarray) -> float:
        values = kernel(x, x)
        return float((values.sum() - np.trace(values)) / (len(x) * (len(x) - 1)))

    return within(a) + within(b) - 2 * float(kernel(a, b).mean())


def two_colours(real: Pairs, labels: np.ndarray) -> np.ndarray:
    """Paint label images in the mean colours of the objects and of the background of real images.

    Parameters
    ----------
    real : Pairs
        Where the colours are from.
    labels : (N, S, S) integer ndarray
        What to paint.

    Returns
    -------
    (N, S, S, 3) uint8 ndarray
        Flat images.
    """
    inside = real.labels > 0
    whole = real.images.reshape(-1, 3).mean(axis=0)
    colours = [real.images[where].mean(axis=0) if where.any() else whole for where in (~inside, inside)]
    return np.rint(np.array(colours)).astype(np.uint8)[(labels > 0).astype(int)]


def separability(
    real: np.ndarray, generated: np.ndarray, real_groups: Sequence[str], generated_groups: Sequence[str], seed: int
) -> float:
    """Try to tell generated from real tiles, with tiles of images that the classifier has not seen.

    Parameters
    ----------
    real, generated : (N, F) and (M, F) ndarray
        Features.
    real_groups, generated_groups : sequence of str
        The image that each tile is from.
    seed : int
        Seed of the folds.

    Returns
    -------
    float
        Balanced accuracy, 0.5 by chance to 1; nan for fewer than two tiles, and if no fold could be classified.
    """
    if min(len(real), len(generated)) < 2:  # noqa: PLR2004
        return float("nan")
    groups = []
    for kind, names in (("real", real_groups), ("made", generated_groups)):
        single = len(set(names)) == 1  # then tiles of one image must do
        groups += [f"{kind}-{index if single else name}" for index, name in enumerate(names)]
    n_folds = min(_MOST_FOLDS, len(set(groups[: len(real)])), len(set(groups[len(real) :])))
    folds = StratifiedGroupKFold(n_folds, shuffle=True, random_state=seed)
    classifier = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, class_weight="balanced", max_iter=500))
    x, y = np.concatenate([real, generated]), np.repeat([0, 1], [len(real), len(generated)])
    scores = cross_val_score(classifier, x, y, groups=groups, cv=folds, scoring="balanced_accuracy")
    scores = scores[np.isfinite(scores)]
    return max(0.5, float(scores.mean())) if scores.size else float("nan")
