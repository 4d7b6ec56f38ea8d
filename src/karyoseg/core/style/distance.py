"""How different two images look: learnt from pairs that are known to look alike or not.

The reference is nucleAIzer's style distance [1]_: the mean of what three classifiers take for the probability that the
styles differ, given how much each feature differs.

References
----------
.. [1] Hollandi et al., Cell Systems 10 (2020), https://doi.org/10.1016/j.cels.2020.04.003
"""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy.spatial.distance import pdist
from sklearn.base import ClassifierMixin
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from karyoseg.core.errors import KaryosegError

_TOGETHER = 20_000  # pairs compared at once: bounds the memory


@dataclass(frozen=True)
class Pairs:
    """Pairs of examples to learn from.

    Parameters
    ----------
    first, second : (n,) int ndarray
        Rows of a table of features.
    different : (n,) bool ndarray
        Whether the styles of the two differ.
    """

    first: np.ndarray
    second: np.ndarray
    different: np.ndarray


def pairs_of_styles(styles: Sequence[Hashable], max_pairs: int, seed: int) -> Pairs:
    """Pair images of which a person has said the style.

    Parameters
    ----------
    styles : sequence of hashable
        Style of each image.
    max_pairs : int
        Largest number of pairs of the same style, and of different ones; of more a random choice is made.
    seed : int
        Of this choice.

    Returns
    -------
    Pairs
        Rows count `styles`.

    Raises
    ------
    KaryosegError
        If no two images are of the same style, or none of different ones.
    """
    codes = np.unique([str(style) for style in styles], return_inverse=True)[1]
    first, second = np.triu_indices(len(codes), k=1)
    different = codes[first] != codes[second]
    if different.all() or not different.any():
        missing = "different styles" if not different.any() else "the same style"
        raise KaryosegError(
            f"table of styles: no two of its {len(codes)} images are of {missing}; needed: at least two styles, and "
            f"two images of one of them. Add images to the table, or leave it out."
        )
    return _limited(first, second, different, max_pairs, seed)


def pairs_of_parts(features: np.ndarray, max_pairs: int, seed: int) -> Pairs:
    """Pair parts of images of which nobody has said the style.

    Parts of one image are of the same style. Parts of two images are taken for different where the images differ more
    than half of all pairs do: that there are several styles is an assumption.

    Parameters
    ----------
    features : (n, parts, m) ndarray
        Features of the parts of n images, at least two.
    max_pairs : int
        Largest number of pairs of the same style, and of different ones; of more a random choice is made.
    seed : int
        Of this choice.

    Returns
    -------
    Pairs
        Rows count the parts: those of the first image, those of the second ...
    """
    n_images, n_parts, _ = features.shape
    rng = np.random.default_rng(seed)
    same = [
        (n_parts * image + a, n_parts * image + b)
        for image in range(n_images)
        for a, b in combinations(range(n_parts), 2)
    ]
    standard = StandardScaler().fit_transform(features.mean(axis=1))
    apart = pdist(standard)
    far = np.stack(np.triu_indices(n_images, k=1), axis=1)[apart >= np.median(apart)]
    drawn = far[rng.integers(len(far), size=max(max_pairs, len(far)))]
    different = n_parts * drawn + rng.integers(n_parts, size=drawn.shape)
    pairs = np.concatenate([same, different])
    return _limited(pairs[:, 0], pairs[:, 1], np.arange(len(pairs)) >= len(same), max_pairs, seed)


def _limited(first: np.ndarray, second: np.ndarray, different: np.ndarray, max_pairs: int, seed: int) -> Pairs:
    """Keep at most so many pairs of either kind."""
    rng = np.random.default_rng(seed)
    kept = [rng.permutation(np.flatnonzero(different == kind))[:max_pairs] for kind in (False, True)]
    chosen = np.sort(np.concatenate(kept))
    return Pairs(first[chosen], second[chosen], different[chosen])


class StyleDistance:
    """Distance of styles, learnt from pairs: 0 the same, 1 different.

    The mean of a multilayer perceptron, a random forest and boosted decision stumps (LogitBoost), fed with the absolute
    differences of features.

    Parameters
    ----------
    seed : int
        Of the classifiers.
    """

    def __init__(self, seed: int):
        hidden, trees, epochs = 125, 100, 500
        self._classifiers: list[ClassifierMixin] = [
            make_pipeline(StandardScaler(), MLPClassifier((hidden,), max_iter=epochs, random_state=seed)),
            RandomForestClassifier(trees, random_state=seed),
            GradientBoostingClassifier(n_estimators=trees, max_depth=1, random_state=seed),
        ]

    def fit(self, features: np.ndarray, pairs: Pairs) -> StyleDistance:
        """Learn from pairs.

        Parameters
        ----------
        features : (n, m) ndarray
            Examples.
        pairs : Pairs
            Which of them look alike and which do not; both kinds must be there.

        Returns
        -------
        StyleDistance
            This one.
        """
        differences = np.abs(features[pairs.first] - features[pairs.second])
        with warnings.catch_warnings():
            # As many steps as the reference takes; whether the last ones still gain something does not matter.
            warnings.simplefilter("ignore", ConvergenceWarning)
            for classifier in self._classifiers:
                classifier.fit(differences, pairs.different)
        return self

    def matrix(self, features: np.ndarray) -> np.ndarray:
        """Compare each image with each.

        Parameters
        ----------
        features : (n, m) ndarray
            Features of n images.

        Returns
        -------
        (n, n) float64 ndarray
            Symmetric; what is compared with itself need not be exactly 0.
        """
        first, second = np.triu_indices(len(features))
        distances = np.concatenate(
            [
                self._probability(np.abs(features[first[start:end]] - features[second[start:end]]))
                for start, end in _blocks(len(first))
            ]
        )
        matrix = np.empty((len(features), len(features)))
        matrix[first, second] = matrix[second, first] = distances
        return matrix

    def _probability(self, differences: np.ndarray) -> np.ndarray:
        return np.mean([classifier.predict_proba(differences)[:, 1] for classifier in self._classifiers], axis=0)


def _blocks(length: int) -> list[tuple[int, int]]:
    return [(start, min(start + _TOGETHER, length)) for start in range(0, length, _TOGETHER)]
