"""Records that whole runs leave, and the command that lists them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from karyoseg.cli.runs import row
from projects import copy_project, kedro

ENDLESS = "dataset.sample.n_train=10000"  # images to generate before the first step is done


@pytest.fixture(scope="module")
def workspace(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_project(project, tmp_path_factory.mktemp("runs") / "project")


def records(folder: Path) -> list[dict[str, Any]]:
    paths = sorted((folder / "data/08_reporting/runs").glob("*.json"))
    return [json.loads(path.read_text()) for path in paths]


def start(folder: Path, *options: str) -> subprocess.Popen[str]:
    """Start `kedro run`; return when its record says that it runs."""
    known = len(records(folder))
    # Tests that a shell runs in its background ignore Ctrl-C, and what they start would do so, too.
    usual = signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "kedro", "run", *options],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(folder / "src")},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
    finally:
        signal.signal(signal.SIGINT, usual)
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        names = list((folder / "data/08_reporting/runs").glob("*.json"))
        if len(names) > known and all(name.stat().st_size for name in names):
            return process
        time.sleep(0.1)
    process.kill()
    raise AssertionError(process.communicate()[0])


@pytest.mark.slow
def test_runs_are_recorded_with_how_they_ended_and_listed(workspace: Path) -> None:
    kedro(workspace, "run", "--env", "test", "--pipeline", "download")
    kedro(workspace, "run", "--env", "test", "--pipeline", "train", check=False)
    expected = ["succeeded", "failed"]
    if os.name == "posix":
        for number, status in (
            (signal.SIGTERM, "interrupted"),
            (signal.SIGINT, "interrupted"),
            (signal.SIGKILL, "running"),
        ):
            process = start(workspace, "--env", "test", "--pipeline", "download", "--params", ENDLESS)
            process.send_signal(number)
            output, _ = process.communicate(timeout=60)
            expected.append(status)
            assert process.returncode == (-number if status == "running" else 130)
            assert ("continues where this run stopped" in output) == (status == "interrupted")
            assert "Traceback" not in output
    found = records(workspace)
    assert [record["status"] for record in found] == expected
    whole, failed = found[:2]
    assert whole["steps"][0]["name"].endswith("fetch_dataset")
    assert whole["steps"][1]["outputs"] == {"manifest": 10, "download_problems": 0}
    assert all(step["seconds"] is not None for step in whole["steps"])
    assert whole["parameters"]["dataset"]["retries"] >= 0  # a default
    assert whole["environment"] == "test"
    assert "run" in whole["command"]
    assert failed["error"]
    assert failed["ended"] >= failed["started"]
    table = kedro(workspace, "runs", "--env", "test").stdout
    shown = [*expected[:-1], "killed"] if os.name == "posix" else expected
    assert [line.split()[2] for line in table.splitlines()[1:-1]] == shown


def test_before_the_first_run_there_is_nothing_to_list(project: Path, tmp_path: Path) -> None:
    assert "no runs yet" in kedro(copy_project(project, tmp_path / "new"), "runs").stdout


def test_rows_show_the_revision_and_unfinished_steps() -> None:
    record = {
        "status": "failed",
        "environment": "base",
        "steps": [{"name": "a", "seconds": 1.0}, {"name": "b", "seconds": None}],
        "seconds": 90,
        "peak_memory_gb": 1.24,
        "git": {"describe": "v1-2-gabc", "dirty": True},
        "host": {"name": "elsewhere", "pid": 1},
    }
    expected = {"env": "base", "status": "failed", "steps": "1/2", "time": "90.0 s", "peak": "1.2 GB"}
    assert row("x", record) == {"run": "x", **expected, "git": "v1-2-gabc+"}
    unfinished = record | {"status": "running", "seconds": None, "peak_memory_gb": None, "git": {}}
    assert row("x", unfinished) == {"run": "x", **expected, "status": "running", "time": "-", "peak": "-", "git": "-"}
