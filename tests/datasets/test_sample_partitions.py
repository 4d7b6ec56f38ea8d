"""The resumable folder of samples."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable
from functools import partial
from pathlib import Path

import fsspec
import numpy as np
import pytest
from kedro.io import DatasetError

from karyoseg.core.errors import KaryosegError
from karyoseg.core.lazy import Lazy
from karyoseg.core.threads import n_threads
from karyoseg.datasets import SamplePartitions


def image(seed: int, shape: tuple[int, ...] = (6, 7)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 200, shape).astype(np.uint16)


class Source:
    """Samples that count how often each is computed, one of which may fail."""

    def __init__(self, keys: Iterable[str], failing: str = "", mark: str = "v1"):
        self.calls: list[str] = []
        self._failing = failing
        self.data = {key: Lazy(partial(self._compute, key), f"{mark}-{key}") for key in keys}

    def _compute(self, key: str) -> np.ndarray:
        self.calls.append(key)
        if key == self._failing:
            raise RuntimeError(f"sample {key} cannot be computed")
        return image(ord(key[-1]))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "02" / "images"


@pytest.fixture
def dataset(folder: Path) -> SamplePartitions:
    return SamplePartitions(path=str(folder), file_format="image")


def stored_ids(folder: Path) -> set[str]:
    return {path.stem for path in folder.glob("*.tif")}


@pytest.mark.parametrize("shape", [(6, 7), (6, 7, 3), (1, 1)])
def test_round_trip(dataset: SamplePartitions, shape: tuple[int, ...]) -> None:
    dataset.save({key: Lazy(partial(image, seed, shape), str(seed)) for seed, key in enumerate("cab")})
    loaded = dataset.load()
    assert list(loaded) == ["a", "b", "c"]
    for seed, key in enumerate("cab"):
        np.testing.assert_array_equal(loaded[key](), image(seed, shape))


def test_labels_come_back_as_int32_with_negatives(folder: Path) -> None:
    labels = np.array([[-1, 0, 70_000]], np.int64)
    dataset = SamplePartitions(path=str(folder), file_format="labels")
    dataset.save({"a": Lazy(lambda: labels, "x")})
    found = dataset.load()["a"]()
    assert found.dtype == np.int32
    np.testing.assert_array_equal(found, labels)


def test_exists_release_and_description(dataset: SamplePartitions, folder: Path) -> None:
    assert not dataset.exists()
    dataset.save(Source("a").data)
    assert dataset.exists()
    dataset.release()
    assert list(dataset.load()) == ["a"]
    assert str(folder) in repr(dataset)
    assert "image" in repr(dataset)


def test_no_samples_is_a_valid_folder(dataset: SamplePartitions) -> None:
    dataset.save({})
    assert dataset.exists()
    assert dataset.load() == {}


def test_missing_folder_says_which_pipelines_to_run(dataset: SamplePartitions, folder: Path) -> None:
    with pytest.raises(DatasetError) as caught:
        dataset.load()
    assert isinstance(caught.value.__cause__, KaryosegError)
    assert f"{folder}: holds no samples yet" in str(caught.value.__cause__)


def test_other_filesystems() -> None:
    dataset = SamplePartitions(path="memory:///sample-partitions/images", file_format="image")
    dataset.save(Source("ab").data)
    dataset.save(Source("b").data)
    np.testing.assert_array_equal(dataset.load()["b"](), image(ord("b")))
    assert list(dataset.load()) == ["b"]
    fsspec.filesystem("memory").rm("/sample-partitions", recursive=True)


def test_unknown_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="jpeg"):
        SamplePartitions(path=str(tmp_path), file_format="jpeg")  # type: ignore[arg-type]


def test_loading_reads_nothing_until_called(dataset: SamplePartitions, folder: Path) -> None:
    dataset.save(Source("ab").data)
    loaded = dataset.load()
    (folder / "a.tif").write_bytes(b"damaged")
    np.testing.assert_array_equal(loaded["b"](), image(ord("b")))
    with pytest.raises(KaryosegError, match=r"a\.tif: cannot be read back"):
        loaded["a"]()


def test_truncated_file_is_reported(dataset: SamplePartitions, folder: Path) -> None:
    dataset.save({"a": Lazy(partial(image, 0, (64, 64)), "x")})
    content = (folder / "a.tif").read_bytes()
    (folder / "a.tif").write_bytes(content[: len(content) // 2])
    with pytest.raises(KaryosegError, match=r"a\.tif: cannot be read back"):
        dataset.load()["a"]()


def test_unchanged_samples_are_not_computed_again(dataset: SamplePartitions) -> None:
    dataset.save(Source("abc").data)
    again = Source("abc")
    dataset.save(again.data)
    assert again.calls == []


def test_changed_and_new_samples_are_computed(dataset: SamplePartitions) -> None:
    dataset.save(Source("abc").data)
    changed = Source("abcd")
    changed.data["b"] = Lazy(partial(changed._compute, "b"), "v2")
    dataset.save(changed.data)
    assert sorted(changed.calls) == ["b", "d"]


def test_a_deleted_file_is_computed_again(dataset: SamplePartitions, folder: Path) -> None:
    dataset.save(Source("abc").data)
    (folder / "b.tif").unlink()
    again = Source("abc")
    dataset.save(again.data)
    assert again.calls == ["b"]


def test_an_exception_keeps_what_was_done_and_the_next_save_does_the_rest(
    dataset: SamplePartitions, folder: Path
) -> None:
    keys = [f"{i:02d}" for i in range(40)]
    first = Source(keys, failing="10")
    with pytest.raises(DatasetError, match="sample 10 cannot be computed"):
        dataset.save(first.data)
    done = stored_ids(folder)
    assert set(keys[:10]) <= done <= set(first.calls) - {"10"}
    assert len(first.calls) <= 10 + 2 * n_threads()
    second = Source(keys)
    dataset.save(second.data)
    assert set(second.calls) == set(keys) - done
    assert list(dataset.load()) == keys


def test_an_optional_folder_may_be_missing_but_not_half_written(folder: Path) -> None:
    optional = SamplePartitions(path=str(folder), file_format="image", optional=True)
    assert optional.load() == {}

    def fail() -> np.ndarray:
        raise RuntimeError("killed")

    with pytest.raises(DatasetError):
        optional.save({"a": Lazy(fail, "1")})
    with pytest.raises(DatasetError) as caught:
        optional.load()
    assert "interrupted" in str(caught.value.__cause__)


def test_an_interrupted_folder_refuses_to_load(dataset: SamplePartitions) -> None:
    with pytest.raises(DatasetError):
        dataset.save(Source("abc", failing="c").data)
    assert not dataset.exists()
    with pytest.raises(DatasetError) as caught:
        dataset.load()
    assert "interrupted after 2 samples" in str(caught.value.__cause__)


def test_a_failing_recomputation_does_not_pass_old_files_off_as_new(dataset: SamplePartitions) -> None:
    dataset.save(Source("abc").data)
    with pytest.raises(DatasetError):
        dataset.save(Source("abc", failing="b", mark="v2").data)
    third = Source("abc", mark="v2")
    dataset.save(third.data)
    assert "b" in third.calls
    assert "a" not in third.calls


def test_any_number_of_threads_writes_the_same_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = [f"{i:02d}" for i in range(30)]
    written = []
    for threads in (1, 2, 7):
        monkeypatch.setattr("karyoseg.datasets.sample_partitions.n_threads", lambda n=threads: n)
        folder = tmp_path / str(threads)
        SamplePartitions(path=str(folder), file_format="image").save(Source(keys).data)
        written.append({path.name: path.read_bytes() for path in folder.iterdir() if path.suffix == ".tif"})
        assert json.loads((folder / "index.json").read_text())["samples"] == {key: f"v1-{key}" for key in keys}
    assert set(written[0]) == {f"{key}.tif" for key in keys}
    assert written[0] == written[1] == written[2]


def test_samples_are_computed_side_by_side(dataset: SamplePartitions, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("karyoseg.datasets.sample_partitions.n_threads", lambda: 3)
    together = threading.Barrier(3, timeout=30)  # breaks if the three are not computed at the same time

    def compute(key: str) -> np.ndarray:
        together.wait()
        return image(ord(key))

    dataset.save({key: Lazy(partial(compute, key), key) for key in "abc"})
    assert list(dataset.load()) == ["a", "b", "c"]


def test_links_in_place_of_files_are_samples(dataset: SamplePartitions, folder: Path, tmp_path: Path) -> None:
    """As DVC makes them when its cache is linked."""
    dataset.save(Source("abc").data)
    (folder / "a.tif").rename(tmp_path / "cached.tif")
    (folder / "a.tif").symlink_to(tmp_path / "cached.tif")
    (folder / "b.tif").rename(folder / "c.tif")
    (folder / "b.tif").symlink_to(tmp_path / "nowhere.tif")
    again = Source("abc", mark="v1")
    dataset.save(again.data)
    assert again.calls == ["b"]
    dataset.save(Source("abc", mark="v2").data)
    assert not (folder / "a.tif").is_symlink()
    assert (tmp_path / "cached.tif").is_file()  # a new result takes the place of the link, not of what it leads to


def test_samples_that_no_longer_exist_are_removed_only_at_the_end(dataset: SamplePartitions, folder: Path) -> None:
    dataset.save(Source("abc").data)
    with pytest.raises(DatasetError):
        dataset.save(Source("cd", failing="d").data)
    assert stored_ids(folder) == {"a", "b", "c"}
    dataset.save(Source("cd").data)
    assert stored_ids(folder) == {"c", "d"}


def test_foreign_files_are_left_alone(dataset: SamplePartitions, folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "notes.txt").write_text("mine")
    (folder / "images.dvc").write_text("mine")
    dataset.save(Source("a").data)
    dataset.save(Source("b").data)
    assert {path.name for path in folder.iterdir()} == {"notes.txt", "images.dvc", "index.json", "b.tif"}


@pytest.mark.parametrize("content", ["{", "{}", "null"])
def test_damaged_index_is_reported(dataset: SamplePartitions, folder: Path, content: str) -> None:
    dataset.save(Source("a").data)
    (folder / "index.json").write_text(content)
    with pytest.raises(DatasetError) as caught:
        dataset.load()
    assert "index.json: is damaged or unreadable" in str(caught.value.__cause__)


def test_unwritable_folder_is_reported(
    dataset: SamplePartitions, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, content: bytes) -> int:
        raise PermissionError(13, "Permission denied", str(path))

    folder.mkdir(parents=True)
    monkeypatch.setattr(Path, "write_bytes", refuse)  # root, as in containers, may write whatever the mode
    source = Source("a")
    with pytest.raises(DatasetError) as caught:
        dataset.save(source.data)
    assert "cannot be written (Permission denied)" in str(caught.value.__cause__)
    assert source.calls == []


def test_a_file_in_place_of_the_folder_is_reported(dataset: SamplePartitions, folder: Path) -> None:
    folder.parent.mkdir(parents=True)
    folder.write_text("I am a file")
    with pytest.raises(DatasetError) as caught:
        dataset.save(Source("a").data)
    assert isinstance(caught.value.__cause__, KaryosegError)


#: Four threads write samples; the process is killed when the hundredth is half written.
_KILLED = """
import itertools, os, signal, sys, time
from functools import partial
from pathlib import Path
import numpy as np
import karyoseg.datasets.sample_partitions as module
from karyoseg.core.lazy import Lazy
module._FLUSH_SECONDS = float(sys.argv[2])
module.n_threads = lambda: 4
def compute(i):
    time.sleep(0.002)
    return np.full((200, 200), i, np.uint16)
