"""Finding images and naming their outputs."""

from __future__ import annotations

import os
import socket
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
import tifffile
import zarr

from http_server import bad_server
from karyoseg.core.errors import KaryosegError
from karyoseg.core.io.image_files import ImageError
from karyoseg.core.io.images import read_image
from karyoseg.core.io.inputs import find_images, is_inside
from karyoseg.core.io.large_images import open_large
from karyoseg.core.io.stems import unique_stems
from karyoseg.core.io.storage import StorageError
from karyoseg.core.io.tiffs import encode_labels


def write(path: Path, value: int = 0) -> Path:
    """Write a tiny TIFF."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, np.full((4, 5), value, np.uint8))
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with images, other files and a subfolder."""
    for name in ("b.tif", "a 1.TIF", "[x] 50%#.tif", "._b.tif", "sub/c.tiff"):
        write(tmp_path / "in" / name)
    (tmp_path / "in" / "notes.txt").write_text("notes")
    return tmp_path / "in"


def test_folder_is_not_recursive(folder: Path) -> None:
    assert [image.stem for image in find_images(str(folder))] == ["[x] 50%#", "a 1", "b"]


def test_glob(folder: Path) -> None:
    assert {image.stem for image in find_images(f"{folder}/**/*.tif*")} == {"[x] 50%#", "b", "c"}
    assert [image.stem for image in find_images(f"{folder}/b.*")] == ["b"]


def test_glob_passes_over_hidden_folders_and_results(folder: Path) -> None:
    for name in (".Trash-1000/files/gone.tif", "results/b.tif", "results/.objects/README.txt"):
        write(folder / name)
    pattern = f"{folder}/**/*.tif*"
    assert {image.stem for image in find_images(pattern, skip_results=True)} == {"[x] 50%#", "b", "c"}
    assert len(find_images(pattern)) == len(find_images(pattern, skip_results=True)) + 1
    assert [image.stem for image in find_images(f"{folder}/results/*.tif", skip_results=True)] == ["b"]
    assert [image.stem for image in find_images(f"{folder}/.Trash-1000/**/*.tif")] == ["gone"]
    with pytest.raises(KaryosegError, match="in output folders of predict"):
        find_images(f"{folder}/results/**/*.tif", skip_results=True)


def test_links_are_what_they_lead_to(folder: Path, tmp_path: Path) -> None:
    links = tmp_path / "links"
    links.mkdir()
    for target in (folder / "b.tif", folder / "a 1.TIF", folder / "sub", folder / "notes.txt"):
        (links / target.name).symlink_to(target)
    (tmp_path / "alias").symlink_to(links)
    assert [image.stem for image in find_images(str(links))] == ["a 1", "b"]
    assert [image.stem for image in find_images(str(tmp_path / "alias"))] == ["a 1", "b"]
    assert [image.stem for image in find_images(str(links / "b.tif"))] == ["b"]
    assert [image.stem for image in find_images(f"{links}/*/*.tiff")] == ["c"]
    assert {image.stem for image in find_images(f"{links}/**/*.tif*")} == {"b", "c"}
    plain = {image.stem: image.stamp for image in find_images(str(folder))}
    assert find_images(str(links / "b.tif"))[0].stamp == find_images(str(links))[1].stamp == plain["b"]


def test_links_in_circles_end(tmp_path: Path) -> None:
    for name in ("x", "y"):
        write(tmp_path / name / "deep" / f"{name}.tif")
    (tmp_path / "x" / "deep" / "other").symlink_to(tmp_path / "y")
    (tmp_path / "y" / "deep" / "other").symlink_to(tmp_path / "x")
    (tmp_path / "x" / "itself").symlink_to(tmp_path / "x")
    (tmp_path / "up").symlink_to(tmp_path)
    found = [image.path for image in find_images(f"{tmp_path}/**/*.tif")]
    relative = {str(Path(path).relative_to(tmp_path)) for path in found}
    assert relative == {
        "x/deep/x.tif",
        "y/deep/y.tif",
        "x/deep/other/deep/y.tif",
        "y/deep/other/deep/x.tif",
    }


def test_a_link_to_nowhere_is_reported_when_it_is_read(folder: Path) -> None:
    (folder / "lost.tif").symlink_to(folder / "gone.tif")
    (folder / "own.tif").symlink_to("own.tif")
    lost, own = (image for image in find_images(str(folder)) if image.stem in ("lost", "own"))
    for image in (lost, own):
        with pytest.raises(KaryosegError, match=image.stem):
            read_image(image.path)


def test_file_of_any_suffix(folder: Path) -> None:
    (folder / "b.tif").rename(folder / "b.dat")
    (image,) = find_images(str(folder / "b.dat"))
    assert (image.path, image.stem) == (str(folder / "b.dat"), "b")
    assert len(find_images(str(folder / "[x] 50%#.tif"))) == 1


