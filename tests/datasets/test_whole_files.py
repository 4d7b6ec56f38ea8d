"""Tables, JSON, text and figures that are replaced as a whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import fsspec
import pandas as pd
import pytest
from kedro.io import DatasetError, Version
from matplotlib.figure import Figure

from karyoseg.core.errors import KaryosegError
from karyoseg.datasets import CSVDataset, JSONDataset, MatplotlibDataset, ParquetDataset, TextDataset

TABLE = pd.DataFrame({"id": ["a", "b"], "value": [1.5, 0.1 + 0.2]})
KINDS: list[tuple[type, str, Any, Any]] = [
    (CSVDataset, "t.csv", TABLE, TABLE.assign(value=[3.0, 4.0])),
    (ParquetDataset, "t.parquet", TABLE, TABLE.assign(value=[3.0, 4.0])),
    (JSONDataset, "t.json", {"a": [1, 2]}, {"b": None}),
    (TextDataset, "t.html", "<p>é</p>", "other"),
]
kinds = pytest.mark.parametrize(("kind", "name", "data", "other"), KINDS, ids=[row[0].__name__ for row in KINDS])


def same(a: Any, b: Any) -> bool:
    return a.equals(b) if isinstance(a, pd.DataFrame) else a == b


@kinds
def test_round_trip_and_overwrite(tmp_path: Path, kind: type, name: str, data: Any, other: Any) -> None:
    dataset = kind(filepath=str(tmp_path / "new" / "folder" / name))
    assert not dataset.exists()
    dataset.save(data)
    assert dataset.exists()
    assert same(dataset.load(), data)
    dataset.save(other)
    assert same(dataset.load(), other)
    assert [path.name for path in (tmp_path / "new" / "folder").iterdir()] == [name]


@kinds
def test_missing_file_is_named(tmp_path: Path, kind: type, name: str, data: Any, other: Any) -> None:
    with pytest.raises(DatasetError) as caught:
        kind(filepath=str(tmp_path / name)).load()
    assert isinstance(caught.value.__cause__, KaryosegError)
    assert f"{name}: is not there" in str(caught.value.__cause__)


def test_an_optional_table_that_was_never_written_is_empty(tmp_path: Path) -> None:
    dataset = CSVDataset(filepath=str(tmp_path / "t.csv"), optional=True)
    assert dataset.load().empty
    dataset.save(TABLE)
    assert same(dataset.load(), TABLE)


@pytest.mark.parametrize(("kind", "name"), [row[:2] for row in KINDS[:3]])
def test_damaged_file_is_named(tmp_path: Path, kind: type, name: str) -> None:
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(DatasetError) as caught:
        kind(filepath=str(tmp_path / name)).load()
    assert f"{name}: cannot be read" in str(caught.value.__cause__)


@kinds
def test_other_filesystems(kind: type, name: str, data: Any, other: Any) -> None:
    dataset = kind(filepath=f"memory:///whole-files/{name}")
    dataset.save(other)
    dataset.save(data)
    assert same(dataset.load(), data)
    assert [Path(path).name for path in fsspec.filesystem("memory").ls("/whole-files", detail=False)] == [name]
    fsspec.filesystem("memory").rm("/whole-files", recursive=True)


@kinds
def test_release_and_description(tmp_path: Path, kind: type, name: str, data: Any, other: Any) -> None:
    dataset = kind(filepath=str(tmp_path / name))
    dataset.save(data)
    dataset.release()
    assert same(dataset.load(), data)
    assert name in repr(dataset)


@kinds
def test_versions(tmp_path: Path, kind: type, name: str, data: Any, other: Any) -> None:
    kind(filepath=str(tmp_path / name), version=Version(None, "2020")).save(data)
    kind(filepath=str(tmp_path / name), version=Version(None, "2021")).save(other)
    assert same(kind(filepath=str(tmp_path / name), version=Version("2020", None)).load(), data)
    assert same(kind(filepath=str(tmp_path / name), version=Version(None, None)).load(), other)


def test_a_failing_save_keeps_the_earlier_content_and_leaves_nothing_behind(tmp_path: Path) -> None:
    dataset = JSONDataset(filepath=str(tmp_path / "t.json"))
    dataset.save({"kept": 1})
    with pytest.raises(DatasetError):
        dataset.save({"written before it fails": 1, "not JSON": object()})
    assert dataset.load() == {"kept": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["t.json"]


@pytest.mark.parametrize("failing", ["written", "renamed"])
def test_a_full_disk_is_a_clear_message_and_keeps_the_earlier_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    dataset = TextDataset(filepath=str(tmp_path / "t.txt"))
    dataset.save("kept")

    def full(*args: Any, **kwargs: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(*{"written": (dataset._fs, "open"), "renamed": (Path, "replace")}[failing], full)
        with pytest.raises(DatasetError) as caught:
            dataset.save("lost")
    assert isinstance(caught.value.__cause__, KaryosegError)
    assert "t.txt: cannot be written (No space left on device)" in str(caught.value.__cause__)
    assert dataset.load() == "kept"
    assert [path.name for path in tmp_path.iterdir()] == ["t.txt"]


def test_a_leftover_of_a_killed_run_is_harmless(tmp_path: Path) -> None:
    (tmp_path / "t.csv.part").write_text("id,val")
    dataset = CSVDataset(filepath=str(tmp_path / "t.csv"))
    assert not dataset.exists()
    dataset.save(TABLE)
    assert dataset.load().equals(TABLE)
    assert [path.name for path in tmp_path.iterdir()] == ["t.csv"]


def test_ids_and_classes_stay_text(tmp_path: Path) -> None:
    table = pd.DataFrame({"id": ["001", "NA", "1e3"], "class": ["", "nan", "10"], "pixel_size_um": [0.5, None, 1.0]})
    dataset = CSVDataset(filepath=str(tmp_path / "t.csv"))
    dataset.save(table)
    found = dataset.load()
    assert found["id"].tolist() == ["001", "NA", "1e3"]
    assert found["class"].tolist() == ["", "nan", "10"]
    assert found["pixel_size_um"].isna().tolist() == [False, True, False]


def test_figures(tmp_path: Path) -> None:
    dataset = MatplotlibDataset(filepath=str(tmp_path / "f.png"))
    figure = Figure(figsize=(1, 1))
    figure.add_subplot().plot([1, 2])
    dataset.save(figure)
    assert (tmp_path / "f.png").read_bytes().startswith(b"\x89PNG")
    assert [path.name for path in tmp_path.iterdir()] == ["f.png"]
