"""Predicting a large image block by block, in one process or many."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from karyoseg.core.blocks.cluster import Workers, open_workers
from karyoseg.core.blocks.tasks import BlockJob, draw_objects, find_objects, shrink_labels
from karyoseg.core.io.files import replace_folder, replacing
from karyoseg.core.io.image_files import ImageError
from karyoseg.core.io.label_store import FLAT, NEWEST
from karyoseg.core.predicting import overlay_png
from karyoseg.core.progress import Progress

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LargePrediction:
    """What it takes to predict a large image; nothing is computed before :meth:`write`.

    Parameters
    ----------
    job : BlockJob
        The job.
    cluster : mapping
        Where to compute: options of :func:`karyoseg.core.blocks.cluster.open_workers`.
    fixed_overlap : bool
        The user chose the overlap: objects that are larger are an error. Else the run starts again with more.
    info : dict
        JSON-able facts: source file, model, scale.
    overlay : bool
        Whether a preview is wanted.
    skip_if_bad : bool
        Whether the run goes on with other images if this one turns out to be damaged.
    """

    job: BlockJob
    cluster: Mapping[str, Any]
    fixed_overlap: bool
    info: dict[str, Any]
    overlay: bool = True
    skip_if_bad: bool = False

    def write(self, store: Path, table: Path, kept: Path) -> bytes | None:
        """Predict the image and write labels and measurements.

        Parameters
        ----------
        store : Path
            Folder of the OME-Zarr store, replaced as a whole.
        table : Path
            Parquet file of the measurements.
        kept : Path
            Folder for what finished blocks found: a run that was stopped goes on from it. Of no use in the end.

        Returns
        -------
        bytes or None
            PNG of the image with outlines, if it is wanted.

        Raises
        ------
        ImageError
            If a part of the image cannot be read, or an object is larger than the overlap that the user chose.
        """
        with open_workers(self.cluster) as workers:
            job, n_objects = self._find(workers, kept)
            first_labels = 1 + np.cumsum(n_objects) - n_objects
            if not job.store.folder.exists():
                for block in range(len(job.grid)):  # of a store that is not there any more
                    job.table_file(block).unlink(missing_ok=True)
                ngff = NEWEST if job.image.ngff == NEWEST else FLAT
                job.store.create(int(n_objects.sum()), job.n_channels, job.pixel_size_um, ngff)
            self._all(workers, partial(draw_objects, job, first_labels), range(len(job.grid)), "drawing and measuring")
            for level in range(1, job.store.n_levels):
                self._all(workers, partial(shrink_labels, job, level), job.store.parts(level), f"resolution {level}")
        _collect(job, table)
        preview = overlay_png(*job.store.overview()) if self.overlay else None
        replace_folder(store, job.store.folder)
        return preview

    def _find(self, workers: Workers, kept: Path) -> tuple[BlockJob, np.ndarray]:
        """Find all objects; return the job with an overlap that is enough, and the number of objects by block."""
        job = self.job
        while True:
            job = replace(job, folder=kept / f"overlap-{job.grid.overlap}")
            job.folder.mkdir(parents=True, exist_ok=True)
            n_objects, largest = np.zeros(len(job.grid), np.int64), 0.0
            with closing(
                self._each(workers, partial(find_objects, job), range(len(job.grid)), "segmenting")
            ) as results:
                for block, count, diameter in results:
                    n_objects[block], largest = count, max(largest, diameter)
                    if largest > job.grid.overlap:
                        break
                else:
                    return job, n_objects
            job = replace(job, grid=replace(job.grid, overlap=self._larger(job, math.ceil(largest))))

    def _larger(self, job: BlockJob, needed: int) -> int:
        """Return a larger overlap, or raise if it is not ours to choose."""
        if self.fixed_overlap or needed > job.grid.size:
            size = f" and predict.blocks.size={-(-needed // 512) * 512}" if needed > job.grid.size else ""
            raise ImageError(
                job.source,
                f"has an object {needed} px across, blocks overlap by {job.grid.overlap} px",
                "an overlap of at least the largest object",
                f"Set predict.blocks.overlap={needed}{size} or more.",
            )
        overlap = min(max(2 * job.grid.overlap, needed), job.grid.size)
        logger.warning(
            "%s has an object %d px across: once more, with an overlap of %d px", job.source, needed, overlap
        )
        return overlap

    def _all(self, workers: Workers, task: Callable[[Any], Any], items: Sequence[Any], what: str) -> None:
        for _ in self._each(workers, task, items, what):
            pass

    def _each(self, workers: Workers, task: Callable[[Any], Any], items: Sequence[Any], what: str) -> Generator[Any]:
        name = PurePosixPath(self.job.source.rstrip("/")).name
        with Progress(total=len(items), desc=f"{name}: {what}", unit="block") as progress:
            for result in workers.map(task, items):
                progress.update()
                yield result


def _collect(job: BlockJob, path: Path) -> None:
    """Put the tables of all blocks into one file, one after the other."""
    schema = pq.read_schema(job.table_file(0))
    with replacing(path) as part, pq.ParquetWriter(part, schema) as writer:
        for block in range(len(job.grid)):
            writer.write_table(pq.read_table(job.table_file(block)).cast(schema))
