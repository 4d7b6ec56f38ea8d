"""The download pipeline: from a URL to images, labels, manifest and table of problems."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import yaml
from kedro.io import DataCatalog, MemoryDataset
from kedro.runner import SequentialRunner
from pydantic import ValidationError

from http_server import bad_server
from karyoseg.core.errors import KaryosegError, ProblemReport
from karyoseg.params.download import DatasetParams
from karyoseg.pipelines.download import create_pipeline
from karyoseg.pipelines.download.nodes import fetch_dataset, inspect_samples, read_images, read_labels

LABELS = np.zeros((16, 18), np.uint16)
LABELS[2:7, 2:7] = 5


def write_folder(folder: Path, names: tuple[str, ...] = ("001", "NA"), masks: bool = True) -> Path:
    for i, name in enumerate(names):
        for part, array in (
            ("images", np.arange(288, dtype=np.uint16).reshape(16, 18) + i),
            ("masks", LABELS),
        ):
            if part == "images" or masks:
                (folder / part).mkdir(parents=True, exist_ok=True)
                tifffile.imwrite(folder / part / f"{name}.tif", array)
    return folder


def zip_folder(folder: Path) -> Path:
    path = folder.with_suffix(".zip")
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*.tif")):
            archive.write(file, file.relative_to(folder))
    return path


def params(tmp_path: Path, **options: Any) -> DatasetParams:
    return DatasetParams(directory=tmp_path / "raw", **options)


def catalog(project: Path, tmp_path: Path, options: DatasetParams) -> DataCatalog:
    """Load the committed catalog with all paths below tmp_path."""
    config = yaml.safe_load((project / "conf/base/catalog_download.yml").read_text())
    for entry in config.values():
        key = "filepath" if "filepath" in entry else "path"
        entry[key] = str(tmp_path / entry[key])
    made = DataCatalog.from_config(config)
    made["params:dataset"] = MemoryDataset(options)
    return made


def test_whole_pipeline_over_http(project: Path, tmp_path: Path) -> None:
    archive = zip_folder(write_folder(tmp_path / "mine"))
    with bad_server() as server:
        url = server.answer("/mine.zip", archive.read_bytes())
        data = catalog(project, tmp_path, params(tmp_path, layout="folder", url=url))
        for _ in range(2):
            SequentialRunner().run(create_pipeline(), data)
        assert server.requests["/mine.zip"] == 1
    manifest = data["manifest"].load()
    assert manifest["id"].tolist() == ["001", "NA"], "ids stay text"
    assert manifest["class"].tolist() == ["", ""]
    assert manifest["split"].tolist() == ["", ""]
    assert manifest["n_objects"].tolist() == [1, 1]
    images, labels = data["intermediate_images"].load(), data["intermediate_labels"].load()
    assert images.keys() == labels.keys() == {"001", "NA"}
    assert images["NA"]().max() == 288
    np.testing.assert_array_equal(labels["001"](), LABELS)
    assert data["download_problems"].load().empty
    assert data["fetched"].load()["url"] == url


def test_images_alone_have_no_labels(tmp_path: Path) -> None:
    options = params(tmp_path, layout="folder", url=str(write_folder(tmp_path / "mine", masks=False)))
    fetched = fetch_dataset(options)
    manifest, _ = inspect_samples(fetched, options)
    assert set(read_images(fetched, manifest, options)) == {"001", "NA"}
    assert read_labels(fetched, manifest, options) == {}


def test_fingerprints_follow_the_files(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "mine", ("a", "b"))
    options = params(tmp_path, layout="folder", url=str(folder))

    def marks() -> dict[str, tuple[str, str]]:
        fetched = fetch_dataset(options)
        manifest, _ = inspect_samples(fetched, options)
        images, labels = (read(fetched, manifest, options) for read in (read_images, read_labels))
        return {key: (images[key].fingerprint, labels[key].fingerprint) for key in images}

    before = marks()
    assert marks() == before
    tifffile.imwrite(folder / "images/a.tif", np.eye(16, 18, dtype=np.uint8))
    after = marks()
    assert after["b"] == before["b"]
    assert after["a"][0] != before["a"][0]
    assert after["a"][1] == before["a"][1]


def test_bad_samples_stop_or_are_skipped(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = write_folder(tmp_path / "mine", ("a", "b", "c"))
    (folder / "images/a.tif").write_bytes(b"")
    (folder / "masks/b.tif").unlink()
    stop = params(tmp_path, layout="folder", url=str(folder))
    fetched = fetch_dataset(stop)
    with pytest.raises(ProblemReport, match=r"on_bad_sample=skip(.|\n)*b\.tif(.|\n)*a\.tif") as caught:
        inspect_samples(fetched, stop)
    assert len(caught.value.problems) == 2
    skip = params(tmp_path, layout="folder", url=str(folder), on_bad_sample="skip")
    manifest, table = inspect_samples(fetched, skip)
    assert manifest["id"].tolist() == ["c"]
    assert list(table.columns) == ["where", "found", "needed", "advice"]
    assert len(table) == 2
    assert "Left out bad samples" in caplog.text
    (folder / "masks/c.tif").unlink()
    with pytest.raises(ProblemReport):
        inspect_samples(fetched, skip)


def test_failed_run_keeps_earlier_outputs(project: Path, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "mine", ("a", "b"))
    data = catalog(project, tmp_path, params(tmp_path, layout="folder", url=str(folder)))
    SequentialRunner().run(create_pipeline(), data)
    outputs = tmp_path / "data/02_intermediate"
    before = {p: p.read_bytes() for p in outputs.rglob("*") if p.is_file()}
    (folder / "images/a.tif").write_bytes(b"broken")
    with pytest.raises(ProblemReport):
        SequentialRunner().run(create_pipeline(), data)
    assert {p: p.read_bytes() for p in outputs.rglob("*") if p.is_file()} == before


def test_changed_layout_needs_a_new_fetch(tmp_path: Path) -> None:
    folder = str(write_folder(tmp_path / "mine"))
    fetched = fetch_dataset(params(tmp_path, layout="folder", url=folder))
    with pytest.raises(KaryosegError, match="whole download pipeline"):
        inspect_samples(fetched, params(tmp_path, layout="stardist", url=folder))


def test_limits_and_checksum_reach_the_archive(tmp_path: Path) -> None:
    url = str(zip_folder(write_folder(tmp_path / "mine")))
    for options in ({"max_files": 3}, {"max_gigabytes": 1e-7}, {"sha256": "0" * 64}):
        with pytest.raises(KaryosegError, match=rf"Parameters: .*dataset\.{next(iter(options))}"):
            fetch_dataset(params(tmp_path, layout="folder", url=url, **options))
    assert not list((tmp_path / "raw").glob("mine*"))


def test_missing_and_partial_test_ids(tmp_path: Path) -> None:
    folder = str(write_folder(tmp_path / "mine", ("a", "b 2")))
    ids = tmp_path / "test.txt"
    options = params(tmp_path, layout="folder", url=folder, test_ids=ids)
    fetched = fetch_dataset(options)
    with pytest.raises(KaryosegError, match="test_ids"):
        inspect_samples(fetched, options)
    ids.write_text("\n b 2 \n")
    manifest, _ = inspect_samples(fetched, options)
    assert manifest["split"].tolist() == ["train", "test"]


def test_embedded_sample(tmp_path: Path) -> None:
    options = params(tmp_path, sample={"n_train": 3, "n_test": 2, "size": 64})
    fetched = fetch_dataset(options)
    stamp = Path(fetched["path"]).stat().st_ino
    assert fetch_dataset(options) == fetched
    assert Path(fetched["path"]).stat().st_ino == stamp, "unpacked once"
    manifest, problems = inspect_samples(fetched, options)
    assert problems.empty
    assert manifest["split"].value_counts().to_dict() == {"train": 3, "test": 3}
    assert set(manifest["origin"]) == {"sample"}
    assert "real" in set(manifest["class"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layout": "folder"}, "needs dataset.url"),
        ({"layout": "coco", "url": "x"}, "sample"),
        ({"layout": "sample", "url": "x.zip"}, "takes no url"),
        ({"layout": "bsst265", "url": "x.zip", "test_ids": "ids.txt"}, "names its own test split"),
        ({"layout": "folder", "url": "x", "sha256": "abc"}, "sha256"),
        ({"layout": "folder", "url": "x", "pixel_size_um": 0}, "pixel_size_um"),
        ({"layout": "folder", "url": "x", "retires": 2}, "retires"),
    ],
)
def test_wrong_parameters(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        DatasetParams(**options)


@pytest.mark.shared
@pytest.mark.slow
def test_real_images_through_the_catalog(project: Path, shared_data: Path, tmp_path: Path) -> None:
    url = str(shared_data / "bbbc038-fluorescence.zip")
    data = catalog(project, tmp_path, params(tmp_path, layout="bsst265", url=url))
    SequentialRunner().run(create_pipeline(), data)
    manifest = data["manifest"].load()
    assert len(manifest) == 481
    assert manifest["n_objects"].sum() == 20_247
    images = data["intermediate_images"].load()
    assert set(images) == set(manifest["id"])
    row = manifest.iloc[0]
    assert images[row["id"]]().shape == (row["height"], row["width"])
