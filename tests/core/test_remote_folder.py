"""A remote folder is the earlier one or the new one, whenever its upload is cut off."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from karyoseg.core.errors import KaryosegError
from karyoseg.core.io.remote_folder import INDEX, download_folder, folder_has, upload_folder

PATH = "/remote/model"


@pytest.fixture
def fs() -> MemoryFileSystem:
    filesystem = MemoryFileSystem()
    if filesystem.exists("/remote"):
        filesystem.rm("/remote", recursive=True)
    return filesystem


def folder(parent: Path, mark: str, *names: str) -> Path:
    made = parent / mark
    for name in names:
        (made / name).parent.mkdir(parents=True, exist_ok=True)
        (made / name).write_text(f"{mark} {name}")
    return made


def content(fs: MemoryFileSystem) -> dict[str, str]:
    local = download_folder(fs, PATH)
    return {path.relative_to(local).as_posix(): path.read_text() for path in local.rglob("*") if path.is_file()}


def contents_of(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


class Killed(Exception):
    """Stands for the end of the process."""


def test_at_every_moment_the_folder_is_whole(
    fs: MemoryFileSystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = folder(tmp_path, "first", "config", "weights", "logs/curve")
    second = folder(tmp_path, "second", "config", "weights", "card")
    before, after = contents_of(first), contents_of(second)
    left = [0]

    def mortal(name: str) -> None:
        act = getattr(MemoryFileSystem, name)

        def limited(self: MemoryFileSystem, *args: Any, **kwargs: Any) -> Any:
            if left[0] <= 0:
                raise Killed
            left[0] -= 1
            return act(self, *args, **kwargs)

        monkeypatch.setattr(MemoryFileSystem, name, limited)

    for name in ("put_file", "pipe_file", "cp_file", "rm_file"):
        mortal(name)
    seen = []
    for moment in range(100):
        left[0] = 10**6
        upload_folder(first, fs, PATH)  # also mends what the last kill left
        assert content(fs) == before
        left[0] = moment
        try:
            upload_folder(second, fs, PATH)
        except Killed:
            seen.append(content(fs))
        else:
            break
    assert all(found in (before, after) for found in seen)
    assert seen.count(before) == len(after) + 1  # until the index of the new files is there
    assert seen.count(after) >= len(after)
    assert content(fs) == after
    assert {path.removeprefix(PATH + "/") for path in fs.find(PATH)} == {*after, INDEX}


def test_files_of_others_are_left_alone_and_read_where_there_is_no_index(fs: MemoryFileSystem, tmp_path: Path) -> None:
    fs.pipe_file(f"{PATH}/config", b"copied by hand")
    assert content(fs) == {"config": "copied by hand"}
    assert folder_has(fs, PATH, "config")
    upload_folder(folder(tmp_path, "first", "weights"), fs, PATH)
    assert content(fs) == {"weights": "first weights"}
    assert not folder_has(fs, PATH, "config")
    assert fs.cat_file(f"{PATH}/config") == b"copied by hand"


def test_nothing_there_gives_an_empty_folder(fs: MemoryFileSystem) -> None:
    assert content(fs) == {}
    assert not folder_has(fs, PATH, "config")


@pytest.mark.parametrize("damage", ["changed", "missing"])
def test_damage_is_named_and_a_new_upload_mends_it(fs: MemoryFileSystem, tmp_path: Path, damage: str) -> None:
    source = folder(tmp_path, "first", "config", "weights")
    upload_folder(source, fs, PATH)
    if damage == "changed":
        fs.pipe_file(f"{PATH}/weights", b"half")
    else:
        fs.rm_file(f"{PATH}/weights")
    with pytest.raises(
        KaryosegError, match=r"model: weights missing or changed since the upload.*delete \.index\.json"
    ):
        download_folder(fs, PATH)
    upload_folder(source, fs, PATH)
    assert content(fs) == contents_of(source)
