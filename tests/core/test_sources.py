"""Layouts: the same samples come out of each, and gaps are reported."""

from __future__ import annotations

import itertools
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from karyoseg.core.checks import inspect_source
from karyoseg.core.errors import KaryosegError
from karyoseg.core.io.archive import extract
from karyoseg.core.io.images import ImageFile
from karyoseg.core.sources import LAYOUTS, SourceOptions, open_source
from karyoseg.core.sources.dsb2018 import collapse_gray, crop, paint
from karyoseg.core.sources.names import safe_id, unique_ids

LABELS = np.zeros((20, 24), np.uint16)
LABELS[2:8, 3:9], LABELS[10:18, 10:20] = 1, 2


def noise(*shape: int) -> np.ndarray:
    """Random pixels, the same at each call."""
    return np.random.default_rng(0).integers(0, 255, shape or LABELS.shape, dtype=np.uint8)


def save(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix.lower() in (".tif", ".tiff"):
        tifffile.imwrite(path, array)
    else:
        Image.fromarray(array).save(path)


def found(source: object) -> list[str]:
    return [f"{Path(p.where).name}: {p.found}" for p in source.problems]  # type: ignore[attr-defined]


# --- names


@pytest.mark.parametrize("name", ["a", "../a", "ä b", "细胞", "...", "a" * 300, "CON/x\0y", "-rf", "a.b_c-d"])
def test_safe_ids_are_safe(name: str) -> None:
    made = safe_id(name)
    assert 0 < len(made) <= 120
    assert not set(made) - set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")
    assert made[0] not in ".-"
    assert safe_id(made) == made


def test_unique_ids() -> None:
    names = [("train", "a"), ("test", "a"), ("x", "b c"), ("x", "b_c"), ("x", "B_C"), ("x", "d")]
    made = unique_ids(names)
    assert len({i.casefold() for i in made}) == len(names)
    assert made[:2] == ["train-a", "test-a"]
    assert made[-1] == "d"
    for order in itertools.islice(itertools.permutations(range(len(names))), 50):
        assert unique_ids([names[i] for i in order]) == [made[i] for i in order]


# --- bsst265

HEADER = "Image_Name;Diagnosis;Train-/Testset split;Testset class;Magnification;Mean BG signal"


def write_bsst265(root: Path, rows: list[str], encoding: str = "utf-8", header: str = HEADER) -> None:
    root.mkdir(parents=True, exist_ok=True)
    (root / "image_description.csv").write_bytes("\r\n".join([header, *rows]).encode(encoding))


def test_a_class_cannot_have_the_name_of_all_images(tmp_path: Path) -> None:
    """Its scores would be mixed with those of all."""
    write_bsst265(tmp_path, ["a;x;test;all;20x;3,1"])
    save(tmp_path / "rawimages/a.tif", noise())
    save(tmp_path / "groundtruth/a.tif", LABELS)
    with pytest.raises(KaryosegError, match="a is of the class 'all'"):
        open_source(tmp_path, "bsst265")


@pytest.mark.parametrize("nested", ["", "dataset", "a/b"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1"])
def test_bsst265(tmp_path: Path, nested: str, encoding: str) -> None:
    root = tmp_path / nested
    write_bsst265(
        root,
        [
            "Zelle_1;Müller;train;-;20x;3,1",
            "Zelle 2.tif;-;test;GNB-I;62,5x;3,1",
            "Zelle_3;-;Train;-;-;3,1",
            ";;;;;",
        ],
        encoding,
    )
    for name, raw, truth in (
        ("Zelle_1", ".tif", ".tif"), ("Zelle_2", ".TIF", ".tiff"), ("zelle_3", ".tiff", ".tif"),
    ):  # fmt: skip
        save(root / "rawimages" / (name + raw), noise())
        save(root / "groundtruth" / (name + truth), LABELS)
    save(root / "visualized_groundtruth/Zelle_9.tif", noise())
    source = open_source(tmp_path, "bsst265")
    assert found(source) == []
    assert [(r.id, r.split, r.sample_class) for r in source.records] == [
        ("Zelle_1", "train", ""), ("Zelle_2", "test", "GNB-I"), ("zelle_3", "train", ""),
    ]  # fmt: skip
    np.testing.assert_array_equal([r.magnification for r in source.records], [20, 62.5, np.nan])
    np.testing.assert_array_equal(source.read_labels("Zelle_2"), LABELS)
    assert source.read_image("zelle_3").array.shape == LABELS.shape


def test_bsst265_gaps(tmp_path: Path) -> None:
    rows = [
        "ok;-;train;-;20x;1",
        "no_image;-;train;-;20x;1",
        "no_mask;-;test;A;20x;1",
        "odd;-;validation;-;20x;1",
    ]
    write_bsst265(
        tmp_path,
        [
            *rows,
            "twin;-;train;-;20x;1",
            "twin;-;test;-;20x;1",
            "nothing;-;test;-;20x;1",
            "zoom;-;train;-;fast;1",
        ],
    )
    for name in ("ok", "no_mask", "no_row", "odd", "zoom", "twin"):
        save(tmp_path / f"rawimages/{name}.tif", noise())
    for name in ("ok", "no_image", "no_row", "odd", "zoom", "lonely", "twin"):
        save(tmp_path / f"groundtruth/{name}.tif", LABELS)
    source = open_source(tmp_path, "bsst265")
    report = "\n".join(found(source))
    assert [r.id for r in source.records] == ["ok", "zoom"]
    for text in (
        "split 'validation' of odd", "twin listed again", "(nothing): no image in rawimages/ and no mask",
        "no_image.tif: no image in rawimages/",
        "no_mask.tif: no mask in groundtruth/", "no_row.tif: no row in image_description.csv",
        "lonely.tif: no image in rawimages/ and no row", "magnification 'fast'",
    ):  # fmt: skip
        assert text in report
    assert len(source.problems) == 8


def test_bsst265_names_that_cannot_be_told_apart(tmp_path: Path) -> None:
    write_bsst265(tmp_path, ["a_1;-;train;-;20x;1", "ok;-;train;-;20x;1"])
    for name in ("a-1", "a_1", "ok"):
        save(tmp_path / f"rawimages/{name}.tif", noise())
    for name in ("a_1", "ok"):
        save(tmp_path / f"groundtruth/{name}.tif", LABELS)
    source = open_source(tmp_path, "bsst265")
    assert [record.id for record in source.records] == ["ok"]
    assert "several files for one sample: a-1.tif, a_1.tif" in found(source)[0]


def test_bsst265_needs_its_table(tmp_path: Path) -> None:
    save(tmp_path / "rawimages/a.tif", noise())
    save(tmp_path / "groundtruth/a.tif", LABELS)
    with pytest.raises(KaryosegError, match=r"no image_description\.csv"):
        open_source(tmp_path, "bsst265")
    write_bsst265(tmp_path, ["a,train"], header="Image_Name,Train-/Testset split")
    with pytest.raises(KaryosegError, match="separated by semicolons"):
        open_source(tmp_path, "bsst265")


# --- dsb2018


def write_dsb(root: Path, name: str, image: np.ndarray, masks: list[np.ndarray]) -> None:
    save(root / name / "images" / f"{name}.png", image)
    for i, mask in enumerate(masks):
        save(root / name / "masks" / f"{i}.png", mask.astype(np.uint8) * 255)


def rgba(gray: bool) -> np.ndarray:
    colour = np.dstack([noise()] * 3) if gray else noise(*LABELS.shape, 3)
    return np.dstack([colour, np.full(LABELS.shape, 255, np.uint8)])


def test_dsb2018(tmp_path: Path) -> None:
    gray, colour = rgba(gray=True), rgba(gray=False)
    ring = LABELS == 2
    ring[12:14, 12:14] = False
    write_dsb(tmp_path, "gray", gray, [LABELS == 1, ring])
    write_dsb(tmp_path, "colour", colour, [LABELS == 1, LABELS == 2])
    source = open_source(tmp_path, "dsb2018", SourceOptions(test_ids=("colour",)))
    assert [(r.id, r.split) for r in source.records] == [("colour", "test"), ("gray", "train")]
    np.testing.assert_array_equal(source.read_image("gray").array, gray[..., 0])
    np.testing.assert_array_equal(source.read_image("colour").array, colour[..., :3])
    for name in ("gray", "colour"):
        np.testing.assert_array_equal(source.read_labels(name), LABELS)


def test_dsb2018_splits_by_folder_and_allows_unlabelled_tests(tmp_path: Path) -> None:
    write_dsb(tmp_path / "stage1_train", "same", rgba(gray=True), [LABELS == 1])
    write_dsb(tmp_path / "stage1_test", "same", rgba(gray=True), [])
    write_dsb(tmp_path / "stage1_train", "forgotten", rgba(gray=True), [])
    source = open_source(tmp_path, "dsb2018")
    assert [(r.id, r.split, len(r.labels)) for r in source.records] == [
        ("stage1_test-same", "test", 0), ("stage1_train-same", "train", 1),
    ]  # fmt: skip
    assert found(source) == ["forgotten: an image without mask"]
    manifest, _ = inspect_source(source)
    assert manifest["n_objects"].isna().tolist() == [True, False]
    assert (manifest["label_sha256"] == "").tolist() == [True, False]


@pytest.mark.parametrize(
    ("folder", "split"),
    [
        ("human testis", ""),
        ("latest", ""),
        ("Testing", "test"),
        ("MoNuSegTest", "test"),
        ("testset_2", "test"),
        ("TRAIN", "train"),
        ("training", "train"),
        ("strained", ""),
    ],
)
def test_dsb2018_splits_are_words(tmp_path: Path, folder: str, split: str) -> None:
    write_dsb(tmp_path / folder, "a", rgba(gray=True), [LABELS == 1])
    write_dsb(tmp_path / "other", "b", rgba(gray=True), [LABELS == 1])
    records = {record.id: record.split for record in open_source(tmp_path, "dsb2018").records}
    assert records == {"a": split, "b": ""}


def test_dsb2018_foreign_test_ids(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_dsb(tmp_path, "a", rgba(gray=True), [LABELS == 1])
    with pytest.raises(KaryosegError, match="None of the 2 ids"):
        open_source(tmp_path, "dsb2018", SourceOptions(test_ids=("x", "y")))
    open_source(tmp_path, "dsb2018", SourceOptions(test_ids=("a", "y")))
    assert "1 of the 2 ids" in caplog.text


def test_dsb2018_odd_masks(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pieces = (LABELS > 0).astype(np.uint8)
    write_dsb(tmp_path, "a", rgba(gray=True), [LABELS == 9, pieces])
    write_dsb(tmp_path, "sizes", rgba(gray=True), [LABELS == 1, (LABELS == 1)[:5]])
    source = open_source(tmp_path, "dsb2018")
    np.testing.assert_array_equal(source.read_labels("a"), pieces)
    assert "marks no pixel" in caplog.text
    with pytest.raises(KaryosegError, match="5 x 24 px"):
        source.read_labels("sizes")


def test_dsb2018_masks_that_went_through_jpeg_are_refused(tmp_path: Path) -> None:
    write_dsb(tmp_path, "a", noise(), [])
    (tmp_path / "a/masks").mkdir()
    Image.fromarray(np.uint8(255 * (LABELS == 1))).save(tmp_path / "a/masks/1.jpg")
    with pytest.raises(KaryosegError, match=r"1\.jpg.*JPEG.*PNG or TIFF"):
        open_source(tmp_path, "dsb2018").read_labels("a")


def disk(y: float, x: float, r: float) -> np.ndarray:
    yy, xx = np.mgrid[:60, :60]
    return (yy - y) ** 2 + (xx - x) ** 2 <= r**2


def label(masks: list[np.ndarray]) -> np.ndarray:
    return paint([piece for mask in masks if (piece := crop(mask))], (60, 60))


def test_overlaps_do_not_depend_on_the_order_of_masks() -> None:
    masks = [disk(20, 20, 12), disk(25, 32, 9), disk(22, 22, 3), disk(45, 45, 6)]
    reference = label(masks)
    assert reference.max() == 4
    for order in itertools.permutations(range(4)):
        mine = label([masks[i] for i in order])
        for place, index in enumerate(order):
            np.testing.assert_array_equal(mine == place + 1, reference == index + 1)
    np.testing.assert_array_equal(reference > 0, np.any(masks, axis=0))
    np.testing.assert_array_equal(reference == 3, masks[2], "the smallest keeps all its pixels")


def test_disjoint_masks_are_kept_and_doubles_count_once() -> None:
    masks = [disk(10, 10, 5), disk(40, 40, 8)]
    twice = label([*masks, masks[0]])
    np.testing.assert_array_equal(twice, 1 * masks[0] + 2 * masks[1])


def test_collapse_gray_keeps_colour() -> None:
    gray = np.dstack([noise()] * 3)
    assert collapse_gray(ImageFile(gray, "YXC")).array.shape == LABELS.shape
    gray[3, 4, 2] ^= 1
    assert collapse_gray(ImageFile(gray, "YXC")).array.shape == (*LABELS.shape, 3)


# --- stardist and folder


def test_stardist(tmp_path: Path) -> None:
    for split, name in (("train", "a"), ("train", "b"), ("test", "a")):
        save(tmp_path / "dsb2018" / split / "images" / f"{name}.tif", noise())
        save(tmp_path / "dsb2018" / split / "masks" / f"{name}.tif", LABELS)
    source = open_source(tmp_path, "stardist")
    assert [(r.id, r.split) for r in source.records] == [
        ("b", "train"),
        ("test-a", "test"),
        ("train-a", "train"),
    ]
    assert found(source) == []
    save(tmp_path / "dsb2018/Validation/images/c.tif", noise())
    save(tmp_path / "dsb2018/Validation/masks/c.tif", LABELS)
    assert ("c", "val") in [(r.id, r.split) for r in open_source(tmp_path, "stardist").records]
    save(tmp_path / "dsb2018/val/images/c.tif", noise())
    save(tmp_path / "dsb2018/val/masks/c.tif", LABELS)
    validated = [r.id for r in open_source(tmp_path, "stardist").records if r.split == "val"]
    assert sorted(validated) == ["val-c", "validation-c"]


def test_folder_with_masks(tmp_path: Path) -> None:
    save(tmp_path / "Images/a.PNG", noise())
    save(tmp_path / "Images/b.ome.tif", noise())
    save(tmp_path / "Images/alone.tif", noise())
    save(tmp_path / "Images/twice.tif", noise())
    save(tmp_path / "Images/twice.png", noise())
    for name in ("A.tif", "b.tif", "orphan.tif", "twice.tif"):
        save(tmp_path / "masks" / name, LABELS)
    (tmp_path / "Images/notes.txt").write_text("not an image")
    source = open_source(tmp_path, "folder")
    assert [r.id for r in source.records] == ["a", "b"]
    assert [r.split for r in source.records] == ["", ""]
    assert sorted(found(source)) == [
        "Images: several files for one sample: twice.png, twice.tif",
        "alone.tif: an image without mask",
        "orphan.tif: a mask without image",
    ]


def test_accents_of_macos_are_those_of_others(tmp_path: Path) -> None:
    composed, decomposed = (unicodedata.normalize(form, "Zürich 3") for form in ("NFC", "NFD"))
    save(tmp_path / f"images/{composed}.tif", noise())
    save(tmp_path / f"masks/{decomposed}.tif", LABELS)
    source = open_source(tmp_path, "folder", SourceOptions(test_ids=(decomposed,)))
    assert found(source) == []
    assert [(record.id, record.split) for record in source.records] == [("Zurich_3", "test")]


@pytest.mark.parametrize("where", ["", "images", "set/images"])
def test_folder_of_images_alone(tmp_path: Path, where: str) -> None:
    save(tmp_path / where / "a.tif", noise())
    save(tmp_path / where / "b.jpg", noise())
    source = open_source(tmp_path, "folder")
    assert [(r.id, r.labels) for r in source.records] == [("a", ()), ("b", ())]


@pytest.mark.parametrize("layout", sorted(LAYOUTS))
def test_wrong_layout_is_named(tmp_path: Path, layout: str) -> None:
    (tmp_path / "notes.txt").write_text("nothing here")
    with pytest.raises(KaryosegError, match=r"does not have the layout .*notes\.txt"):
        open_source(tmp_path, layout)


def test_unknown_layout_empty_folder_and_unknown_id(tmp_path: Path) -> None:
    with pytest.raises(KaryosegError, match="bsst265, dsb2018"):
        open_source(tmp_path, "coco")
    (tmp_path / "images").mkdir()
    with pytest.raises(KaryosegError, match="no sample"):
        open_source(tmp_path, "folder")
    save(tmp_path / "images/a.tif", noise())
    with pytest.raises(KaryosegError, match="no sample 'b'"):
        open_source(tmp_path, "folder").read_image("b")


# --- real data


@pytest.mark.shared
def test_real_fluorescence_images(shared_data: Path, tmp_path: Path) -> None:
    folder = extract(shared_data / "bbbc038-fluorescence.zip", tmp_path / "out")
    manifest, problems = inspect_source(open_source(folder, "bsst265"))
    assert len(problems) == 0
    assert manifest["split"].value_counts().to_dict() == {"train": 431, "test": 50}
    assert manifest.query("split == 'test'")["class"].nunique() == 4
    assert (manifest["n_objects"] > 0).all()


@pytest.mark.shared
@pytest.mark.slow
def test_real_kaggle_images(shared_data: Path, tmp_path: Path) -> None:
    folder = extract(shared_data / "bbbc038-stage1-subset.zip", tmp_path / "out")
    test_ids = tuple((shared_data / "stage1-subset-test.txt").read_text().split())
    source = open_source(folder, "dsb2018", SourceOptions(test_ids=test_ids))
    manifest, problems = inspect_source(source)
    assert len(problems) == 0
    assert manifest["split"].value_counts().to_dict() == {"train": 143, "test": 15}
    n_masks = {record.id: len(record.labels) for record in source.records}
    assert manifest.set_index("id")["n_objects"].to_dict() == n_masks, "no nucleus vanishes"
    assert set(manifest["channels"]) == {1, 3}
