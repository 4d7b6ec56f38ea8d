"""Unpacking: nothing outside the target, nothing half, nothing twice."""

from __future__ import annotations

import io
import os
import tarfile
import zipfile
from pathlib import Path

import pytest

from karyoseg.core.errors import KaryosegError, ProblemReport
from karyoseg.core.io.archive import MARKER, extract
from karyoseg.core.io.archive_members import unsafe_name


def write_zip(path: Path, members: dict[str, bytes | zipfile.ZipInfo], mode: str = "w") -> Path:
    with zipfile.ZipFile(path, mode, zipfile.ZIP_DEFLATED) as archive:  # type: ignore[arg-type]
        for name, content in members.items():
            archive.writestr(name, content)  # type: ignore[arg-type]
    return path


def tree(folder: Path) -> dict[str, bytes]:
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file() and p.name != MARKER
    }


def everything(folder: Path) -> set[str]:
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*")}


CONTENT = {"images/a.txt": b"a", "images/sub/b.txt": b"bb", "c.txt": b""}


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz", "tar.bz2", "tar.xz"])
def test_unpacks_every_kind_and_skips_junk(tmp_path: Path, kind: str) -> None:
    members = CONTENT | {"__MACOSX/images/._a.txt": b"x", "images/.DS_Store": b"x", "Thumbs.db": b"x"}
    path = tmp_path / f"data.{kind}"
    if kind == "zip":
        write_zip(path, members)
    else:
        with tarfile.open(path, "w" + kind.removeprefix("tar").replace(".", ":")) as archive:
            for name, content in members.items():
                info = tarfile.TarInfo("./" + name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    target = extract(path, tmp_path / "out", max_files=10, max_bytes=1000)
    assert tree(target) == CONTENT


def test_unpacks_once_and_again_when_the_archive_changes(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "data.zip", CONTENT)
    target = extract(path, tmp_path / "out")
    stamp = (target / "c.txt").stat().st_mtime_ns, target.stat().st_ino
    extract(path, target)
    assert ((target / "c.txt").stat().st_mtime_ns, target.stat().st_ino) == stamp
    write_zip(path, {"images/new.txt": b"new"})
    assert tree(extract(path, target)) == {"images/new.txt": b"new"}
    assert everything(tmp_path) == {"data.zip", "out", f"out/{MARKER}", "out/images", "out/images/new.txt"}


def test_lost_file_is_unpacked_again(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "data.zip", CONTENT)
    target = extract(path, tmp_path / "out")
    (target / "images/a.txt").unlink()
    assert tree(extract(path, target)) == CONTENT


def test_foreign_folder_is_left_alone(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "data.zip", CONTENT)
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine.txt").write_text("mine")
    with pytest.raises(KaryosegError, match="left alone"):
        extract(path, tmp_path / "out")
    assert tree(tmp_path / "out") == {"mine.txt": b"mine"}


def link(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.create_system = 3
    info.external_attr = 0o120777 << 16
    return info


def test_all_malicious_members_come_in_one_report(tmp_path: Path) -> None:
    path = tmp_path / "evil.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("../up.txt", "a/../../up.txt", "/etc/passwd", "C:/x.txt", "..\\up.txt", "good.txt"):
            archive.writestr(name, "x")
        archive.writestr(link("link"), "/etc/passwd")
        archive.writestr("twice.txt", "1")
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("twice.txt", "2")
        archive.writestr("folder", "a file")
        archive.writestr("folder/inside.txt", "x")
    with pytest.raises(ProblemReport) as caught:
        extract(path, tmp_path / "out")
    found = [problem.where.strip("'") for problem in caught.value.problems]
    assert found == [
        "../up.txt", "a/../../up.txt", "/etc/passwd", "C:/x.txt", "../up.txt", "link", "twice.txt",
        "folder/inside.txt",
    ]  # fmt: skip
    assert everything(tmp_path) == {"evil.zip"}


def test_encrypted_zip(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "data.zip", {"a.txt": b"a"})
    raw = bytearray(path.read_bytes())
    raw[raw.index(b"PK\x01\x02") + 8] |= 1
    raw[raw.index(b"PK\x03\x04") + 6] |= 1
    path.write_bytes(raw)
    with pytest.raises(ProblemReport, match="encrypted"):
        extract(path, tmp_path / "out")


def test_tar_links_and_devices(tmp_path: Path) -> None:
    path = tmp_path / "evil.tar"
    with tarfile.open(path, "w") as archive:
        for name, kind in (
            ("soft", tarfile.SYMTYPE), ("hard", tarfile.LNKTYPE), ("pipe", tarfile.FIFOTYPE),
            ("device", tarfile.CHRTYPE),
        ):  # fmt: skip
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            archive.addfile(info)
    with pytest.raises(ProblemReport) as caught:
        extract(path, tmp_path / "out")
    assert [p.where for p in caught.value.problems] == ["'soft'", "'hard'", "'pipe'", "'device'"]
    assert everything(tmp_path) == {"evil.tar"}


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_bombs(tmp_path: Path, kind: str) -> None:
    big = bytes(10_000_000)
    path = tmp_path / f"bomb.{kind}"
    if kind == "zip":
        write_zip(path, {"a.bin": big})
    else:
        with tarfile.open(path, "w:gz") as archive:
            info = tarfile.TarInfo("a.bin")
            info.size = len(big)
            archive.addfile(info, io.BytesIO(big))
    assert path.stat().st_size < 20_000
    with pytest.raises(ProblemReport, match=r"more than 0.001 GB.*Raise the limit"):
        extract(path, tmp_path / "out", max_bytes=10**6)
    many = write_zip(tmp_path / "many.zip", {f"{i}.txt": b"" for i in range(20)})
    with pytest.raises(ProblemReport, match="more than 19 files"):
        extract(many, tmp_path / "out", max_files=19)
    extract(many, tmp_path / "out", max_files=20)


def test_bomb_that_lies_about_its_size(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "liar.zip", {"a.bin": bytes(1_000_000)})
    raw = bytearray(path.read_bytes())
    small = (10).to_bytes(4, "little")
    for mark, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        start = raw.index(mark) + offset
        raw[start : start + 4] = small
    path.write_bytes(raw)
    with pytest.raises(KaryosegError, match="cannot be unpacked"):
        extract(path, tmp_path / "out", max_bytes=1000)
    assert everything(tmp_path) == {"liar.zip"}


def damage_body(raw: bytes) -> bytes:
    middle = raw.index(b"PK\x03\x04") + 60
    return raw[:middle] + bytes([raw[middle] ^ 0xFF]) + raw[middle + 1 :]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda raw: b"", "0 bytes"),
        (lambda raw: raw[:-40], "truncated"),
        (lambda raw: b"not an archive at all", "not an archive"),
        (damage_body, "cannot be unpacked"),
    ],
    ids=["zero", "truncated", "text", "bit flip"],
)
def test_damaged_zip_leaves_the_earlier_folder(tmp_path: Path, damage: object, message: str) -> None:
    path = write_zip(tmp_path / "data.zip", {"a.bin": os.urandom(500)})
    target = extract(path, tmp_path / "out")
    before = tree(target)
    path.write_bytes(damage(path.read_bytes()))  # type: ignore[operator]
    with pytest.raises(KaryosegError, match=message):
        extract(path, target)
    assert tree(target) == before
    assert not (tmp_path / "out.part").exists()


