"""Reading parts of Zarr, OME-Zarr and TIFF."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr

from karyoseg.core.io.image_files import ImageError
from karyoseg.core.io.images import read_image
from karyoseg.core.io.inputs import find_images
from karyoseg.core.io.large_images import is_large, open_large

CYX = np.random.default_rng(0).integers(0, 60_000, (3, 130, 170)).astype(np.uint16)
YXC = np.moveaxis(CYX, 0, -1)
PART = (slice(3, 90), slice(5, 160))


def ome_zarr(folder: Path, version: str, array: np.ndarray = CYX, axes: str = "cyx") -> str:
    """Write an image of two resolutions."""
    group = zarr.open_group(folder, mode="w", zarr_format=2 if version == "0.4" else 3)
    for level, step in enumerate((1, 2)):
        level_array = array[..., ::step, ::step]
        group.create_array(
            str(level), shape=level_array.shape, chunks=(1,) * (array.ndim - 2) + (64, 64), dtype=array.dtype
        )
        group[str(level)][:] = level_array
    described = [{"name": a, "type": "space", "unit": "micrometer"} if a in "yx" else {"name": a} for a in axes]
    scales = [[0.325 * step if a in "yx" else 1.0 for a in axes] for step in (1, 2)]
    image = {
        "axes": described,
        "datasets": [
            {"path": str(n), "coordinateTransformations": [{"type": "scale", "scale": scale}]}
            for n, scale in enumerate(scales)
        ],
    }
    if version == "0.4":
        group.attrs.update({"multiscales": [image | {"version": version}]})
    else:
        group.attrs.update({"ome": {"version": version, "multiscales": [image]}})
    return str(folder)


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_ome_zarr(tmp_path: Path, version: str) -> None:
    image = open_large(ome_zarr(tmp_path / "a.ome.zarr", version))
    assert (image.shape, image.n_channels, image.pixel_size_um, image.ngff) == ((130, 170), 3, 0.325, version)
    assert np.array_equal(image.read(PART), YXC[PART])
    assert np.array_equal(image.read(PART, [2, 0]), YXC[PART][..., [2, 0]])
    assert np.array_equal(image.read(PART, [1]), CYX[1][PART])
    with pytest.raises(ImageError, match="not one with number 3"):
        image.read(PART, [3])


@pytest.mark.parametrize("layout", [2, 3])
def test_plain_zarr(tmp_path: Path, layout: Any) -> None:
    array = zarr.create_array(tmp_path / "a.zarr", shape=CYX.shape, chunks=(1, 64, 64), dtype=">u2", zarr_format=layout)
    array[:] = CYX
    image = open_large(str(tmp_path / "a.zarr"), "CYX")
    assert image.read(PART).dtype == np.dtype("uint16").newbyteorder("=")
    assert np.array_equal(image.read(PART), YXC[PART])
    with pytest.raises(ImageError, match="axes"):
        open_large(str(tmp_path / "a.zarr"))


@pytest.mark.parametrize("names", [["dim_0", "dim_1"], [None, None], ["y", "x"]])
def test_an_array_of_two_dimensions_needs_no_names(tmp_path: Path, names: Any) -> None:
    array = zarr.create_array(tmp_path / "a.zarr", shape=CYX[0].shape, dtype="u2", dimension_names=names)
    array[:] = CYX[0]
    assert np.array_equal(open_large(str(tmp_path / "a.zarr")).read(PART), CYX[0][PART])


def test_tiff_with_resolutions_and_threads(tmp_path: Path) -> None:
    colours = (YXC >> 8).astype(np.uint8)
    with tifffile.TiffWriter(tmp_path / "a.ome.tif") as tif:
        options: dict[str, Any] = {"tile": (64, 64), "photometric": "rgb", "compression": "zlib"}
        tif.write(colours, subifds=1, metadata={"axes": "YXS", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}, **options)
        tif.write(colours[::2, ::2], subfiletype=1, **options)
    image = open_large(str(tmp_path / "a.ome.tif"))
    assert (image.shape, image.n_channels, image.pixel_size_um) == ((130, 170), 3, 0.5)
    with ThreadPoolExecutor(8) as pool:
        for part in pool.map(lambda _: image.read(PART), range(40)):
            assert np.array_equal(part, colours[PART])


@pytest.mark.parametrize(
    ("array", "options"),
    [
        (CYX[0], {"photometric": "minisblack"}),
        ((CYX[0] >> 8).astype(np.uint8), {"photometric": "miniswhite", "tile": (32, 32)}),
        (CYX[0] > 30_000, {"photometric": "miniswhite", "tile": (32, 32)}),
        (
            np.dstack([YXC, YXC[..., 0]]),
            {"photometric": "rgb", "extrasamples": ["unassalpha"], "planarconfig": "contig"},
        ),
        (CYX, {"photometric": "minisblack", "metadata": {"axes": "CYX"}, "ome": True}),
    ],
)
def test_tiffs_give_what_reading_them_whole_gives(tmp_path: Path, array: np.ndarray, options: dict[str, Any]) -> None:
    path = str(tmp_path / "a.tif")
    tifffile.imwrite(path, array, **options)
    whole = read_image(path)
    large = open_large(path)
    assert np.array_equal(large.read((slice(0, 130), slice(0, 170))), whole.array)
    assert large.pixel_size_um == whole.pixel_size_um


@pytest.mark.parametrize(
    "options", [{"tile": (32, 32)}, {"tile": (32, 32), "compression": "zlib"}, {"rowsperstrip": 8}, {}]
)
def test_half_a_tiff_is_refused_before_any_pixel_is_read(tmp_path: Path, options: dict[str, Any]) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, CYX[0], **options)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    for read in (open_large, read_image):
        with pytest.raises(ImageError, match="truncated: the file has"):
            read(str(path))


def test_what_is_no_image_to_segment_is_named_the_same_whole_and_in_parts(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "cmyk.tif", np.moveaxis(CYX[[0, 1, 2, 0]], 0, -1), photometric="separated")
    with tifffile.TiffWriter(tmp_path / "several.tif") as writer:
        for image in (CYX[0], CYX[0, :50]):
            writer.write(image, metadata=None)
    with tifffile.TiffWriter(tmp_path / "chain.tif") as writer:
        for image in CYX:
            writer.write(image, contiguous=False, metadata=None)
    with tifffile.TiffFile(tmp_path / "chain.tif") as tif:
        last = tif.pages[2].offset
    (tmp_path / "chain.tif").write_bytes((tmp_path / "chain.tif").read_bytes()[:last])
    for name, found in {"cmyk": "CMYK colours", "several": "2 images in one file", "chain": "invalid .*page"}.items():
        for read in (open_large, read_image):
            with pytest.raises(ImageError, match=found):
                read(str(tmp_path / f"{name}.tif"), "CYX")


def test_a_file_of_several_is_read_without_the_others(tmp_path: Path) -> None:
    planes = "".join(
        f'<TiffData FirstC="{c}" IFD="0" PlaneCount="1"><UUID FileName="{c}.ome.tif">urn:uuid:{c}</UUID></TiffData>'
        for c in range(2)
    )
    for c in range(2):
        described = (
            f'<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="urn:uuid:{c}">'
            f'<Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="uint16" SizeX="170" SizeY="130" '
            f'SizeC="2" SizeZ="1" SizeT="1">{planes}</Pixels></Image></OME>'
        )
        tifffile.imwrite(tmp_path / f"{c}.ome.tif", CYX[c], description=described, metadata=None)
    path = str(tmp_path / "1.ome.tif")
    assert np.array_equal(read_image(path).array, CYX[1])
    assert np.array_equal(open_large(path).read((slice(0, 130), slice(0, 170))), CYX[1])


def test_tiles_that_a_scanner_left_out_are_empty(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"

    def leave_out(kept: int) -> None:
        tifffile.imwrite(path, CYX[0], tile=(64, 64))
        with tifffile.TiffFile(path, mode="r+") as tif:
            for tag in ("TileOffsets", "TileByteCounts"):
                values = tif.pages.first.tags[tag].value
                tif.pages.first.tags[tag].overwrite((*values[:kept], *[0] * (len(values) - kept)))

    leave_out(3)
    image = open_large(str(path)).read((slice(0, 130), slice(0, 170)))
    assert np.array_equal(image[:64], CYX[0, :64])
    assert not image[64:].any()
    with pytest.raises(ImageError, match="tiles are missing"):  # which no program leaves out of a small image
        read_image(path)
    leave_out(0)
    with pytest.raises(ImageError, match="tiles are missing"):
        open_large(str(path))


def test_an_image_that_is_written_anew_is_opened_anew(tmp_path: Path) -> None:
    for value, shape in ((1, (64, 64)), (9, (32, 48))):
        (tmp_path / "a.tif").unlink(missing_ok=True)
        tifffile.imwrite(tmp_path / "a.tif", np.full(shape, value, np.uint8), tile=(16, 16))
        zarr.create_array(tmp_path / "a.zarr", shape=shape, dtype="u1", overwrite=True)[:] = value
        for name in ("a.tif", "a.zarr"):
            image = open_large(str(tmp_path / name))
            assert image.shape == shape
            assert (image.read((slice(0, 9), slice(0, 9))) == value).all()


def test_axes_explain_only_what_a_file_does_not(tmp_path: Path) -> None:
    path = str(tmp_path / "unit.zarr")
    array = zarr.create_array(path, shape=(1, *CYX.shape), dtype=CYX.dtype)
    array[:] = CYX[None]
    assert open_large(path, "CYX").n_channels == len(CYX)
    assert open_large(ome_zarr(tmp_path / "c.zarr", "0.4"), "ZYX").n_channels == len(CYX)
    with pytest.raises(ImageError, match="depth stack"):
        open_large(ome_zarr(tmp_path / "z.zarr", "0.4", CYX, "zyx"), "CYX")
    with pytest.raises(ImageError, match="4 axes"):
        open_large(path, "YX")


def test_stores_of_several_images(tmp_path: Path) -> None:
    series = zarr.open_group(tmp_path / "series.zarr", mode="w", zarr_format=2)
    series.attrs["bioformats2raw.layout"] = 3
    ome_zarr(tmp_path / "series.zarr/0", "0.4")
    assert open_large(str(tmp_path / "series.zarr")).shape == (130, 170)
    ome_zarr(tmp_path / "series.zarr/1", "0.4", CYX[..., :99])
    with pytest.raises(ImageError, match=r"2 images in one store .*series\.zarr/0"):
        open_large(str(tmp_path / "series.zarr"))
    (found,) = find_images(str(tmp_path / "series.zarr/1/"))
    assert (found.stem, open_large(found.path).shape) == ("series_1", (130, 99))


def test_what_is_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tifffile.imwrite(tmp_path / "a.tif", CYX[0])
    assert is_large(str(tmp_path / "a.tif"), 0.02)
    assert not is_large(str(tmp_path / "a.tif"), 0.03)
    assert is_large("s3://bucket/a.ome.zarr/", 1)
    assert not is_large(str(tmp_path / "missing.tif"), 0)
    tifffile.imwrite(tmp_path / "stains.tif", CYX, photometric="minisblack", metadata={"axes": "CYX"})
    assert not is_large(str(tmp_path / "stains.tif"), 0.03)
    monkeypatch.setattr("karyoseg.core.io.large_images.MAX_VALUES", CYX.size - 1)
    assert is_large(str(tmp_path / "stains.tif"), 0.03)


def test_what_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="no Zarr that can be opened"):
        open_large(str(tmp_path / "missing.zarr"))
    zarr.open_group(tmp_path / "group.zarr", mode="w").create_array("a", shape=(3, 3), dtype="u1")
    with pytest.raises(ImageError, match="a group with a"):
        open_large(str(tmp_path / "group.zarr"))
    with pytest.raises(ImageError, match=r"time series \(T\)"):
        open_large(ome_zarr(tmp_path / "t.zarr", "0.4", CYX, "tyx"))
    array = zarr.create_array(tmp_path / "nan.zarr", shape=(9, 9), dtype="f4")
    array[:] = np.nan
    with pytest.raises(ImageError, match="NaN or infinite"):
        open_large(str(tmp_path / "nan.zarr")).read((slice(0, 9), slice(0, 9)))


def test_samples(tmp_path: Path) -> None:
    image = open_large(ome_zarr(tmp_path / "a.zarr", "0.5", np.tile(CYX[0], (20, 20)), "yx"))
    assert np.array_equal(image.sample(), np.tile(CYX[0], (20, 20)))
    sample = image.sample(limit=3e6)
    assert sample.shape == (2048, 1024)
