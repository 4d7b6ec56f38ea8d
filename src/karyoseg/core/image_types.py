"""What kind of image it is, such as fluorescence, stained tissue or brightfield, learnt from a user's own examples.

The 24 numbers per image and the idea are those of nucleAIzer [1]_, which used one pruned tree; many trees give steadier
probabilities.

References
----------
.. [1] Hollandi et al., "nucleAIzer: a parameter-free deep learning framework for nucleus segmentation using image style
   transfer", Cell Systems 10 (2020), https://doi.org/10.1016/j.cels.2020.04.003
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import numpy as np
import pandas as pd
from sklearn.ensemble import RandomForestClassifier

from karyoseg.core.conversions import as_rgb8
from karyoseg.core.errors import KaryosegError
from karyoseg.core.normalise import LUMA

CHANNELS = ("red", "green", "blue", "gray")
_SAMPLED = 1024  # pixels of a side are enough
_QUARTILES = {"min": 0, "lower_quartile": 25, "median": 50, "upper_quartile": 75, "max": 100}

#: Names of the features, in the order of :func:`type_features`.
FEATURES = tuple(f"{channel}_{name}" for channel in CHANNELS for name in (*_QUARTILES, "std"))

#: Column of the class in tables.
TYPE = "type"


def type_features(image: np.ndarray) -> np.ndarray:
    """Describe the brightness of an image in 24 numbers.

    Parameters
    ----------
    image : (Y, X) or (Y, X, C) ndarray
        Image of any real dtype.

    Returns
    -------
    (24,) float64 ndarray
        Minimum, quartiles, maximum and standard deviation of red, green, blue and gray, of the image in 8 bit
        [0..255]; see :func:`karyoseg.core.conversions.as_rgb8`.

    Examples
    --------
    >>> type_features(np.full((4, 4), 7, np.uint8))[:6].tolist()
    [7.0, 7.0, 7.0, 7.0, 7.0, 0.0]
    """
    step = -(-max(image.shape[:2]) // _SAMPLED)
    rgb = as_rgb8(image[::step, ::step])
    channels = np.concatenate([rgb, (rgb @ np.asarray(LUMA))[..., None]], axis=-1).reshape(-1, len(CHANNELS))
    ranks = np.percentile(channels, list(_QUARTILES.values()), axis=0)
    features: np.ndarray = np.concatenate([ranks, channels.std(axis=0)[None]]).T.ravel()
    return features


class ImageTypes:
    """A classifier of image types.

    Learns in a second, so its table of examples is all there is to keep.

    Parameters
    ----------
    table : DataFrame
        One row per example: the columns of `FEATURES`, and `type`, its class.
    seed : int
        Seed of the trees.

    Raises
    ------
    KaryosegError
        If a column is missing, or there are not at least two classes with two examples each.

    Examples
    --------
    >>> dark, light = np.zeros((9, 9), np.uint8), np.full((9, 9), 250, np.uint8)
    >>> examples = [type_features(image) for image in (dark, dark, light, light)]
    >>> types = ImageTypes.from_features(examples, ["fluorescence"] * 2 + ["brightfield"] * 2)
    >>> types.probabilities(type_features(light)[None]).round().iloc[0].to_dict()
    {'brightfield': 1.0, 'fluorescence': 0.0}
    """

    def __init__(self, table: pd.DataFrame, seed: int = 0):
        missing = [name for name in (*FEATURES, TYPE) if name not in table]
        if missing:
            raise KaryosegError(
                f"image types: the table lacks {', '.join(missing[:5])}; needed: the features of each example and its "
                f"type. Make it with `kedro types learn`."
            )
        counts = table[TYPE].astype(str).value_counts()
        if len(counts) < 2 or counts.min() < 2:  # noqa: PLR2004
            raise KaryosegError(
                f"image types: {', '.join(f'{n} of {name!r}' for name, n in counts.items()) or 'no examples'}; needed: "
                f"at least two types with two examples each. Add images."
            )
        self.table = table
        self._forest = RandomForestClassifier(
            200, class_weight="balanced", oob_score=True, random_state=seed, max_features=None, n_jobs=1
        )
        self._forest.fit(table[list(FEATURES)].to_numpy(float), table[TYPE].astype(str))

    @classmethod
    def from_features(cls, features: Sequence[np.ndarray], types: Sequence[str]) -> Self:
        """Learn from the :func:`type_features` of images, and their types."""
        return cls(pd.DataFrame(features, columns=list(FEATURES)).assign(**{TYPE: list(types)}))

    @property
    def accuracy(self) -> float:
        """Share of the examples that trees which have not seen them classify rightly, 0..1."""
        return float(self._forest.oob_score_)

    def probabilities(self, features: np.ndarray) -> pd.DataFrame:
        """Classify images.

        Parameters
        ----------
        features : (n, 24) ndarray
            From :func:`type_features`.

        Returns
        -------
        DataFrame
            One row per image, one column per type, 0..1; all types are taken for equally likely beforehand.
        """
        return pd.DataFrame(self._forest.predict_proba(features), columns=self._forest.classes_)
