"""One and two Dask workers beside one process, on blocks of one large image: how well the work divides.

Each worker gets half of the cores, so that two workers do what two machines with as many cores would.

Usage: python -m benchmarks.cluster [SIDE [BLOCK]]
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import tifffile
from distributed import LocalCluster
from joblib import cpu_count

from benchmarks.inputs import ARCHIVE, make_inputs, model_path
from karyoseg.core.cluster import share_of_cores
from karyoseg.datasets import PredictionFolder
from karyoseg.params.predict import PredictParams
from karyoseg.pipelines.predict.nodes import find_inputs, predict_images

ROUNDS = 3


def main(side: int = 4096, block: int = 1024) -> None:
    """Print seconds per run, alternating."""
    folder = Path(tempfile.mkdtemp(prefix="karyoseg-bench-"))
    inputs = make_inputs(folder, ARCHIVE if ARCHIVE.is_file() else None, n_images=240, large=side, single=side)
    tifffile.imwrite(folder / "large.tif", tifffile.imread(inputs.folder / "image.tif"), tile=(512, 512))
    model = str(model_path(None, folder))
    threads = max(1, cpu_count() // 2)
    seconds: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(ROUNDS):
        for workers, times in seconds.items():
            with LocalCluster(
                n_workers=workers,
                threads_per_worker=1,
                env=share_of_cores(threads),
                memory_limit=0,
                dashboard_address=":0",
            ) as cluster:
                times.append(_seconds(folder, model, block, str(cluster.scheduler_address)))
            print(f"{workers} worker(s) of {threads} core(s): {times[-1]:.1f} s", flush=True)
    one, two = (float(np.median(times)) for times in seconds.values())
    print(f"median: 1 worker {one:.1f} s, 2 workers {two:.1f} s, {one / two:.2f} times as fast")


def _seconds(folder: Path, model: str, block: int, address: str) -> float:
    output = Path(tempfile.mkdtemp(prefix="karyoseg-bench-"))
    params = PredictParams(
        input=str(folder / "large.tif"),
        output=str(output),
        model=model,
        scale="none",
        cluster=address,
        blocks={"above_megapixels": 1e-6, "size": block},
    )
    started = time.perf_counter()
    PredictionFolder(path=str(output)).save(predict_images(find_inputs(params), params))
    return time.perf_counter() - started


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
