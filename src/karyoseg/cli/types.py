"""``kedro types``: tell what kind of image it is."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from karyoseg.cli.errors import with_readable_errors
from karyoseg.cli.outputs import OVERWRITE, require_free, writing
from karyoseg.cli.tables import read_table
from karyoseg.core.errors import KaryosegError, Problems

if TYPE_CHECKING:  # imported only when it is needed
    import numpy as np

_TABLE = click.Path(dir_okay=False, path_type=Path)
_FOLDER = click.Path(file_okay=False, path_type=Path)


@click.group()
def types() -> None:
    """Tell fluorescence, stained tissue, brightfield ... apart, from examples of yours."""


@types.command()
@click.argument("table", type=_TABLE)
@click.argument("target", metavar="EXAMPLES", type=_TABLE)
@OVERWRITE
@with_readable_errors
def learn(table: Path, target: Path, overwrite: bool) -> None:
    """Measure the images that TABLE lists (CSV: columns image and type), and write EXAMPLES, what `classify` needs.

    Paths of images are relative to TABLE.
    """
    from karyoseg.core.image_types import TYPE, ImageTypes

    rows = read_table(table, ("image", TYPE), dtype=str)
    if rows[["image", TYPE]].isna().any(axis=None):
        raise KaryosegError(f"{table}: has empty cells; needed: image and {TYPE} filled in each row. Complete it.")
    images = [str(table.parent / path) for path in rows["image"]]
    require_free([target], overwrite=overwrite, inputs=[table, *images])
    measured, problems = _measure(images)
    problems.raise_if_any("Some images cannot be measured")
    learnt = ImageTypes.from_features([measured[path] for path in images], rows[TYPE].tolist())
    with writing(target) as part:
        learnt.table.assign(image=rows["image"]).to_csv(part, index=False)
    click.echo(
        f"{target}: {len(rows)} examples; {learnt.accuracy:.0%} are recognised by trees that have not seen them."
    )


@types.command()
@click.argument("examples", type=_TABLE)
@click.argument("source", metavar="INPUT")
@click.argument("target", metavar="RESULT", type=_TABLE)
@click.option("--copy-to", type=_FOLDER, help="Copy images into a folder per type here, if they are certain.")
@click.option("--certain", type=click.FloatRange(0, 1), default=0.9, show_default=True, help="Least probability.")
@OVERWRITE
@with_readable_errors
def classify(examples: Path, source: str, target: Path, copy_to: Path | None, certain: float, overwrite: bool) -> None:
    """Write the probability of each type for each image of INPUT into RESULT (CSV).

    INPUT is a file, folder, pattern such as 'a/*.tif', zip or URL. EXAMPLES comes from `kedro types learn`.
    """
    import numpy as np
    import pandas as pd

    from karyoseg.core.image_types import TYPE, ImageTypes
    from karyoseg.core.io.image_files import ImageError, open_binary
    from karyoseg.core.io.inputs import find_images

    learnt = ImageTypes(read_table(examples))
    images = find_images(source, exclude=str(copy_to) if copy_to else None)
    require_free([target], overwrite=overwrite, inputs=[examples, *(one.path for one in images)])
    measured, problems = _measure([one.path for one in images])
    if not measured:
        problems.raise_if_any("No image can be measured")
    images = [one for one in images if one.path in measured]
    found = learnt.probabilities(np.stack(list(measured.values())))
    best = found.idxmax(axis=1)
    result = pd.concat([pd.DataFrame({"image": [one.path for one in images], TYPE: best}), found], axis=1)
    with writing(target) as part:
        result.to_csv(part, index=False)
    click.echo(f"{target}: " + ", ".join(f"{n} {kind}" for kind, n in best.value_counts().items()))
    if copy_to is None:
        problems.raise_if_any("Some images could not be measured")
        return
    sure = found.max(axis=1) >= certain
    n_bad = len(problems)
    for one, kind in zip([one for one, is_sure in zip(images, sure, strict=True) if is_sure], best[sure], strict=True):
        copy = copy_to / str(kind) / f"{one.stem}{Path(one.path.split('::')[0]).suffix}"
        try:
            require_free([copy], overwrite=overwrite, inputs=[examples, target])
            with open_binary(one.path) as stream:
                content = stream.read()
            with writing(copy) as part:
                part.write_bytes(content)
        except ImageError as error:
            problems.extend([error.problem])
    n_copied = sure.sum() - (len(problems) - n_bad)
    click.echo(f"{copy_to}: {n_copied} of {len(images)} images copied; {(~sure).sum()} are not certain.")
    problems.raise_if_any("Some images could not be measured or copied")


def _measure(paths: Iterable[str]) -> tuple[dict[str, np.ndarray], Problems]:
    """Describe the images that can be read, each once; and name the others."""
    from karyoseg.core.image_types import type_features
    from karyoseg.core.io.image_files import ImageError
    from karyoseg.core.predicting import read_input
    from karyoseg.core.progress import Progress

    measured, problems = {}, Problems()
    for path in Progress(list(paths), desc="measuring", unit="image"):
        try:
            measured[path] = type_features(read_input(path).array)
        except ImageError as error:
            problems.extend([error.problem])
    return measured, problems
