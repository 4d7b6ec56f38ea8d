"""Nodes of the download pipeline."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from karyoseg.core.checks import inspect_source
from karyoseg.core.errors import KaryosegError
from karyoseg.core.io.archive import extract
from karyoseg.core.io.fetch import cache_name, fetch
from karyoseg.core.lazy import Lazy, Partitions, fingerprint
from karyoseg.core.sources import Source, SourceOptions, open_source
from karyoseg.core.sources.sample import write_sample
from karyoseg.params.download import DatasetParams

logger = logging.getLogger(__name__)

#: What the messages of core.io speak of; models are fetched as well, and have none of these.
_PARAMETERS = (
    "Parameters: dataset.url is the address, or a path on this disk; dataset.sha256 the checksum, without which any "
    "file is trusted; dataset.directory the folder of downloads; dataset.max_files and dataset.max_gigabytes limits."
)
DECODER = 1
"""Raise it when the same files decode to other arrays, so that stored samples are written anew."""


def fetch_dataset(params: DatasetParams) -> dict[str, str]:
    """Bring the data set to this disk and unpack it, once.

    In: where the data set is (``dataset.url``) and how it is laid out.
    Out: where it was unpacked, and its checksum.

    The embedded sample is generated instead of fetched. What is already here
    with the right checksum is not fetched again.
    """
    url = params.url
    if params.layout == "sample":  # written anew each time: it takes seconds, and the same bytes are not unpacked again
        url = str(params.directory / "sample.zip")
        write_sample(Path(url), **params.sample.model_dump())
    try:
        fetched = fetch(url, params.directory, params.sha256, params.retries, timeout=params.timeout)
        folder = fetched.path
        if not folder.is_dir():
            folder = extract(
                fetched.path,
                params.directory / cache_name(url).partition(".")[0],
                sha256=fetched.sha256,
                max_files=params.max_files,
                max_bytes=int(params.max_gigabytes * 1e9),
            )
    except KaryosegError as error:
        raise KaryosegError(f"{error}\n{_PARAMETERS}") from error
    return {"url": fetched.url, "path": folder.as_posix(), "sha256": fetched.sha256, "layout": params.layout}


def inspect_samples(fetched: dict[str, str], params: DatasetParams) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read every sample once, and list what is there and what is wrong.

    In: the unpacked data set.
    Out: the manifest, one row per sample with size, class, published split and
    checksums; and the samples that cannot be used, with what to do about each.

    Unless bad samples are to be skipped, they stop the run here, before
    anything is computed from the others, all in one report.
    """
    manifest, problems = inspect_source(_open(fetched, params))
    if params.on_bad_sample == "stop" or manifest.empty:
        problems.raise_if_any(
            f"{fetched['path']} has bad samples; mend them, or set dataset.on_bad_sample=skip to go on without them"
        )
    if len(problems):
        logger.warning("Left out bad samples: %d problems, listed in download_problems.", len(problems))
    counts = manifest["split"].replace("", "not split").value_counts()
    logger.info("%d samples: %s", len(manifest), ", ".join(f"{name} {n}" for name, n in counts.items()))
    return manifest, pd.DataFrame(problems.rows(), columns=["where", "found", "needed", "advice"])


def read_images(fetched: dict[str, str], manifest: pd.DataFrame, params: DatasetParams) -> Partitions:
    """Store every image of the manifest as a TIFF file, whatever format and layout it came in.

    In: the unpacked data set and its manifest.
    Out: one image per sample id, pixels as published.

    They are read one at a time, so memory does not grow with the data set.
    """
    source = _open(fetched, params)
    return {
        key: Lazy(
            partial(_image, source, key),
            fingerprint("image", DECODER, sha256, params.layout, params.axes),
        )
        for key, sha256 in zip(manifest["id"], manifest["image_sha256"], strict=True)
    }


def read_labels(fetched: dict[str, str], manifest: pd.DataFrame, params: DatasetParams) -> Partitions:
    """Store the labels of every annotated sample as one label image.

    In: the unpacked data set and its manifest.
    Out: one label image per sample id: 0 background, 1, 2, 3 ... objects,
    negative not annotated.

    One mask file per nucleus becomes one label image.
    """
    source = _open(fetched, params)
    return {
        key: Lazy(partial(source.read_labels, key), fingerprint("labels", DECODER, sha256, params.layout))
        for key, sha256 in zip(manifest["id"], manifest["label_sha256"], strict=True)
        if sha256
    }


def _image(source: Source, sample_id: str) -> np.ndarray:
    return source.read_image(sample_id).array


def _open(fetched: dict[str, str], params: DatasetParams) -> Source:
    if fetched["layout"] != params.layout:
        raise KaryosegError(
            f"The data set on disk was fetched as layout {fetched['layout']!r}, but dataset.layout is now "
            f"{params.layout!r}. Run the whole download pipeline again."
        )
    options = SourceOptions(
        origin="sample" if params.layout == "sample" else "real",
        sample_class=params.sample_class,
        pixel_size_um=params.pixel_size_um,
        axes=params.axes,
        test_ids=None if params.test_ids is None else _ids(params.test_ids),
    )
    return open_source(Path(fetched["path"]), params.layout, options)


def _ids(path: Path) -> tuple[str, ...]:
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise KaryosegError(
            f"dataset.test_ids: {path} cannot be read ({error}). Needed: a text file with one sample id per line."
        ) from error
    return tuple(line.strip() for line in lines if line.strip())
