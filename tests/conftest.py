"""Shared fixtures."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("KEDRO_DISABLE_TELEMETRY", "1")
os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
os.environ.setdefault("KARYOSEG_BUCKET", "lab/nuclei")  # for what only reads conf/s3
# Servers of the tests are on this machine, and names that do not exist must fail: a proxy would answer for both.
os.environ["NO_PROXY"] = os.environ["no_proxy"] = ",".join(
    [os.environ.get("no_proxy") or os.environ.get("NO_PROXY", ""), "127.0.0.1,localhost,.invalid"]
)
if "KARYOSEG_CACHE" not in os.environ:
    _CACHE = tempfile.TemporaryDirectory(prefix="karyoseg-cache-")  # gone when the tests are
    os.environ["KARYOSEG_CACHE"] = _CACHE.name

import numpy as np
import pytest

from areas import unavailable
from object_store import ObjectStore, missing
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
        unavailable("real-images", f"real images not found at {folder}; set KARYOSEG_SHARED_DATA to their folder")
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


@pytest.fixture(scope="session")
def object_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    """Real S3 store on the loopback interface; each test makes buckets of its own and leaves it running."""
    if reason := missing():
        unavailable("s3", reason)
    with ObjectStore(tmp_path_factory.mktemp("store")) as store:
        yield store


@pytest.fixture
def on_s3(object_store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> ObjectStore:
    """Object store that the standard AWS chain of this process leads to."""
    from s3fs import S3FileSystem

    monkeypatch.delenv("AWS_PROFILE", raising=False)
    for name, value in object_store.env().items():
        monkeypatch.setenv(name, value)
    S3FileSystem.clear_instance_cache()  # its instances have read the earlier variables
    return object_store
