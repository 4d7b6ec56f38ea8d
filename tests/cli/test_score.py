"""``kedro score``: label images of any program beside true ones."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
import zarr
from click.testing import CliRunner
from PIL import Image
from stardist.matching import matching_dataset
from tests.dots import dots, prediction, store

from karyoseg.cli import cli


def run(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(cli, ["score", *map(str, arguments)])
    assert result.exit_code == code, result.output
    return result.output


@pytest.fixture
def folders(tmp_path: Path, rng: np.random.Generator) -> tuple[Path, Path]:
    """Label images as predict writes them, beside previews; and true ones in PNG."""
    found, truth = tmp_path / "found", tmp_path / "truth"
    found.mkdir()
    truth.mkdir()
    for name in ("a", "b.c"):
        labels = np.kron(np.arange(1, 17).reshape(4, 4), np.pad(np.ones((12, 12), np.uint16), 4))
        Image.fromarray(labels.astype(np.uint8)).save(truth / f"{name}.png")
        moved = np.where(np.isin(labels, rng.choice(16, 4, replace=False) + 1), 0, np.roll(labels, 2, axis=0))
        tifffile.imwrite(found / f"{name}.tif", moved.astype(np.uint16))
        Image.fromarray(np.zeros(labels.shape, np.uint8)).save(found / f"{name}.png")
    (found / "objects.csv").write_text("image\n")
    return found, truth


def test_scores_are_those_of_stardist(
    folders: tuple[Path, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    found, truth = folders
    with caplog.at_level(logging.INFO):
        run(found, truth, "--output", tmp_path / "scores")
    names = ["a", "b.c"]
    true = [np.asarray(Image.open(truth / f"{name}.png")) for name in names]
    predicted = [tifffile.imread(found / f"{name}.tif") for name in names]
    expected = matching_dataset(true, predicted, thresh=0.5, show_progress=False)
    metrics = json.loads((tmp_path / "scores/metrics.json").read_text())
    assert 0 < expected.f1 < 1
    assert (metrics["f1"], metrics["ap_50"]) == pytest.approx((expected.f1, expected.accuracy))
    assert pd.read_csv(tmp_path / "scores/metrics_per_image.csv")["id"].tolist() == names
    assert f"{expected.f1:.3f}" in caplog.text


def test_predictions_in_ome_zarr_are_read(tmp_path: Path) -> None:
    image = dots((100, 130), 9)
    found = tmp_path / "found"
    found.mkdir()
    large = prediction(store(image, tmp_path / "a.zarr"), image.shape)
    large.write(found / "a.ome.zarr", tmp_path / "a.parquet", tmp_path / "kept")
    Image.fromarray(np.zeros((9, 9), np.uint8)).save(found / "a.png")  # the preview
    labels = np.asarray(zarr.open_array(found / "a.ome.zarr/labels/nuclei/0", mode="r")[:])
    labels[labels == labels.max()] = 0
    (tmp_path / "truth").mkdir()
    tifffile.imwrite(tmp_path / "truth/a.tif", labels.astype(np.uint16))
    run(found, tmp_path / "truth", "--output", tmp_path / "scores")
    metrics = json.loads((tmp_path / "scores/metrics.json").read_text())
    assert (metrics["n_pred"], metrics["n_true"]) == (labels.max() + 1, labels.max())
    assert metrics["recall"] == 1


def test_results_are_replaced_only_when_told(folders: tuple[Path, Path], tmp_path: Path) -> None:
    run(*folders, "--output", tmp_path)
    assert "exists already" in run(*folders, "--output", tmp_path, code=1)
    run(*folders, "--output", tmp_path, "--overwrite")


def test_files_without_a_partner_are_reported_together(folders: tuple[Path, Path]) -> None:
    found, truth = folders
    (found / "a.tif").rename(found / "a.ome.tif")  # the same name
    run(found, truth)
    (found / "a.tif").write_bytes((found / "a.ome.tif").read_bytes())
    for name in ("a.tif", "new.png"):
        Image.fromarray(np.ones((9, 9), np.uint8)).save(truth / name)
    message = run(found, truth, code=1)
    assert "(3 problems)" in message
    assert "3 files of this name" in message
    assert "nothing of this name" in message


def test_other_sizes_and_damaged_files_are_reported_together(folders: tuple[Path, Path]) -> None:
    found, truth = folders
    tifffile.imwrite(found / "a.tif", np.ones((9, 9), np.uint16))
    (truth / "b.c.png").write_bytes(b"no image")
    message = run(found, truth, code=1)
    assert "(2 problems)" in message
    assert "(9, 9)" in message
    assert "b.c.png" in message


def test_missing_and_empty_folders_are_named(folders: tuple[Path, Path], tmp_path: Path) -> None:
    found, truth = folders
    (tmp_path / "empty").mkdir()
    for pair in ((found, tmp_path / "empty"), (tmp_path / "nowhere", truth)):
        assert "no label images there" in run(*pair, code=1)


def test_a_place_that_cannot_be_written(folders: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "cannot be written" in run(*folders, "--output", tmp_path / "file" / "scores", code=1)
