"""Secrets stay out of what is written, and the rest stays in."""

from __future__ import annotations

import pytest

from karyoseg.core.runs.privacy import public_url, without_secrets


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


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("zip://a.tif::https://me:pw@example.org/a.zip?sig=1", "zip://a.tif::https://example.org/a.zip"),
        ("simplecache::https://me:pw@example.org/a.tif#x", "simplecache::https://example.org/a.tif"),
        ("https://me:wrong@[2001:db8::1]:8000/a.zip?sig=1", "https://[2001:db8::1]:8000/a.zip"),
        ("https://me:pw@example.org?sig=a/b", "https://example.org"),
        ("ftp://me:pw@example.org/what?.tif", "ftp://example.org/what?.tif"),
    ],
)
def test_secrets_are_stripped_from_each_link_of_a_chain(url: str, shown: str) -> None:
    assert public_url(url) == shown
    assert public_url(shown) == shown


@pytest.mark.parametrize(
    "url",
    [
        "zip://field#1.tif::/data/A.zip",
        "zip://run@2/what?.tif::data/A.zip",
        "s3://bucket/plate #3/what?.tif",
        "s3://bucket/run@2/a.tif",
        "abfs://container@account.dfs.core.windows.net/a.tif",
        "/mnt/me:pw@host/a#1?.tif",
    ],
)
def test_names_of_files_stay_as_they_are(url: str) -> None:
    assert public_url(url) == url
