"""How well the objects of label images show in their images, as a classifier of pixels sees them.

What it learns depends on the real images alone, so that half can be asked before a long training.
"""

from __future__ import annotations

import cv2
import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score

from karyoseg.models.pix2pix.tiles import Pairs

_SIGMAS = (1.0, 2.0, 4.0)
_PIXELS = 500  # per tile
_LEAST_AUC = 0.6  # below, the objects do not show in the real images either


def learn_objects(real: Pairs, seed: int) -> tuple[HistGradientBoostingClassifier | None, float, str]:
    """Train a classifier of pixels to find the objects of the real images; no generated image is needed for that.

    Parameters
    ----------
    real : Pairs
        Tiles.
    seed : int
        Seed of the choice of pixels.

    Returns
    -------
    classifier : HistGradientBoostingClassifier or None
        Trained on half of the images; None if it finds nothing.
    usual : float
        Area under its ROC curve in the other half; nan if it cannot be told.
    reason : str
        Why it finds nothing, else empty.
    """
    names = sorted(set(real.groups))
    order = {name: index % 2 for index, name in enumerate(names)}
    half = np.array([order[name] for name in real.groups] if len(names) > 1 else np.arange(len(real.groups)) % 2)
    learnt, held = (_pixels(real.images[half == part], real.labels[half == part], seed + part) for part in (0, 1))
    if any(_is_one_class(truth) for _, truth in (learnt, held)):
        return None, float("nan"), "the weak masks hold only objects or only background"
    classifier = HistGradientBoostingClassifier(max_iter=60, max_leaf_nodes=15, random_state=seed).fit(*learnt)
    usual = _area_under_curve(classifier, *held)
    if usual < _LEAST_AUC:
        return None, usual, "the objects of the weak masks do not stand out in the real images"
    return classifier, usual, ""


def visibility(real: Pairs, generated: Pairs, seed: int) -> tuple[float, str]:
    """Compare how well the objects show in generated and in real images.

    Parameters
    ----------
    real, generated : Pairs
        Tiles.
    seed : int
        Seed of the choice of pixels.

    Returns
    -------
    contrast : float
        What a classifier of pixels, trained on half of the real images, finds beyond chance in generated images,
        divided by that in the other half; at most 1, nan if it cannot be told.
    reason : str
        Why it cannot be told, else empty.
    """
    classifier, usual, reason = learn_objects(real, seed)
    if classifier is None:
        return float("nan"), reason
    features, truth = _pixels(generated.images, generated.labels, seed + 2)
    if _is_one_class(truth):
        return float("nan"), "the synthetic masks hold only objects or only background"
    found = _area_under_curve(classifier, features, truth)
    return float(np.clip((found - 0.5) / (usual - 0.5), 0, 1)), ""


def _is_one_class(truth: np.ndarray) -> bool:
    return len(set(truth.tolist())) < 2  # noqa: PLR2004


def _area_under_curve(classifier: HistGradientBoostingClassifier, features: np.ndarray, truth: np.ndarray) -> float:
    return float(roc_auc_score(truth, classifier.predict_proba(features)[:, 1]))


def _pixels(images: np.ndarray, labels: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Sample pixels: colours and gradients at three scales, and whether they are in an object."""
    rng = np.random.default_rng(seed)
    features, truth = [np.empty((0, 4 * len(_SIGMAS)))], [np.empty(0, bool)]
    for image, label in zip(images, labels, strict=True):
        chosen = rng.choice(label.size, size=min(_PIXELS, label.size), replace=False)
        maps = []
        for sigma in _SIGMAS:
            smooth = cv2.GaussianBlur(image.astype(np.float32), (0, 0), sigma)
            gray = smooth.mean(axis=-1)
            maps += [smooth, np.hypot(cv2.Sobel(gray, -1, 1, 0), cv2.Sobel(gray, -1, 0, 1))[..., None]]
        features.append(np.concatenate(maps, axis=-1).reshape(label.size, -1)[chosen])
        truth.append(label.ravel()[chosen] > 0)
    return np.concatenate(features), np.concatenate(truth)
