"""Models that are opened once in each process, however many tasks use them."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from karyoseg.core.errors import KaryosegError
from karyoseg.core.runs.privacy import public_url
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
    fingerprint : str
        Of the model; processes that outlive a training find another one by the same name.

    Examples
    --------
    >>> segmenter = load_segmenter("data/06_models/stardist")  # doctest: +SKIP
    >>> model = SharedModel.of(segmenter, "data/06_models/stardist", segmenter.use())  # doctest: +SKIP
    >>> model() is segmenter  # doctest: +SKIP
    True
    """

    name: str
    engine: str
    precision: str
    fingerprint: str

    @classmethod
    def of(cls, segmenter: Segmenter, name: str, runs_in: str) -> SharedModel:
        """Share a model that is open in this process.

        Parameters
        ----------
        segmenter : Segmenter
            The model.
        name : str
            By which other processes open it.
        runs_in : str
            What its method ``use`` returned.

        Returns
        -------
        SharedModel
            The same model for all.
        """
        engine, precision = runs_in.split()
        model = cls(name, engine, precision, segmenter.fingerprint)
        with _LOCK:
            model._keep(segmenter)
        return model

    def __call__(self) -> Segmenter:
        """Open the model, or return it if that is done; raise if it is not the one that was shared."""
        with _LOCK:
            if self not in _OPEN:
                segmenter = load_segmenter(self.name)
                if segmenter.fingerprint != self.fingerprint:
                    raise KaryosegError(
                        f"{public_url(self.name)}: the model has changed since the run began (fingerprint "
                        f"{segmenter.fingerprint}, not {self.fingerprint}); needed: the same files until the run ends, "
                        f"for all workers. Let its training end, and run again."
                    )
                segmenter.use(self.engine, self.precision)
                self._keep(segmenter)
            return _OPEN[self]

    def _keep(self, segmenter: Segmenter) -> None:
        """Keep the model open, in place of what had its name before."""
        for other in [one for one in _OPEN if one.name == self.name and one.fingerprint != self.fingerprint]:
            del _OPEN[other]
        _OPEN[self] = segmenter