def test_zip_members_are_read_in_place(folder: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "in.zip", "w") as archive:
        for value, name in enumerate(("x/a?.tif", "x/[b] 50%#.tif", "y/a?.tif", "__MACOSX/x/._a.tif", "read me.txt")):
            archive.write(write(folder / "member.tif", value), name)
    images = find_images(str(tmp_path / "in.zip"))
    assert [image.stem for image in images] == ["[b] 50%#", "x_a__tif", "y_a__tif"]
    assert [int(read_image(image.path).array[0, 0]) for image in images] == [1, 0, 2]
    assert {path.name for path in tmp_path.iterdir()} == {"in", "in.zip"}


def test_changed_zip_is_read_again(folder: Path, tmp_path: Path) -> None:
    seen = []
    for value in (1, 2):
        with zipfile.ZipFile(tmp_path / "in.zip", "w") as archive:
            archive.write(write(folder / "member.tif", value), "a.tif")
        (image,) = find_images(str(tmp_path / "in.zip"))
        seen.append((image.stamp, int(read_image(image.path).array[0, 0])))
    assert [value for _, value in seen] == [1, 2]
    assert seen[0][0] != seen[1][0]


@pytest.mark.parametrize("name", ["../evil.tif", "/evil.tif", "a/../../evil.tif"])
def test_zip_that_points_outside_is_refused(folder: Path, tmp_path: Path, name: str) -> None:
    with zipfile.ZipFile(tmp_path / "in.zip", "w") as archive:
        archive.write(folder / "b.tif", name)
        archive.filelist[0].filename = name
    with pytest.raises(KaryosegError, match="points outside"):
        find_images(str(tmp_path / "in.zip"))


@pytest.mark.parametrize(("content", "word"), [(b"", "0 bytes"), (b"PK no zip", "not a complete zip")])
def test_broken_zip(tmp_path: Path, content: bytes, word: str) -> None:
    (tmp_path / "in.zip").write_bytes(content)
    with pytest.raises(KaryosegError, match=word):
        find_images(str(tmp_path / "in.zip"))


def test_damaged_member(folder: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "in.zip", "w") as archive:
        archive.write(folder / "b.tif", "b.tif")
    content = bytearray((tmp_path / "in.zip").read_bytes())
    content[60] ^= 255
    (tmp_path / "in.zip").write_bytes(content)
    (image,) = find_images(str(tmp_path / "in.zip"))
    with pytest.raises(KaryosegError, match=r"b\.tif.*cannot be opened"):
        read_image(image.path)


def test_url() -> None:
    fs = fsspec.filesystem("memory")
    fs.pipe_file("/bucket/a.tif", encode_labels(np.array([[7]])))
    fs.pipe_file("/bucket/b.txt", b"1")
    (image,) = find_images("memory://bucket")
    assert read_image(image.path).array.tolist() == [[7]]
    fs.rm("/bucket", recursive=True)


@pytest.mark.parametrize("read", [read_image, find_images])
def test_a_server_that_does_not_answer_is_named_without_passwords(read: Callable[[str], Any]) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(KaryosegError, match=rf"^http://127.0.0.1:{port}/a.png: .*Cannot connect.*Check the") as caught:
        read(f"http://me:wrong-secret@127.0.0.1:{port}/a.png?sig=secret")
    assert "secret" not in str(caught.value)
    assert isinstance(caught.value, StorageError) == (read is read_image)  # no fault of this file


def test_a_file_that_a_server_does_not_have_is_missing() -> None:
    with bad_server() as server, pytest.raises(ImageError, match="no such file"):
        read_image(server.answer("/a.png", 404))


