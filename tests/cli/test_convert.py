"""``kedro convert``: images and labels from one form to another, on real files."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
import zarr
from click.testing import CliRunner
from PIL import Image

from karyoseg.cli import cli
from karyoseg.core.blocks.grid import BlockGrid
from karyoseg.core.io.images import read_image, read_label_file, read_labels
from karyoseg.core.io.label_store import LabelStore
from karyoseg.core.io.tiffs import encode_labels


def run(*arguments: object) -> str:
    result = CliRunner().invoke(cli, ["convert", *map(str, arguments)])
    assert result.exit_code == 0, result.output
    return result.output


def refused(*arguments: object) -> str:
    result = CliRunner().invoke(cli, ["convert", *map(str, arguments)])
    assert result.exit_code == 1
    assert "Traceback" not in result.output
    return result.output


@pytest.fixture
def labels(tmp_path: Path, disks: np.ndarray) -> Path:
    """Two label images, one without objects."""
    folder = tmp_path / "labels"
    folder.mkdir()
    tifffile.imwrite(folder / "a.tif", disks.astype(np.uint16))
    tifffile.imwrite(folder / "b.tif", np.zeros((20, 30), np.uint16))
    return folder


def test_16_bit_images_become_8_bit(tmp_path: Path, disks: np.ndarray) -> None:
    deep = np.where(disks > 0, 40000, 1000).astype(np.uint16)
    tifffile.imwrite(tmp_path / "deep.tif", deep)
    run("8bit", tmp_path / "deep.tif", tmp_path / "out")
    np.testing.assert_array_equal(read_image(tmp_path / "out/deep.png").array, 255 * (disks > 0))
    run("8bit", tmp_path / "deep.tif", tmp_path / "rgb", "--rgb")
    assert np.asarray(Image.open(tmp_path / "rgb/deep.png")).shape == (*disks.shape, 3)


@pytest.fixture
def stack(tmp_path: Path) -> Path:
    """Five channels of 8 bit, of the values 0, 10, 20, 30 and 40."""
    pixels = np.stack([np.full((8, 9), 10 * channel, np.uint8) for channel in range(5)])
    tifffile.imwrite(tmp_path / "stack.tif", pixels, imagej=True, metadata={"axes": "CYX"})
    return tmp_path / "stack.tif"


def test_channels_are_chosen_and_never_dropped_unasked(tmp_path: Path, stack: Path) -> None:
    assert "5 channels; needed: at most 3" in refused("8bit", stack, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    chosen: list[tuple[list[int], object]] = [([4], 40), ([4, 2], [40, 20, 0]), ([0, 2, 4], [0, 20, 40])]
    for channels, pixel in chosen:
        folder = tmp_path / "-".join(map(str, channels))
        run("8bit", stack, folder, *(word for channel in channels for word in ("--channel", channel)))
        assert np.asarray(Image.open(folder / "stack.png"))[0, 0].tolist() == pixel
    four = [word for channel in range(4) for word in ("--channel", channel)]
    assert "4 channels; needed: at most 3" in refused("8bit", stack, tmp_path / "out", *four)
    assert "has 5 channel(s), counted from 0" in refused("8bit", stack, tmp_path / "out", "--channel", 5)


def test_images_beside_masks_lose_no_channels(tmp_path: Path, stack: Path) -> None:
    (tmp_path / "labels").mkdir()
    tifffile.imwrite(tmp_path / "labels/stack.tif", np.ones((8, 9), np.uint16))
    output = refused("labels-to-masks", tmp_path / "labels", tmp_path / "dsb", "--images", stack)
    assert "stack.tif: 5 channels" in output


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_ome_zarr_becomes_tiff(tmp_path: Path, disks: np.ndarray, version: str) -> None:
    found = LabelStore(tmp_path / "a.ome.zarr", BlockGrid(disks.shape, disks.shape, 512, 32, (32, 32), (16, 16)))
    found.create(int(disks.max()), None, 0.5, version)
    found.write(0, disks, disks)
    run("labels-to-tiff", found.folder, tmp_path / "out")
    written = read_label_file(tmp_path / "out/a.tif")
    np.testing.assert_array_equal(written.array, disks)
    assert written.pixel_size_um == pytest.approx(0.5)
    run("8bit", found.folder, tmp_path / "out")
    assert np.asarray(Image.open(tmp_path / "out/a.png")).shape == disks.shape

    labels = zarr.open_group(found.folder, mode="r+")["labels"]
    names = {"labels": ["cells", "nuclei"]}
    labels.attrs.update(names if version == "0.4" else {"ome": names})
    assert "2 label images in one store (cells, nuclei)" in refused("labels-to-tiff", found.folder, tmp_path / "two")


def test_labels_keep_their_pixel_size(tmp_path: Path, disks: np.ndarray) -> None:
    (tmp_path / "a.tif").write_bytes(encode_labels(disks, pixel_size_um=0.325))
    run("labels-to-tiff", tmp_path / "a.tif", tmp_path / "out")
    assert read_label_file(tmp_path / "out/a.tif").pixel_size_um == pytest.approx(0.325, rel=1e-4)


def test_labels_become_masks_and_labels_again(tmp_path: Path, labels: Path, disks: np.ndarray) -> None:
    Image.fromarray(np.where(disks > 0, 200, 10).astype(np.uint8)).save(tmp_path / "a.png")
    run("labels-to-masks", labels / "a.tif", tmp_path / "dsb", "--images", tmp_path / "a.png")
    masks = sorted((tmp_path / "dsb/a/masks").iterdir())
    assert len(masks) == 4
    assert {int(np.asarray(Image.open(mask)).max()) for mask in masks} == {255}
    assert "1 of 1" in run("masks-to-labels", tmp_path / "dsb", tmp_path / "back")
    np.testing.assert_array_equal(read_labels(tmp_path / "back/a.tif"), disks)


def test_labels_become_a_submission_and_labels_again(tmp_path: Path, labels: Path, disks: np.ndarray) -> None:
    table = tmp_path / "new" / "submission.csv"
    assert "4 objects of 2 images" in run("labels-to-runs", labels, table)
    rows = pd.read_csv(table, keep_default_na=False)
    assert list(rows) == ["ImageId", "EncodedPixels"]
    assert rows["ImageId"].value_counts().to_dict() == {"a": 4, "b": 1}
    run("runs-to-labels", table, labels, tmp_path / "back")  # any images of these sizes will do
    np.testing.assert_array_equal(read_labels(tmp_path / "back/a.tif"), disks)
    assert not read_labels(tmp_path / "back/b.tif").any()


def test_label_images_of_any_format_become_tiff(tmp_path: Path, disks: np.ndarray) -> None:
    Image.fromarray(disks.astype(np.uint8)).save(tmp_path / "a.png")
    run("labels-to-tiff", tmp_path / "a.png", tmp_path / "out")
    assert tifffile.imread(tmp_path / "out/a.tif").dtype == np.uint16
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "out/a.tif"), disks)


def test_what_cannot_be_converted_is_reported_and_the_rest_is_done(labels: Path, tmp_path: Path) -> None:
    (labels / "broken.tif").write_bytes(b"nothing")
    output = refused("labels-to-masks", labels, tmp_path / "dsb")
    assert "2 of 3" in output
    assert "broken.tif" in output
    assert (tmp_path / "dsb/a/masks/a_00001.png").is_file()
    assert list((tmp_path / "dsb").rglob("*.part")) == []


def test_tables_and_images_that_do_not_belong_together_are_refused(tmp_path: Path, labels: Path) -> None:
    (tmp_path / "bad.csv").write_text("ImageId,Runs\na,1 2\n")
    assert "EncodedPixels" in refused("runs-to-labels", tmp_path / "bad.csv", labels, tmp_path / "out")
    (tmp_path / "other.csv").write_text("ImageId,EncodedPixels\nzz,1 2\n")
    assert "such as zz" in refused("runs-to-labels", tmp_path / "other.csv", labels, tmp_path / "out")
    (tmp_path / "long.csv").write_text("ImageId,EncodedPixels\nb,599 9\n")
    assert "reach out of an image of 20 x 30 px" in refused(
        "runs-to-labels", tmp_path / "long.csv", labels, tmp_path / "o"
    )
    assert not (tmp_path / "o/b.tif").exists()


def test_files_that_are_there_are_replaced_only_when_told(tmp_path: Path, labels: Path, disks: np.ndarray) -> None:
    target, table = tmp_path / "out", tmp_path / "runs.csv"
    run("labels-to-runs", labels, table)
    run("labels-to-masks", labels / "a.tif", tmp_path / "dsb", "--images", labels / "a.tif")
    images = tmp_path / "png"
    images.mkdir()
    Image.fromarray(np.zeros(disks.shape, np.uint8)).save(images / "a.png")
    Image.fromarray(np.zeros((20, 30), np.uint8)).save(images / "b.png")
    commands = [
        ("labels-to-tiff", labels, target),
        ("runs-to-labels", table, images, target),
        ("masks-to-labels", tmp_path / "dsb", target),
        ("labels-to-runs", labels, target / "a.tif"),
    ]
    for command in commands:
        target.mkdir(exist_ok=True)
        (target / "a.tif").write_bytes(b"mine")
        assert "exists already" in refused(*command)
        assert (target / "a.tif").read_bytes() == b"mine"
        run(*command, "--overwrite")
        assert (target / "a.tif").read_bytes() != b"mine"


def test_masks_of_objects_that_are_gone_do_not_stay(tmp_path: Path, disks: np.ndarray) -> None:
    tifffile.imwrite(tmp_path / "a.tif", disks.astype(np.uint16))
    Image.fromarray(np.zeros(disks.shape, np.uint8)).save(tmp_path / "a.png")
    command = ("labels-to-masks", tmp_path / "a.tif", tmp_path / "dsb", "--images", tmp_path / "a.png")
    run(*command)
    (tmp_path / "dsb/a/images/a.png").unlink()
    fewer = np.where(disks == 4, 0, disks)
    tifffile.imwrite(tmp_path / "a.tif", np.where(fewer > 0, fewer + 10, 0).astype(np.uint16))
    assert "exists already" in refused(*command)
    assert len(list((tmp_path / "dsb/a/masks").iterdir())) == 4
    run(*command, "--overwrite")
    run("masks-to-labels", tmp_path / "dsb", tmp_path / "back")
    np.testing.assert_array_equal(read_labels(tmp_path / "back/a.tif"), fewer)


def test_pixels_that_are_no_numbers_are_refused_beside_masks(tmp_path: Path, labels: Path, disks: np.ndarray) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.where(disks > 0, np.nan, 1).astype(np.float32))
    assert "NaN" in refused("labels-to-masks", labels / "a.tif", tmp_path / "dsb", "--images", tmp_path / "a.tif")


@pytest.mark.parametrize("option", [(), ("--overwrite",)])
def test_what_is_read_is_never_replaced(tmp_path: Path, labels: Path, option: tuple[str, ...]) -> None:
    run("labels-to-runs", labels, tmp_path / "runs.csv")
    before = {path: path.read_bytes() for path in labels.iterdir()}
    assert "output folder" in refused("runs-to-labels", tmp_path / "runs.csv", labels, labels, *option)
    assert "output folder" in refused("labels-to-tiff", labels, labels, *option)
    assert "read by this command" in refused("labels-to-runs", labels / "a.tif", labels / "a.tif", *option)
    assert {path: path.read_bytes() for path in labels.iterdir()} == before
    with zipfile.ZipFile(tmp_path / "labels.zip", "w") as archive:
        archive.write(labels / "a.tif", "a.tif")
    assert "read by this command" in refused(
        "labels-to-runs", tmp_path / "labels.zip", tmp_path / "labels.zip", *option
    )
    assert zipfile.is_zipfile(tmp_path / "labels.zip")


def test_one_bad_file_does_not_stop_the_others(tmp_path: Path, labels: Path, disks: np.ndarray) -> None:
    (labels / "broken.tif").write_bytes(b"nothing")
    output = refused("labels-to-runs", labels, tmp_path / "runs.csv")
    assert "4 objects of 2 images" in output
    assert "broken.tif" in output
    assert set(pd.read_csv(tmp_path / "runs.csv")["ImageId"]) == {"a", "b"}
    Image.fromarray(disks.astype(np.uint8)).save(tmp_path / "a.png")
    run("labels-to-masks", labels / "a.tif", tmp_path / "dsb", "--images", tmp_path / "a.png")
    (tmp_path / "dsb/empty/images").mkdir(parents=True)
    output = refused("masks-to-labels", tmp_path / "dsb", tmp_path / "back")
    assert "1 of 1 images converted" in output
    assert "empty" in output
    np.testing.assert_array_equal(read_labels(tmp_path / "back/a.tif"), disks)
