"""Whole runs in a copy of the project, as a user starts them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import roifile
import tifffile

from karyoseg.pipeline_registry import WORKFLOW
from projects import copy_project, kedro


@pytest.mark.slow
def test_the_whole_workflow_leaves_every_promised_file(finished_project: Path) -> None:
    promised = [
        "data/01_raw/sample.zip",
        "data/02_intermediate/manifest.csv",
        "data/03_primary/splits.csv",
        "data/05_model_input/augmentation.json",
        *(f"data/06_models/tiny/{name}" for name in ("config.json", "thresholds.json", "weights_best.h5")),
        *(f"data/06_models/tiny/{name}" for name in ("history.csv", "training.json", "model_card.md")),
        *(f"data/08_reporting/{name}" for name in ("metrics_per_image.csv", "ap_curve.csv", "report.html")),
        "data/05_model_input/augmentation.png",
    ]
    assert [name for name in promised if not (finished_project / name).is_file()] == []
    metrics = json.loads((finished_project / "data/08_reporting/metrics.json").read_text())
    keys = ["f1", "iou", "map", "ap_50", "ap_95", "ap_mean", "precision", "recall", "pq", "aji", "dice", "by_class"]
    assert [key for key in keys if key not in metrics] == []
    assert metrics["n_images"] == 4


@pytest.mark.slow
def test_test_images_never_reach_training(finished_project: Path) -> None:
    splits = pd.read_csv(finished_project / "data/03_primary/splits.csv", dtype=str).set_index("id")["split"]
    manifest = pd.read_csv(finished_project / "data/02_intermediate/manifest.csv", dtype=str).set_index("id")["split"]
    assert set(splits[manifest == "test"]) == {"test"}
    assert set(splits) == {"train", "val", "test"}


@pytest.mark.slow
def test_pipelines_run_alone_and_find_everything_done(finished_project: Path, tmp_path: Path) -> None:
    project = Path(shutil.copytree(finished_project, tmp_path / "project"))

    def stamps() -> dict[Path, int]:
        folders = (project / "data" / name for name in ("02_intermediate", "03_primary", "07_model_output"))
        return {path: path.stat().st_mtime_ns for folder in folders for path in folder.rglob("*.tif")}

    before = stamps()
    assert before
    for name in WORKFLOW:
        kedro(project, "run", "--env", "test", "--pipeline", name)
    assert stamps() == before
    for name in ("06_models/tiny/weights_best.h5", "08_reporting/metrics.json"):
        assert (project / "data" / name).read_bytes() == (finished_project / "data" / name).read_bytes(), name


@pytest.mark.slow
def test_predict_writes_all_formats_and_continues(finished_project: Path, tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    rng = np.random.default_rng(0)
    tifffile.imwrite(folder / "deep.tif", rng.integers(0, 60000, (70, 90)).astype(np.uint16))
    tifffile.imwrite(folder / "one.tif", np.zeros((1, 1), np.uint8))
    shutil.copy2(next((finished_project / "data/02_intermediate/images").glob("real*.tif")), folder / "real.tif")
    arguments = f"predict.input={folder},predict.output={tmp_path / 'out'},predict.prob_thresh=0.05"
    kedro(finished_project, "run", "--env", "test", "--pipeline", "predict", "--params", arguments)
    n_objects = {}
    for stem, shape in (("deep", (70, 90)), ("one", (1, 1)), ("real", (512, 512))):
        labels = tifffile.imread(tmp_path / "out" / f"{stem}.tif")
        assert labels.shape == shape
        n_objects[stem] = int(labels.max())
        features = json.loads((tmp_path / "out" / f"{stem}.geojson").read_text())["features"]
        assert len(features) == n_objects[stem] == len(np.unique(labels[labels > 0]))
        assert (tmp_path / "out" / f"{stem}.png").is_file()
    for stem in ("deep", "real"):  # so few steps of training let most pixels be an object of their own
        assert len(roifile.roiread(tmp_path / "out" / f"{stem}.rois.zip")) == n_objects[stem] > 20
    table = pd.read_csv(tmp_path / "out" / "objects.csv")
    assert len(table) == len(pd.read_parquet(tmp_path / "out" / "objects.parquet"))
    assert table.groupby("image").size().to_dict() == {stem: n for stem, n in n_objects.items() if n}
    stamp = (tmp_path / "out" / "real.tif").stat().st_mtime_ns
    kedro(finished_project, "run", "--env", "test", "--pipeline", "predict", "--params", arguments)
    assert (tmp_path / "out" / "real.tif").stat().st_mtime_ns == stamp


@pytest.mark.slow
def test_bad_input_ends_with_a_plain_message(finished_project: Path, tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    (folder / "empty.tif").write_bytes(b"")
    (folder / "text.png").write_text("not an image")
    run = kedro(
        finished_project,
        "run",
        "--env",
        "test",
        "--pipeline",
        "predict",
        "--params",
        f"predict.input={folder}",
        check=False,
    )
    output = run.stdout + run.stderr
    assert run.returncode != 0
    assert "empty.tif" in output
    assert "text.png" in output
    assert "Traceback" not in output


@pytest.mark.slow
@pytest.mark.shared
def test_a_slice_of_real_data(project: Path, shared_data: Path, tmp_path: Path) -> None:
    """Twenty real images in the published layout, from zip to report."""
    import csv
    import zipfile

    workspace = copy_project(project, tmp_path / "project")
    slice_zip = tmp_path / "slice.zip"
    with zipfile.ZipFile(shared_data / "bbbc038-fluorescence.zip") as source, zipfile.ZipFile(slice_zip, "w") as target:
        header, *lines = source.read("image_description.csv").decode("utf-8-sig").splitlines()
        rows = list(csv.DictReader([header, *lines], delimiter=";"))
        split = [row["Train-/Testset split"] for row in rows]
        chosen = [i for i, s in enumerate(split) if s == "train"][:14] + [
            i for i, s in enumerate(split) if s == "test"
        ][:6]
        target.writestr("image_description.csv", "\n".join([header, *(lines[i] for i in chosen)]))
        for i in chosen:
            for kind in ("rawimages", "groundtruth"):
                name = f"{kind}/{rows[i]['Image_Name']}.tif"
                target.writestr(name, source.read(name))
    kedro(workspace, "run", "--env", "test", "--params", f"dataset.layout=bsst265,dataset.url={slice_zip}")
    metrics = json.loads((workspace / "data/08_reporting/metrics.json").read_text())
    assert metrics["n_images"] == 6
