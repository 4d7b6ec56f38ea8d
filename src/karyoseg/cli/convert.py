"""``kedro convert``: images and labels from one form to another."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from karyoseg.cli.errors import with_readable_errors
from karyoseg.cli.outputs import OVERWRITE, require_free, writing
from karyoseg.cli.tables import read_table
from karyoseg.core.errors import KaryosegError, Problem, Problems

if TYPE_CHECKING:  # what reads images takes a second to import
    import numpy as np

    from karyoseg.core.io.inputs import InputImage

T = TypeVar("T")

_TABLE = click.Path(dir_okay=False, path_type=Path)
_FOLDER = click.Path(file_okay=False, path_type=Path)
_RGB = 3


@click.group()
def convert() -> None:
    """Convert images and labels; INPUT is a file, folder, pattern such as 'a/*.tif', zip or URL."""


@convert.command("8bit")
@click.argument("source", metavar="INPUT")
@click.argument("target", metavar="FOLDER", type=_FOLDER)
@click.option("--rgb", is_flag=True, help="Three channels for every image.")
@click.option("--axes", help="Axes of TIFF stacks that do not say themselves, such as CYX.")
@click.option(
    "--channel",
    "channels",
    type=click.IntRange(min=0),
    multiple=True,
    help="Channel to keep, counted from 0. Give it up to three times: one channel becomes gray, more become RGB.",
)
@OVERWRITE
@with_readable_errors
def eight_bit(
    source: str, target: Path, rgb: bool, axes: str | None, channels: tuple[int, ...], overwrite: bool
) -> None:
    """Stretch images to 8 bit, each channel from its 0.1 to its 99.9 percentile, and write them as PNG.

    Not for labels: objects would be lost. Images of 8 bit keep their values.
    """
    import imagecodecs

    from karyoseg.core.normalise import select_channels
    from karyoseg.core.predicting import read_input

    def encode(image: InputImage) -> dict[str, bytes]:
        pixels = select_channels(read_input(image.path, axes).array, channels or None, "keep", where=image.path)
        return {f"{image.stem}.png": bytes(imagecodecs.png_encode(_for_png(pixels, image.path, rgb=rgb)))}

    _convert_all(source, target, encode, overwrite=overwrite)


@convert.command("labels-to-tiff")
@click.argument("source", metavar="INPUT")
@click.argument("target", metavar="FOLDER", type=_FOLDER)
@OVERWRITE
@with_readable_errors
def labels_to_tiff(source: str, target: Path, overwrite: bool) -> None:
    """Write label images of any usual format as TIFF of 16 bit (32 above 65535 objects).

    OME-Zarr is one of them; of a store with an image and labels, the labels are taken.
    """
    from karyoseg.core.io.images import read_label_file
    from karyoseg.core.io.tiffs import encode_labels

    def encode(image: InputImage) -> dict[str, bytes]:
        labels = read_label_file(image.path)
        return {f"{image.stem}.tif": encode_labels(labels.array, labels.pixel_size_um)}

    _convert_all(source, target, encode, overwrite=overwrite)


@convert.command("labels-to-masks")
@click.argument("source", metavar="INPUT")
@click.argument("target", metavar="FOLDER", type=_FOLDER)
@click.option("--images", help="Images of the same names, to be put beside the masks.")
@OVERWRITE
@with_readable_errors
def labels_to_masks(source: str, target: Path, images: str | None, overwrite: bool) -> None:
    """Write label images as one PNG per object, in the layout of the Data Science Bowl 2018.

    The masks are FOLDER/NAME/masks/NAME_00001.png ..., the image is FOLDER/NAME/images/NAME.png, of 8 bit. With
    --overwrite, masks of objects that are not in the labels any more are removed.
    """
    import imagecodecs

    from karyoseg.core.conversions import object_masks
    from karyoseg.core.io.images import read_labels
    from karyoseg.core.io.inputs import find_images
    from karyoseg.core.predicting import read_input

    pixels = {image.stem: image.path for image in find_images(images, exclude=str(target))} if images else {}

    def encode(image: InputImage) -> dict[str, bytes]:
        name = image.stem
        if images and name not in pixels:
            raise KaryosegError(f"{image.path}: no image {name} in {images}; needed: one of this name. Check --images.")
        files = {
            f"{name}/masks/{name}_{label:05d}.png": bytes(imagecodecs.png_encode(mask))
            for label, mask in object_masks(read_labels(image.path))
        }
        if images:
            picture = _for_png(read_input(pixels[name]).array, pixels[name], rgb=True)
            files[f"{name}/images/{name}.png"] = bytes(imagecodecs.png_encode(picture))
        return files

    def earlier(image: InputImage) -> Iterable[Path]:
        return (target / image.stem / "masks").glob("*.png")

    _convert_all(source, target, encode, overwrite=overwrite, earlier=earlier)


@convert.command("masks-to-labels")
@click.argument("source", metavar="DATASET", type=_FOLDER)
@click.argument("target", metavar="FOLDER", type=_FOLDER)
@OVERWRITE
@with_readable_errors
def masks_to_labels(source: Path, target: Path, overwrite: bool) -> None:
    """Combine one mask per object into label images: DATASET/NAME/masks/*.png becomes FOLDER/NAME.tif.

    DATASET has the layout of the Data Science Bowl 2018, with DATASET/NAME/images/*.png. Holes are filled; a pixel in
    several masks goes to the smallest object.
    """
    from karyoseg.core.io.inputs import is_inside
    from karyoseg.core.io.tiffs import encode_labels
    from karyoseg.core.sources import open_source

    if not source.is_dir():
        raise KaryosegError(f"{source}: no such folder; needed: one with a folder per image. Check the path.")
    dataset = open_source(source, "dsb2018")
    if any(is_inside(str(record.image), str(target)) for record in dataset.records):
        raise KaryosegError(f"{target}: holds images of {source}; needed: results apart. Choose another folder.")
    labelled = [record.id for record in dataset.records if record.labels]

    def encode(name: str) -> dict[str, bytes]:
        return {f"{name}.tif": encode_labels(dataset.read_labels(name))}

    _write_all(target, labelled, str, encode, overwrite=overwrite, problems=dataset.problems)


@convert.command("labels-to-runs")
@click.argument("source", metavar="INPUT")
@click.argument("table", metavar="TABLE", type=_TABLE)
@OVERWRITE
@with_readable_errors
def labels_to_runs(source: str, table: Path, overwrite: bool) -> None:
    """Write label images as run lengths: TABLE is a submission to the Data Science Bowl 2018 (CSV)."""
    import pandas as pd

    from karyoseg.core.conversions import submission_rows
    from karyoseg.core.io.images import read_labels
    from karyoseg.core.io.inputs import find_images

    images = find_images(source)
    require_free([table], overwrite=overwrite, inputs=[image.path for image in images])
    found: list[pd.DataFrame] = []
    problems = _for_each(
        images,
        lambda image: image.path,
        lambda image: found.append(submission_rows(image.stem, read_labels(image.path))),
    )
    if found:
        rows = pd.concat(found)
        with writing(table) as part:
            rows.to_csv(part, index=False)
        click.echo(f"{table}: {(rows['EncodedPixels'] != '').sum()} objects of {rows['ImageId'].nunique()} images.")
    problems.raise_if_any("Some images could not be converted")


@convert.command("runs-to-labels")
@click.argument("table", metavar="TABLE", type=_TABLE)
@click.argument("source", metavar="IMAGES")
@click.argument("target", metavar="FOLDER", type=_FOLDER)
@OVERWRITE
@with_readable_errors
def runs_to_labels(table: Path, source: str, target: Path, overwrite: bool) -> None:
    """Write run lengths as label images: FOLDER/NAME.tif for each of IMAGES, which say how large they are."""
    from karyoseg.core.conversions import labels_from_runs
    from karyoseg.core.io.images import read_image
    from karyoseg.core.io.inputs import find_images
    from karyoseg.core.io.tiffs import encode_labels

    rows = read_table(table, ("ImageId", "EncodedPixels"), dtype=str, keep_default_na=False)
    runs = {str(name): group.tolist() for name, group in rows.groupby("ImageId")["EncodedPixels"]}
    images = find_images(source, exclude=str(target))
    unknown = sorted(runs.keys() - {image.stem for image in images})
    if unknown:
        raise KaryosegError(
            f"{table}: {len(unknown)} ImageId without an image in {source}, such as {unknown[0]}; needed: the image of "
            f"each, for its size. Check the names."
        )

    def encode(image: InputImage) -> dict[str, bytes]:
        height, width = read_image(image.path).array.shape[:2]
        return {f"{image.stem}.tif": encode_labels(labels_from_runs(runs.get(image.stem, []), (height, width)))}

    _write_all(target, images, lambda image: image.path, encode, overwrite=overwrite)


def _for_png(pixels: np.ndarray, where: str, *, rgb: bool) -> np.ndarray:
    """Bring an image to 8 bit, gray or RGB; refuse one with more channels, as some would be lost."""
    import numpy as np

    from karyoseg.core.conversions import as_rgb8, to_8bit
    from karyoseg.core.io.image_files import ImageError

    n_channels = 1 if pixels.ndim == 2 else pixels.shape[-1]  # noqa: PLR2004
    if n_channels > _RGB:
        raise ImageError(
            where,
            f"{n_channels} channels",
            f"at most {_RGB}, as PNG holds gray or RGB",
            "Choose them, such as the first and the third: kedro convert 8bit --channel 0 --channel 2.",
        )
    made = as_rgb8(pixels) if rgb or n_channels not in (1, _RGB) else to_8bit(pixels)
    return np.ascontiguousarray(made)  # chosen channels are not, and the encoder wants it


def _convert_all(
    source: str,
    target: Path,
    encode: Callable[[InputImage], dict[str, bytes]],
    *,
    overwrite: bool,
    earlier: Callable[[InputImage], Iterable[Path]] = lambda _: (),
) -> None:
    """Convert all images of a folder, pattern, zip or URL."""
    from karyoseg.core.io.inputs import find_images

    images = find_images(source, exclude=str(target))
    _write_all(target, images, lambda image: image.path, encode, overwrite=overwrite, earlier=earlier)


def _write_all(
    target: Path,
    items: list[T],
    name: Callable[[T], str],
    encode: Callable[[T], dict[str, bytes]],
    *,
    overwrite: bool,
    earlier: Callable[[T], Iterable[Path]] = lambda _: (),
    problems: Problems | None = None,
) -> None:
    """Write the files that each item becomes; what cannot be converted, with `problems`, is reported at the end.

    Files that `earlier` names are replaced as a whole: those that are not written anew are removed.
    """

    def write(item: T) -> None:
        files = {target / file: content for file, content in encode(item).items()}
        stale = set(earlier(item)) - files.keys()
        require_free([*files, *stale], overwrite=overwrite)
        for path, content in files.items():
            with writing(path) as part:
                part.write_bytes(content)
        for path in stale:
            path.unlink()

    found = _for_each(items, name, write)
    click.echo(f"{target}: {len(items) - len(found)} of {len(items)} images converted.")
    found.extend(list(problems or ()))
    found.raise_if_any("Some images could not be converted")


def _for_each(items: list[T], name: Callable[[T], str], work: Callable[[T], None]) -> Problems:
    """Do something with each item; return one problem for each that cannot be used."""
    from karyoseg.core.progress import Progress

    problems = Problems()
    for item in Progress(items, desc="converting", unit="image"):
        try:
            work(item)
        except KaryosegError as error:
            known = getattr(error, "problem", None)
            problems.extend(
                [known or Problem(name(item), str(error), "what this command converts", "See the message.")]
            )
    return problems
