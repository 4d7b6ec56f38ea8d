"""Predicting in blocks: the same as at once, whatever happens on the way."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import zarr

from dots import DotFinder, dots, prediction, store
from karyoseg.core.blocks.run import LargePrediction
from karyoseg.core.blocks.tasks import find_objects, load_objects
from karyoseg.core.errors import KaryosegError
from karyoseg.params.cluster import SlurmCluster

SHAPE = (1100, 1300)


def run(what: LargePrediction, folder: Path) -> tuple[np.ndarray, pd.DataFrame]:
    """Predict; return labels and table."""
    what.write(folder / "out.ome.zarr", folder / "table.parquet", folder / "kept")
    labels = zarr.open_array(folder / "out.ome.zarr/labels/nuclei/0", mode="r")[:]
    return np.asarray(labels), pd.read_parquet(folder / "table.parquet")


def same(one: tuple[np.ndarray, pd.DataFrame], other: tuple[np.ndarray, pd.DataFrame]) -> None:
    """Check that labels agree but for the numbers, and all measurements."""
    pairs = np.unique(np.stack([one[0].ravel(), other[0].ravel()]), axis=1)
    assert len(np.unique(pairs[0])) == len(np.unique(pairs[1])) == pairs.shape[1]
    to_other = dict(pairs.T)
    renamed = one[1].assign(label=one[1]["label"].map(to_other)).sort_values("label", ignore_index=True)
    pd.testing.assert_frame_equal(renamed, other[1], rtol=1e-9, check_dtype=False)


@pytest.fixture
def source(tmp_path: Path) -> str:
    """A stored image with objects everywhere, on block borders too."""
    return store(dots(SHAPE, 3000), tmp_path / "dots.zarr")


@pytest.fixture
def whole(source: str, tmp_path: Path) -> tuple[np.ndarray, pd.DataFrame]:
    """Its prediction as one block."""
    return run(prediction(source, SHAPE, size=1536), tmp_path / "whole")


def test_a_process_that_lives_on_opens_a_new_image_of_the_same_name(tmp_path: Path) -> None:
    job = replace(prediction(store(dots((40, 50), 9), tmp_path / "a.zarr"), (40, 50)).job, stamp="before")
    assert job.image is job.image
    store(dots((60, 70), 9), tmp_path / "a.zarr")
    assert replace(job, stamp="after").image.shape == (60, 70)


@pytest.mark.parametrize(("size", "min_area"), [(512, 0), (1024, 0), (512, 150)])
def test_blocks_give_what_the_whole_gives(source: str, tmp_path: Path, size: int, min_area: int) -> None:
    whole = run(prediction(source, SHAPE, size=1536, min_area=min_area), tmp_path / "whole")
    blocks = run(prediction(source, SHAPE, size=size, min_area=min_area), tmp_path / "blocks")
    same(whole, blocks)
    labels, table = blocks
    assert len(table) > 500
    assert table["label"].is_monotonic_increasing
    areas = np.bincount(labels.ravel())
    assert np.array_equal(areas[table["label"]], table["area_px"])
    assert set(table["label"]) == set(np.unique(labels)) - {0}
    assert table["area_px"].min() >= max(1, min_area)
    assert (
        table["touches_border"].sum()
        == len(np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))) - 1
    )


def test_an_object_larger_than_the_overlap_is_an_error_that_names_what_is_needed(tmp_path: Path) -> None:
    image = dots((600, 700), 50)
    image[500, 520] = 101
    source = store(image, tmp_path / "dots.zarr")
    with pytest.raises(KaryosegError, match=r"101 px across.*predict\.blocks\.overlap=101"):
        run(prediction(source, image.shape, overlap=100), tmp_path)
    large = run(prediction(source, image.shape, overlap=101), tmp_path)
    chosen = run(prediction(source, image.shape, overlap=20, fixed_overlap=False), tmp_path / "chosen")
    same(large, chosen)
    image[500, 520] = 600
    with pytest.raises(KaryosegError, match=r"overlap=600 and predict\.blocks\.size=1024"):
        run(prediction(store(image, tmp_path / "huge.zarr"), image.shape, fixed_overlap=False), tmp_path / "huge")


def test_a_run_that_was_stopped_goes_on(source: str, whole: Any, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with pytest.raises(RuntimeError, match="failed"):
        run(prediction(source, SHAPE, model=DotFinder(log=log, fail_at=1090)), tmp_path)
    first = len(log.read_text().splitlines())
    assert not (tmp_path / "out.ome.zarr").exists()
    result = run(prediction(source, SHAPE, model=DotFinder(log=log)), tmp_path)
    same(whole, result)
    assert len(log.read_text().splitlines()) < first + 9
    # The end was reached, but not recorded: everything is still there to do it again.
    same(whole, run(prediction(source, SHAPE), tmp_path))


def test_a_block_may_be_computed_twice_at_the_same_time(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = replace(prediction(source, SHAPE).job, folder=tmp_path / "kept")
    job.folder.mkdir()
    write_bytes, twins = Path.write_bytes, []

    def slow(path: Path, content: bytes) -> int:
        written = write_bytes(path, content)
        if not twins:  # while the first has yet to name its file
            twins.append(path)
            find_objects(job, 0)
        return written

    monkeypatch.setattr(Path, "write_bytes", slow)
    assert find_objects(job, 0)[1] == len(load_objects(job, 0))
    assert twins
    assert list(job.folder.iterdir()) == [job.objects_file(0)]


def test_nothing_found(tmp_path: Path) -> None:
    labels, table = run(prediction(store(np.zeros((600, 40), np.uint8), tmp_path / "no.zarr"), (600, 40)), tmp_path)
    assert not labels.any()
    assert len(table) == 0
    assert {"label", "area_px", "intensity_mean"} <= set(table)


@pytest.mark.parametrize("kill", [False, True])
def test_workers_give_the_same_even_if_one_dies(source: str, whole: Any, tmp_path: Path, kill: bool) -> None:
    log = tmp_path / "log"
    model = DotFinder(log=log, seconds=0.1, kill_once=tmp_path / "killed" if kill else None)
    cluster = {"name": "local", "workers": 2}
    same(whole, run(prediction(source, SHAPE, model=model, cluster=cluster), tmp_path))
    assert (tmp_path / "killed").exists() == kill
    assert len(set(log.read_text().splitlines())) >= 2  # one may be new and come too late


def test_a_scheduler_that_runs_is_used(source: str, whole: Any, tmp_path: Path) -> None:
    from distributed import LocalCluster  # slow to import

    with LocalCluster(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=":0") as running:
        address = running.scheduler_address
        cluster = {"name": "address", "address": address}
        same(whole, run(prediction(source, SHAPE, cluster=cluster), tmp_path))
    with pytest.raises(KaryosegError, match="no scheduler answers at tcp://127"):
        run(prediction(source, SHAPE, cluster={"name": "address", "address": "tcp://127.0.0.1:9"}), tmp_path)


#: Runs the job here, as Slurm would on a node: a copy of the script, after its own shell has ended.
_SBATCH = """#!/bin/bash
if [ "$1" = --test-only ]; then
    if grep -q "gpu:9" "$2"; then echo "allocation failure: Invalid generic resource (gres)" >&2; exit 1; fi
    echo "sbatch: Job 7 to start at 2026-01-01T12:00:00 using 3 processors on nodes n1 in partition short" >&2; exit 0
