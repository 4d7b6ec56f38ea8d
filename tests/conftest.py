"""Shared fixtures."""

from __future__ import annotations

import os
from pathlib import Path

os.environ.setdefault("KEDRO_DISABLE_TELEMETRY", "1")
os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

import numpy as np
import pytest

from projects import copy_project, kedro

PROJECT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def project() -> Path:
    """Root of the project."""
    return PROJECT


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real images next to the project; tests that need them are skipped without."""
    folder = Path(os.environ.get("KARYOSEG_SHARED_DATA", PROJECT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"real images not found at {folder}; set KARYOSEG_SHARED_DATA to their folder")
    return folder


@pytest.fixture
def rng() -> np.random.Generator:
    """Seeded random numbers."""
    return np.random.default_rng(0)


@pytest.fixture
def disks() -> np.ndarray:
    """Label image of four disks, one of them cut by the border."""
    labels = np.zeros((96, 112), np.int32)
    y, x = np.ogrid[:96, :112]
    for index, (cy, cx, radius) in enumerate([(20, 20, 10), (60, 40, 14), (30, 80, 12), (90, 95, 13)], start=1):
        labels[(y - cy) ** 2 + (x - cx) ** 2 <= radius**2] = index
    return labels


@pytest.fixture(scope="session")
def finished_project(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copy of the project after a whole run in the environment `test`; tests may add to it, not change it."""
    folder = copy_project(project, tmp_path_factory.mktemp("finished"))
    kedro(folder, "run", "--env", "test")
    return folder