written, write_bytes = itertools.count(1), Path.write_bytes
def write(path, content):
    if path.name.startswith("index") or next(written) != 100:
        return write_bytes(path, content)
    write_bytes(path, content[: len(content) // 2])
    os.kill(os.getpid(), signal.SIGKILL)
Path.write_bytes = write
data = {f"{i:04d}": Lazy(partial(compute, i), f"v1-{i}") for i in range(200)}
module.SamplePartitions(path=sys.argv[1], file_format="image").save(data)
"""


@pytest.mark.parametrize("flush", [0.0, 0.01])
def test_kill_never_leaves_a_half_file_or_a_wrong_fingerprint(folder: Path, flush: float) -> None:
    killed = subprocess.run([sys.executable, "-c", _KILLED, str(folder), str(flush)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert len(stored_ids(folder)) >= 96  # up to four are under way
    index = json.loads((folder / "index.json").read_text())
    assert not index["complete"]
    assert index["samples"]
    dataset = SamplePartitions(path=str(folder), file_format="image")
    assert not dataset.exists()
    for key in stored_ids(folder):  # every file under a final name is whole, noted or not
        np.testing.assert_array_equal(dataset._read(key), np.full((200, 200), int(key)))
    assert set(index["samples"]) <= stored_ids(folder)
    assert all(mark == f"v1-{int(key)}" for key, mark in index["samples"].items())

    calls: list[int] = []

    def compute(value: int) -> np.ndarray:
        calls.append(value)
        return np.full((2, 2), value, np.uint16)

    keys = [f"{i:04d}" for i in range(60)]
    dataset.save({key: Lazy(partial(compute, int(key)), f"v1-{int(key)}") for key in keys})
    assert sorted(calls) == [int(key) for key in keys if key not in index["samples"]]
    assert stored_ids(folder) == set(keys)


def test_preview_is_a_png(dataset: SamplePartitions) -> None:
    dataset.save(Source("abcdef").data)
    assert str(dataset.preview()).startswith("iVBOR")


def test_fingerprint_tells_content_and_format_apart(tmp_path: Path) -> None:
    marks = []
    for file_format, compute in (("image", partial(image, 0)), ("labels", partial(image, 0))):
        dataset = SamplePartitions(path=str(tmp_path / file_format), file_format=file_format)  # type: ignore[arg-type]
        dataset.save({"a": Lazy(compute, "same")})
        marks.append(dataset.load()["a"].fingerprint)
    assert marks[0] != marks[1]
