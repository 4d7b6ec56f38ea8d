"""Errors a user can act on.

Everything karyoseg raises towards a user derives from :class:`KaryosegError`; the command line prints such an
error as a plain message, without a traceback. Problems of a batch are collected in :class:`Problems` and raised
together, so that one run reports every bad file.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass

from karyoseg.core.runs.privacy import public_url, without_secrets

_SHOWN = 50


class KaryosegError(Exception):
    """A problem the user can mend: bad input, bad parameter, missing file."""


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """Give an error, what caused it, what caused that ...

    Parameters
    ----------
    error : BaseException or None
        What was raised.

    Yields
    ------
    BaseException
        Each once, for causes can form a ring.
    """
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


@dataclass(frozen=True)
class Problem:
    """One located problem; it is printed and stored, so passwords and signatures in URLs are left out.

    Parameters
    ----------
    where : str
        File, field or sample id.
    found : str
        What is there; may quote the message of a library.
    needed : str
        What karyoseg needs instead.
    advice : str
        What the user can do.
    """

    where: str
    found: str
    needed: str
    advice: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "where", public_url(self.where))
        object.__setattr__(self, "found", without_secrets(self.found))

    def __str__(self) -> str:
        return f"{self.where}: {self.found}; needed: {self.needed}. {self.advice}"


class ProblemReport(KaryosegError):
    """All problems of a batch in one error.

    Parameters
    ----------
    summary : str
        One sentence that says which step found them.
    problems : list of Problem
        The problems, at least one.
    """

    def __init__(self, summary: str, problems: list[Problem]):
        self.summary = summary
        self.problems = problems
        lines = [f"{summary} ({len(problems)} problem{'s' if len(problems) > 1 else ''}):"]
        lines += [f"  - {problem}" for problem in problems[:_SHOWN]]
        if len(problems) > _SHOWN:
            lines.append(f"  ... and {len(problems) - _SHOWN} more")
        super().__init__("\n".join(lines))


class Problems:
    """Collector of problems.

    Examples
    --------
    >>> problems = Problems()
    >>> problems.add("a.tif", "float labels", "integer labels", "Save the mask as 16-bit integers.")
    >>> len(problems)
    1
    """

    def __init__(self) -> None:
        self._items: list[Problem] = []

    def add(self, where: str, found: str, needed: str, advice: str) -> None:
        """Note one problem."""
        self._items.append(Problem(where, found, needed, advice))

    def extend(self, problems: list[Problem]) -> None:
        """Note several problems."""
        self._items.extend(problems)

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[Problem]:
        return iter(self._items)

    def rows(self) -> list[dict[str, str]]:
        """Return the problems as rows of a table with columns where, found, needed, advice."""
        return [asdict(problem) for problem in self._items]

    def raise_if_any(self, summary: str) -> None:
        """Raise one report of all problems noted so far.

        Parameters
        ----------
        summary : str
            One sentence that says which step found them.

        Raises
        ------
        ProblemReport
            If at least one problem was noted.
        """
        if self._items:
            raise ProblemReport(summary, list(self._items))
