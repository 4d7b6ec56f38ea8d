"""What a run may use of a machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import pytest

from karyoseg.core.runs import hardware
from karyoseg.core.runs.hardware import host, nvidia_gpus, peak_memory_gb
from karyoseg.models.stardist.instances import _n_tiles


def fake_driver(folder: Path, script: str) -> None:
    path = folder / "nvidia-smi"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_what_is_found_is_plausible_and_json() -> None:
    found = json.loads(json.dumps(hardware.hardware()))
    assert found["processor"]
    assert 1 <= found["cores"] <= (os.cpu_count() or 1)
    assert 0 < found["memory_gb"] <= psutil.virtual_memory().total / 1e9 + 0.1
    assert isinstance(found["gpus"], list)
    assert host()["pid"] == os.getpid()


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="processor affinity is a Linux feature")
def test_only_cores_that_may_be_used_count() -> None:
    code = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
    code += "from karyoseg.core.runs.hardware import *\n"
    run = subprocess.run(
        [sys.executable, "-c", code + "print(hardware()['cores'])"], capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "1"


def test_the_memory_limit_of_a_container_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "memory.max").write_text("max\n")
    limits = [tmp_path / "absent", tmp_path / "memory.max"]
    monkeypatch.setattr(hardware, "_MEMORY_LIMITS", limits)
    assert hardware.hardware()["memory_gb"] == round(psutil.virtual_memory().total / 1e9, 1)
    (tmp_path / "memory.max").write_text("250000000\n")
    assert hardware.hardware()["memory_gb"] == 0.2
    assert hardware.usable_memory() == 250_000_000
    engine: Any = SimpleNamespace(tile_bytes=10**12, parallel=1, bytes_per_pixel=50)
    rows, columns = _n_tiles(engine, (4096, 4096))
    assert 4096**2 / (rows * columns) * 50 < 250_000_000


@pytest.mark.skipif(os.name != "posix", reason="the stand-in for the driver's tool is a shell script")
def test_gpus_are_those_the_driver_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    fake_driver(tmp_path, "echo 'NVIDIA H200, 143771, 570.1'; echo 'NVIDIA GB10, [N/A], 580.2'")
    assert nvidia_gpus() == [
        {"name": "NVIDIA H200", "memory_gb": 150.8, "driver": "570.1"},
        {"name": "NVIDIA GB10", "memory_gb": None, "driver": "580.2"},
    ]


@pytest.mark.skipif(os.name != "posix", reason="the stand-in for the driver's tool is a shell script")
@pytest.mark.parametrize("script", ["echo 'no devices were found' >&2; exit 6", "sleep 60"])
def test_a_driver_that_fails_or_hangs_means_no_gpu(
    script: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(hardware, "_TIMEOUT", 0.2)
    fake_driver(tmp_path, f"exec {script}" if script.startswith("sleep") else script)
    assert nvidia_gpus() == []


def test_without_the_tool_there_is_no_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert nvidia_gpus() == []


def test_peak_memory_is_that_of_this_process() -> None:
    resident = psutil.Process().memory_info().rss / 1e9
    assert 0.9 * resident < peak_memory_gb() < 100


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="elsewhere the system counts the parent's memory")
def test_peak_memory_does_not_start_at_that_of_the_parent() -> None:
    held = np.ones(2**27, np.uint8)
    code = "from karyoseg.core.runs.hardware import peak_memory_gb; print(peak_memory_gb())"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(run.stdout) < held.nbytes / 1e9 < peak_memory_gb()
