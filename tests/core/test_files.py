"""Files and folders that are whole or not there."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from karyoseg.core.io.files import alone, replace_folder, replace_text, replacing


def test_a_file_gets_its_name_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("old")
    with replacing(path) as part:
        part.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [ValueError("damaged"), KeyboardInterrupt()])
def test_what_fails_leaves_the_earlier_file_and_nothing_else(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "table.csv"
    path.write_text("old")

    def fail(part: Path) -> None:
        part.write_text("half")
        raise error

    with pytest.raises(type(error)), replacing(path) as part:
        fail(part)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_what_was_left_by_a_killed_process_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "state.json.part").write_text("something much longer")
    replace_text(tmp_path / "state.json", "µm")
    assert (tmp_path / "state.json").read_bytes() == "µm".encode()
    assert [path.name for path in tmp_path.iterdir()] == ["state.json"]


def test_the_suffix_can_be_kept(tmp_path: Path) -> None:
    with replacing(tmp_path / "net.weights.h5", "part_{}") as part:
        assert part == tmp_path / "part_net.weights.h5"
        part.touch()
    assert (tmp_path / "net.weights.h5").is_file()


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        replace_text(tmp_path / "nowhere" / "a.txt", "text")


@pytest.mark.parametrize("earlier", [False, True])
def test_a_folder_is_replaced_as_a_whole(tmp_path: Path, earlier: bool) -> None:
    path, new = tmp_path / "store", tmp_path / "store.part"
    if earlier:
        path.mkdir()
        (path / "stale").touch()
    new.mkdir()
    (new / "fresh").touch()
    replace_folder(path, new)
    assert [p.relative_to(tmp_path).as_posix() for p in sorted(tmp_path.rglob("*"))] == ["store", "store/fresh"]


def test_only_one_makes_a_file_at_a_time(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Who waits finds what the other has made; no lock file is left."""
    target = tmp_path / "model"
    made: list[int] = []

    def make(number: int) -> None:
        with alone(target):
            time.sleep(0.2)
            if not target.exists():
                target.touch()
                made.append(number)

    with caplog.at_level("INFO"), ThreadPoolExecutor(3) as pool:
        list(pool.map(make, range(3)))
    assert len(made) == 1
    assert "another process is making it" in caplog.text
    assert list(tmp_path.iterdir()) == [target]


def test_where_nothing_can_be_written_there_is_no_lock(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with alone(tmp_path / "file" / "model"):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
