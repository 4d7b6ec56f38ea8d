"""The docstring check finds what is missing and lets pass what needs no more."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "check_docstrings.py"
SOURCE = '''"""A module."""
from dataclasses import dataclass


@dataclass
class Point:
    """A point.

    Parameters
    ----------
    x : float
        Place [px].
    """

    x: float
    _hidden: int = 0

    def move(self, by: float) -> None:
        """Move the point."""


def scale(x: float, factor: float) -> float:
    """Scale a number.

    Parameters
    ----------
    x : float
        The number.
    factor : float
        By what.

    Returns
    -------
    float
        The product.
    """

    def inner(y):
        return y * factor

    return inner(x)


def _private(x):
    return x
'''


@pytest.fixture(scope="module")
def checker() -> ModuleType:
    """The script as a module."""
    spec = importlib.util.spec_from_file_location("check_docstrings", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def find(checker: ModuleType, path: Path, source: str) -> list[tuple[str, str]]:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(source)
    return [(name, check) for _, name, check, _ in checker.check_file(path, checker.parse_config(checker.PROJECT))]


def test_complete_docstrings_pass(checker: ModuleType, tmp_path: Path) -> None:
    assert find(checker, tmp_path / "good.py", SOURCE) == []


@pytest.mark.parametrize(
    ("old", "new", "finding"),
    [
        ("x : float\n        The number.", "z : float\n        The number.", ("bad.scale", "PR02")),
        ('    """Move the point."""', "    pass", ("bad.Point.move", "GL08")),
        ("    x : float\n        Place [px].", "    y : float\n        Place [px].", ("bad.Point", "PR01")),
        ("Scale a number.", "Scale a number", ("bad.scale", "SS03")),
    ],
)
def test_mistakes_are_found(checker: ModuleType, tmp_path: Path, old: str, new: str, finding: tuple[str, str]) -> None:
    assert old in SOURCE
    assert finding in find(checker, tmp_path / "bad.py", SOURCE.replace(old, new))


def test_one_line_is_enough_for_nodes_but_not_for_functions(checker: ModuleType, tmp_path: Path) -> None:
    source = '"""A module."""\n\n\ndef clean(x):\n    """Clean it."""\n'
    assert find(checker, tmp_path / "core" / "a.py", source) == [("a.clean", "PR01")]
    assert find(checker, tmp_path / "pipelines" / "a.py", source) == []


def test_exit_status_tells(checker: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good, bad = tmp_path / "good.py", tmp_path / "bad.py"
    good.write_text(SOURCE)
    bad.write_text("x = 1\n")
    assert checker.main([str(good)]) == 0
    assert checker.main([str(good), str(bad)]) == 1
    assert f"{bad}:1" in capsys.readouterr().out
