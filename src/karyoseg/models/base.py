"""What every model family offers to the pipelines."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
import pandas as pd

from karyoseg.core.augmentation.warps import Window
from karyoseg.core.blocks.grid import Objects
from karyoseg.core.lazy import Lazy
from karyoseg.core.preparation import ImageFacts, Plan, Preparation

#: Raised when the same model finds other objects in the same image.
PREDICTION_VERSION = 6
#: Called as ``augment(image, labels, seed, window)``; returns the window of the pair, changed.
Augment = Callable[[np.ndarray, np.ndarray, tuple[int, ...], Window], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Prediction:
    """Instances found in one image.

    Parameters
    ----------
    labels : (Y, X) int32 ndarray
        Label image; instance i of the other fields has label i + 1.
    points : (n, 2) float ndarray
        Centres, (y, x) [px].
    prob : (n,) float ndarray
        Object probability, 0..1.
    polygons : (n, 2, n_rays) float ndarray
        Outline vertices, (y, x) [px].
    scale : float
        Of the image in which they were found [prepared px per px].
    """

    labels: np.ndarray
    points: np.ndarray
    prob: np.ndarray
    polygons: np.ndarray
    scale: float = 1.0


@dataclass(frozen=True)
class LabelledSamples:
    """Samples to learn from, read when needed.

    Parameters
    ----------
    images : mapping of str to Lazy
        ``(Y, X)`` or ``(Y, X, C)`` float32 per id.
    labels : mapping of str to Lazy
        ``(Y, X)`` int32 per id, same shape.
    """

    images: Mapping[str, Lazy[np.ndarray]]
    labels: Mapping[str, Lazy[np.ndarray]]

    @property
    def ids(self) -> list[str]:
        """Sample ids in fixed order."""
        return sorted(self.labels)

    @property
    def distinct(self) -> list[str]:
        """One id of each content: synthetic samples are repeated until they have their share."""
        contents = {(self.images[key].fingerprint, self.labels[key].fingerprint): key for key in reversed(self.ids)}
        return sorted(contents.values())


class Segmenter(Protocol):
    """A trained or trainable instance segmentation model."""

    @property
    def fingerprint(self) -> str:
        """Identifies all of the model that decides what it finds."""

    def fit(
        self,
        train: LabelledSamples,
        validation: LabelledSamples,
        augment: Augment | None,
        options: Mapping[str, Any],
    ) -> pd.DataFrame:
        """Train; return the history, one row per epoch."""

    def use(self, engine: str = ..., precision: str = ...) -> str:
        """Choose what runs the network (default ``auto``); return a text that identifies it beside `fingerprint`."""

    def prepare(
        self,
        image: np.ndarray,
        *,
        facts: ImageFacts = ...,
        scale: float | None = None,
        channels: Sequence[int] | None = None,
    ) -> tuple[np.ndarray, float]:
        """Turn a raw image into what `predict` expects; return it with its scale (prepared px per raw px)."""

    def predict(
        self,
        image: np.ndarray,
        *,
        scale: float = 1.0,
        out_shape: tuple[int, int] | None = None,
        prob_thresh: float | None = None,
        nms_thresh: float | None = None,
        check_size: bool = True,
        prepare: Callable[..., np.ndarray] | None = None,
    ) -> Prediction:
        """Segment a prepared image, also in threads; the result lies on the grid before scaling, of `out_shape`."""

    @property
    def preparation(self) -> Preparation:
        """How raw images are prepared."""

    @property
    def diameter(self) -> float | None:
        """Median diameter of the objects seen in training [px of the prepared image]; None if unknown."""

    @property
    def context(self) -> tuple[int, int]:
        """How far to either side the network sees (Y, X) [px of the prepared image]."""

    @property
    def stride(self) -> tuple[int, int]:
        """Where parts of a prepared image may begin: at multiples of this (Y, X) [px]."""

    def plan(
        self,
        image: np.ndarray,
        *,
        facts: ImageFacts = ...,
        scale: float | None = None,
        channels: Sequence[int] | None = None,
    ) -> Plan:
        """Decide from an image, or a sample of a large one, how `prepare` would prepare it."""

    def find(
        self,
        image: np.ndarray,
        *,
        origin: tuple[int, int],
        valid: tuple[slice, slice],
        factor: tuple[float, float],
        prob_thresh: float | None = None,
        nms_thresh: float | None = None,
    ) -> Objects:
        """Find the objects of a part of a prepared image, without drawing them; positions are those in the whole."""

    def save(self, directory: Path) -> None:
        """Write the model into a folder."""

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Read the model from a folder."""

    def describe(self) -> dict[str, Any]:
        """Facts for reports and the model card."""
