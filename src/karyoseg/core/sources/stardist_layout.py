"""Layout of StarDist's examples: ``train/``, ``test/`` and perhaps ``val/``, each with ``images/`` and ``masks/``."""

from __future__ import annotations

from pathlib import Path

from karyoseg.core.errors import Problems
from karyoseg.core.io.stems import stem
from karyoseg.core.sources.base import FileSource, SampleRecord, SourceOptions
from karyoseg.core.sources.names import locate, pair, subfolder, unique_ids
from karyoseg.core.splits import TEST, TRAIN, VALIDATION

_SPLITS = {"train": TRAIN, "val": VALIDATION, "validation": VALIDATION, "test": TEST}


def _is_split(folder: Path | None) -> bool:
    return folder is not None and subfolder(folder, "images") is not None


def open_stardist(folder: Path, options: SourceOptions) -> FileSource:
    """Open a data set in the layout of StarDist's examples; splits may be missing.

    Parameters
    ----------
    folder : Path
        Folder with ``train/``, ``test/``, ``val/`` or ``validation/``, or one that holds them.
    options : SourceOptions
        Class, pixel size and axes.

    Returns
    -------
    FileSource
        The samples.
    """
    root = locate(
        folder,
        lambda p: _is_split(subfolder(p, "train")) or _is_split(subfolder(p, "test")),
        "stardist",
        "train/ and test/, each with images/ and masks/",
    )
    problems = Problems()
    found: list[tuple[str, Path, Path]] = []
    for name in _SPLITS:
        part = subfolder(root, name)
        if part is None:
            continue
        images, masks = subfolder(part, "images"), subfolder(part, "masks")
        if images is None or masks is None:
            missing = "images/" if images is None else "masks/"
            problems.add(str(part), f"no {missing}", "images/ and masks/", "Add the folder, or remove this split.")
            continue
        found += [(name, image, mask) for image, mask in pair(images, masks, problems)]
    ids = unique_ids([(name, stem(image)) for name, image, _ in found])
    records = [
        SampleRecord(sample_id, image, (mask,), split=_SPLITS[name], sample_class=options.sample_class)
        for sample_id, (name, image, mask) in zip(ids, found, strict=True)
    ]
    return FileSource("stardist", records, problems, options)
