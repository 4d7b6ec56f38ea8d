"""Secrets stay out of what is written, and the rest stays in."""

from __future__ import annotations

import pytest

from karyoseg.core.runs.privacy import without_secrets


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("https://me:pw@example.org/a.zip?sig=1#x", "https://example.org/a.zip"),
        ("--params=dataset.url=https://me:pw@example.org/a.zip", "--params=dataset.url=https://example.org/a.zip"),
        ("cannot open 's3://key:pw@bucket/a' now", "cannot open 's3://bucket/a' now"),  # pragma: allowlist secret
        ("predict.token=abc,train.epochs=3", "predict.token=***,train.epochs=3"),
        ("aws_secret_access_key: abc", "aws_secret_access_key: ***"),
        ("data/01_raw/tokens.csv", "data/01_raw/tokens.csv"),
        ("C:\\images", "C:\\images"),
    ],
)
def test_secrets_in_texts_are_hidden_and_the_rest_stays(written: str, shown: str) -> None:
    assert without_secrets(written) == shown


def test_secrets_are_hidden_at_any_depth() -> None:
    nested = {"a": [{"password": "x", "n": 1.5, "none": None, "api_key": None}], "yes": True}
    assert without_secrets(nested) == {"a": [{"password": "***", "n": 1.5, "none": None, "api_key": None}], "yes": True}
