"""``kedro score``: compare label images with true ones, whichever program made them."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import click

from karyoseg.cli.errors import with_readable_errors
from karyoseg.cli.outputs import OVERWRITE, require_free, writing
from karyoseg.core.errors import KaryosegError, Problems

_FOLDER = click.Path(file_okay=False, path_type=Path)
_PREDICTED = (".tif", ".tiff", ".zarr")


@click.command()
@click.argument("found", type=_FOLDER)
@click.argument("truth", type=_FOLDER)
@click.option("--output", type=_FOLDER, help="Write metrics.json and metrics_per_image.csv into this folder.")
@OVERWRITE
@with_readable_errors
def score(found: Path, truth: Path, output: Path | None, overwrite: bool) -> None:
    """Score the label images in FOUND by those of the same names in TRUTH.

    FOUND is the output folder of `predict`, or has label images of any other program. Each image of TRUTH needs one of
    its name there, of its size; the suffix does not matter. OME-Zarr is read, too.
    """
    import pandas as pd

    from karyoseg.core.io.images import read_labels
    from karyoseg.core.lazy import Lazy
    from karyoseg.pipelines.evaluate.nodes import match_images, summarise_metrics

    pairs = _pair(found, truth)
    results = [output / name for name in ("metrics.json", "metrics_per_image.csv")] if output else []
    require_free(results, overwrite=overwrite, inputs=[path for pair in pairs.values() for path in pair])
    predicted, true = (
        {key: Lazy(partial(read_labels, pair[side]), str(pair[side])) for key, pair in pairs.items()} for side in (0, 1)
    )
    manifest = pd.DataFrame({"id": list(pairs), "class": ""})
    metrics, per_image, _, _ = summarise_metrics(*match_images(predicted, true, manifest))
    texts = [json.dumps(metrics, indent=2) + "\n", per_image.to_csv(index=False)]
    for path, text in zip(results, texts, strict=False):
        with writing(path) as part:
            part.write_text(text, encoding="utf-8")


def _pair(found: Path, truth: Path) -> dict[str, tuple[Path, Path]]:
    """Find the two files of each name in `truth`."""
    from karyoseg.core.io.stems import stem

    for folder in (found, truth):
        if not (folder.is_dir() and _label_images(folder)):
            raise KaryosegError(f"{folder}: no label images there; needed: a folder that holds some. Check the path.")
    files: dict[str, list[Path]] = {}
    for path in _label_images(found):
        files.setdefault(stem(path), []).append(path)
    pairs: dict[str, tuple[Path, Path]] = {}
    problems = Problems()
    for path in _label_images(truth):
        name = stem(path)
        here = files.get(name, [])
        # Beside its label images, predict writes previews of the same names.
        chosen = here if len(here) == 1 else [one for one in here if one.suffix.lower() in _PREDICTED]
        if name in pairs:
            problems.add(str(path), f"the second file named {name}", "one in the folder", "Move the other away.")
        elif len(chosen) == 1:
            pairs[name] = chosen[0], path
        else:
            found_here = f"{len(here)} files of this name" if here else "nothing of this name"
            needed = f"one label image {name}.* in {found}"
            problems.add(str(path), f"{found_here} in {found}", needed, "Add it, or move this file away.")
    problems.raise_if_any(f"label images in {truth} cannot be compared with {found}")
    return pairs


def _label_images(folder: Path) -> list[Path]:
    from karyoseg.core.io.large_images import is_zarr
    from karyoseg.core.sources.names import image_files

    return image_files(folder) + sorted(path for path in folder.iterdir() if path.is_dir() and is_zarr(path.name))
