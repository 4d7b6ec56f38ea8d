"""Read every sample of a data set once, describe it in a table and collect what is wrong."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path

import numpy as np
import pandas as pd

from karyoseg.core.errors import KaryosegError, Problem, ProblemReport, Problems
from karyoseg.core.io.archive import file_sha256
from karyoseg.core.io.images import ImageError
from karyoseg.core.labels import n_objects
from karyoseg.core.progress import Progress
from karyoseg.core.sources.base import SampleRecord, Source

MANIFEST_COLUMNS = (
    "id", "source", "split", "class", "height", "width", "channels", "dtype", "pixel_size_um",
    "magnification", "n_objects", "image_sha256", "label_sha256", "origin",
)  # fmt: skip
"""Columns of the manifest; `n_objects` is missing and `label_sha256` empty for a sample without labels."""


def check_pair(sample_id: str, image: np.ndarray, labels: np.ndarray | None = None) -> list[Problem]:
    """Check the pixels of an image and its labels.

    A label image without objects is valid (nothing to find), and so is a single object.

    Parameters
    ----------
    sample_id : str
        Named in the problems.
    image : (Y, X) or (Y, X, C) ndarray
        The image.
    labels : (Y, X) ndarray, optional
        Its labels.

    Returns
    -------
    list of Problem
        All that is wrong; empty if the sample can be used.

    Examples
    --------
    >>> [p.found for p in check_pair("a", np.eye(4), np.zeros((4, 5), int))]
    ['labels of 4 x 5 px for an image of 4 x 4 px']
    """
    problems = Problems()
    _check_image(f"{sample_id} (image)", image, problems)
    if labels is not None:
        _check_labels(f"{sample_id} (labels)", image, labels, problems)
    return list(problems)


def _check_image(where: str, image: np.ndarray, problems: Problems) -> None:
    if image.ndim not in (2, 3) or not image.size:
        problems.add(
            where,
            f"an array of shape {image.shape}",
            "height x width, with or without channels, and at least one pixel",
            "Export a single 2-D image.",
        )
        return
    if image.dtype.kind == "f" and not np.isfinite(image).all():
        count = int(np.count_nonzero(~np.isfinite(image)))
        problems.add(where, f"{count} values that are NaN or infinite", "finite values", "Export the image again.")
    elif image.min() == image.max():
        problems.add(
            where,
            f"a constant image (all pixels are {image.min()})",
            "an image with contrast",
            "Check the exposure and the export; remove the sample if the image is empty.",
        )


def _check_labels(where: str, image: np.ndarray, labels: np.ndarray, problems: Problems) -> None:
    if labels.ndim != 2:  # noqa: PLR2004
        problems.add(
            where,
            f"labels of shape {labels.shape}",
            "height x width, one integer per pixel",
            "Export the labels as a gray image.",
        )
        return
    if labels.shape != image.shape[:2]:
        sizes = [" x ".join(map(str, shape)) for shape in (labels.shape, image.shape[:2])]
        problems.add(
            where,
            f"labels of {sizes[0]} px for an image of {sizes[1]} px",
            "the same height and width",
            "Check that both belong together; the labels may be rotated, cropped or of another resolution.",
        )
    whole = labels.dtype.kind in "bui" or (np.isfinite(labels).all() and (labels == np.rint(labels)).all())
    if not whole:
        problems.add(
            where,
            f"{labels.dtype} labels with fractions or NaN",
            "integer labels",
            "Save the labels as 16- or 32-bit integers.",
        )


def inspect_source(source: Source) -> tuple[pd.DataFrame, Problems]:
    """Read and check all samples, one at a time.

    Parameters
    ----------
    source : Source
        The data set.

    Returns
    -------
    manifest : DataFrame
        One row per sound sample, columns ``MANIFEST_COLUMNS``.
    problems : Problems
        Those of the source and of every unsound sample.
    """
    problems = Problems()
    problems.extend(list(source.problems))
    rows = []
    for record in Progress(source.records, desc="checking samples", unit="sample"):
        try:
            row, found = _describe(source, record)
        except ProblemReport as error:
            found = error.problems
        except ImageError as error:
            found = [error.problem]
        except (KaryosegError, OSError) as error:
            advice = "Replace the files of this sample, or remove it."
            found = [Problem(record.id, str(error), "an image and labels that can be read", advice)]
        if found:
            problems.extend(found)
        else:
            rows.append(row)
    table = pd.DataFrame(rows, columns=list(MANIFEST_COLUMNS))
    return table.astype({"n_objects": "Int64"}), problems


def _describe(source: Source, record: SampleRecord) -> tuple[dict[str, object], list[Problem]]:
    """Read a sample; return its manifest row and what is wrong with it."""
    problems = Problems()
    labels = None
    try:
        image = source.read_image(record.id)
    except ImageError as error:
        image = None
        problems.extend([error.problem])
    if record.labels:  # read even when the image is broken: one run shall name both
        try:
            labels = source.read_labels(record.id)
        except ImageError as error:
            problems.extend([error.problem])
    if image is None:
        return {}, list(problems)
    array = image.array
    problems.extend(check_pair(record.id, array, labels))
    pixel_size = source.options.pixel_size_um or image.pixel_size_um
    row = {
        "id": record.id,
        "source": source.layout,
        "split": record.split,
        "class": record.sample_class,
        "height": array.shape[0],
        "width": array.shape[1],
        "channels": 1 if array.ndim == 2 else array.shape[2],  # noqa: PLR2004
        "dtype": str(array.dtype),
        "pixel_size_um": math.nan if pixel_size is None else pixel_size,
        "magnification": record.magnification,
        "n_objects": None if labels is None else n_objects(labels),
        "image_sha256": files_sha256([record.image]),
        "label_sha256": files_sha256(list(record.labels)) if record.labels else "",
        "origin": source.options.origin,
    }
    return row, list(problems)


def files_sha256(paths: list[Path]) -> str:
    """Hash the bytes of one file, or the names and hashes of several.

    Parameters
    ----------
    paths : list of Path
        The files in a fixed order.

    Returns
    -------
    str
        64 hexadecimal digits; for one file those of ``sha256sum``.
    """
    digests = []
    for path in paths:
        digests.append(file_sha256(path))
    if len(digests) == 1:
        return digests[0]
    lines = (f"{digest}  {path.name}\n" for path, digest in zip(paths, digests, strict=True))
    return hashlib.sha256("".join(lines).encode()).hexdigest()
