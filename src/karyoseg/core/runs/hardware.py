"""The machine a run has: what it may use of it, not what is built in. Nothing here imports TensorFlow."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

_NVIDIA = ("nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader,nounits")
_TIMEOUT = 10
_STATUS = Path("/proc/self/status")
_MEMORY_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
_CONTAINERS = {
    "kubernetes": ("KUBERNETES_SERVICE_HOST", ""),
    "apptainer": ("APPTAINER_CONTAINER", "/.singularity.d"),
    "podman": ("", "/run/.containerenv"),
    "docker": ("", "/.dockerenv"),
}


def hardware() -> dict[str, Any]:
    """Describe processor, memory and GPUs.

    Returns
    -------
    dict
        ``processor``, ``cores`` (that this process may use: affinity and limits of the container count), ``memory_gb``
        (that it may use) and ``gpus`` (name, memory_gb and driver of each; those that CUDA_VISIBLE_DEVICES hides are
        listed too).
    """
    from joblib import cpu_count

    return {
        "processor": _processor(),
        "cores": cpu_count(),
        "memory_gb": round(usable_memory() / 1e9, 1),
        "gpus": nvidia_gpus(),
    }


def usable_memory() -> int:
    """Return how much memory this process may use.

    Returns
    -------
    int
        The smaller of the machine's memory and the container's limit [bytes].
    """
    return min([psutil.virtual_memory().total, *_memory_limits()])


def host() -> dict[str, Any]:
    """Describe where a run runs.

    Returns
    -------
    dict
        ``name``, ``system``, ``container`` (docker, podman, kubernetes, apptainer or None) and ``pid``.
    """
    return {
        "name": platform.node(),
        "system": platform.platform(),
        "container": next(
            (name for name, (variable, path) in _CONTAINERS.items() if variable in os.environ or _exists(path)), None
        ),
        "pid": os.getpid(),
    }


def nvidia_gpus() -> list[dict[str, Any]]:
    """Ask the NVIDIA driver for its GPUs.

    Returns
    -------
    list of dict
        ``name``, ``memory_gb``, ``driver``; empty without driver or GPU.
    """
    try:
        run = subprocess.run(_NVIDIA, capture_output=True, text=True, check=True, timeout=_TIMEOUT)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return []
    gpus = []
    for line in run.stdout.splitlines():
        name, memory, driver = (part.strip() for part in line.split(","))
        # Some GPUs share the memory of the processor and answer "[N/A]".
        gpus.append(
            {
                "name": name,
                "memory_gb": round(int(memory) * 2**20 / 1e9, 1) if memory.isdigit() else None,
                "driver": driver,
            }
        )
    return gpus


def peak_memory_gb() -> float:
    """Return the peak resident memory of this process [GB]."""
    try:  # on Linux the figure of `resource` starts at the memory of the process that started this one
        lines = _STATUS.read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) * 1024 / 1e9
    except (OSError, StopIteration):
        pass
    if resource is None:
        return float(psutil.Process().memory_info().peak_wset / 1e9)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(peak / (1e9 if sys.platform == "darwin" else 1e6))


def _processor() -> str:
    """Give the model; `platform` knows it on Windows and macOS only."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())


def _memory_limits() -> list[int]:
    limits = []
    for path in _MEMORY_LIMITS:
        try:
            limits.append(int(path.read_text()))
        except (OSError, ValueError):  # absent, or "max"
            continue
    return limits


def _exists(path: str) -> bool:
    return bool(path) and Path(path).exists()
