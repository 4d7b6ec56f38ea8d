"""A trained model goes to an S3 store and comes back elsewhere: the commands of docs/how-to/version-models.md."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from karyoseg.core.errors import KaryosegError
from karyoseg.models.versions import ModelVersions
from object_store import ObjectStore
from repositories import dvc, environment, git, make_repository

pytestmark = pytest.mark.slow
TINY = "data/06_models/tiny"
PAUSING = """
import os, signal
from kedro.framework.cli.cli import main
from s3fs import S3FileSystem

upload, done = S3FileSystem._put_file, []

async def upload_and_pause(*args, **kwargs):
    await upload(*args, **kwargs)
    done.append(args)
    if len(done) == 5:
        os.kill(os.getpid(), signal.SIGSTOP)

S3FileSystem._put_file = upload_and_pause
main()
"""


@pytest.fixture(scope="module")
def trained(project: Path, finished_project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository whose model `tiny` is trained and not yet released."""
    folder = tmp_path_factory.mktemp("trained") / "lab"
    shutil.copytree(finished_project, folder)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment(folder.parent).items():
            patch.setenv(name, value)
        return make_repository(project, folder, remote="s3")


@pytest.fixture
def lab(trained: Path, tmp_path: Path, on_s3: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it with a bucket of its own."""
    (tmp_path / "aws").touch()  # a file, for DVC wants one
    for name, value in (environment(tmp_path) | {"AWS_CONFIG_FILE": str(tmp_path / "aws")}).items():
        monkeypatch.setenv(name, value)
    return connect(Path(shutil.copytree(trained, tmp_path / "lab")), on_s3.create_bucket(bucket(tmp_path)))


def bucket(folder: Path) -> str:
    return f"lab-{hashlib.md5(str(folder).encode(), usedforsecurity=False).hexdigest()[:12]}"


def connect(project: Path, url: str) -> Path:
    dvc(project, "remote", "modify", "--local", "s3", "url", f"{url}/karyoseg")
    return project


def clone(lab: Path, name: str = "clone") -> Path:
    git(lab.parent, "clone", "--quiet", str(lab), name)
    shutil.copy2(lab / ".dvc/config.local", lab.parent / name / ".dvc")
    (lab.parent / name / "conf/local").mkdir(exist_ok=True)
    return lab.parent / name


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def assert_whole(store: ObjectStore, name: str) -> int:
    """Every object holds what its name, a checksum, says; return their number."""
    client = store.client()
    keys = store.keys(name)
    for key in keys:
        body = client.get_object(Bucket=name, Key=key)["Body"].read()
        named = "".join(key.split("/")[-2:]).removesuffix(".dir")
        assert hashlib.md5(body, usedforsecurity=False).hexdigest() == named, key
    return len(keys)


def test_the_sequence_of_the_documentation(
    lab: Path, project: Path, on_s3: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (project / "docs/how-to/version-models.md").read_text()
    lines = re.findall(r"^## Try all of it$.*?```bash\n(.*?)```", page, flags=re.DOTALL | re.MULTILINE)[0]
    shutil.rmtree(lab / "data")
    (lab / ".dvc/config.local").unlink()
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
    script = lines.replace("BUCKET", bucket(tmp_path))
    run = subprocess.run(["bash", "-ec", script], cwd=lab, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout[-4000:] + run.stderr[-4000:]

    model, there = contents(lab / TINY), tmp_path / "elsewhere"
    assert assert_whole(on_s3, bucket(tmp_path)) == len(model) + 1  # and the list of files
    assert contents(there / TINY) == model
    assert json.loads(model["training.json"])["data_fingerprint"] in run.stdout
    images = {path.name for path in (lab / "data/02_intermediate/images").glob("*.tif")}
    assert {path.name for path in (there / "data/07_model_output/predict").glob("*.tif")} == images
    assert git(there, "status", "--porcelain") == ""

    shutil.rmtree(lab / ".dvc/cache")
    shutil.rmtree(lab / TINY)
    ModelVersions(lab).pull("tiny")
    assert contents(lab / TINY) == model


def test_two_versions_and_back_on_another_machine(lab: Path) -> None:
    versions = ModelVersions(lab)
    versions.push("tiny", "1")
    first = contents(lab / TINY)
    (lab / TINY / "thresholds.json").write_text(json.dumps({"prob": 0.9, "nms": 0.4}))
    assert versions.push("tiny", "2").uploaded == 2  # the changed file and the list: the weights are there already
    second = contents(lab / TINY)
    there = clone(lab)
    for rev, model in (("2", second), ("1", first), ("tiny-v2", second)):
        ModelVersions(there).pull("tiny", rev)
        assert contents(there / TINY) == model


@pytest.fixture
def running_push(lab: Path, rng: np.random.Generator) -> Iterator[subprocess.Popen[str]]:
    """A push that stops when five files are uploaded, until it gets SIGCONT."""
    dvc(lab, "remote", "modify", "--local", "s3", "jobs", "8")  # so many more are on their way
    logs = lab / TINY / "logs"
    logs.mkdir()
    for index in range(20):
        (logs / f"{index}.bin").write_bytes(rng.bytes(1_000_000))
    command = [sys.executable, "-c", PAUSING, "model", "push", "tiny", "--version", "1"]
    process = subprocess.Popen(command, cwd=lab, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    yield process
    process.kill()
    process.communicate()


def test_a_server_killed_in_the_middle_of_a_push(
    lab: Path, on_s3: ObjectStore, running_push: subprocess.Popen[str], tmp_path: Path
) -> None:
    name = bucket(tmp_path)
    os.waitpid(running_push.pid, os.WUNTRACED)
    on_s3.kill()
    running_push.send_signal(signal.SIGCONT)
    try:
        output, _ = running_push.communicate(timeout=300)
    finally:
        on_s3.start()
    assert running_push.returncode == 1, output
    assert "no answer from the store" in output
    assert "Traceback" not in output
    assert git(lab, "tag") == ""
    before = assert_whole(on_s3, name)

    release = ModelVersions(lab).push("tiny", "1")
    assert release.new
    files = contents(lab / TINY)
    assert 0 < before < len(files) + 1 == assert_whole(on_s3, name)
    there = clone(lab)
    ModelVersions(there).pull("tiny", "1")
    assert contents(there / TINY) == files


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"AWS_SECRET_ACCESS_KEY": "wrong"}, "denied.*keys"),  # pragma: allowlist secret
        ({"AWS_ACCESS_KEY_ID": ObjectStore.reader_key, "AWS_SECRET_ACCESS_KEY": ObjectStore.reader_secret}, "denied"),
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, "no answer from the store"),
    ],
    ids=["wrong credentials", "read-only bucket", "no server"],
)
def test_a_refused_push_says_why_and_tags_nothing(
    lab: Path, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], message: str
) -> None:
    from s3fs import S3FileSystem

    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    S3FileSystem.clear_instance_cache()
    with pytest.raises(KaryosegError, match=rf"{TINY}: .*{message}.*config\.local.*again"):
        ModelVersions(lab).push("tiny", "1")
    assert git(lab, "tag") == ""
