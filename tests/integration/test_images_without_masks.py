"""Style transfer and what nucleAIzer does with its images, through the project's own catalog and configuration."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile

from karyoseg.core.postprocessing.combine import PostProcessing
from projects import kedro


@pytest.mark.slow
def test_from_images_without_masks_to_a_model_and_its_full_prediction(finished_project: Path, tmp_path: Path) -> None:
    project = Path(shutil.copytree(finished_project, tmp_path / "project"))
    data = project / "data"
    folder = tmp_path / "images"
    folder.mkdir()
    for path in sorted((data / "02_intermediate/images").glob("*.tif"))[:3]:
        bright = tifffile.imread(path).astype(float)
        dark = 230 * (1 - 0.8 * np.clip(bright / np.percentile(bright, 99.8), 0, 1))
        tifffile.imwrite(folder / path.name, np.repeat(dark[..., None], 3, axis=2).astype(np.uint8), photometric="rgb")

    def run(*arguments: str) -> str:
        done = kedro(project, "run", "--env", "test", *arguments)
        return done.stdout + done.stderr

    masks = "mask_synthesis.n_masks=2,mask_synthesis.size=128"
    run("--pipeline", "style", "--params", f"presegment.input={folder},style_clusters.method.n_clusters=1,{masks}")
    weak = pd.read_csv(data / "03_primary/style/manifest.csv")
    assert (weak["contrast"] == "dark").all()
    painted = sorted(path.stem for path in (data / "05_model_input/style/images").glob("*.tif"))
    assert painted == sorted(pd.read_csv(data / "05_model_input/style/masks.csv")["id"])
    assert len(painted) >= 2
    for name in ("clusters.png", "masks.png", "samples.png", "quality.csv"):
        assert (data / "08_reporting/style" / name).stat().st_size > 0, name

    # The environment's few steps find nothing; these find something, though too little for the model's own threshold.
    longer = "augment.style.use=true,train.steps_per_epoch=100,train.learning_rate=0.003"
    run("--pipelines", "augment,train", "--params", longer)
    assert json.loads((data / "06_models/tiny/training.json").read_text())["n_style"] == len(painted)

    run("--pipeline", "train_foreground", "--params", "augment.style.use=true,train_foreground.steps_per_epoch=100")
    foreground = "data/06_models/tiny-foreground"
    run("--pipeline", "tune_postprocessing", "--params", f"tune_postprocessing.foreground_model={foreground}")
    found = data / "06_models/tiny-postprocessing/postprocessing.json"
    assert 0 <= json.loads(found.read_text())["dsb_score"] <= 1

    full = f"predict.mode=full,predict.full.foreground_model={foreground},predict.full.postprocessing={found}"
    images = f"predict.input={folder}/test_*.tif,predict.output={tmp_path / 'out'}"
    said = run("--pipeline", "predict", "--params", f"{full},{images},predict.prob_thresh=0.1,predict.scale=none")
    rules = PostProcessing(**json.loads(found.read_text())["parameters"])
    assert f"Full mode: scales 1 and 1.5, {rules}" in said
    n_objects = {path.name: int(tifffile.imread(path).max()) for path in (tmp_path / "out").glob("*.tif")}
    assert n_objects.keys() == {path.name for path in folder.glob("test_*.tif")}
    assert len(n_objects) == 2
    assert min(n_objects.values()) > 5
