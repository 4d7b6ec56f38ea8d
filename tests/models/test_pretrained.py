"""Published models through a local cache, with a server on loopback."""

from __future__ import annotations

import hashlib
import io
import threading
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from karyoseg.core.errors import KaryosegError
from karyoseg.models import load_segmenter
from karyoseg.models.stardist import pretrained as module
from karyoseg.models.stardist.pretrained import PRETRAINED, cache_folder, pretrained_folder

NAME = "2D_versatile_fluo"


class Server:
    """Serves a folder and counts requests."""

    def __init__(self, folder: Path):
        requests: list[str] = []

        class Handler(SimpleHTTPRequestHandler):
            def do_GET(self) -> None:
                requests.append(self.path)
                super().do_GET()

            def log_message(self, *args: Any) -> None:
                pass

        self.requests = requests
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
        self.url = f"http://127.0.0.1:{self._server.server_port}/python_{{name}}.zip"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def zipped(trained: Any, tmp_path: Path) -> bytes:
    """The trained model as StarDist publishes its models."""
    trained.save(tmp_path / "source")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name in ("config.json", "thresholds.json", "weights_best.h5"):
            file.write(tmp_path / "source" / name, name)
    return buffer.getvalue()


@pytest.fixture
def server(zipped: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / f"python_{NAME}.zip").write_bytes(zipped)
    monkeypatch.setitem(module._SHA256, NAME, hashlib.sha256(zipped).hexdigest())
    monkeypatch.setenv("KARYOSEG_CACHE", str(tmp_path / "cache"))
    running = Server(folder)
    yield running
    running.close()


def test_the_first_call_downloads_the_second_does_not(server: Server, tmp_path: Path, sample: Callable) -> None:
    folder = pretrained_folder(NAME, server.url)
    assert folder.is_relative_to(tmp_path / "cache")
    assert len(server.requests) == 1
    server.close()
    assert pretrained_folder(NAME, server.url) == folder
    assert len(server.requests) == 1
    model = load_segmenter(NAME)  # by name, from the cache
    assert model.predict(model.prepare(sample(1)[0])[0]).labels.max() > 0


def test_an_archive_with_a_folder_inside_works_too(
    server: Server, zipped: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(zipped)) as old, zipfile.ZipFile(buffer, "w") as new:
        for name in old.namelist():
            new.writestr(f"{NAME}/{name}", old.read(name))
    (tmp_path / "served" / f"python_{NAME}.zip").write_bytes(buffer.getvalue())
    monkeypatch.setitem(module._SHA256, NAME, hashlib.sha256(buffer.getvalue()).hexdigest())
    folder = pretrained_folder(NAME, server.url)
    assert (folder / "config.json").is_file()
    assert pretrained_folder(NAME, server.url) == folder
    assert len(server.requests) == 1


def test_a_wrong_checksum_is_refused_and_not_kept(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(module._SHA256, NAME, "0" * 64)
    with pytest.raises(KaryosegError, match="wrong checksum"):
        pretrained_folder(NAME, server.url)
    assert not (tmp_path / "cache" / "models" / NAME).exists()


def test_offline_says_what_to_do(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    server.close()
    monkeypatch.setattr(module, "fetch", partial(module.fetch, retries=0))
    with pytest.raises(KaryosegError) as caught:
        pretrained_folder(NAME, server.url)
    text = str(caught.value)
    assert f"model '{NAME}': not in the cache" in text
    assert "On a machine without network, download http://127.0.0.1" in text
    assert "KARYOSEG_CACHE" in text


def test_missing_on_the_server_says_so(server: Server, tmp_path: Path) -> None:
    (tmp_path / "served" / f"python_{NAME}.zip").unlink()
    with pytest.raises(KaryosegError, match="404"):
        pretrained_folder(NAME, server.url)


def test_a_folder_unpacked_by_hand_is_used(server: Server, trained: Any, tmp_path: Path) -> None:
    trained.save(tmp_path / "cache" / "models" / NAME)
    assert pretrained_folder(NAME, server.url) == tmp_path / "cache" / "models" / NAME
    assert server.requests == []


def test_cache_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KARYOSEG_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv("KARYOSEG_CACHE")
    assert "karyoseg" in cache_folder().parts


def test_unknown_names_are_refused() -> None:
    with pytest.raises(KaryosegError, match="needed: one of 2D_versatile_fluo, 2D_versatile_he, 2D_paper_dsb2018"):
        pretrained_folder("2D_versatile")
    with pytest.raises(KaryosegError, match="no model there"):
        load_segmenter("2D_versatile")


def test_registered_models_are_those_of_stardist() -> None:
    from csbdeep.models.pretrained import _MODELS  # the registry behind StarDist2D.from_pretrained
    from stardist.models import StarDist2D

    registry = _MODELS[StarDist2D]
    for name in PRETRAINED:
        assert registry[name]["url"].endswith(f"python_{name}.zip")
        assert module._RELEASE.format(name=name) == registry[name]["url"]
        assert len(module._SHA256[name]) == 64


def test_fine_tuning_a_pretrained_model(
    server: Server, samples: Callable, options: Callable, tmp_path: Path, trained: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from karyoseg.models.stardist import StarDistSegmenter, fitting
    from karyoseg.models.stardist.network import open_folder

    monkeypatch.setattr(fitting, "pretrained_folder", partial(pretrained_folder, base_url=server.url))
    model = StarDistSegmenter(tmp_path / "tuned")
    init = {"name": "pretrained", "model": NAME}
    settings = options(init=init, epochs=1, steps_per_epoch=1, learning_rate=1e-9)
    model.fit(samples(range(2)), samples(range(100, 101)), None, settings)
    tuned, start = (open_folder(one.directory).keras_model.get_weights() for one in (model, trained))
    for one, other in zip(tuned, start, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
