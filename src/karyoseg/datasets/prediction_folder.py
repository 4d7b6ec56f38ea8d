"""The output folder of ``predict``: label images, ROIs, outlines and previews of one image after the
other."""

from __future__ import annotations

import csv
import io
import logging
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from threading import Lock
from typing import Any

import pandas as pd
from kedro.io import AbstractDataset
from kedro_datasets._typing import ImagePreview

from karyoseg.core.blocks.run import LargePrediction
from karyoseg.core.errors import KaryosegError, Problem, Problems
from karyoseg.core.io.image_files import ImageError
from karyoseg.core.lazy import Lazy
from karyoseg.core.predicting import OVERLAY, STORE, PredictionResult, result_files
from karyoseg.core.previews import shrunken_figure
from karyoseg.core.progress import Progress
from karyoseg.core.threads import map_completed, n_threads
from karyoseg.datasets.files import (
    is_local,
    list_names,
    open_filesystem,
    read_whole,
    remove,
    shown,
    write_errors,
    write_whole,
)
from karyoseg.datasets.prediction_records import SUFFIXES, PredictionRecords, Record, refuse_others, renamed
from karyoseg.datasets.previews import as_sheet, if_present

logger = logging.getLogger(__name__)

_PROBLEMS = "problems.csv"
_TABLES = (_PROBLEMS, "objects.csv", "objects.parquet")
_ONE_LARGE = Lock()  # takes all cores, and as much memory as is good


@dataclass(frozen=True)
class PlannedPrediction(Lazy[PredictionResult | LargePrediction | Problem]):
    """One image that is predicted when it is saved.

    Parameters
    ----------
    source : str
        Its file or URL, without passwords.
    """

    source: str = ""


@dataclass(frozen=True)
class StoredPrediction:
    """One finished image of the folder.

    Parameters
    ----------
    table : DataFrame
        One row per object, as in :class:`~karyoseg.core.predicting.PredictionResult`.
    files : dict of str to str
        Path by suffix: ``.tif``, ``.rois.zip``, ``.geojson``, ``.png``.
    info : dict
        Source file, model and scale.
    """

    table: pd.DataFrame
    files: dict[str, str]
    info: dict[str, Any]


