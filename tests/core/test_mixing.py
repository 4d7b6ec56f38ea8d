"""Samples of another origin in a chosen proportion."""

from __future__ import annotations

from collections import Counter

import pytest

from karyoseg.core.augmentation.mixing import repeat_to_share


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.9])
@pytest.mark.parametrize("n_names", [1, 7, 300])
def test_share_is_met_and_all_names_are_used_equally(share: float, n_names: int) -> None:
    names = [f"n{i}" for i in range(n_names)]
    chosen = repeat_to_share(names, 90, share, seed=3)
    assert len(chosen) / (len(chosen) + 90) == pytest.approx(share, abs=0.01)
    assert len(set(chosen)) == len(chosen)
    counts = Counter(name for name, _ in chosen)
    often = [counts[name] for name in names]
    assert max(often) - min(often) <= 1


def test_choice_depends_on_the_seed_alone() -> None:
    names = [f"n{i}" for i in range(100)]
    assert repeat_to_share(names, 20, 0.5, seed=1) == repeat_to_share(names, 20, 0.5, seed=1)
    assert repeat_to_share(names, 20, 0.5, seed=1) != repeat_to_share(names, 20, 0.5, seed=2)


def test_at_least_one_is_chosen() -> None:
    assert repeat_to_share(["a"], 1, 0.01) == [("a", 0)]
