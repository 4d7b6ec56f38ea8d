"""The whole workflow in a bucket, one process per pipeline, against a real object store."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import tifffile

from object_store import ObjectStore
from projects import copy_project, kedro

pytestmark = pytest.mark.slow

WORKFLOW = ("download", "preprocess", "augment", "train", "evaluate", "visualize")


class Lab(NamedTuple):
    """A project whose data are in a bucket."""

    folder: Path
    store: ObjectStore

    def get(self, key: str) -> bytes:
        """Read an object below the folder of the environment s3."""
        body: bytes = self.store.client().get_object(Bucket="lab", Key=f"nuclei/{key}")["Body"].read()
        return body

    def names(self, prefix: str) -> set[str]:
        """Names of the objects below a prefix."""
        return {key.rpartition("/")[2] for key in self.store.keys("lab", f"nuclei/{prefix}/")}


@pytest.fixture(scope="module")
def lab(project: Path, object_store: ObjectStore, tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """Run each pipeline of the workflow in the environment s3, each in a process of its own."""
    folder = copy_project(project, tmp_path_factory.mktemp("s3") / "project")
    shutil.copy(folder / "conf/test/parameters.yml", folder / "conf/s3/parameters.yml")
    object_store.create_bucket("lab")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KARYOSEG_BUCKET", "lab/nuclei")
        for name, value in object_store.env().items():
            patch.setenv(name, value)
        for pipeline in WORKFLOW:
            kedro(folder, "run", "--env", "s3", "--pipeline", pipeline)
    return Lab(folder, object_store)


@pytest.fixture
def bucket(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Lab:
    """The same, with its variables set."""
    monkeypatch.setenv("KARYOSEG_BUCKET", "lab/nuclei")
    for name, value in lab.store.env().items():
        monkeypatch.setenv(name, value)
    return lab


def test_results_in_the_bucket_equal_those_of_a_local_run(lab: Lab, finished_project: Path) -> None:
    local = finished_project / "data"
    for folder in ("02_intermediate/labels", "03_primary/images", "07_model_output/test_labels"):
        files = sorted((local / folder).glob("*.tif"))
        assert {path.name for path in files} == lab.names(folder) - {"index.json"}
        assert all(path.read_bytes() == lab.get(f"{folder}/{path.name}") for path in files)
    for name in ("metrics.json", "metrics_per_image.csv", "ap_curve.csv"):
        assert (local / "08_reporting" / name).read_bytes() == lab.get(f"08_reporting/{name}")
    assert lab.names("08_reporting/figures") == {path.name for path in (local / "08_reporting/figures").iterdir()}
    assert b"<html" in lab.get("08_reporting/report.html")


def test_nothing_but_downloads_and_checkpoints_stays_on_the_disk(lab: Lab) -> None:
    kept = {path.relative_to(lab.folder / "data").parts[:2] for path in (lab.folder / "data").rglob("*")}
    assert {parts for parts in kept if len(parts) == 2 and parts[0] != "01_raw"} <= {("06_models", ".training")}


def test_each_run_has_a_record_in_the_bucket(lab: Lab) -> None:
    records = sorted(lab.names("08_reporting/runs"))[: len(WORKFLOW)]  # by time; other tests add theirs later
    assert [name.partition("-")[2] for name in records] == [f"{name}.json" for name in WORKFLOW]


def test_the_model_in_the_bucket_is_whole(lab: Lab) -> None:
    names = lab.names("06_models/stardist")
    assert {"config.json", "thresholds.json", "weights_best.h5", "training.json", "model_card.md"} <= names
    assert not [key for key in lab.store.keys("lab", "nuclei/06_models/") if ".upload" in key]


def test_predict_reads_and_writes_both_places(bucket: Lab, project: Path, disks: np.ndarray, tmp_path: Path) -> None:
    buffer, client = io.BytesIO(), bucket.store.client()
    on_disk = copy_project(project, tmp_path / "project")
    tifffile.imwrite(buffer, (disks > 0).astype(np.uint8) * 200)
    for name in ("a", "b"):
        client.put_object(Bucket="lab", Key=f"images/{name}.tif", Body=buffer.getvalue())

    def predict(env: str, source: str, target: str) -> str:
        parameters = f"predict.input={source},predict.output={target},predict.model=s3://lab/nuclei/06_models/stardist"
        folder = bucket.folder if env == "s3" else on_disk
        run = kedro(folder, "run", "--env", env, "--pipeline", "predict", "--params", parameters)
        return run.stdout + run.stderr

    predict("s3", "s3://lab/images", "s3://lab/results")
    predict("base", "s3://lab/images/*.tif", f"{tmp_path}/results")
    expected = {"a.tif", "a.geojson", "a.rois.zip", "a.png", "b.tif", "objects.csv", "objects.parquet"}
    remote = {key.removeprefix("results/") for key in bucket.store.keys("lab", "results/")}
    assert expected <= remote
    assert expected <= {path.name for path in (tmp_path / "results").iterdir()}
    labels = client.get_object(Bucket="lab", Key="results/a.tif")["Body"].read()
    assert labels == (tmp_path / "results" / "a.tif").read_bytes()
    assert "2 of 2 images are already done" in predict("base", "s3://lab/images", "s3://lab/results")


@pytest.fixture
def credentials(lab: Lab) -> Iterator[Path]:
    """File of the credentials on this machine; gone afterwards, as other tests use the same project."""
    path = lab.folder / "conf/local/credentials.yml"
    yield path
    path.unlink(missing_ok=True)


def test_credentials_of_conf_local_serve_every_environment(
    lab: Lab, credentials: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in lab.store.env():
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    entry = {
        "key": lab.store.access_key,
        "secret": lab.store.secret_key,
        "client_kwargs": {"endpoint_url": lab.store.endpoint_url, "region_name": "us-east-1"},
    }
    credentials.write_text(json.dumps({"s3": entry}))
    monkeypatch.setenv("KARYOSEG_BUCKET", "lab/nuclei")
    done = kedro(lab.folder, "run", "--env", "s3", "--pipeline", "augment")
    assert lab.store.secret_key not in done.stdout + done.stderr

    credentials.write_text(json.dumps({"s3": entry | {"secret": "wrong-secret"}}))  # pragma: allowlist secret
    refused = kedro(lab.folder, "run", "--env", "s3", "--pipeline", "augment", check=False)
    assert_plain(refused, "key and secret do not belong together", "conf/local/credentials.yml")


def assert_plain(run: subprocess.CompletedProcess[str], *said: str) -> None:
    """A message with code 1, without traceback and secrets."""
    assert run.returncode == 1
    output = run.stdout + run.stderr
    assert all(text in output for text in said), output
    assert "Traceback" not in output
    assert "wrong-secret" not in output


def test_a_bucket_that_cannot_be_used_stops_the_run_before_its_first_node(
    bucket: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = ("run", "--env", "s3", "--pipeline", "download")
    for name, value in bucket.store.env(reader=True).items():
        monkeypatch.setenv(name, value)
    refused = kedro(bucket.folder, *run, check=False)
    assert_plain(refused, "access denied (CreateMultipartUpload)")
    assert "fetch_dataset" not in refused.stdout + refused.stderr