def test_truncated_tar_gz(tmp_path: Path) -> None:
    path = tmp_path / "data.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        info = tarfile.TarInfo("a.bin")
        info.size = 100_000
        archive.addfile(info, io.BytesIO(os.urandom(info.size)))
    path.write_bytes(path.read_bytes()[:50_000])
    with pytest.raises(KaryosegError, match="cannot be unpacked"):
        extract(path, tmp_path / "out")
    assert everything(tmp_path) == {"data.tar.gz"}


def test_empty_archive_missing_archive_and_unwritable_folder(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "empty.zip", {})
    with pytest.raises(KaryosegError, match="no files"):
        extract(path, tmp_path / "out")
    with pytest.raises(KaryosegError, match="does not exist"):
        extract(tmp_path / "none.zip", tmp_path / "out")
    (tmp_path / "file").write_text("x")
    good = write_zip(tmp_path / "good.zip", CONTENT)
    with pytest.raises(KaryosegError, match="writable"):
        extract(good, tmp_path / "file" / "out")


@pytest.mark.parametrize("name", ["a.txt", "a/b.txt", "a..b/c..txt", "...", "ä ö/x.tif", "ab:c.txt"])
def test_harmless_names(name: str) -> None:
    assert unsafe_name(name) == ""


@pytest.mark.parametrize("name", ["", "/", "/a", "//a", "\\a", "c:\\a", "c:a", "..", "a/..", "a\n", "x" * 256])
def test_harmful_names(name: str) -> None:
    assert unsafe_name(name)