class PredictionFolder(AbstractDataset[dict[str, PlannedPrediction], dict[str, Lazy[StoredPrediction]]]):
    """A folder with ``<id>.tif``, ``<id>.rois.zip``, ``<id>.geojson`` and ``<id>.png`` per image; of one that is
    predicted in blocks, ``<id>.ome.zarr`` and ``<id>.png``.

    Saving computes as many images at once as there are cores. Images whose files are all there from the
    same input, model and parameters are skipped, so a killed run continues. Each file is written under a
    temporary name and renamed; the record of an image in ``.objects/`` is finished last. A
    :class:`~karyoseg.core.errors.Problem` in place of a result goes to ``problems.csv`` and the run goes
    on; a result of an earlier run stays on disk, but :meth:`load` leaves it out until the image is good again.

    The folder belongs to the user: nothing is removed, and a file that this class did not write is never
    overwritten; nor is the result of another image of the same name. The tables of all images count as written here
    from the first run on. Results of earlier runs on other images stay, and :meth:`load` returns them too; delete
    their files to be rid of them.

    Parameters
    ----------
    path : str
        Folder, local or any fsspec URL.
    credentials, fs_args : dict, optional
        Arguments of the fsspec filesystem.
    metadata : dict, optional
        Ignored here; kedro-viz reads the layer from it.
    """

    def __init__(
        self,
        *,
        path: str,
        credentials: dict[str, Any] | None = None,
        fs_args: dict[str, Any] | None = None,
        metadata: dict[str, Any] | None = None,
    ):
        self._fs, folder = open_filesystem(path, credentials, fs_args)
        self._path = folder.rstrip("/")
        self._records = PredictionRecords(self._fs, self._path)
        self.metadata = metadata

    def load(self) -> dict[str, Lazy[StoredPrediction]]:
        """Return every finished image of the folder, by id.

        Raises
        ------
        KaryosegError
            If there is none.
        """
        present = self._list()
        records = self._records.read()
        if not records:
            raise KaryosegError(
                f"{self._path}: holds no predictions; needed: the output of a run. Run the pipeline 'predict' first."
            )
        return {
            key: Lazy(partial(self._read, key, record), record.fingerprint)
            for key, record in records.items()
            if record.is_done(key, present)
        }

    def save(self, data: dict[str, PlannedPrediction]) -> None:
        """Compute and write what is new or changed.

        Parameters
        ----------
        data : dict of str to PlannedPrediction
            Result, or problem, by image id.

        Raises
        ------
        KaryosegError
            If the folder cannot be written, holds files of others or results of other images under these names, or
            all images are problems.
        """
        present = self._list()
        records = self._records.read()
        sources = {key: plan.source for key, plan in data.items()}
        refuse_others(self._path, sources, records)
        todo = [
            key
            for key, lazy in data.items()
            if key not in records
            or records[key].fingerprint != lazy.fingerprint
            or not records[key].is_done(key, present)
        ]
        self._refuse_foreign({key: records.get(key, Record()).files for key in todo}, present)
        self._records.claim()
        if len(todo) < len(data):
            logger.info("%s: %d of %d images are already done", self._path, len(data) - len(todo), len(data))
        problems = Problems()

        def save_one(key: str) -> list[Problem]:
            result = data[key]()
            if not isinstance(result, Problem):
                try:
                    self._write(key, data[key].fingerprint, result, records.get(key, Record()).files)
                except ImageError as error:  # in a part of a large image that nobody has looked at before
                    if not (isinstance(result, LargePrediction) and result.skip_if_bad):
                        raise
                    result = error.problem
            if not isinstance(result, Problem):
                return []
            logger.warning("Skipped: %s", result)
            if key in records:
                self._withdraw(key, records[key])
            return [result]

        with Progress(total=len(todo), desc="predicting", unit="image") as progress:
            for found in map_completed(save_one, todo, n_threads()):
                problems.extend(found)
                progress.update()
        for key in renamed(sources, records):
            self._withdraw(key, records[key])
        self._write_problems(problems, present)
        if len(problems) == len(data):
            problems.raise_if_any("No image could be predicted")

    @if_present
    def preview(self, n_images: int = 6) -> ImagePreview:
        """Show the outlines on some images in kedro-viz, with the number of objects.

        Parameters
        ----------
        n_images : int
            Largest number of images.

        Returns
        -------
        str
            PNG, base64; nothing if no overlays were wanted.
        """
        finished = ((key, stored()) for key, stored in self.load().items())
        drawn = ((key, stored) for key, stored in finished if OVERLAY in stored.files)
        tiles = {}
        for key, stored in islice(drawn, n_images):
            overlay = shrunken_figure(read_whole(self._fs, stored.files[OVERLAY]), side=320)
            tiles[f"{key}: {len(stored.table)} objects"] = overlay
        return as_sheet(tiles)

    def _write(self, key: str, mark: str, result: PredictionResult | LargePrediction, earlier: frozenset[str]) -> None:
        if isinstance(result, LargePrediction):
            self._write_large(key, mark, result, earlier)
            return
        files = result_files(result, key)
        self._records.begin(key, earlier | files.keys())
        for suffix in earlier - files.keys():
            self._drop(key, suffix)
        for suffix, content in files.items():
            write_whole(self._fs, self._file(key, suffix), content)
        self._records.write_table(key, result.table)
        self._records.finish(key, files, mark, result.info)

    def _write_large(self, key: str, mark: str, result: LargePrediction, earlier: frozenset[str]) -> None:
        if not is_local(self._fs):
            raise KaryosegError(
                f"{shown(self._fs, self._path)}: results of {result.job.source}, which is predicted in blocks, "
                f"cannot be written there; needed: a folder of a file system. Upload it afterwards."
            )
        files = {STORE, OVERLAY} if result.overlay else {STORE}
        self._records.begin(key, earlier | files)
        for suffix in earlier - files:
            self._drop(key, suffix)
        kept = Path(self._records.folder) / f"{key}.blocks"
        for other in kept.glob("*"):
            if other.name != mark:  # of other parameters
                shutil.rmtree(other)
        with write_errors(str(kept)), _ONE_LARGE:
            preview = result.write(Path(self._file(key, STORE)), Path(self._records.table_path(key)), kept / mark)
        if preview is not None:
            write_whole(self._fs, self._file(key, OVERLAY), preview)
        self._records.finish(key, files, mark, result.info)
        shutil.rmtree(kept)

    def _withdraw(self, key: str, earlier: Record) -> None:
        """Leave out an image that was good in an earlier run: its objects are those of other pixels or parameters."""
        if earlier.fingerprint:
            self._records.withdraw(key, earlier)
            logger.warning(
                "%s: the files of an earlier run stay in %s, but its objects no longer count", key, self._path
            )

    def _drop(self, key: str, suffix: str) -> None:
        path = self._file(key, suffix)
        with write_errors(shown(self._fs, path)):
            if self._fs.exists(path):
                self._fs.rm(path, recursive=suffix == STORE)

    def _write_problems(self, problems: Problems, present: set[str]) -> None:
        path = f"{self._path}/{_PROBLEMS}"
        if len(problems):
            buffer = io.StringIO()
            writer = csv.DictWriter(buffer, ["where", "found", "needed", "advice"])
            writer.writeheader()
            writer.writerows(problems.rows())
            write_whole(self._fs, path, buffer.getvalue().encode())
            logger.warning("%d image(s) were skipped; see %s", len(problems), path)
        elif _PROBLEMS in present:
            remove(self._fs, path)

    def _read(self, key: str, record: Record) -> StoredPrediction:
        files = {suffix: self._file(key, suffix) for suffix in sorted(record.files)}
        return StoredPrediction(self._records.read_table(key), files, record.info)

    def _file(self, key: str, suffix: str) -> str:
        return f"{self._path}/{key}{suffix}"

    def _list(self) -> set[str]:
        """Names of the files in the folder, and of the stores."""
        stores = {path.name for path in Path(self._path).glob(f"*{STORE}")} if is_local(self._fs) else set()
        return list_names(self._fs, self._path) | stores

    def _refuse_foreign(self, ours: Mapping[str, frozenset[str]], present: set[str]) -> None:
        """Refuse to write over files of others; `ours` are the files of earlier runs, for each image to predict."""
        names = (f"{key}{suffix}" for key, files in ours.items() for suffix in SUFFIXES if suffix not in files)
        foreign = [name for name in names if name in present]
        tables = [name for name in _TABLES if name in present]
        foreign += tables if tables and self._records.is_new() else []
        if foreign:
            shown = ", ".join(foreign[: len(SUFFIXES)]) + (" ..." if len(foreign) > len(SUFFIXES) else "")
            raise KaryosegError(
                f"{self._path}: already has {shown}, not written by karyoseg; needed: a folder where these "
                f"names are free. Choose another predict.output, or move the files."
            )

    def _exists(self) -> bool:
        return self._records.exist()

    def _release(self) -> None:
        self._fs.invalidate_cache()

    def _describe(self) -> dict[str, Any]:
        return {"path": self._path}
