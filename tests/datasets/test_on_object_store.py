"""Every dataset on a real object store: few requests, nothing half, plain errors."""

from __future__ import annotations

import json
import re
import tempfile
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from kedro.io import DatasetError, Version
from matplotlib.figure import Figure
from s3fs import S3FileSystem

from karyoseg.core.errors import KaryosegError
from karyoseg.core.io.fetch import fetch
from karyoseg.core.io.inputs import find_images
from karyoseg.core.lazy import Lazy
from karyoseg.core.measure import measure_objects
from karyoseg.core.predicting import PredictionResult
from karyoseg.datasets import (
    CSVDataset,
    FigureFolder,
    JSONDataset,
    MatplotlibDataset,
    ModelDirectory,
    ParquetDataset,
    PredictionFolder,
    SamplePartitions,
    TextDataset,
)
from karyoseg.datasets.prediction_folder import PlannedPrediction
from karyoseg.models import load_segmenter
from karyoseg.models.stardist import StarDistSegmenter
from object_store import ObjectStore

N_SAMPLES = 12
FEW = 6  # requests, however many files there are
LABELS = np.pad(np.ones((4, 4), np.int32), 4)


@pytest.fixture(scope="module")
def bucket(object_store: ObjectStore) -> str:
    return object_store.create_bucket("datasets")


