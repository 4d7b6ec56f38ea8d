"""Decoded samples in memory, and the order in which a training visits them; both without Keras."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from scipy import ndimage as ndi

from karyoseg.models.base import LabelledSamples

T = TypeVar("T")


def in_turn(items: Sequence[T], seed: int, position: int) -> T:
    """Choose from an endless sequence that visits every item once before any again, each time in another order.

    Parameters
    ----------
    items : sequence
        What is visited, at least one item.
    seed : int
        Seed of the orders.
    position : int
        In the sequence, from 0.

    Returns
    -------
    object
        One of the items; it depends on nothing but the arguments.

    Examples
    --------
    >>> sorted(in_turn("abc", 0, position) for position in range(3, 6))
    ['a', 'b', 'c']
    """
    n = len(items)
    order = np.random.default_rng((seed, 0, position // n)).permutation(n)
    return items[order[position % n]]


class SampleCache:
    """Decoded samples, the least recently used dropped beyond a memory limit; those of equal content are kept once.

    Parameters
    ----------
    samples : LabelledSamples
        Where to read from.
    limit_bytes : float
        Memory for decoded arrays.
    """

    def __init__(self, samples: LabelledSamples, limit_bytes: float):
        self._samples = samples
        self._limit = limit_bytes
        self._used = 0
        self._items: OrderedDict[tuple[str, str], tuple[np.ndarray, np.ndarray, np.ndarray]] = OrderedDict()
        self._lock = threading.Lock()  # batches may be prepared by several threads

    def __getitem__(self, key: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return image, labels and the bounding boxes ``(n, 4)`` of the instances."""
        lazy = self._samples.images[key], self._samples.labels[key]
        content = lazy[0].fingerprint, lazy[1].fingerprint
        with self._lock:
            found = self._items.get(content)
            if found is not None:
                self._items.move_to_end(content)
                return found
        image, labels = lazy[0](), lazy[1]()
        image = image[..., None] if image.ndim == 2 else image  # noqa: PLR2004
        found = image, labels, _boxes(labels)
        with self._lock:
            if content not in self._items:
                self._items[content] = found
                self._used += sum(array.nbytes for array in found)
            while self._used > self._limit and len(self._items) > 1:
                _, old = self._items.popitem(last=False)
                self._used -= sum(array.nbytes for array in old)
        return found


def _boxes(labels: np.ndarray) -> np.ndarray:
    """Bounding boxes (y0, y1, x0, x1) of all instances."""
    slices = [box for box in ndi.find_objects(np.maximum(labels, 0)) if box is not None]
    return np.array([(y.start, y.stop, x.start, x.stop) for y, x in slices], dtype=np.int32).reshape(-1, 4)
