"""Layout of one's own images: ``images/`` and ``masks/``, or images alone."""

from __future__ import annotations

from pathlib import Path

from karyoseg.core.errors import Problems
from karyoseg.core.io.stems import stem
from karyoseg.core.sources.base import FileSource, SampleRecord, SourceOptions, apply_test_ids
from karyoseg.core.sources.names import by_stem, image_files, locate, pair, subfolder, unique_ids

_MASKS = ("masks", "labels")


def open_folder(folder: Path, options: SourceOptions) -> FileSource:
    """Open a folder of images, with masks of the same names or without any.

    Parameters
    ----------
    folder : Path
        Folder with ``images/`` and ``masks/`` (or ``labels/``), or with images only; or one that holds it.
    options : SourceOptions
        Class, pixel size, axes and test ids.

    Returns
    -------
    FileSource
        The samples; without masks their `labels` are empty.
    """
    root = locate(
        folder,
        lambda p: subfolder(p, "images") is not None or bool(image_files(p)),
        "folder",
        "images/ and masks/, or images alone",
    )
    problems = Problems()
    found: list[tuple[Path, tuple[Path, ...]]]
    images, masks = subfolder(root, "images"), subfolder(root, *_MASKS)
    if images is None and masks is not None:
        images = root
    if images is not None and masks is not None:
        found = [(image, (mask,)) for image, mask in pair(images, masks, problems)]
    else:
        alone = by_stem(image_files(images or root), problems)
        found = [(alone[key], ()) for key in sorted(alone)]
    ids = unique_ids([(stem(image),) for image, _ in found])
    records = [
        SampleRecord(sample_id, image, labels, sample_class=options.sample_class)
        for sample_id, (image, labels) in zip(ids, found, strict=True)
    ]
    names = [stem(image) for image, _ in found]
    return FileSource("folder", apply_test_ids(records, names, options.test_ids), problems, options)