@pytest.fixture
def requests(on_s3: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Count what s3fs asks the store."""
    counted: Counter[str] = Counter()
    call = S3FileSystem._call_s3

    async def counting(self: S3FileSystem, method: str, *args: Any, **kwargs: Any) -> Any:
        counted[method] += 1
        return await call(self, method, *args, **kwargs)

    monkeypatch.setattr(S3FileSystem, "_call_s3", counting)
    return counted


def samples(mark: str = "v1", n: int = N_SAMPLES) -> dict[str, Lazy]:
    return {f"image {i}": Lazy(partial(np.full, (8, 8), i, np.uint8), mark) for i in range(n)}


def predictions(n: int = N_SAMPLES) -> dict[str, PlannedPrediction]:
    result = PredictionResult(LABELS, LABELS, measure_objects(LABELS, LABELS), 0.5, {}, True)
    return {f"image[{i}]": PlannedPrediction(lambda: result, "v1") for i in range(n)}


def figures(n: int = N_SAMPLES) -> dict[str, Figure]:
    return {f"{i}.png": Figure(figsize=(0.5, 0.5)) for i in range(n)}


@pytest.mark.parametrize(
    ("make", "data", "listings"),
    [
        (partial(SamplePartitions, file_format="image"), samples, {"again": 2, "load": 2}),
        (FigureFolder, figures, {"again": 1, "load": 1}),
        (PredictionFolder, predictions, {"again": 2, "load": 2}),
    ],
    ids=["samples", "figures", "predictions"],
)
def test_folders_are_listed_once_not_once_per_file(
    bucket: str, requests: Counter[str], make: Any, data: Any, listings: dict[str, int]
) -> None:
    dataset = make(path=f"{bucket}/{data.__name__}")

    def listed() -> int:
        asked = sum(count for method, count in requests.items() if method.startswith(("list", "head", "get_bucket")))
        requests.clear()
        return asked

    dataset.save(data())
    assert listed() <= FEW  # an empty folder takes more looks: it could be a file
    dataset.save(data())
    assert listed() == listings["again"]
    loaded = dataset.load()
    assert listed() == listings["load"]
    assert len(loaded) == N_SAMPLES
    values = [value() if isinstance(value, Lazy) else value for value in loaded.values()]
    assert len(values) == N_SAMPLES
    assert listed() == 0
    dataset.save(dict(list(data().items())[:3]))
    kept = N_SAMPLES if make is PredictionFolder else 3  # its folder belongs to the user
    assert len(dataset.load()) == kept
    assert dataset.exists()


def test_images_to_predict_and_folders_to_fetch_are_listed_once(
    bucket: str, on_s3: ObjectStore, requests: Counter[str], tmp_path: Path
) -> None:
    for i in range(N_SAMPLES):
        on_s3.client().put_object(Bucket="datasets", Key=f"scans/{i}.tif", Body=b"x")
    for spec in (f"{bucket}/scans", f"{bucket}/scans/*.tif"):
        assert len(find_images(spec)) == N_SAMPLES
        assert sum(requests.values()) <= FEW
        assert set(requests) <= {"list_objects_v2", "head_object"}
        requests.clear()
    fetch(f"{bucket}/scans", tmp_path)
    assert requests.pop("get_object") == N_SAMPLES
    assert sum(requests.values()) <= FEW


TABLE = pd.DataFrame({"id": ["001", "b"], "value": [1.5, 2.0]})


@pytest.mark.parametrize(
    ("kind", "name", "data"),
    [
        (CSVDataset, "t.csv", TABLE),
        (ParquetDataset, "t.parquet", TABLE),
        (JSONDataset, "t.json", {"a": [1]}),
        (TextDataset, "t.html", "<p>é</p>"),
    ],
)
def test_single_files(bucket: str, requests: Counter[str], kind: type, name: str, data: Any) -> None:
    arguments = {"save_args": {"index": False}} if kind is CSVDataset else {}
    dataset = kind(filepath=f"{bucket}/single/{name}", **arguments)
    with pytest.raises(DatasetError) as caught:
        dataset.load()
    assert f"s3://datasets/single/{name}: is not there" in str(caught.value.__cause__)
    dataset.save(data)
    requests.clear()
    loaded = dataset.load()
    assert sum(requests.values()) <= 2
    assert loaded.equals(data) if isinstance(data, pd.DataFrame) else loaded == data
    assert dataset.exists()


def test_versions_of_a_file_stay_beside_each_other(bucket: str) -> None:
    def at(version: Version) -> JSONDataset:
        return JSONDataset(filepath=f"{bucket}/versioned/m.json", version=version)

    for name in ("2020", "2021"):
        at(Version(None, name)).save({"made": name})
    assert at(Version("2020", None)).load() == {"made": "2020"}
    assert at(Version(None, None)).load() == {"made": "2021"}


def test_what_fails_while_it_is_encoded_is_not_uploaded(bucket: str, on_s3: ObjectStore) -> None:
    dataset = JSONDataset(filepath=f"{bucket}/torn/t.json")
    dataset.save({"whole": 1})
    with pytest.raises(DatasetError):
        dataset.save({"first": 1, "second": object()})
    assert dataset.load() == {"whole": 1}
    assert set(on_s3.keys("datasets", "torn/")) == {"torn/t.json"}
    MatplotlibDataset(filepath=f"{bucket}/torn/f.png").save(Figure(figsize=(0.5, 0.5)))
    assert on_s3.keys("datasets", "torn/f.png")["torn/f.png"] > 0


def make_model(folder: Path, mark: str, *files: str) -> StarDistSegmenter:
    (folder / "logs").mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"n_channel_in": 1}))
    (folder / "weights_best.h5").write_bytes(mark.encode() * 1000)
    (folder / "training.json").write_text(json.dumps({"name": mark}))
    for name in files:
        (folder / "logs" / name).write_text(mark)
    return StarDistSegmenter.load(folder)


def name_of(model: Any) -> str:
    assert model.directory.joinpath("weights_best.h5").read_bytes() == model.training["name"].encode() * 1000
    name: str = model.training["name"]
    return name


def test_a_model_is_replaced_as_a_whole(bucket: str, on_s3: ObjectStore, tmp_path: Path) -> None:
    dataset = ModelDirectory(filepath=f"{bucket}/models/m")
    assert not dataset.exists()
    with pytest.raises(DatasetError) as caught:
        dataset.load()
    assert "s3://datasets/models/m: no model there" in str(caught.value.__cause__)
    dataset.save(make_model(tmp_path / "a", "first", "curve"))
    on_s3.client().put_object(Bucket="datasets", Key="models/m/notes.txt", Body=b"mine")
    dataset.save(make_model(tmp_path / "b", "second"))
    assert dataset.exists()
    assert name_of(dataset.load()) == "second"
    assert name_of(load_segmenter(f"{bucket}/models/m")) == "second"
    names = {key.removeprefix("models/m/") for key in on_s3.keys("datasets", "models/m/")}
    assert names == {"config.json", "weights_best.h5", "training.json", ".index.json", "notes.txt"}


class Killed(Exception):
    """Stands for the end of the process: no code of ours reacts to it."""


@pytest.fixture
def writes(on_s3: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Let s3fs write so many times, then die."""
    left = {"n": 10**9, "done": 0}
    call = S3FileSystem._call_s3

    async def mortal(self: S3FileSystem, method: str, *args: Any, **kwargs: Any) -> Any:
        if method.startswith(("put", "copy", "delete", "create", "upload", "complete")):
            if left["done"] >= left["n"]:
                raise Killed
            left["done"] += 1
        return await call(self, method, *args, **kwargs)

    monkeypatch.setattr(S3FileSystem, "_call_s3", mortal)
    return left


def test_a_kill_during_an_upload_leaves_the_earlier_or_the_new_model(
    bucket: str, writes: dict[str, int], tmp_path: Path
) -> None:
    # Every single moment: tests/core/test_remote_folder.py
    dataset = ModelDirectory(filepath=f"{bucket}/models/killed")
    first, second = make_model(tmp_path / "a", "first", "curve"), make_model(tmp_path / "b", "second")
    seen = []
    for n in range(1, 100, 5):
        writes["n"] = 10**9
        dataset.save(first)
        writes.update(n=n, done=0)
        try:
            dataset.save(second)
        except DatasetError as error:
            if not isinstance(error.__cause__, Killed):
                raise
            seen.append(name_of(dataset.load()))
            continue
        break
    assert seen == sorted(seen)  # first ... first, second ... second
    assert set(seen) == {"first", "second"}
    assert name_of(dataset.load()) == "second"


def test_a_damaged_model_is_refused_and_training_again_mends_it(
    bucket: str, on_s3: ObjectStore, tmp_path: Path
) -> None:
    dataset, model = ModelDirectory(filepath=f"{bucket}/models/bad"), make_model(tmp_path / "a", "first")
    dataset.save(model)
    on_s3.client().put_object(Bucket="datasets", Key="models/bad/weights_best.h5", Body=b"half")
    with pytest.raises(DatasetError) as caught:
        dataset.load()
    assert "weights_best.h5 missing or changed since the upload" in str(caught.value.__cause__)
    dataset.save(model)
    assert name_of(dataset.load()) == "first"
    on_s3.client().delete_object(Bucket="datasets", Key="models/bad/weights_best.h5")
    with pytest.raises(KaryosegError, match=r"weights_best\.h5 missing"):
        load_segmenter(f"{bucket}/models/bad")


@pytest.mark.parametrize(
    "use",
    [
        lambda url: SamplePartitions(path=url, file_format="image").load(),
        lambda url: SamplePartitions(path=url, file_format="image").save(samples(n=1)),
        lambda url: FigureFolder(path=url).save(figures(1)),
        lambda url: PredictionFolder(path=url).load(),
        lambda url: PredictionFolder(path=url).save(predictions(1)),
        lambda url: CSVDataset(filepath=f"{url}/t.csv").load(),
        lambda url: CSVDataset(filepath=f"{url}/t.csv").save(TABLE),
        lambda url: ModelDirectory(filepath=url).load(),
        load_segmenter,
        find_images,
        lambda url: fetch(url, Path(tempfile.mkdtemp()), retries=0),
    ],
)
@pytest.mark.parametrize(
    "wrong",
    [
        ({}, "s3://no-such-bucket/x", "there is no such bucket"),
        # The answer to a HEAD request says 403 and no more.
        (
            {"AWS_SECRET_ACCESS_KEY": "wrong-secret"},
            "s3://datasets/x",
            "key and secret do not belong together|access denied",
        ),
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, "s3://datasets/x", "no answer from the store"),
    ],
    ids=["bucket", "secret", "endpoint"],
)
def test_a_store_that_cannot_be_used_is_said_plainly(
    on_s3: ObjectStore, bucket: str, monkeypatch: pytest.MonkeyPatch, use: Any, wrong: tuple[dict[str, str], str, str]
) -> None:
    variables, url, said = wrong
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    S3FileSystem.clear_instance_cache()
    with pytest.raises((DatasetError, KaryosegError)) as caught:
        use(url)
    error = caught.value.__cause__ if isinstance(caught.value, DatasetError) else caught.value
    assert isinstance(error, KaryosegError)
    assert re.search(said, str(error))