fi
cp "${@: -1}" "$SLURM_JOBS/script-$$"
setsid bash "$SLURM_JOBS/script-$$" > "$SLURM_JOBS/log-$$" 2>&1 &
echo "Submitted batch job $!"
"""
_SCANCEL = """#!/bin/bash
for job in "$@"; do echo "$job" >> "$SLURM_JOBS/cancelled"; kill -- "-$job"; done
"""


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The commands of Slurm that are used; the folder has scripts and logs of the jobs."""
    jobs, commands = tmp_path / "jobs", tmp_path / "bin"
    for folder in (jobs, commands):
        folder.mkdir()
    for name, text in {"sbatch": _SBATCH, "scancel": _SCANCEL}.items():
        (commands / name).write_text(text)
        (commands / name).chmod(0o755)
    monkeypatch.setenv("SLURM_JOBS", str(jobs))
    monkeypatch.setenv("PATH", f"{commands}:{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))  # the model of these tests is there
    return jobs


def test_jobs_of_slurm_give_the_same_and_are_cancelled(
    source: str, whole: Any, tmp_path: Path, slurm: Path, caplog: pytest.LogCaptureFixture
) -> None:
    asked = {
        "workers": 2, "cores": 3, "memory_gb": 1.5, "walltime": "00:20:00", "queue": "short", "account": "lab",
        "directives": ["--gres=gpu:1"], "prologue": ["echo ready"],
    }  # fmt: skip
    options = SlurmCluster(name="slurm", **asked).model_dump(mode="json")
    with caplog.at_level("INFO"):
        same(whole, run(prediction(source, SHAPE, cluster=options), tmp_path))
    assert "to start at 2026-01-01T12:00:00" in caplog.text
    scripts = [script.read_text() for script in slurm.glob("script-*")]
    assert len(scripts) == 2
    for line in ("-p short", "-A lab", "--cpus-per-task=3", "--mem=2G", "-t 00:20:00", "--gres=gpu:1"):
        assert all(f"#SBATCH {line}\n" in script for script in scripts)
    assert all("export OMP_NUM_THREADS=3\n" in script for script in scripts)
    assert all(log.read_text().startswith("ready\n") for log in slurm.glob("log-*"))
    assert len((slurm / "cancelled").read_text().split()) == 2


def test_jobs_that_slurm_refuses_are_an_error(
    source: str, tmp_path: Path, slurm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = SlurmCluster(name="slurm", directives=["--gres=gpu:9"]).model_dump(mode="json")
    with pytest.raises(KaryosegError, match=r"Invalid generic resource \(gres\)\); needed.*directives"):
        run(prediction(source, SHAPE, cluster=options), tmp_path)
    assert not list(slurm.iterdir())
    monkeypatch.setenv("PATH", "")
    with pytest.raises(KaryosegError, match=r"sbatch cannot be run.*login node"):
        run(prediction(source, SHAPE, cluster=options), tmp_path)


_MEASURED = """
import sys
from dataclasses import replace
from pathlib import Path
import numpy as np, zarr
from dots import prediction
from karyoseg.core.runs.hardware import peak_memory_gb
folder, side = Path(sys.argv[1]), int(sys.argv[2])
array = zarr.create_array(folder / "im.zarr", shape=(side, side), chunks=(512, 512), dtype="uint16")
for y in range(0, side, 512):
    array[y + 100, 100::200] = 20
prediction(str(folder / "im.zarr"), (side, side)).write(folder / "o.ome.zarr", folder / "t.parquet", folder / "kept")
print(peak_memory_gb())
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_image(tmp_path: Path) -> None:
    peaks = []
    for side in (2048, 8192):  # both with an overview of 2048 px
        (tmp_path / str(side)).mkdir()
        done = subprocess.run(
            [sys.executable, "-c", _MEASURED, str(tmp_path / str(side)), str(side)],
            env={"PYTHONPATH": str(Path(__file__).parents[1]), "PATH": ""},
            capture_output=True,
            text=True,
            check=True,
        )
        peaks.append(float(done.stdout))
    assert peaks[1] < peaks[0] + 0.06  # the labels alone have 0.27 GB


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_the_store_opens_in_ome_zarr(source: str, tmp_path: Path, version: str) -> None:
    from ome_zarr import io, reader  # slow to import

    what = prediction(source, SHAPE)
    object.__setattr__(what.job.image, "ngff", version)
    labels, _ = run(what, tmp_path)
    nodes = list(reader.Reader(io.parse_url(tmp_path / "out.ome.zarr"))())
    overview, found = nodes[0], nodes[-1]
    assert np.array_equal(np.asarray(found.data[0]), labels)
    assert [level.shape for level in found.data] == [(1100, 1300), (550, 650)]
    assert np.array_equal(np.asarray(found.data[1]), labels[::2, ::2])
    assert overview.data[0].shape == SHAPE
    assert found.metadata["axes"] == [{"name": axis, "type": "space", "unit": "micrometer"} for axis in "yx"]
    assert found.metadata["coordinateTransformations"][1][0] == {"type": "scale", "scale": [1.0, 1.0]}
    assert found.metadata["name"] == "nuclei"
