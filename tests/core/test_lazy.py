"""Deferred values and their fingerprints."""

from __future__ import annotations

import subprocess
import sys
from functools import partial

import pytest

from karyoseg.core.lazy import Lazy, fingerprint
from karyoseg.params.preprocess import PreprocessParams

PARTS = ("id", 3, 0.1, None, True, [1, 2], {"b": 1, "a": {"c": (1, 2)}})


def test_computes_when_called_and_every_time() -> None:
    calls: list[int] = []
    value = Lazy(partial(calls.append, 1), "x")
    assert calls == []
    value()
    value()
    assert calls == [1, 1]


def test_fingerprint_is_the_same_in_another_process() -> None:
    code = f"from karyoseg.core.lazy import fingerprint; print(fingerprint(*{PARTS!r}))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert found.strip() == fingerprint(*PARTS)


def test_order_of_keys_does_not_matter() -> None:
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})


@pytest.mark.parametrize(
    "other",
    [
        ("id", 3, 0.1, None, True, [2, 1], PARTS[-1]),
        ("id", 3, 0.1000001, *PARTS[3:]),
        ("id", "3", *PARTS[2:]),
        ("i", "d", *PARTS[1:]),
        PARTS[:-1],
        (PARTS,),
    ],
)
def test_anything_different_gives_a_different_fingerprint(other: tuple) -> None:
    assert fingerprint(*other) != fingerprint(*PARTS)


def test_parameters_count_by_value() -> None:
    assert fingerprint(PreprocessParams()) == fingerprint(PreprocessParams(pmin=1.0))
    assert fingerprint(PreprocessParams()) != fingerprint(PreprocessParams(pmin=2.0))


def test_lazy_is_frozen() -> None:
    with pytest.raises(AttributeError):
        Lazy(int, "x").fingerprint = "y"  # type: ignore[misc]
