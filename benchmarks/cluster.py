"""How well the blocks of one large image divide among Dask workers.

Each worker gets one core, so that two workers do what two machines of one core would.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from karyoseg.core.blocks.cluster import share_of_cores

WORKERS = ("1 worker", "2 workers")
_BLOCK = 1024  # px; more blocks than usual for an image of this size, so that there is something to divide


def blocks(side: str, setting: Mapping[str, Any]) -> Callable[[], tuple[float, float]]:
    """The predict pipeline but for its table, with workers that have started but not opened the model."""
    from distributed import LocalCluster

    from karyoseg.datasets import PredictionFolder
    from karyoseg.params.predict import PredictParams
    from karyoseg.pipelines.predict.nodes import find_inputs, predict_images

    def work() -> tuple[float, float]:
        with LocalCluster(
            n_workers=int(side.split(maxsplit=1)[0]),
            threads_per_worker=1,
            env=share_of_cores(1),
            memory_limit=0,
            dashboard_address=":0",
        ) as cluster:
            params = PredictParams(
                input=str(Path(setting["images"])),
                output=str(setting["output"]),
                model=str(setting["model"]),
                scale="none",
                cluster=str(cluster.scheduler_address),
                blocks={"above_megapixels": 1e-6, "size": _BLOCK},
            )
            started = time.perf_counter()
            PredictionFolder(path=params.output).save(predict_images(find_inputs(params), params))
            return float(setting["amount"]), time.perf_counter() - started

    return work
