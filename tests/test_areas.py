"""What a machine lacks is skipped, or fails where it is required."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest

from areas import VARIABLE, Area, unavailable


@pytest.mark.parametrize("required", [None, "", "s3", "s3,compose"])
def test_what_is_missing_is_skipped(monkeypatch: pytest.MonkeyPatch, required: str | None) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    if required is not None:
        monkeypatch.setenv(VARIABLE, required)
    with pytest.raises(pytest.skip.Exception, match="no browser"):
        unavailable("browser", "there is no browser")


def test_what_is_required_and_missing_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "s3,browser")
    with pytest.raises(pytest.fail.Exception, match="there is no browser"):
        unavailable("browser", "there is no browser")


def test_continuous_integration_requires_areas_that_exist(project: Path) -> None:
    lines = re.findall(rf"{VARIABLE}\+?=(\S+)", (project / ".ci" / "run").read_text())
    required = {area for line in lines for area in line.split(",") if area}
    assert required
    assert required <= set(get_args(Area))
