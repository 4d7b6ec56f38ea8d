"""A folder with one file per sample, written one by one and resumable."""

from __future__ import annotations

import json
import logging
import posixpath
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple

import numpy as np
from kedro.io import AbstractDataset, DatasetError
from kedro_datasets._typing import ImagePreview
from PIL.Image import Image

from karyoseg.core.errors import KaryosegError
from karyoseg.core.io.tiffs import decode_image, decode_labels, encode_image, encode_labels
from karyoseg.core.lazy import Lazy
from karyoseg.core.previews import image_tile, label_tile, spread
from karyoseg.core.progress import Progress
from karyoseg.core.threads import map_completed, n_threads
from karyoseg.datasets.files import RUN_EARLIER, is_local, list_names, open_filesystem, read_whole, remove, write_whole
from karyoseg.datasets.previews import as_sheet, if_present

logger = logging.getLogger(__name__)

FileFormat = Literal["image", "labels"]


class _Codec(NamedTuple):
    encode: Callable[[np.ndarray], bytes]
    decode: Callable[[bytes], np.ndarray]


_CODECS: dict[FileFormat, _Codec] = {
    "image": _Codec(encode_image, decode_image),
    "labels": _Codec(encode_labels, decode_labels),
}
_SUFFIX = ".tif"
_INDEX = "index.json"
_FLUSH_SECONDS = 5.0


