"""Records of runs hold everything but secrets."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from karyoseg.core.run_records import FAILED, RUNNING, finish, new_record, record_name, without_secrets
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
