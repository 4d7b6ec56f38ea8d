"""Checks of samples: what is refused, what is valid, and the manifest."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile

from karyoseg.core.checks import MANIFEST_COLUMNS, check_pair, files_sha256, inspect_source
from karyoseg.core.sources import SourceOptions, open_source

GRADIENT = np.arange(48, dtype=np.uint8).reshape(6, 8)


def found(image: np.ndarray, labels: np.ndarray | None = None) -> str:
    return " | ".join(problem.found for problem in check_pair("s", image, labels))


def blocks(n: int) -> np.ndarray:
    labels = np.zeros((6, 8), np.int32)
    labels.flat[:n] = range(1, n + 1)
    return labels


@pytest.mark.parametrize(
    "labels", [blocks(0), blocks(1), blocks(3), -blocks(3), blocks(3).astype(float)],
    ids=["empty", "single", "several", "not annotated", "whole floats"],
)  # fmt: skip
def test_valid_pairs(labels: np.ndarray) -> None:
    assert check_pair("s", GRADIENT, labels) == []
    assert check_pair("s", np.dstack([GRADIENT] * 3).astype(np.float32), labels) == []


@pytest.mark.parametrize(
    ("image", "labels", "message"),
    [
        (GRADIENT, blocks(2).T, "labels of 8 x 6 px for an image of 6 x 8 px"),
        (GRADIENT, np.dstack([blocks(2)] * 3), "labels of shape (6, 8, 3)"),
        (GRADIENT, blocks(2) + 0.5, "float64 labels with fractions"),
        (GRADIENT, np.full((6, 8), np.nan), "float64 labels with fractions or NaN"),
        (np.where(GRADIENT < 2, np.nan, 1.0), blocks(2), "2 values that are NaN or infinite"),
        (np.where(GRADIENT < 3, np.inf, 1.0), None, "3 values that are NaN or infinite"),
        (np.full((6, 8), 7, np.uint16), blocks(2), "a constant image (all pixels are 7)"),
        (np.zeros((2, 3, 6, 8)), None, "an array of shape (2, 3, 6, 8)"),
        (np.zeros((0, 8)), None, "an array of shape (0, 8)"),
    ],
)
def test_bad_pairs(image: np.ndarray, labels: np.ndarray | None, message: str) -> None:
    assert message in found(image, labels)


def test_all_problems_of_a_sample_are_named() -> None:
    problems = check_pair("nucleus_7", np.zeros((6, 8)), blocks(2).T + 0.5)
    assert len(problems) == 3
    assert all(problem.where.startswith("nucleus_7") for problem in problems)


def write_pair(folder: Path, name: str, image: np.ndarray, labels: np.ndarray | None) -> None:
    for part, array in (("images", image), ("masks", labels)):
        (folder / part).mkdir(parents=True, exist_ok=True)
        if array is not None:
            tifffile.imwrite(folder / part / f"{name}.tif", array, photometric="minisblack")


def test_manifest_describes_each_sample(tmp_path: Path) -> None:
    write_pair(tmp_path, "b", GRADIENT, blocks(3).astype(np.uint16))
    write_pair(tmp_path, "a", GRADIENT.astype(np.float32), blocks(0).astype(np.uint8))
    options = SourceOptions(pixel_size_um=0.5, sample_class="mine")
    manifest, problems = inspect_source(open_source(tmp_path, "folder", options))
    assert len(problems) == 0
    assert tuple(manifest.columns) == MANIFEST_COLUMNS
    assert manifest["id"].tolist() == ["a", "b"]
    assert manifest["n_objects"].tolist() == [0, 3]
    assert manifest["dtype"].tolist() == ["float32", "uint8"]
    row = manifest.iloc[1]
    assert (row["height"], row["width"], row["channels"]) == (6, 8, 1)
    assert (row["class"], row["pixel_size_um"], row["origin"]) == ("mine", 0.5, "real")
    assert np.isnan(row["magnification"])
    assert row["image_sha256"] == hashlib.sha256((tmp_path / "images/b.tif").read_bytes()).hexdigest()


def test_more_than_65535_objects(tmp_path: Path) -> None:
    labels = np.arange(1, 270 * 270 + 1, dtype=np.uint32).reshape(270, 270)
    write_pair(tmp_path, "many", labels.astype(np.uint16), labels)
    source = open_source(tmp_path, "folder")
    manifest, problems = inspect_source(source)
    assert len(problems) == 0
    assert manifest["n_objects"].tolist() == [72_900]
    assert source.read_labels("many").max() == 72_900


def test_every_bad_sample_is_reported_and_the_good_one_kept(tmp_path: Path) -> None:
    write_pair(tmp_path, "good", GRADIENT, blocks(2))
    write_pair(tmp_path, "shape", GRADIENT, blocks(2).T)
    write_pair(tmp_path, "constant", GRADIENT * 0, blocks(2))
    write_pair(tmp_path, "nan", GRADIENT + np.float32(np.nan), blocks(2))
    write_pair(tmp_path, "fractions", GRADIENT, (blocks(2) / 2).astype(np.float32))
    write_pair(tmp_path, "unpaired_image", GRADIENT, None)
    write_pair(tmp_path, "truncated", GRADIENT, blocks(2))
    write_pair(tmp_path, "both", GRADIENT, (blocks(2) / 2).astype(np.float32))
    (tmp_path / "images/truncated.tif").write_bytes((tmp_path / "images/truncated.tif").read_bytes()[:60])
    (tmp_path / "images/both.tif").write_bytes(b"")
    tifffile.imwrite(tmp_path / "masks/unpaired_mask.tif", blocks(1))
    (tmp_path / "images/zero.tif").touch()
    (tmp_path / "masks/zero.tif").touch()
    manifest, problems = inspect_source(open_source(tmp_path, "folder"))
    assert manifest["id"].tolist() == ["good"]
    named = pd.Series([problem.where for problem in problems])
    for name, count in {
        "shape": 1, "constant": 1, "nan": 1, "fractions": 1, "unpaired_image": 1, "unpaired_mask": 1,
        "truncated": 1, "both": 2, "zero": 2, "good": 0,
    }.items():  # fmt: skip
        assert named.str.contains(rf"\b{name}\b").sum() == count, name
    assert all(problem.advice and problem.needed for problem in problems)


def test_hash_of_several_files_depends_on_each(tmp_path: Path) -> None:
    paths = [tmp_path / "a", tmp_path / "b"]
    for path in paths:
        path.write_text(path.name)
    both = files_sha256(paths)
    assert files_sha256(paths[:1]) == hashlib.sha256(b"a").hexdigest()
    paths[1].write_text("changed")
    assert files_sha256(paths) != both
