"""Fetching: whole, verified, once; every failure a clear message that leaves nothing behind."""

from __future__ import annotations

import hashlib
import io
import socket
import sys
import uuid
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

import fsspec
import pytest

from karyoseg.core.errors import KaryosegError
from karyoseg.core.io.archive import extract
from karyoseg.core.io.fetch import cache_name, fetch

sys.path.insert(0, str(Path(__file__).parents[1]))
from http_server import BadServer, bad_server


@pytest.fixture
def server() -> Iterator[BadServer]:
    with bad_server() as plan:
        yield plan


def make_zip(text: str = "hello") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("images/a.txt", text * 1000)
    return buffer.getvalue()


BODY = make_zip()
SHA = hashlib.sha256(BODY).hexdigest()


def patience(*behaviours: object) -> float:
    """Timeout of a fetch: short only where the server stalls, as a busy machine may be slow to answer too."""
    return 1.0 if any(isinstance(behaviour, tuple) and behaviour[0] == "stall" for behaviour in behaviours) else 30.0


def files(folder: Path) -> set[str]:
    return {p.name for p in folder.iterdir()} if folder.exists() else set()


def test_downloads_once_and_records_the_checksum(server: BadServer, tmp_path: Path) -> None:
    url = server.answer("/data.zip", BODY)
    first = fetch(url, tmp_path)
    second = fetch(url, tmp_path)
    assert first == second
    assert first.path.read_bytes() == BODY
    assert first.sha256 == SHA
    assert server.requests["/data.zip"] == 1
    record = first.path.with_name(first.path.name + ".sha256")
    assert record.read_text() == f"{SHA}  {first.path.name}\n"
    assert files(tmp_path) == {first.path.name, record.name}


@pytest.mark.parametrize(
    "failures",
    [[500, 503], [("cut", BODY)], [("cut chunked", BODY)], [("stall", 20)], [429, ("cut", BODY), 500]],
    ids=["busy", "cut", "cut chunked", "stall", "mixed"],
)
def test_retries_what_may_pass(server: BadServer, tmp_path: Path, failures: list[object]) -> None:
    url = server.answer("/data.zip", *failures, BODY)
    fetched = fetch(url, tmp_path, retries=3, pause=0.01, timeout=patience(*failures))
    assert fetched.sha256 == SHA
    assert server.requests["/data.zip"] == len(failures) + 1


@pytest.mark.parametrize(
    ("behaviour", "message", "n_requests"),
    [
        (404, "404", 1),
        (403, "403", 1),
        (500, r"500.*tried 3 times", 3),
        (("cut", BODY), r"closed before the whole file.*tried 3 times", 3),
        (("cut chunked", BODY), r"closed before the whole file", 3),
        (("stall", 20), r"no (answer|connection)", 3),
        (b"", r"empty \(0 bytes\)", 1),
        (b"<!DOCTYPE html><p>Please log in", "a web page", 1),
        (b"some text", "not an archive", 1),
        (BODY[:-30], "truncated", 1),
    ],
)
def test_refuses_and_leaves_nothing(
    server: BadServer, tmp_path: Path, behaviour: object, message: str, n_requests: int
) -> None:
    url = server.answer("/data.zip", behaviour)
    with pytest.raises(KaryosegError, match=message) as caught:
        fetch(url, tmp_path, retries=2, pause=0.01, timeout=patience(behaviour))
    assert "/data.zip" in str(caught.value)
    assert "dataset." not in str(caught.value)  # models are fetched as well
    assert server.requests["/data.zip"] == n_requests
    assert files(tmp_path) == set()


def test_who_fetches_at_the_same_time_waits(server: BadServer, tmp_path: Path) -> None:
    """Else one run would cut off the download of another, as in an array of jobs with an empty cache."""
    url = server.answer("/data.zip", ("slow", BODY))
    with ThreadPoolExecutor(3) as pool:
        found = set(pool.map(lambda _: fetch(url, tmp_path, retries=0), range(3)))
    assert {one.sha256 for one in found} == {SHA}
    assert server.requests["/data.zip"] == 1
    with ThreadPoolExecutor(3) as pool:
        folders = set(pool.map(lambda _: extract(next(iter(found)).path, tmp_path / "data"), range(3)))
    assert folders == {tmp_path / "data"}
    assert (tmp_path / "data/images/a.txt").is_file()


