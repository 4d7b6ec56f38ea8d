"""``kedro convert``: images and labels from one form to another."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from karyoseg.cli.errors import with_readable_errors
from karyoseg.cli.tables import read_table
from karyoseg.core.errors import KaryosegError, Problem, Problems

if TYPE_CHECKING:  # what reads images takes a second to import
    from karyoseg.core.io.inputs import InputImage

T = TypeVar("T")

_TABLE = click.Path(dir_okay=False, path_type=Path)
_FOLDER = click.Path(file_okay=False, path_type=Path)


@click.group()
def convert() -> None:
    """Convert images and labels; INPUT is a file, folder, pattern such as 'a/*.tif', zip or URL."""


@convert.command("8bit")
@click.argument("source", metavar="INPUT")
@click.argument("target", metavar="FOLDER", type=_FOLDER)
@click.option("--rgb", is_flag=True, help="Three channels for every image.")
@click.option("--axes", help="Axes of TIFF stacks that do not say themselves, such as CYX.")
@with_readable_errors
def eight_bit(source: str, target: Path, rgb: bool, axes: str | None) -> None:
    """Stretch images to 8 bit, each channel from its 0.1 to its 99.9 percentile, and write them as PNG.

    Not for labels: objects would be lost. Images of 8 bit keep their values.
    """
    import imagecodecs

    from karyoseg.core.conversions import as_rgb8, to_8bit
    from karyoseg.core.predicting import read_input

    def encode(image: InputImage) -> dict[str, bytes]:
        pixels = read_input(image.path, axes).array
        if rgb or (pixels.ndim == 3 and pixels.shape[-1] != 3):  # noqa: PLR2004 - PNG holds gray or RGB
            pixels = as_rgb8(pixels)
        return {f"{image.stem}.png": bytes(imagecodecs.png_encode(to_8bit(pixels)))}

    _convert_all(source, target, encode)


@convert.command("labels-to-tiff")
@click.argument("source", metavar="INPUT")
@click.argument("target", metavar="FOLDER", type=_FOLDER)
@with_readable_errors
def labels_to_tiff(source: str, target: Path) -> None:
    """Write label images of any usual format as TIFF of 16 bit (32 above 65535 objects)."""
    from karyoseg.core.io.images import read_labels
    from karyoseg.core.io.tiffs import encode_labels

    _convert_all(source, target, lambda image: {f"{image.stem}.tif": encode_labels(read_labels(image.path))})


@convert.command("labels-to-masks")
@click.argument("source", metavar="INPUT")
@click.argument("target", metavar="FOLDER", type=_FOLDER)
@click.option("--images", help="Images of the same names, to be put beside the masks.")
@with_readable_errors
def labels_to_masks(source: str, target: Path, images: str | None) -> None:
    """Write label images as one PNG per object, in the layout of the Data Science Bowl 2018.

    The masks are FOLDER/NAME/masks/NAME_00001.png ..., the image is FOLDER/NAME/images/NAME.png, of 8 bit.
    """
    import imagecodecs

    from karyoseg.core.conversions import as_rgb8, object_masks
    from karyoseg.core.io.images import read_image, read_labels
    from karyoseg.core.io.inputs import find_images

    pixels = {image.stem: image.path for image in find_images(images, exclude=str(target))} if images else {}

    def encode(image: InputImage) -> dict[str, bytes]:
        name = image.stem
        files = {f"{name}/masks/{name}_{label:05d}.png": mask for label, mask in object_masks(read_labels(image.path))}
        if images and name not in pixels:
            raise KaryosegError(f"{image.path}: no image {name} in {images}; needed: one of this name. Check --images.")
        if images:
            files[f"{name}/images/{name}.png"] = as_rgb8(read_image(pixels[name]).array)
        return {file: bytes(imagecodecs.png_encode(content)) for file, content in files.items()}

    _convert_all(source, target, encode)


@convert.command("masks-to-labels")
@click.argument("source", metavar="DATASET", type=_FOLDER)
@click.argument("target", metavar="FOLDER", type=_FOLDER)
@with_readable_errors
def masks_to_labels(source: Path, target: Path) -> None:
    """Combine one mask per object into label images: DATASET/NAME/masks/*.png becomes FOLDER/NAME.tif.

    DATASET has the layout of the Data Science Bowl 2018, with DATASET/NAME/images/*.png. Holes are filled; a pixel in
    several masks goes to the smallest object.
    """
    from karyoseg.core.io.tiffs import encode_labels
    from karyoseg.core.sources import open_source

    if not source.is_dir():
        raise KaryosegError(f"{source}: no such folder; needed: one with a folder per image. Check the path.")
    dataset = open_source(source, "dsb2018")
    dataset.problems.raise_if_any(f"{source}: some samples cannot be converted")
    labelled = [record.id for record in dataset.records if record.labels]
    _write_all(target, labelled, str, lambda name: {f"{name}.tif": encode_labels(dataset.read_labels(name))})


@convert.command("labels-to-runs")
@click.argument("source", metavar="INPUT")
@click.argument("table", metavar="TABLE", type=_TABLE)
@with_readable_errors
def labels_to_runs(source: str, table: Path) -> None:
    """Write label images as run lengths: TABLE is a submission to the Data Science Bowl 2018 (CSV)."""
    import pandas as pd

    from karyoseg.core.conversions import submission_rows
    from karyoseg.core.io.files import replacing
    from karyoseg.core.io.images import read_labels
    from karyoseg.core.io.inputs import find_images

    rows = pd.concat([submission_rows(image.stem, read_labels(image.path)) for image in find_images(source)])
    table.parent.mkdir(parents=True, exist_ok=True)
    with replacing(table) as part:
        rows.to_csv(part, index=False)
    click.echo(f"{table}: {(rows['EncodedPixels'] != '').sum()} objects of {rows['ImageId'].nunique()} images.")


@convert.command("runs-to-labels")
@click.argument("table", metavar="TABLE", type=_TABLE)
@click.argument("source", metavar="IMAGES")
@click.argument("target", metavar="FOLDER", type=_FOLDER)
@with_readable_errors
def runs_to_labels(table: Path, source: str, target: Path) -> None:
    """Write run lengths as label images: FOLDER/NAME.tif for each of IMAGES, which say how large they are."""
    from karyoseg.core.conversions import labels_from_runs
    from karyoseg.core.io.images import read_image
    from karyoseg.core.io.inputs import find_images
    from karyoseg.core.io.tiffs import encode_labels

    rows = read_table(table, ("ImageId", "EncodedPixels"), dtype=str, keep_default_na=False)
    runs = {str(name): group.tolist() for name, group in rows.groupby("ImageId")["EncodedPixels"]}
    images = find_images(source)
    unknown = sorted(runs.keys() - {image.stem for image in images})
    if unknown:
        raise KaryosegError(
            f"{table}: {len(unknown)} ImageId without an image in {source}, such as {unknown[0]}; needed: the image of "
            f"each, for its size. Check the names."
        )

    def encode(image: InputImage) -> dict[str, bytes]:
        height, width = read_image(image.path).array.shape[:2]
        return {f"{image.stem}.tif": encode_labels(labels_from_runs(runs.get(image.stem, []), (height, width)))}

    _write_all(target, images, lambda image: image.path, encode)


def _convert_all(source: str, target: Path, encode: Callable[[InputImage], dict[str, bytes]]) -> None:
    """Convert all images of a folder, pattern, zip or URL."""
    from karyoseg.core.io.inputs import find_images

    _write_all(target, find_images(source, exclude=str(target)), lambda image: image.path, encode)


def _write_all(target: Path, items: list[T], name: Callable[[T], str], encode: Callable[[T], dict[str, bytes]]) -> None:
    """Write the files that each item becomes; all that cannot be converted are reported together, at the end."""
    from karyoseg.core.io.files import replacing
    from karyoseg.core.progress import Progress

    problems = Problems()
    for item in Progress(items, desc="converting", unit="image"):
        try:
            files = encode(item)
        except KaryosegError as error:
            known = getattr(error, "problem", None)
            problems.extend(
                [known or Problem(name(item), str(error), "what this command converts", "See the message.")]
            )
            continue
        for file, content in files.items():
            path = target / file
            path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(path) as part:
                part.write_bytes(content)
    click.echo(f"{target}: {len(items) - len(problems)} of {len(items)} images converted.")
    problems.raise_if_any("Some images could not be converted")
