"""Areas of the tests that need more than Python, and whether they may be skipped on this machine."""

from __future__ import annotations

import os
from typing import Literal, NoReturn

import pytest

Area = Literal["browser", "compose", "containers", "linters", "real-images", "s3"]
VARIABLE = "KARYOSEG_REQUIRE"


def unavailable(area: Area, reason: str) -> NoReturn:
    """Skip the test, or fail it if `KARYOSEG_REQUIRE` names its area: there, a skipped area would pass unseen."""
    if area in os.environ.get(VARIABLE, "").split(","):
        pytest.fail(f"{reason} ({VARIABLE} asks for {area})", pytrace=False)
    pytest.skip(reason)
