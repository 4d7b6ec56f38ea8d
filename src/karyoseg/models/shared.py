"""Models that are opened once in each process, however many tasks use them."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from karyoseg.models import load_segmenter
from karyoseg.models.base import Segmenter

_OPEN: dict[SharedModel, Segmenter] = {}
_LOCK = threading.Lock()


@dataclass(frozen=True)
class SharedModel:
    """A model by name, which can be sent to other processes.

    Parameters
    ----------
    name : str
        As for :func:`karyoseg.models.load_segmenter`.
    engine, precision : str
        See :meth:`karyoseg.models.base.Segmenter.use`; the same in all processes.

    Examples
    --------
    >>> model = SharedModel("data/06_models/stardist", "openvino", "f32")
    >>> model()  # doctest: +SKIP
    """

    name: str
    engine: str
    precision: str

    def __call__(self) -> Segmenter:
        """Open the model, or return it if that is done."""
        with _LOCK:
            if self not in _OPEN:
                segmenter = load_segmenter(self.name)
                segmenter.use(self.engine, self.precision)
                _OPEN[self] = segmenter
            return _OPEN[self]
