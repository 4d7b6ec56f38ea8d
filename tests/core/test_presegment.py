"""What was found in images nobody annotated."""

from __future__ import annotations

import numpy as np

from karyoseg.core.presegment import describe

LIGHT, DARK = (235, 225, 240), (90, 50, 140)


def stained(labels: np.ndarray, inside: tuple[int, int, int], outside: tuple[int, int, int]) -> np.ndarray:
    """Image of two colours."""
    return np.where((labels > 0)[..., None], np.uint8(inside), np.uint8(outside))


def test_description_of_what_was_found(disks: np.ndarray) -> None:
    found = describe(stained(disks, DARK, LIGHT), disks)
    assert (found["height"], found["width"], found["n_objects"], found["contrast"]) == (96, 112, 4, "dark")
    assert 2 * 10 < found["diameter"] < 2 * 14  # disks of these radii
    assert describe(stained(disks, LIGHT, DARK), disks)["contrast"] == "bright"
    empty = describe(stained(disks, DARK, LIGHT), np.zeros_like(disks))
    assert empty["n_objects"] == 0
    assert np.isnan(empty["diameter"])
    assert empty["contrast"] == ""