def test_slow_server_and_redirect_are_fine(server: BadServer, tmp_path: Path) -> None:
    server.answer("/slow.zip", ("slow", BODY))
    url = server.answer("/data.zip", ("redirect", "/slow.zip"))
    assert fetch(url, tmp_path, retries=0).sha256 == SHA


def test_no_server_and_unknown_host(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(KaryosegError, match=r"no connection \(.*refused"):
        fetch(f"http://127.0.0.1:{port}/a.zip", tmp_path, retries=1, pause=0.01)
    with pytest.raises(KaryosegError, match="no connection") as caught:
        fetch("http://no-such-host.invalid/a.zip?token=secret", tmp_path, retries=0)
    assert "secret" not in str(caught.value)
    assert files(tmp_path) == set()


def test_pinned_checksum(server: BadServer, tmp_path: Path) -> None:
    url = server.answer("/data.zip", BODY)
    with pytest.raises(KaryosegError, match=f"found sha256 {SHA}"):
        fetch(url, tmp_path, sha256="0" * 64)
    assert files(tmp_path) == set()
    assert fetch(url, tmp_path, sha256=SHA.upper()).sha256 == SHA
    assert server.requests["/data.zip"] == 2


def test_wrong_new_pin_keeps_the_old_file(server: BadServer, tmp_path: Path) -> None:
    url = server.answer("/data.zip", BODY)
    fetched = fetch(url, tmp_path)
    before = files(tmp_path)
    with pytest.raises(KaryosegError, match="wrong checksum"):
        fetch(url, tmp_path, sha256="0" * 64)
    assert files(tmp_path) == before
    assert fetched.path.read_bytes() == BODY


def test_damaged_copy_is_fetched_again(server: BadServer, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    url = server.answer("/data.zip", BODY)
    path = fetch(url, tmp_path).path
    path.write_bytes(BODY[:-1])
    assert fetch(url, tmp_path).path.read_bytes() == BODY
    assert server.requests["/data.zip"] == 2
    assert "downloading it again" in caplog.text


def test_changed_upstream_is_not_taken_silently(server: BadServer, tmp_path: Path) -> None:
    changed = make_zip("other")
    url = server.answer("/data.zip", BODY, changed)
    path = fetch(url, tmp_path).path
    path.unlink()
    with pytest.raises(KaryosegError, match="has changed"):
        fetch(url, tmp_path)
    assert not path.exists()
    path.with_name(path.name + ".sha256").unlink()
    assert fetch(url, tmp_path).path.read_bytes() == changed


def test_file_without_record_is_kept_and_recorded(
    server: BadServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    url = server.answer("/data.zip", 500)
    (tmp_path / cache_name(url)).write_bytes(BODY)
    assert fetch(url, tmp_path).sha256 == SHA
    assert server.requests["/data.zip"] == 0
    assert "recorded it now" in caplog.text


def test_equal_names_of_two_urls_do_not_collide(server: BadServer, tmp_path: Path) -> None:
    other = make_zip("other")
    first = fetch(server.answer("/a/data.zip", BODY), tmp_path)
    second = fetch(server.answer("/b/data.zip", other), tmp_path)
    assert first.path != second.path
    assert (first.path.read_bytes(), second.path.read_bytes()) == (BODY, other)


def test_credentials_are_not_shown(server: BadServer, tmp_path: Path) -> None:
    url = server.answer("/data.zip", BODY).replace("//", "//me:secret@") + "?signature=secret"
    fetched = fetch(url, tmp_path)
    assert fetched.url == f"http://127.0.0.1:{server.port}/data.zip"
    assert "secret" not in str(fetched.path)


def test_unwritable_directory(server: BadServer, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(KaryosegError, match="Cannot write"):
        fetch(server.answer("/data.zip", BODY), tmp_path / "file" / "raw")
    assert server.requests["/data.zip"] == 0


@pytest.mark.parametrize("prefix", ["", "file://"])
def test_local_archive_is_used_in_place(tmp_path: Path, prefix: str) -> None:
    archive = tmp_path / "mine.zip"
    archive.write_bytes(BODY)
    fetched = fetch(f"{prefix}{archive}", tmp_path / "raw")
    assert (fetched.path, fetched.sha256) == (archive, SHA)
    assert files(tmp_path) == {"mine.zip"}
    with pytest.raises(KaryosegError, match="wrong checksum"):
        fetch(f"{prefix}{archive}", tmp_path / "raw", sha256="1" * 64)


def test_local_folder_and_missing_path(tmp_path: Path) -> None:
    assert fetch(str(tmp_path), tmp_path / "raw").path == tmp_path
    with pytest.raises(KaryosegError, match="is a folder"):
        fetch(str(tmp_path), tmp_path / "raw", sha256="1" * 64)
    with pytest.raises(KaryosegError, match="does not exist"):
        fetch(str(tmp_path / "nothing.zip"), tmp_path / "raw")
    (tmp_path / "zero.zip").touch()
    with pytest.raises(KaryosegError, match="0 bytes"):
        fetch(str(tmp_path / "zero.zip"), tmp_path / "raw")


@pytest.fixture
def bucket() -> str:
    return f"memory://{uuid.uuid4().hex}"


def test_fsspec_file(bucket: str, tmp_path: Path) -> None:
    memory = fsspec.filesystem("memory")
    memory.pipe(f"{bucket}/data.zip", BODY)
    assert fetch(f"{bucket}/data.zip", tmp_path).sha256 == SHA
    memory.rm(f"{bucket}/data.zip")
    assert fetch(f"{bucket}/data.zip", tmp_path).sha256 == SHA, "the second time it comes from disk"


def test_fsspec_folder_appears_when_complete(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    memory = fsspec.filesystem("memory")
    for name in ("images/a.tif", "masks/a.tif"):
        memory.pipe(f"{bucket}/set/{name}", name.encode())
    size = type(memory).size

    def fail_on_masks(self: object, path: str) -> int:
        if "masks" in path:
            raise OSError("connection lost")
        return size(self, path)

    monkeypatch.setattr(type(memory), "size", fail_on_masks)
    with pytest.raises(KaryosegError, match=r"masks/a.tif.*connection lost"):
        fetch(f"{bucket}/set", tmp_path, retries=1, pause=0.01)
    assert not any(p.is_dir() and not p.name.endswith(".part") for p in tmp_path.iterdir())
    monkeypatch.undo()
    fetched = fetch(f"{bucket}/set", tmp_path)
    found = {p.relative_to(fetched.path).as_posix(): p.read_text() for p in fetched.path.rglob("*.tif")}
    assert found == {"images/a.tif": "images/a.tif", "masks/a.tif": "masks/a.tif"}
    memory.rm(f"{bucket}/set", recursive=True)
    with caplog.at_level("WARNING"):
        assert fetch(f"{bucket}/set", tmp_path) == fetched
    copied = datetime.fromtimestamp(fetched.path.stat().st_mtime).astimezone()
    assert f"using the copy of {copied:%Y-%m-%d %H:%M}" in caplog.text
    assert f"delete {fetched.path}" in caplog.text


def test_fsspec_errors(bucket: str, tmp_path: Path) -> None:
    with pytest.raises(KaryosegError, match="does not exist"):
        fetch(f"{bucket}/none.zip", tmp_path, retries=0)
    with pytest.raises(KaryosegError, match="nosuch"):
        fetch("nosuch://bucket/a.zip", tmp_path, retries=0)
    assert files(tmp_path) == set()
