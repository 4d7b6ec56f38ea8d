"""The embedded sample is a complete archive in the layout of S-BSST265."""

import csv
import io
import zipfile
from importlib.metadata import PackageNotFoundError

import numpy as np
import pytest
import tifffile

from karyoseg.core.errors import KaryosegError
from karyoseg.core.sources import sample
from karyoseg.core.sources.sample import COLUMNS, write_sample
from karyoseg.core.synthetic import SAMPLE_CLASSES


def rows_of(archive: zipfile.ZipFile) -> list[dict[str, str]]:
    text = archive.read("image_description.csv").decode()
    return list(csv.DictReader(io.StringIO(text), delimiter=";"))


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    path = tmp_path_factory.mktemp("sample") / "sample.zip"
    write_sample(path, n_train=8, n_test=4, size=96, seed=1)
    assert [p.name for p in path.parent.iterdir()] == ["sample.zip"]
    with zipfile.ZipFile(path) as opened:
        yield opened


def test_table_lists_every_image_with_its_mask(archive):
    rows = rows_of(archive)
    assert tuple(rows[0]) == COLUMNS
    names = {row["Image_Name"] for row in rows}
    assert len(names) == len(rows) == 8 + 4 + 1
    files = {f"{folder}/{name}.tif" for name in names for folder in ("rawimages", "groundtruth")}
    assert set(archive.namelist()) == files | {"image_description.csv"}


def test_images_and_masks_fit(archive):
    dtypes = set()
    for row in rows_of(archive):
        image, mask = (
            tifffile.imread(io.BytesIO(archive.read(f"{folder}/{row['Image_Name']}.tif")))
            for folder in ("rawimages", "groundtruth")
        )
        assert image.shape == mask.shape
        assert mask.dtype == np.uint16
        assert mask.max() > 0
        if row["Testset class"] != "real":
            assert image.shape == (96, 96)
            dtypes.add(image.dtype)
        # The published figures have one decimal.
        fg, bg = (float(row[column].replace(",", ".")) for column in ("Mean FG signal", "Mean BG signal"))
        assert fg == pytest.approx(image[mask > 0].mean(), abs=0.051)
        assert bg == pytest.approx(image[mask == 0].mean(), abs=0.051)
        assert "," in row["Signal/Noise"]
    assert dtypes == {np.dtype("uint8"), np.dtype("uint16")}


def test_splits_and_classes(archive):
    rows = rows_of(archive)
    test = [row for row in rows if row["Train-/Testset split"] == "test"]
    assert {row["Testset class"] for row in test} == {*SAMPLE_CLASSES, "real"}
    train = [row for row in rows if row["Train-/Testset split"] == "train"]
    assert len(train) == 8
    assert {row["Testset class"] for row in train} == {"-"}
    assert {row["Magnification"] for row in train} <= {"10x", "20x", "40x", "63x"}


def test_real_image_is_the_one_stardist_ships(archive):
    image = tifffile.imread(io.BytesIO(archive.read("rawimages/real_stardist.tif")))
    mask = tifffile.imread(io.BytesIO(archive.read("groundtruth/real_stardist.tif")))
    assert image.shape == (512, 512)
    assert image[mask > 0].mean() > 2 * image[mask == 0].mean()


def test_pixel_size_is_in_the_tiff(archive):
    row = next(row for row in rows_of(archive) if row["Magnification"] == "20x")
    with tifffile.TiffFile(io.BytesIO(archive.read(f"rawimages/{row['Image_Name']}.tif"))) as tif:
        numerator, denominator = tif.pages.first.tags["XResolution"].value
        assert tif.pages.first.tags["ResolutionUnit"].value == 3  # centimetre
        assert 1e4 * denominator / numerator == pytest.approx(6.45 / 20, rel=1e-4)


def test_same_seed_same_bytes(tmp_path):
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        write_sample(tmp_path / name, n_train=2, n_test=1, size=64, seed=seed)
    a, b, c = ((tmp_path / name).read_bytes() for name in "abc")
    assert a == b
    assert a != c


def test_train_images_do_not_depend_on_the_number_of_test_images(tmp_path):
    for n_test in (0, 2):
        write_sample(tmp_path / str(n_test), n_train=1, n_test=n_test, size=64, seed=5)
    with zipfile.ZipFile(tmp_path / "0") as few, zipfile.ZipFile(tmp_path / "2") as more:
        name = few.namelist()[0]
        assert few.read(name) == more.read(name)


def test_without_stardist_the_error_says_what_to_do(tmp_path, monkeypatch):
    def absent(name: str) -> None:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(sample, "distribution", absent)
    with pytest.raises(KaryosegError, match="pip install stardist"):
        write_sample(tmp_path / "sample.zip")
    assert not list(tmp_path.iterdir())


def test_without_the_image_the_error_names_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(sample, "_REAL", ("stardist/absent.tif", "stardist/absent.tif"))
    with pytest.raises(KaryosegError, match=r"absent\.tif.*force-reinstall"):
        write_sample(tmp_path / "sample.zip")


def test_failure_keeps_the_earlier_archive(tmp_path, monkeypatch):
    path = tmp_path / "sample.zip"
    path.write_bytes(b"earlier")

    def broken(*_: object) -> None:
        raise RuntimeError("power cut")

    monkeypatch.setattr(sample, "render_scene", broken)
    with pytest.raises(RuntimeError):
        write_sample(path)
    assert path.read_bytes() == b"earlier"
    assert [p.name for p in tmp_path.iterdir()] == ["sample.zip"]


@pytest.mark.parametrize("wrong", [{"n_train": -1}, {"size": 8}, {"seed": -3}])
def test_numbers_out_of_range_are_refused(tmp_path, wrong):
    with pytest.raises(KaryosegError, match=f"{next(iter(wrong))}={next(iter(wrong.values()))}"):
        write_sample(tmp_path / "sample.zip", **wrong)


def test_path_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(KaryosegError, match="Cannot write"):
        write_sample(tmp_path / "file" / "sample.zip", n_train=1, n_test=0)
