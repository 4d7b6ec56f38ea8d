"""What is measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from benchmarks import cluster, prediction, training

#: Does the work; returns its amount, or the amount and the seconds that count.
Work = Callable[[], "float | tuple[float, float]"]

OURS, PLAIN = "karyoseg", "stardist"


@dataclass(frozen=True)
class Case:
    """Something that both sides do.

    Parameters
    ----------
    title : str
        For people.
    unit : str
        Of the rate.
    prepare : callable
        Imports and reads what is needed for one side (``stardist``, or how karyoseg does it), and returns the work.
    ours : {"chosen", "engines", "trainings", "workers", "one"}
        Ways of karyoseg that are measured: the engine it chooses by itself, every engine, every precision of a
        training, numbers of workers, or just one.
    seconds : float
        Guess for one process.
    rounds : int
        How often each side is measured.
    scored : bool
        Whether it leaves label images that can be compared with the truth.
    reference : str
        Side that the others are compared with.
    """

    title: str
    unit: str
    prepare: Callable[[str, Mapping[str, Any]], Work]
    ours: Literal["chosen", "engines", "trainings", "workers", "one"]
    seconds: float
    rounds: int = 3
    scored: bool = False
    reference: str = PLAIN


CASES: dict[str, Case] = {
    "folder": Case("Folder of images", "images/s", prediction.folder, "chosen", 25, scored=True),
    "engines": Case("A quarter of them, by engine", "images/s", prediction.folder, "engines", 10, 2, scored=True),
    "image": Case("One image in memory, by engine", "Mpx/s", prediction.image, "engines", 10, 2),
    "large": Case("One large image file", "Mpx/s", prediction.folder, "chosen", 35),
    "cluster": Case(
        "One image in blocks, by workers of one core",
        "Mpx/s",
        cluster.blocks,
        "workers",
        25,
        2,
        reference=cluster.WORKERS[0],
    ),
    "training": Case("Training, by precision", "steps/s", training.steps, "trainings", 30),
    "loading": Case("Patches for training", "batches/s", training.batches, "one", 12),
}
