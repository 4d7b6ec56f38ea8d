"""Records of runs hold everything but secrets."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from karyoseg.core.runs.records import FAILED, RUNNING, finish, new_record, record_name
from karyoseg.params.train import TrainParams


def record(project: Path, **changed: object) -> dict:
    arguments = {
        "environment": "test",
        "pipelines": ["train"],
        "selection": {"tags": None, "from_nodes": ["a"]},
        "runner": "SequentialRunner",
        "steps": ["one", "two"],
        "parameters": {},
        "given_parameters": {},
    }
    return new_record(project, **(arguments | changed))  # type: ignore[arg-type]


def test_parameters_are_complete_with_defaults(tmp_path: Path) -> None:
    written = json.loads(json.dumps(record(tmp_path, parameters={"train": TrainParams(epochs=3)})))
    assert written["parameters"]["train"]["epochs"] == 3
    assert set(written["parameters"]["train"]) == set(TrainParams.model_fields)


def test_a_record_begins_running_and_ends_with_what_happened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/usr/bin/kedro", "run", "--params", "x.url=https://me:pw@example.org/a"])
    begun = record(tmp_path)
    assert begun["status"] == RUNNING
    assert begun["command"] == ["kedro", "run", "--params", "x.url=https://example.org/a"]
    assert begun["selection"] == {"from_nodes": ["a"]}
    assert [step["seconds"] for step in begun["steps"]] == [None, None]
    assert {"karyoseg", "python", "numpy"} <= set(begun["versions"])
    finish(begun, FAILED, 2.04, "s3://key:pw@bucket/a: denied")  # pragma: allowlist secret
    assert (begun["status"], begun["seconds"], begun["error"]) == (FAILED, 2.0, "s3://bucket/a: denied")
    assert begun["ended"] >= begun["started"]


@pytest.mark.parametrize(
    ("pipelines", "name"),
    [
        (["__default__"], "default"),
        (["download", "train"], "download-train"),
        (["a/b c"], "a-b-c"),
        (["x" * 99], "x" * 60),
    ],
)
def test_names_are_safe_for_files(pipelines: list[str], name: str) -> None:
    assert record_name({"started": "2026-03-01T08:30:00Z", "pipelines": pipelines}) == f"20260301T083000Z-{name}"
