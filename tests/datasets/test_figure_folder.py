"""Figures on disk."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from kedro.io import DatasetError
from matplotlib.figure import Figure
from PIL import Image

from karyoseg.datasets import FigureFolder, MatplotlibDataset


def figure(width: float = 2, dpi: int = 50) -> Figure:
    drawn = Figure(figsize=(width, 1), dpi=dpi)
    drawn.add_subplot().plot([0, 1])
    return drawn


def size(png: bytes) -> tuple[int, int]:
    return Image.open(io.BytesIO(png)).size


def test_round_trip_keeps_names_and_resolution(tmp_path: Path) -> None:
    folder = FigureFolder(path=str(tmp_path / "figures"))
    assert not folder.exists()
    folder.save({"a.png": figure(2), "b.png": figure(4)})
    assert {name: size(png) for name, png in folder.load().items()} == {"a.png": (100, 50), "b.png": (200, 50)}
    assert folder.exists()


def test_figures_of_an_earlier_run_are_removed_and_other_files_stay(tmp_path: Path) -> None:
    folder = FigureFolder(path=str(tmp_path))
    folder.save({"worst_01.png": figure(), "worst_02.png": figure()})
    (tmp_path / "notes.txt").write_text("mine")
    folder.save({"worst_01.png": figure()})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["notes.txt", "worst_01.png"]


def test_a_failing_figure_leaves_the_earlier_ones(tmp_path: Path) -> None:
    folder = FigureFolder(path=str(tmp_path))
    folder.save({"a.png": figure()})
    before = folder.load()
    with pytest.raises(DatasetError, match="savefig"):
        folder.save({"z.png": "not a figure"})  # type: ignore[dict-item]
    assert folder.load() == before


def test_names_without_suffix_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"must end in \.png"):
        FigureFolder(path=str(tmp_path)).save({"a": figure()})


def test_other_filesystems_and_preview() -> None:
    folder = FigureFolder(path="memory://figures")
    folder.save({"a.png": figure()})
    assert size(folder.load()["a.png"]) == (100, 50)
    assert len(folder.preview()) > 100


def test_single_figure_is_replaced_whole(tmp_path: Path) -> None:
    dataset = MatplotlibDataset(filepath=str(tmp_path / "sheet.png"))
    dataset.save(figure())
    before = (tmp_path / "sheet.png").read_bytes()
    with pytest.raises(Exception, match="savefig"):
        dataset.save("not a figure")
    assert (tmp_path / "sheet.png").read_bytes() == before
