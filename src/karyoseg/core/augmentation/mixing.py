"""Adding samples of another origin to a training set, in a chosen proportion."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def repeat_to_share(names: Sequence[str], n_others: int, share: float, seed: int = 0) -> list[tuple[str, int]]:
    """Choose samples, each as often as needed, to make up a share of a set.

    Training visits every sample equally often, so this is also their share of the training patches.

    Parameters
    ----------
    names : sequence of str
        What there is to choose from, at least one.
    n_others : int
        Samples of the set that are there in any case.
    share : float
        Share of the whole set that the chosen ones make up, 0 < share < 1.
    seed : int
        Seed of the choice.

    Returns
    -------
    list of (str, int)
        Name, and how many times it was chosen before: a name comes again only after all others came.

    Examples
    --------
    >>> sorted(repeat_to_share(["a", "b"], 6, 0.4))
    [('a', 0), ('a', 1), ('b', 0), ('b', 1)]
    """
    wanted = max(1, round(n_others * share / (1 - share)))
    order = np.random.default_rng(seed).permutation(len(names))
    return [(names[order[i % len(names)]], i // len(names)) for i in range(wanted)]
