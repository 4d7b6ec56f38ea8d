"""Errors a user can act on."""

from __future__ import annotations

import pytest

from karyoseg.core.errors import KaryosegError, Problem, ProblemReport, Problems


def test_no_problem_raises_nothing() -> None:
    Problems().raise_if_any("checked")


def test_all_problems_come_in_one_report() -> None:
    problems = Problems()
    problems.add("a.tif", "float labels", "integer labels", "Save as 16 bit.")
    problems.extend([Problem("b.tif", "0 bytes", "an image", "Copy it again.")])
    with pytest.raises(ProblemReport) as caught:
        problems.raise_if_any("3 files were checked")
    text = str(caught.value)
    assert text.splitlines()[0] == "3 files were checked (2 problems):"
    assert "a.tif: float labels; needed: integer labels. Save as 16 bit." in text
    assert "b.tif: 0 bytes; needed: an image. Copy it again." in text
    assert isinstance(caught.value, KaryosegError)
    assert [problem.where for problem in caught.value.problems] == ["a.tif", "b.tif"]


def test_one_problem_is_singular() -> None:
    assert "(1 problem):" in str(ProblemReport("checked", [Problem("a", "b", "c", "d")]))


def test_long_reports_are_cut_but_keep_count_and_data() -> None:
    problems = [Problem(f"{i}.tif", "x", "y", "z") for i in range(1000)]
    report = ProblemReport("checked", problems)
    assert len(str(report).splitlines()) < 60
    assert "1000 problems" in str(report)
    assert "and 950 more" in str(report)
    assert len(report.problems) == 1000


def test_later_problems_do_not_change_an_earlier_report() -> None:
    problems = Problems()
    problems.add("a", "b", "c", "d")
    with pytest.raises(ProblemReport) as caught:
        problems.raise_if_any("checked")
    problems.add("e", "f", "g", "h")
    assert len(caught.value.problems) == 1


def test_rows_make_a_table() -> None:
    problems = Problems()
    problems.add("a", "b", "c", "d")
    assert problems.rows() == [{"where": "a", "found": "b", "needed": "c", "advice": "d"}]
    assert [problem.found for problem in problems] == ["b"]


def test_a_problem_tells_no_secrets() -> None:
    problem = Problem("https://me:pw@h/a b.tif?sig=1", "403, url='https://me:pw@h/a?sig=1'", "an image", "Ask.")
    assert str(problem) == "https://h/a b.tif: 403, url='https://h/a'; needed: an image. Ask."
    assert problem.where == "https://h/a b.tif"
