"""Real files of every supported kind, and broken ones."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
import zarr
from PIL import Image

from karyoseg.core.axes import parse_axes
from karyoseg.core.errors import KaryosegError
from karyoseg.core.io.image_files import ImageError
from karyoseg.core.io.images import read_image, read_labels
from karyoseg.core.io.large_images import open_large
from karyoseg.core.threads import map_completed

SHAPE = (37, 52)
#: A label image: 104 squares.
SQUARES = np.kron(np.arange(104, dtype=np.uint8).reshape(8, 13), np.ones((5, 4), np.uint8))[: SHAPE[0]]
SMALL_COMPRESSED = (None, "lzw", "zlib", "adobe_deflate", "packbits", "zstd")


def pixels(dtype: str, *shape: int) -> np.ndarray:
    """Random pixels over the whole range of an integer type, or normal floats; the same at each call."""
    rng = np.random.default_rng(7)
    if np.dtype(dtype).kind == "f":
        return rng.normal(size=shape).astype(dtype)
    info = np.iinfo(dtype)
    return rng.integers(info.min, info.max, shape, dtype=dtype, endpoint=True)


def same(found: np.ndarray, expected: np.ndarray) -> bool:
    """Tell whether two arrays agree in type, byte order and every pixel."""
    return found.dtype == expected.dtype.newbyteorder("=") and np.array_equal(found, expected)


@pytest.mark.parametrize("compression", SMALL_COMPRESSED)
@pytest.mark.parametrize("dtype", ["u1", "u2", "u4", "i1", "i2", "i4", "f4", "f8"])
def test_gray_tiff(tmp_path: Path, dtype: str, compression: str | None) -> None:
    expected = pixels(dtype, *SHAPE)
    tifffile.imwrite(tmp_path / "a.tif", expected, compression=compression, rowsperstrip=8)
    image = read_image(tmp_path / "a.tif")
    assert image.axes == "YX"
    assert image.pixel_size_um is None
    assert same(image.array, expected)


@pytest.mark.parametrize(
    "options",
    [
        {"tile": (16, 32)},
        {"byteorder": ">"},
        {"bigtiff": True},
        {"bigtiff": True, "byteorder": ">", "tile": (16, 16), "compression": "zlib"},
        {"compression": "lzw", "predictor": True},
        {"imagej": True},
        {"ome": True},
        {"software": "x", "metadata": None},
    ],
    ids=str,
)
def test_tiff_layouts(tmp_path: Path, options: dict) -> None:
    expected = pixels("u2", *SHAPE)
    tifffile.imwrite(tmp_path / "a.tif", expected, **options)
    assert same(read_image(tmp_path / "a.tif").array, expected)


@pytest.mark.parametrize("dtype", ["u1", "u2", "f4"])
@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_rgb_tiff(tmp_path: Path, dtype: str, planar: str) -> None:
    expected = pixels(dtype, *SHAPE, 3)
    stored = expected if planar == "contig" else np.moveaxis(expected, -1, 0)
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="rgb", planarconfig=planar)
    image = read_image(tmp_path / "a.tif")
    assert image.axes == "YXC"
    assert same(image.array, expected)


def test_jpeg_in_tiff_is_decoded_as_imagecodecs_does(tmp_path: Path) -> None:
    smooth = np.add.outer(np.arange(64), np.arange(80)).astype(np.uint8)
    tifffile.imwrite(tmp_path / "gray.tif", smooth, compression="jpeg", compressionargs={"level": 90})
    tifffile.imwrite(tmp_path / "rgb.tif", np.stack([smooth] * 3, -1), compression="jpeg", photometric="rgb")
    expected = imagecodecs.jpeg8_decode(imagecodecs.jpeg8_encode(smooth, level=90))
    assert same(read_image(tmp_path / "gray.tif").array, expected)
    rgb = read_image(tmp_path / "rgb.tif").array
    assert rgb.shape == (64, 80, 3)
    assert np.abs(rgb.astype(int) - smooth[..., None]).max() < 12


def test_alpha_is_dropped_from_tiff(tmp_path: Path) -> None:
    expected = pixels("u1", *SHAPE, 4)
    tifffile.imwrite(tmp_path / "a.tif", expected, photometric="rgb", extrasamples=["unassalpha"])
    assert same(read_image(tmp_path / "a.tif").array, expected[..., :3])


def test_extra_samples_that_are_no_alpha_are_channels(tmp_path: Path) -> None:
    expected = pixels("u2", *SHAPE, 2)
    tifffile.imwrite(tmp_path / "a.tif", expected, photometric="minisblack", planarconfig="contig")
    assert same(read_image(tmp_path / "a.tif").array, expected)


@pytest.mark.parametrize(
    ("shape", "options", "n_channels", "has_stains"),
    [
        ((*SHAPE, 4), {}, 3, False),
        ((*SHAPE, 2), {"photometric": "minisblack", "planarconfig": "contig"}, 2, True),
        ((*SHAPE, 5), {"photometric": "rgb", "extrasamples": ["unspecified", "unspecified"]}, 5, True),
        ((*SHAPE, 5), {"photometric": "rgb", "extrasamples": ["unspecified", "unassalpha"]}, 4, True),
        ((4, *SHAPE), {"photometric": "rgb", "planarconfig": "separate", "extrasamples": ["unassalpha"]}, 4, True),
        ((3, *SHAPE), {"photometric": "rgb", "planarconfig": "separate"}, 3, True),
    ],
)
def test_channels_that_are_stored_like_colours(
    tmp_path: Path, shape: tuple[int, ...], options: dict[str, Any], n_channels: int, has_stains: bool
) -> None:
    array = pixels("u2", *shape)
    tifffile.imwrite(tmp_path / "a.tif", array, **({"photometric": "rgb"} | options))
    expected = np.moveaxis(array, 0, -1) if options.get("planarconfig") == "separate" else array
    whole, parts = read_image(tmp_path / "a.tif"), open_large(str(tmp_path / "a.tif"))
    assert same(whole.array, expected[..., :n_channels])
    assert np.array_equal(parts.read((slice(None), slice(None))), whole.array)
    assert (whole.has_stains, parts.has_stains) == (has_stains, has_stains)


def test_white_is_zero_is_inverted(tmp_path: Path) -> None:
    expected = pixels("u1", *SHAPE)
    tifffile.imwrite(tmp_path / "a.tif", 255 - expected, photometric="miniswhite")
    assert same(read_image(tmp_path / "a.tif").array, expected)


def test_palette_tiff(tmp_path: Path, rng: np.random.Generator) -> None:
    index = SQUARES
    table = rng.integers(0, 2**16, (3, 256), dtype=np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", index, photometric="palette", colormap=table)
    assert same(read_image(tmp_path / "a.tif").array, np.moveaxis((table >> 8).astype(np.uint8)[:, index], 0, -1))
    assert np.array_equal(read_labels(tmp_path / "a.tif"), index)


@pytest.mark.parametrize("axes", ["CYX", "YX"])
@pytest.mark.parametrize("flavour", ["imagej", "ome"])
def test_self_described_channels(tmp_path: Path, axes: str, flavour: str) -> None:
    expected = pixels("u2", *((2, *SHAPE) if axes == "CYX" else SHAPE))
    tifffile.imwrite(tmp_path / "a.tif", expected, metadata={"axes": axes}, **{flavour: True})
    image = read_image(tmp_path / "a.tif")
    assert same(image.array, np.moveaxis(expected, 0, -1) if axes == "CYX" else expected)


@pytest.mark.parametrize(("axes", "word"), [("ZYX", "depth stack"), ("TYX", "time series")])
@pytest.mark.parametrize("flavour", ["imagej", "ome"])
def test_stacks_are_refused(tmp_path: Path, axes: str, word: str, flavour: str) -> None:
    tifffile.imwrite(tmp_path / "a.tif", pixels("u1", 4, *SHAPE), metadata={"axes": axes}, **{flavour: True})
    with pytest.raises(ImageError, match=rf"a\.tif: a {word}.*4 x 37 x 52"):
        read_image(tmp_path / "a.tif")


def test_unexplained_pages_need_axes(tmp_path: Path) -> None:
    expected = pixels("u2", 3, *SHAPE)
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        for page in expected:
            writer.write(page, contiguous=False, metadata=None)
    with pytest.raises(ImageError, match=r"several pages.*axes"):
        read_image(tmp_path / "a.tif")
    assert same(read_image(tmp_path / "a.tif", axes="cyx").array, np.moveaxis(expected, 0, -1))
    with pytest.raises(ImageError, match="depth stack"):
        read_image(tmp_path / "a.tif", axes="ZYX")
    with pytest.raises(ImageError, match="3 axes"):
        read_image(tmp_path / "a.tif", axes="YX")


@pytest.mark.parametrize("axes", ["CYX", "ZYX", "YX"])
def test_what_a_file_says_of_its_axes_counts(tmp_path: Path, axes: str) -> None:
    for name, shape, options in (
        ("gray", SHAPE, {}),
        ("colour", (*SHAPE, 3), {"photometric": "rgb"}),
        ("channels", (4, *SHAPE), {"ome": True, "metadata": {"axes": "CYX"}, "photometric": "minisblack"}),
    ):
        path = tmp_path / f"{name}.tif"
        tifffile.imwrite(path, pixels("u1", *shape), **options)
        assert same(read_image(path, axes).array, read_image(path).array)
    tifffile.imwrite(tmp_path / "z.tif", pixels("u1", 4, *SHAPE), metadata={"axes": "ZYX"}, photometric="minisblack")
    with pytest.raises(ImageError, match="depth stack"):
        read_image(tmp_path / "z.tif", axes)


def test_pages_of_different_size_are_refused(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        writer.write(pixels("u1", 20, 20), metadata=None)
        writer.write(pixels("u1", 30, 40), metadata=None)
    with pytest.raises(ImageError, match="2 images in one file"):
        read_image(tmp_path / "a.tif")


def test_thumbnail_page_is_ignored(tmp_path: Path) -> None:
    expected = pixels("u1", 40, 40)
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        writer.write(expected, metadata=None)
        writer.write(expected[::4, ::4], metadata=None, subfiletype=1)
    assert same(read_image(tmp_path / "a.tif").array, expected)


@pytest.mark.parametrize("axes", ["YY", "Q", "CSYX", "C"])
def test_wrong_axes_parameter(axes: str) -> None:
    with pytest.raises(KaryosegError, match="axes"):
        parse_axes(axes)


@pytest.mark.parametrize(
    ("mode", "suffix"), [(m, s) for m in ("L", "RGB", "1") for s in ("png", "bmp")] + [("I;16", "png")]
)
def test_png_and_bmp(tmp_path: Path, mode: str, suffix: str) -> None:
    stored = {"L": pixels("u1", *SHAPE), "RGB": pixels("u1", *SHAPE, 3), "I;16": pixels("u2", *SHAPE)}.get(mode)
    if mode == "1":
        stored = (pixels("u1", *SHAPE) > 99).astype(np.uint8)
        Image.fromarray(stored.astype(bool)).save(tmp_path / f"a.{suffix}")
    else:
        Image.fromarray(stored).save(tmp_path / f"a.{suffix}")
    assert same(read_image(tmp_path / f"a.{suffix}").array, stored)


@pytest.mark.parametrize(("mode", "kept"), [("RGBA", 3), ("LA", 1)])
def test_alpha_is_dropped_from_png(tmp_path: Path, mode: str, kept: int) -> None:
    stored = pixels("u1", *SHAPE, len(mode))
    Image.fromarray(stored, mode).save(tmp_path / "a.png")
    assert same(read_image(tmp_path / "a.png").array, stored[..., :kept].squeeze())


@pytest.mark.parametrize("channels", [2, 3, 4])
def test_deep_colour_png(tmp_path: Path, channels: int) -> None:
    stored = pixels("u2", *SHAPE, channels)
    (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(stored))
    kept = {2: 1, 3: 3, 4: 3}[channels]
    assert same(read_image(tmp_path / "a.png").array, stored[..., :kept].squeeze())


def test_palette_png(tmp_path: Path) -> None:
    index = SQUARES // 7
    image = Image.fromarray(index, "P")
    image.putpalette(bytes(range(48)))
    image.save(tmp_path / "colour.png")
    assert same(read_image(tmp_path / "colour.png").array, np.stack([index * 3, index * 3 + 1, index * 3 + 2], -1))
    image.putpalette([value * 10 for value in range(16) for _ in "rgb"])
    image.save(tmp_path / "gray.png")
    assert same(read_image(tmp_path / "gray.png").array, index * 10)
    assert np.array_equal(read_labels(tmp_path / "gray.png"), index)


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_jpeg(tmp_path: Path, mode: str) -> None:
    Image.fromarray(pixels("u1", 16, 16, 3)).convert(mode).save(tmp_path / "a.jpg")
    expected = np.asarray(Image.open(tmp_path / "a.jpg").convert("RGB" if mode == "CMYK" else mode))
    assert same(read_image(tmp_path / "a.jpg").array, expected)


@pytest.mark.parametrize("suffix", ["tif", "png", "bmp", "jpg"])
def test_one_pixel(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    one = np.array([[200]], np.uint8)
    tifffile.imwrite(path, one) if suffix == "tif" else Image.fromarray(one).save(path)
    assert read_image(path).array.tolist() == [[200]]


def test_content_decides_not_suffix(tmp_path: Path) -> None:
    expected = pixels("u1", *SHAPE)
    Image.fromarray(expected).save(tmp_path / "a.tif", format="PNG")
    assert same(read_image(tmp_path / "a.tif").array, expected)


@pytest.mark.slow
def test_ten_thousand_squared(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((14_000, 14_000), np.uint8)).save(tmp_path / "a.png", compress_level=1)
    assert read_image(tmp_path / "a.png").array.shape == (14_000, 14_000)


def write_kinds(folder: Path) -> list[Path]:
    """Write one noisy image of each kind."""
    array = pixels("u1", 64, 64)
    paths = []
    for compression in (None, "lzw", "zlib", "jpeg"):
        paths.append(folder / f"{compression}.tif")
        tifffile.imwrite(paths[-1], array, compression=compression, rowsperstrip=16)
    for suffix in ("png", "jpg", "bmp"):
        paths.append(folder / f"a.{suffix}")
        Image.fromarray(array).save(paths[-1])
    paths.append(folder / "deep.png")
    paths[-1].write_bytes(imagecodecs.png_encode(pixels("u2", 64, 64, 3)))
    return paths


@pytest.mark.parametrize("part", [0.004, 0.05, 0.3, 0.6, 0.9, 0.98])
def test_truncated_files(tmp_path: Path, part: float) -> None:
    for path in write_kinds(tmp_path):
        whole = path.read_bytes()
        path.write_bytes(whole[: int(len(whole) * part)])
        with pytest.raises(ImageError, match=path.name):
            read_image(path)


def test_files_read_at_once_are_told_apart(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "whole.tif") as writer:
        for _ in range(3):
            writer.write(pixels("u1", *SHAPE), contiguous=False, metadata=None)
    # Cut before the last page: that it is missing is only logged by tifffile.
    (tmp_path / "broken.tif").write_bytes((tmp_path / "whole.tif").read_bytes()[:-2150])
    kinds = ["whole", "broken"] * 100

    def outcome(kind: str) -> tuple[str, bool]:
        try:
            read_image(tmp_path / f"{kind}.tif", "CYX")
        except ImageError as error:
            return kind, "damaged" in str(error)
        return kind, False

    found = list(map_completed(outcome, kinds, 8))
    assert found.count(("whole", False)) == found.count(("broken", True)) == 100


def test_truncated_stack_is_not_read_as_a_shorter_one(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        for page in pixels("u1", 3, *SHAPE):
            writer.write(page, contiguous=False, metadata=None)
    whole = (tmp_path / "a.tif").read_bytes()
    for cut in (60, 2000, 2500, 4200):
        (tmp_path / "a.tif").write_bytes(whole[:-cut])
        with pytest.raises(ImageError, match="damaged"):
            read_image(tmp_path / "a.tif", axes="CYX")


@pytest.mark.parametrize(
    ("content", "word"),
    [(b"", "0 bytes"), (b"just a text\n" * 9, "not an image"), (b"II*\0garbage", "damaged")],
)
@pytest.mark.parametrize("suffix", ["tif", "png"])
def test_no_image(tmp_path: Path, content: bytes, word: str, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(content)
    with pytest.raises(ImageError, match=word) as caught:
        read_image(path)
    assert caught.value.problem.where == str(path)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="no such file"):
        read_image(tmp_path / "none.tif")
    with pytest.raises(ImageError, match="cannot be opened"):
        read_image(tmp_path)


def test_complex_and_huge_are_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.zeros(SHAPE, np.complex64))
    with pytest.raises(ImageError, match="complex64"):
        read_image(tmp_path / "a.tif")
    header = bytearray(imagecodecs.png_encode(pixels("u2", 4, 4, 3)))
    header[16:24] = (2**24).to_bytes(4) * 2
    (tmp_path / "a.png").write_bytes(header)
    with pytest.raises(ImageError, match="16777216 x 16777216"):
        read_image(tmp_path / "a.png")


def test_member_of_a_zip(tmp_path: Path) -> None:
    expected = pixels("u2", *SHAPE)
    tifffile.imwrite(tmp_path / "a.tif", expected)
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
        archive.write(tmp_path / "a.tif", "sub folder/a.tif")
    assert same(read_image(f"zip://sub folder/a.tif::{tmp_path / 'b.zip'}").array, expected)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"resolution": (2, 2), "imagej": True, "metadata": {"unit": "micron"}}, 0.5),
        ({"resolution": (2, 2), "imagej": True, "metadata": {"unit": "\\u00B5m"}}, 0.5),
        ({"resolution": (0.004, 0.004), "imagej": True, "metadata": {"unit": "nm"}}, 0.25),
        ({"resolution": (2, 2), "imagej": True, "metadata": {"unit": "pixel"}}, None),
        ({"resolution": (72, 72), "imagej": True, "metadata": {"unit": "inch"}}, None),
        ({"resolution": (20_000, 20_000), "resolutionunit": "CENTIMETER"}, 0.5),
        ({"resolution": (50_800, 50_800), "resolutionunit": "INCH"}, 0.5),
        ({"resolution": (72, 72), "resolutionunit": "INCH"}, None),
        ({"resolution": (300, 300), "resolutionunit": "INCH"}, None),
        ({"resolution": (1, 1), "resolutionunit": "CENTIMETER"}, None),
        ({"resolution": (20_000, 20_000), "resolutionunit": "NONE"}, None),
        ({"resolution": (20_000, 5_000), "resolutionunit": "CENTIMETER"}, 1.0),
        ({"ome": True, "metadata": {"PhysicalSizeX": 0.3, "PhysicalSizeY": 0.3}}, 0.3),
        (
            {
                "ome": True,
                "metadata": {
                    "PhysicalSizeX": 300,
                    "PhysicalSizeXUnit": "nm",
                    "PhysicalSizeY": 0.3,
                    "PhysicalSizeYUnit": "µm",
                },
            },
            0.3,
        ),
    ],
    ids=str,
)
def test_pixel_size(tmp_path: Path, options: dict, expected: float | None) -> None:
    tifffile.imwrite(tmp_path / "a.tif", pixels("u1", *SHAPE), **options)
    assert read_image(tmp_path / "a.tif").pixel_size_um == (expected and pytest.approx(expected, rel=1e-6))


@pytest.mark.parametrize("dtype", ["u1", "u2", "u4", "i2", "i4", "i8", "f4"])
def test_labels_of_any_integer_type(tmp_path: Path, dtype: str) -> None:
    expected = SQUARES.astype(dtype)
    tifffile.imwrite(tmp_path / "a.tif", expected)
    labels = read_labels(tmp_path / "a.tif")
    assert labels.dtype == np.int32
    assert np.array_equal(labels, expected)


def test_negative_labels_are_kept(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.array([[-1, 0, 5]], np.int32))
    assert read_labels(tmp_path / "a.tif").tolist() == [[-1, 0, 5]]


@pytest.mark.parametrize(
    ("array", "word"),
    [
        (np.array([[0.5, 1]], np.float32), "fractions"),
        (np.array([[np.nan, 1]], np.float32), "fractions"),
        (np.array([[0, 2**31]], np.uint32), "2147483648"),
        (np.tile(np.array([[0, 255]], np.uint8), 2), "binary mask.*255 in 2"),
        (np.tile(np.array([[0, 1]], np.uint8), 4), "binary mask.*1 in 4"),
    ],
)
def test_refused_labels(tmp_path: Path, array: np.ndarray, word: str) -> None:
    tifffile.imwrite(tmp_path / "a.tif", array)
    with pytest.raises(ImageError, match=word):
        read_labels(tmp_path / "a.tif")


def test_labels_that_went_through_jpeg_are_refused(tmp_path: Path) -> None:
    labels = np.zeros((64, 64), np.uint8)
    labels[8:24, 8:24], labels[30:50, 30:60] = 1, 200
    Image.fromarray(labels).save(tmp_path / "a.jpg")
    tifffile.imwrite(tmp_path / "a.tif", labels, compression="jpeg")
    for name in ("a.jpg", "a.tif"):
        assert read_image(tmp_path / name).lossy
        with pytest.raises(ImageError, match=r"JPEG.*PNG or TIFF"):
            read_labels(tmp_path / name)


def test_colour_labels(tmp_path: Path) -> None:
    gray = SQUARES
    Image.fromarray(np.stack([gray] * 3, -1)).convert("RGBA").save(tmp_path / "equal.png")
    Image.fromarray(pixels("u1", *SHAPE, 3)).save(tmp_path / "colour.png")
    assert np.array_equal(read_labels(tmp_path / "equal.png"), gray)
    with pytest.raises(ImageError, match="colour image with 3 channels"):
        read_labels(tmp_path / "colour.png")


def test_one_object_in_a_mask_is_a_label_image(tmp_path: Path) -> None:
    mask = np.zeros(SHAPE, bool)
    mask[3:9, 4:8] = True
    Image.fromarray(mask).save(tmp_path / "a.png")
    assert np.array_equal(read_labels(tmp_path / "a.png"), mask)
    Image.fromarray(mask | np.roll(mask, 20, axis=1)).save(tmp_path / "a.png")
    with pytest.raises(ImageError, match="binary mask"):
        read_labels(tmp_path / "a.png")


def test_a_mask_in_zarr_is_a_mask(tmp_path: Path) -> None:
    mask = np.zeros(SHAPE, bool)
    mask[3:9, 4:8] = True
    zarr.save_array(str(tmp_path / "one.zarr"), mask)
    assert np.array_equal(read_labels(str(tmp_path / "one.zarr")), mask)
    zarr.save_array(str(tmp_path / "two.zarr"), mask | np.roll(mask, 20, axis=1))
    with pytest.raises(ImageError, match="binary mask"):
        read_labels(str(tmp_path / "two.zarr"))


def test_masks_of_classes_are_refused(tmp_path: Path) -> None:
    nuclei = np.kron(np.arange(400).reshape(20, 20) + 1, np.pad(np.ones((4, 4), int), 1))
    classes = np.where(nuclei > 0, 1 + nuclei % 2, 0)
    for name, labels in {"classes": classes, "ilastik": 1 + (nuclei > 0), "again": nuclei % 256}.items():
        tifffile.imwrite(tmp_path / f"{name}.tif", labels.astype(np.uint8))
        with pytest.raises(ImageError, match=r"separate regions: classes, or numbers that began again"):
            read_labels(tmp_path / f"{name}.tif")
    halves = np.where(nuclei <= 100, nuclei, 0)
    halves[::6] = 0
    halves[2::6] = 0  # each nucleus in two pieces
    tifffile.imwrite(tmp_path / "halves.tif", halves.astype(np.uint8))
    assert np.array_equal(read_labels(tmp_path / "halves.tif"), halves)