@pytest.fixture
def web(tmp_path: Path) -> Iterator[str]:
    """Address of a server of the temporary folder that lists no folders."""

    class Handler(SimpleHTTPRequestHandler):
        def list_directory(self, path: object) -> None:
            self.send_error(403)

        def log_message(self, *args: object) -> None:
            """Stay quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(tmp_path))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_an_image_on_a_web_server_has_another_stamp_when_it_is_another(tmp_path: Path, web: str) -> None:
    stamps = []
    for day in (1, 2):
        os.utime(write(tmp_path / "a.tif", day), times=(day * 86400, day * 86400))
        stamps += [image.stamp for image in find_images(f"{web}/a.tif")]
    assert len(set(stamps)) == 2
    assert find_images(f"{web}/a.tif")[0].stamp == stamps[1]


def test_names_of_images_on_a_web_server(tmp_path: Path, web: str) -> None:
    write(tmp_path / "my image.tif")
    (found,) = find_images(f"{web}/my%20image.tif?token=ab.c/d.SECRET")
    assert (found.stem, read_image(found.path).array.shape) == ("my image", (4, 5))
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(tmp_path / "my image.tif", "b.tif")
    assert [image.stem for image in find_images(f"{web}/a.zip?signature=x")] == ["b"]


def test_zarr_on_a_web_server_that_lists_nothing(tmp_path: Path, web: str) -> None:
    zarr.create_array(tmp_path / "a.zarr", shape=(20, 30), dtype="u1")
    (found,) = find_images(f"{web}/a.zarr")
    assert (found.stem, open_large(found.path).shape) == ("a", (20, 30))
    assert found.stamp
    with pytest.raises(KaryosegError, match="nothing there"):
        find_images(f"{web}/b.zarr")


@pytest.mark.parametrize("layout", [2, 3])
def test_a_store_whose_pixels_change_has_another_stamp(tmp_path: Path, layout: Any) -> None:
    group = zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=layout)
    keys = {"chunk_key_encoding": {"name": "v2", "separator": "/"}} if layout == 2 else {}
    pixels = group.create_array("0", shape=(8, 8), chunks=(4, 4), dtype="uint8", **keys)
    pixels[:] = 1
    before = find_images(str(tmp_path / "a.zarr"))[0].stamp
    assert find_images(str(tmp_path / "a.zarr"))[0].stamp == before
    pixels[5, 5] = 2
    assert find_images(str(tmp_path / "a.zarr"))[0].stamp != before


def test_nothing_found(folder: Path) -> None:
    with pytest.raises(KaryosegError, match="nothing there"):
        find_images(str(folder / "none"))
    with pytest.raises(KaryosegError, match="nothing there"):
        find_images(str(folder / "none*.tif"))
    with pytest.raises(KaryosegError, match=r"1 file\(s\), no image: notes.txt"):
        find_images(str(folder / "*.txt"))
    (folder / "empty").mkdir()
    with pytest.raises(KaryosegError, match="no files"):
        find_images(str(folder / "empty"))


def test_what_is_left_out_is_said_once(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    find_images(str(folder))
    assert caplog.text == ""
    for name in ("b.czi", "c.lif", "Thumbs.db", ".hidden.nd2", "objects.csv"):
        (folder / name).touch()
    (folder / "out").mkdir()
    (folder / "out" / "a.rois.zip").touch()
    find_images(f"{folder}/**/*", exclude=str(folder / "out"))
    assert [record.getMessage() for record in caplog.records] == [
        "2 file(s) are no TIFF, PNG, JPEG, BMP or Zarr: b.czi, c.lif"
    ]


def test_files_of_microscopes_alone(tmp_path: Path) -> None:
    (tmp_path / "a.CZI").touch()
    with pytest.raises(KaryosegError, match=r"a\.CZI.*Export them as OME-TIFF \(Fiji: .*Bio-Formats"):
        find_images(str(tmp_path))


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["/i/a.tif", "/i/b.ome.tif", "/i/c.OME.zarr"], ["a", "b", "c"]),
        (["/i/a.tif", "/i/a.ome.tif"], ["a_tif", "a_ome_tif"]),
        (["/i/Zu\u0308rich.tif", "/i/Z\u00fcrich.png"], ["Z\u00fcrich_tif", "Z\u00fcrich_png"]),
        (["/i/a.png", "/i/a.tif"], ["a_png", "a_tif"]),
        (["/i/a.png", "/i/A.png"], ["a_png_1", "A_png_2"]),
        (["x/a.png", "y/a.png"], ["x_a_png", "y_a_png"]),
        (["a.png", "y/a.png"], ["a_png", "y_a_png"]),
        (["a.png", "a.tif", "a_png.tif"], ["a_png", "a_tif", "a_png_tif"]),
        (['/i/a:b"?.tif', "/i/. .tif"], ["a_b__", "image"]),
    ],
)
def test_stems(names: list[str], expected: list[str]) -> None:
    assert unique_stems(names) == expected


def test_stems_never_agree() -> None:
    rng = np.random.default_rng(0)
    parts = ["a", "A", "a_png", "a_1", "x_a", "a_png_1"]
    for _ in range(200):
        names = {f"{rng.choice(['', 'x/', 'x/a/'])}{rng.choice(parts)}.{rng.choice(['png', 'tif'])}" for _ in range(12)}
        stems = unique_stems(sorted(names))
        assert len({stem.casefold() for stem in stems}) == len(names)


@pytest.mark.skipif(os.name == "nt" or sys.platform == "darwin", reason="file names are Unicode there")
def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"K\xe4se.tif")).write_bytes(write(tmp_path / "a.tif").read_bytes())
    stems = [image.stem for image in find_images(str(tmp_path))]
    assert stems == ["K\ufffdse", "a"]


def test_long_names_leave_room_for_suffixes() -> None:
    (stem,) = unique_stems(["/i/" + "ä" * 120 + ".tif"])
    assert len(stem.encode()) <= 200


def test_is_inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert is_inside(str(tmp_path / "out/a.tif"), "out")
    assert is_inside("in/../out/sub/a.tif", "out")
    assert not is_inside("outer/a.tif", "out")
    assert is_inside("s3://b/out/a.tif", "s3://b/out/")
    assert not is_inside("s3://b/out/a.tif", "out")
