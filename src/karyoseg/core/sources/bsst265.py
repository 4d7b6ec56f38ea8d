"""Layout of S-BSST265 (BioStudies): ``rawimages/``, ``groundtruth/`` and ``image_description.csv``.

References
----------
.. [1] F. Kromp et al., "An annotated fluorescence image dataset for training nuclear segmentation methods",
   Scientific Data 7 (2020), doi:10.1038/s41597-020-00608-w.
"""

from __future__ import annotations

import csv
import math
import re
import unicodedata
from dataclasses import dataclass, replace
from pathlib import Path

from karyoseg.core.errors import KaryosegError, Problems
from karyoseg.core.io.stems import stem
from karyoseg.core.sources.base import FileSource, SampleRecord, SourceOptions
from karyoseg.core.sources.names import by_stem, image_files, locate, subfolder, unique_ids

_TABLE = "image_description.csv"
_NEEDED = f"rawimages/, groundtruth/ and {_TABLE}"
_IMAGE_SUFFIX = re.compile(r"\.(tiff?|png|jpe?g|bmp)$", re.IGNORECASE)


@dataclass(frozen=True)
class _Row:
    """One line of the table; `split` is empty if it is not usable."""

    name: str
    line: int
    split: str
    test_class: str
    magnification: str


def open_bsst265(folder: Path, options: SourceOptions) -> FileSource:
    """Open a data set in the layout of S-BSST265.

    Parameters
    ----------
    folder : Path
        Folder with ``rawimages/``, or one that holds it.
    options : SourceOptions
        Pixel size, axes, and the class of samples for which the table names none.

    Returns
    -------
    FileSource
        Samples with the published split, test class and magnification.

    Raises
    ------
    KaryosegError
        If the folder or its table does not have the layout.
    """
    root = locate(
        folder,
        lambda p: subfolder(p, "rawimages") is not None and subfolder(p, "groundtruth") is not None,
        "bsst265",
        _NEEDED,
    )
    raw, truth = subfolder(root, "rawimages"), subfolder(root, "groundtruth")
    if raw is None or truth is None:
        raise KaryosegError(f"{root} changed while it was read; needed {_NEEDED}.")
    problems = Problems()
    table = _find_table(root)
    rows = _read_table(table, problems)
    images, masks = (by_stem(image_files(part), problems, _key) for part in (raw, truth))
    complete = _report_gaps(table, rows, images, masks, problems)
    ids = unique_ids([(stem(images[key]),) for key in complete])
    records = [
        SampleRecord(
            sample_id,
            images[key],
            (masks[key],),
            split=rows[key].split,
            sample_class=rows[key].test_class or options.sample_class,
            magnification=_number(rows[key].magnification, f"{table}, line {rows[key].line}", problems),
        )
        for sample_id, key in zip(ids, complete, strict=True)
    ]
    return FileSource("bsst265", records, problems, options)


def _key(name: str) -> str:
    """Compare names regardless of case, blanks, underscores and dashes: table and files may disagree."""
    return re.sub(r"[\s_-]+", "_", unicodedata.normalize("NFC", name.strip())).casefold()


def _find_table(root: Path) -> Path:
    tables = {p.name.lower(): p for p in sorted(root.iterdir(), reverse=True) if p.is_file()}
    if _TABLE not in tables:
        raise KaryosegError(
            f"{root} has no {_TABLE}. Needed: the table that names each image's split, test class and "
            "magnification. Add it, or use layout 'folder' or 'stardist', which need none."
        )
    return tables[_TABLE]


def _read_table(path: Path, problems: Problems) -> dict[str, _Row]:
    """Read the semicolon-separated table; its encoding is UTF-8 (with or without mark) or Latin-1."""
    raw = path.read_bytes()
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = raw.decode("latin-1")
    lines = csv.reader(text.splitlines(), delimiter=";")
    columns = [re.sub("[^a-z]", "", column.lower()) for column in next(lines, [])]
    missing = [
        shown
        for shown, column in (("Image_Name", "imagename"), ("Train-/Testset split", "traintestsetsplit"))
        if column not in columns
    ]
    if missing:
        raise KaryosegError(
            f"{path} has no column {' and no column '.join(missing)} (found {len(columns)}: "
            f"{', '.join(filter(None, columns)) or 'none'}). Needed: a table separated by semicolons with "
            "these columns."
        )
    rows: dict[str, _Row] = {}
    for cells in lines:
        values = dict(zip(columns, map(str.strip, cells), strict=False))
        if not (name := values.get("imagename", "")):
            continue
        where = f"{path}, line {lines.line_num}"
        split = values.get("traintestsetsplit", "").lower()
        key = _key(_IMAGE_SUFFIX.sub("", name))
        if key in rows:
            problems.add(where, f"{name} listed again", "one row per image", "Remove one of the rows.")
            if split != rows[key].split:  # which of both holds is not ours to guess: leave the sample out
                rows[key] = replace(rows[key], split="")
        else:
            if split not in ("train", "test"):
                problems.add(where, f"split {split!r} of {name}", "train or test", "Correct the table.")
                split = ""
            test_class = values.get("testsetclass", "").strip("-")
            rows[key] = _Row(name, lines.line_num, split, test_class, values.get("magnification", ""))
    return rows


def _number(text: str, where: str, problems: Problems) -> float:
    """Read a magnification such as ``20x`` or ``62,5x``; ``-`` or nothing is unknown."""
    if text in ("", "-"):
        return math.nan
    try:
        value = float(text.lower().strip("x ").replace(",", "."))
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        problems.add(where, f"magnification {text!r}", "a positive number such as 20x", "Correct the table.")
        return math.nan
    return value


def _report_gaps(
    table: Path, rows: dict[str, _Row], images: dict[str, Path], masks: dict[str, Path], problems: Problems
) -> list[str]:
    """Note every sample that lacks an image, a mask or a row; return the keys of the complete ones."""
    for key in sorted(rows.keys() | images.keys() | masks.keys()):
        missing = [
            part
            for part, known in (
                ("image in rawimages/", images),
                ("mask in groundtruth/", masks),
                ("row in " + _TABLE, rows),
            )
            if key not in known
        ]
        if missing:
            path = images.get(key) or masks.get(key)
            problems.add(
                str(path) if path else f"{table}, line {rows[key].line} ({rows[key].name})",
                "no " + " and no ".join(missing),
                "image, mask and row for each sample",
                "Add what is missing, or remove the rest of this sample.",
            )
    return sorted(key for key in rows.keys() & images.keys() & masks.keys() if rows[key].split)