class SamplePartitions(AbstractDataset[dict[str, Lazy[np.ndarray]], dict[str, Lazy[np.ndarray]]]):
    """One TIFF per sample id, plus ``index.json`` with the fingerprint of each.

    Saving takes ``{id: Lazy}`` with *all* samples. Those already stored with the same fingerprint are skipped, the
    others are computed, as many at once as there are cores, and written to a temporary name first, and files of samples
    that no longer exist are removed at the end. Loading gives ``{id: Lazy}`` and reads nothing yet.

    Parameters
    ----------
    path : str
        Folder, local or any fsspec URL.
    file_format : {"image", "labels"}
        What the files hold.
    optional : bool
        A folder that was never written holds no samples; otherwise that is an error.
    credentials, fs_args : dict, optional
        Arguments of the fsspec filesystem.
    metadata : dict, optional
        Ignored here; kedro-viz reads the layer from it.

    Examples
    --------
    >>> import numpy as np, tempfile
    >>> data = SamplePartitions(path=tempfile.mkdtemp() + "/images", file_format="image")
    >>> data.save({"a": Lazy(lambda: np.zeros((2, 3), np.uint8), "v1")})
    >>> data.load()["a"]().shape
    (2, 3)
    """

    def __init__(
        self,
        *,
        path: str,
        file_format: FileFormat,
        optional: bool = False,
        credentials: dict[str, Any] | None = None,
        fs_args: dict[str, Any] | None = None,
        metadata: dict[str, Any] | None = None,
    ):
        if file_format not in _CODECS:
            raise DatasetError(f"file_format {file_format!r} is unknown; use one of {sorted(_CODECS)}")
        self._fs, self._path = open_filesystem(path, credentials, fs_args)
        self._path = self._path.rstrip("/")
        self._format = file_format
        self._optional = optional
        self._codec = _CODECS[file_format]
        self.metadata = metadata

    def load(self) -> dict[str, Lazy[np.ndarray]]:
        """Return a loader per sample id.

        Raises
        ------
        KaryosegError
            If the folder is missing and not optional, or the run that wrote it was interrupted.
        """
        index = self._read_index()
        if index is None and self._optional:
            return {}
        if index is None:
            raise KaryosegError(
                f"{self._path}: holds no samples yet; needed: the files of an earlier pipeline. {RUN_EARLIER}"
            )
        if not index["complete"]:
            raise KaryosegError(
                f"{self._path}: the run that wrote it was interrupted after {len(index['samples'])} samples; needed: "
                f"all of them. Run that pipeline again: it continues where it stopped."
            )
        if not is_local(self._fs):
            self._list_ids()  # s3fs remembers the sizes, else it would ask for that of each file
        return {
            key: Lazy(partial(self._read, key), f"{mark}:{self._format}")
            for key, mark in sorted(index["samples"].items())
        }

    def save(self, data: dict[str, Lazy[np.ndarray]]) -> None:
        """Write what is new or changed.

        Parameters
        ----------
        data : dict of str to Lazy
            All samples of the folder.
        """
        stored = (self._read_index() or {"samples": {}})["samples"]
        present = self._list_ids()
        done = {
            key: mark
            for key, mark in stored.items()
            if key in present and key in data and data[key].fingerprint == mark
        }
        todo = [key for key in data if key not in done]
        if done and todo:
            logger.info("%s: %d of %d samples are up to date, %d to do", self._path, len(done), len(data), len(todo))
        # Forget what is about to change before changing it: a kill in between must not leave a wrong fingerprint.
        self._write_index(done, complete=False)
        flushed = time.monotonic()

        def save_one(key: str) -> str:
            write_whole(self._fs, self._file(key), self._codec.encode(data[key]()))
            return key

        written = map_completed(save_one, todo, n_threads())
        name = self._path.rsplit("/", 1)[-1]
        try:
            for key in Progress(written, total=len(todo), desc=f"writing {name}", unit="sample"):
                done[key] = data[key].fingerprint
                if time.monotonic() - flushed > _FLUSH_SECONDS:
                    self._write_index(done, complete=False)
                    flushed = time.monotonic()
        except BaseException:
            self._write_index(done, complete=False)
            raise
        for key in present - data.keys():
            remove(self._fs, self._file(key))
        self._write_index(done, complete=True)

    @if_present
    def preview(self, n_samples: int = 6, images: str | None = None) -> ImagePreview:
        """Show some samples in kedro-viz, with their ids.

        Parameters
        ----------
        n_samples : int
            How many; they are spread evenly over the ids.
        images : str, optional
            Only for labels: the folder of the images, relative to this one, to draw the outlines on. Without it, or
            where an image is missing, each object is a coloured patch on black.

        Returns
        -------
        str
            PNG, base64.
        """
        samples = self.load()
        tiles = {key: self._tile(samples[key](), key, images) for key in spread(list(samples), n_samples)}
        return as_sheet(tiles)

    def _tile(self, sample: np.ndarray, key: str, images: str | None) -> Image:
        if self._format == "image":
            return image_tile(sample)
        if images:
            file = posixpath.normpath(f"{self._path}/{images}/{key}{_SUFFIX}")
            if self._fs.exists(file):
                return image_tile(decode_image(read_whole(self._fs, file)), sample)
        return label_tile(sample)

    def _read(self, key: str) -> np.ndarray:
        try:
            return self._codec.decode(read_whole(self._fs, self._file(key)))
        except (OSError, ValueError) as error:
            raise KaryosegError(
                f"{self._file(key)}: cannot be read back ({error}); needed: the file as it was written. Delete it and "
                f"run the pipeline that writes it again."
            ) from error

    def _file(self, key: str) -> str:
        return f"{self._path}/{key}{_SUFFIX}"

    def _list_ids(self) -> set[str]:
        return {name.removesuffix(_SUFFIX) for name in list_names(self._fs, self._path) if name.endswith(_SUFFIX)}

    def _read_index(self) -> dict[str, Any] | None:
        try:
            index: dict[str, Any] = json.loads(read_whole(self._fs, f"{self._path}/{_INDEX}"))
            if not (isinstance(index, dict) and index.keys() == {"complete", "samples"}):
                raise ValueError("it has other fields")
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise KaryosegError(
                f"{self._path}/{_INDEX}: is damaged or unreadable ({error}); needed: the file as it was written. "
                f"Delete the folder and run the pipeline that writes it again."
            ) from error
        return index

    def _write_index(self, samples: dict[str, str], *, complete: bool) -> None:
        content = json.dumps({"complete": complete, "samples": samples}, indent=0)
        write_whole(self._fs, f"{self._path}/{_INDEX}", content.encode())

    def _exists(self) -> bool:
        index = self._read_index()
        return bool(index and index["complete"])

    def _release(self) -> None:
        self._fs.invalidate_cache(self._path)

    def _describe(self) -> dict[str, Any]:
        return {"path": self._path, "file_format": self._format}
