"""Runs do not overwrite each other's records."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from karyoseg.core.errors import KaryosegError
from karyoseg.datasets.run_folder import RunFolder
from object_store import ObjectStore


@pytest.fixture(params=["disk", "bucket"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Place of the records."""
    if request.param == "disk":
        return f"{tmp_path}/new/runs"
    bucket = request.getfixturevalue("on_s3").create_bucket(f"runs-{uuid.uuid4().hex}")
    return f"{bucket}/08_reporting/runs"


def test_round_trip_oldest_first(folder: str) -> None:
    runs = RunFolder(folder)
    assert runs.read() == {}
    for name in ("20260102T000000Z-train", "20260101T000000Z-train"):
        runs.write(runs.reserve(name), {"name": name})
    assert list(RunFolder(folder).read()) == ["20260101T000000Z-train", "20260102T000000Z-train"]
    assert RunFolder(folder).read(last=1) == {"20260102T000000Z-train": {"name": "20260102T000000Z-train"}}


def test_names_that_are_taken_get_a_number(folder: str) -> None:
    runs = RunFolder(folder)
    for content in range(3):
        runs.write(runs.reserve("now"), {"content": content})
    expected = [("now", {"content": 0}), ("now-2", {"content": 1}), ("now-3", {"content": 2})]
    assert list(runs.read().items()) == expected


def test_many_runs_of_the_same_second_each_get_a_file(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        paths = list(pool.map(lambda _: RunFolder(str(tmp_path)).reserve("now"), range(24)))
    assert len(set(paths)) == 24


def test_a_store_that_does_not_answer_is_a_plain_message(on_s3: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(KaryosegError, match="no answer from the store"):
        RunFolder("s3://lab/runs").read()


def test_what_is_no_record_is_passed_over(tmp_path: Path) -> None:
    runs = RunFolder(str(tmp_path))
    runs.reserve("just begun")  # an empty file
    (tmp_path / "notes.txt").write_text("mine")
    runs.write(runs.reserve("whole"), {"a": 1})
    assert runs.read() == {"whole": {"a": 1}}
    assert (tmp_path / "notes.txt").read_text() == "mine"
