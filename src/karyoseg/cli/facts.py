"""Facts in two columns, as several commands print them."""

from __future__ import annotations

from collections.abc import Mapping


def two_columns(facts: Mapping[str, str]) -> str:
    """Write facts one per line, names on the left.

    Parameters
    ----------
    facts : mapping of str to str
        At least one.

    Returns
    -------
    str
        The lines.

    Examples
    --------
    >>> print(two_columns({"model": "stardist", "score": "0.9"}))
    model  stardist
    score  0.9
    """
    width = max(map(len, facts))
    return "\n".join(f"{name:<{width}}  {value}" for name, value in facts.items())
