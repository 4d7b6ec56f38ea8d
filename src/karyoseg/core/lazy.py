"""A value that is computed when it is needed, with a fingerprint of what it is computed from.

Nodes return ``{sample id: Lazy}``; the partition datasets call one at a time, so memory stays flat, and skip those
whose stored fingerprint is the same, so a killed run continues where it stopped.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np

T = TypeVar("T")


@dataclass(frozen=True)
class Lazy(Generic[T]):
    """A deferred computation.

    Parameters
    ----------
    compute : callable
        Called without arguments, returns the value.
    fingerprint : str
        Identifies inputs and parameters of the computation: equal fingerprints mean equal values.

    Examples
    --------
    >>> value = Lazy(lambda: 6 * 7, fingerprint(6, 7))
    >>> value()
    42
    """

    compute: Callable[[], T]
    fingerprint: str

    def __call__(self) -> T:
        return self.compute()


#: Images or label images by sample id.
Partitions = dict[str, Lazy[np.ndarray]]


def fingerprint(*parts: Any) -> str:
    """Hash JSON-like values (and ``str()`` of anything else) to a short stable text.

    Parameters
    ----------
    *parts : object
        Strings, numbers, lists, dicts, pydantic models.

    Returns
    -------
    str
        32 hexadecimal digits.

    Examples
    --------
    >>> fingerprint("a", {"x": 1}) == fingerprint("a", {"x": 1})
    True
    """

    def plain(value: Any) -> Any:
        return value.model_dump(mode="json") if hasattr(value, "model_dump") else str(value)

    text = json.dumps(parts, sort_keys=True, default=plain)
    return hashlib.sha256(text.encode()).hexdigest()[:32]
