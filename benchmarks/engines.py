"""Which engines and precisions can run a model here: `python -m benchmarks.engines SETTING`.

Opens each of them once, so that what is prepared once per model (comparison with TensorFlow, conversion) is there
before anything is timed.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any, get_args

from benchmarks.alternate import answer


def main(setting: dict[str, Any]) -> dict[str, Any]:
    """Return what `auto` takes, what else can be asked for, and why the rest cannot."""
    from karyoseg.core.errors import KaryosegError
    from karyoseg.models.stardist import StarDistSegmenter
    from karyoseg.params.base import Engine, Precision

    model = StarDistSegmenter.load(Path(setting["model"]))
    chosen = model.use("auto", "auto")
    available, refused = [chosen], {}
    for engine, precision in itertools.product(get_args(Engine), get_args(Precision)):
        name = f"{engine} {precision}"
        if "auto" in (engine, precision) or name == chosen:
            continue
        try:
            model.use(engine, precision)
            model.engine  # noqa: B018  (opens it)
        except (KaryosegError, ImportError) as error:
            refused[name] = str(error)
        else:
            available.append(name)
    return {"auto": chosen, "available": sorted(available), "refused": refused, "fingerprint": model.fingerprint}


if __name__ == "__main__":
    answer(main)
