"""The scripts that measure accuracy: reading and scoring a split, plans of variants, tables, documented commands."""

from __future__ import annotations

import json
import re
import shlex
from importlib import import_module
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from benchmarks.accuracy import ablation, curve, scales
from benchmarks.accuracy.splits import flat, markdown, mean_and_spread, read_split, score
from pydantic import TypeAdapter

from karyoseg.core.errors import KaryosegError
from karyoseg.core.lazy import Lazy
from karyoseg.datasets import CSVDataset, SamplePartitions
from karyoseg.params.preprocess import Rescale
from karyoseg.params.train import TrainParams

PROJECT = Path(__file__).parents[1]


@pytest.fixture
def data(tmp_path: Path, disks: np.ndarray) -> Path:
    """Data folder with three samples of two classes."""
    ids = ["001", "002", "003"]
    folder = tmp_path / "data"
    for kind, form in (("images", "image"), ("labels", "labels")):
        arrays = {key: (disks > 0).astype(np.uint8) * 200 if kind == "images" else disks for key in ids}
        SamplePartitions(path=str(folder / "02_intermediate" / kind), file_format=form).save(  # type: ignore[arg-type]
            {key: Lazy(lambda array=array: array, key) for key, array in arrays.items()}
        )
    tables = {
        "02_intermediate/manifest.csv": {"id": ids, "class": ["x", "", "x"]},
        "03_primary/splits.csv": {"id": ids, "split": ["val", "val", "train"]},
    }
    for name, columns in tables.items():
        CSVDataset(filepath=str(folder / name), save_args={"index": False}).save(pd.DataFrame(columns))
    return folder


def test_a_split_is_scored_as_by_evaluate(data: Path, disks: np.ndarray) -> None:
    samples = read_split(data, "val")
    assert [(sample.id, sample.name) for sample in samples] == [("001", "x"), ("002", "unclassified")]
    metrics, per_image = score(samples, lambda sample: disks * (disks != 1) if sample.id == "002" else disks)
    assert metrics["ap_50"] == pytest.approx(7 / 8)
    assert per_image.set_index("id")["ap_50"].to_dict() == {"001": 1.0, "002": 0.75}
    assert flat(metrics)["ap_50 x"] == 1.0
    with pytest.raises(KaryosegError, match="test split holds no samples"):
        read_split(data, "test")


@pytest.mark.parametrize("factor", [0.5, 1, 2])
def test_rescaled_copies_keep_type_and_fit_their_labels(data: Path, factor: float) -> None:
    (original, _) = read_split(data, "val")
    copy = scales._rescaled(original, factor)
    assert copy.image().dtype == original.image().dtype
    assert copy.image().shape == copy.labels().shape == tuple(round(n * factor) for n in original.labels().shape)
    assert set(np.unique(copy.labels())) == set(np.unique(original.labels()))


def test_plan_of_variants() -> None:
    content = yaml.safe_load("""
        seeds: [1, 2]
        all: {train.epochs: 3}
        variants:
          recipe: {}
          no blur: {without: [blur]}
          once: {seeds: [1], train.learning_rate: 0.1, preprocess.rescale.name: none}
    """)
    parameters = {"train": {"epochs": 40, "batch_size": 8}}
    runs = ablation.plan(content, parameters, [{"name": "flip"}, {"name": "blur"}])
    assert [(run.variant, run.seed) for run in runs] == [
        ("recipe", 1), ("no blur", 1), ("once", 1), ("recipe", 2), ("no blur", 2),
    ]  # fmt: skip
    assert runs[0].parameters == {"train": {"epochs": 3, "batch_size": 8, "seed": 1}}
    assert runs[1].parameters["augment"] == {"transforms": [{"name": "flip"}]}
    assert runs[2].parameters["preprocess"] == {"rescale": {"name": "none"}}
    assert parameters == {"train": {"epochs": 40, "batch_size": 8}}
    assert len({run.folder for run in runs}) == len(runs)
    assert ablation.plan(content, {"train": {"epochs": 40}}, [{"name": "blur"}])[0].folder != runs[0].folder


@pytest.mark.parametrize(("file", "env"), [("recipe.yml", "bbbc038-fast"), ("steps.yml", "bbbc038")])
def test_variants_that_come_along_are_valid_parameters(file: str, env: str) -> None:
    content = yaml.safe_load((PROJECT / "benchmarks/accuracy" / file).read_text())
    base = {
        name: yaml.safe_load((PROJECT / f"conf/base/parameters_{name}.yml").read_text())[name]
        for name in ("train", "augment")
    }
    given = yaml.safe_load((PROJECT / "conf" / env / "parameters.yml").read_text())
    runs = ablation.plan(content, given, base["augment"]["transforms"])
    seeds = [(changes or {}).get("seeds", content["seeds"]) for changes in content["variants"].values()]
    assert len(runs) == sum(map(len, seeds)) > len(seeds)
    for run in runs:
        TrainParams(**{**base["train"], "workspace": "m", **run.parameters["train"]})
        TypeAdapter(Rescale).validate_python(run.parameters["preprocess"]["rescale"])
    light = [run.parameters["augment"]["transforms"] for run in runs if run.variant == "light augmentation"]
    assert bool(light) == (file == "recipe.yml")
    for transforms in light:
        assert [one["name"] for one in transforms] == ["flip", "rotate90", "brightness", "intensity_shift"]


@pytest.mark.parametrize("wrong", [{"variant": {}}, {"variants": {"a": {"without": ["blurr"]}}}])
def test_typos_stop_a_plan(wrong: dict) -> None:
    with pytest.raises(SystemExit):
        ablation.plan(wrong, {}, [{"name": "blur"}])


def test_what_is_done_is_not_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each step runs once; preprocessing is shared by runs that do it alike."""
    calls: list[str] = []

    def kedro(self: ablation.Workshop, folder: Path, *arguments: str) -> None:
        calls.append(" ".join(arguments))
        reporting, model = folder / "data/08_reporting", folder / "data/06_models/m"
        reporting.mkdir(exist_ok=True)
        model.mkdir(parents=True, exist_ok=True)
        scores = dict.fromkeys(["ap_50", "ap_75", "ap_mean", "f1", "dsb_score"], 0.5) | {"by_class": {}}
        (reporting / "metrics.json").write_text(json.dumps(scores))
        (model / "training.json").write_text('{"minutes": 3}')

    monkeypatch.setattr(ablation.Workshop, "_kedro", kedro)
    parameters = yaml.safe_load((PROJECT / "conf/test/parameters.yml").read_text())
    runs = ablation.plan({"seeds": [1, 2], "variants": {"a": None}}, parameters, [])
    for _ in range(2):
        workshop = ablation.Workshop(tmp_path / "runs", tmp_path, "test")
        assert [workshop.evaluate(run, "val")["minutes"] for run in runs] == [3, 3]
    train, evaluate = "--pipelines augment,train", "--pipeline evaluate --params evaluate.split=val"
    assert calls == ["--pipeline preprocess", train, evaluate, train, evaluate]
    ablation.Workshop(tmp_path / "runs", tmp_path, "test").evaluate(runs[0], "test")
    assert calls[5:] == ["--pipeline evaluate --params evaluate.split=test"]
    written = yaml.safe_load((tmp_path / "runs" / runs[1].folder / "conf/test/parameters.yml").read_text())
    assert written == parameters | {"train": parameters["train"] | {"seed": 2}}
    with pytest.raises(SystemExit, match="was made from"):
        ablation.Workshop(tmp_path / "runs", tmp_path / "other", "test").evaluate(runs[0], "val")


def test_tables_give_mean_and_spread() -> None:
    runs = pd.DataFrame(
        {"variant": ["a", "b", "a"], "seed": [1, 1, 2], "minutes": [10, 20, 11.0], "ap_50": [0.8, 0.7, 0.9]}
    )
    table = mean_and_spread(runs, "variant")
    assert table.to_dict("records") == [
        {"variant": "a", "seeds": 2, "minutes": "10.5 ± 0.5", "ap_50": "0.850 ± 0.050"},
        {"variant": "b", "seeds": 1, "minutes": "20.0", "ap_50": "0.700"},
    ]
    assert markdown(table).splitlines()[-1] == "| b | 1 | 20.0 | 0.700 |"


def documented() -> list[str]:
    pages = [PROJECT / "README.md", *(PROJECT / "docs").rglob("*.md")]
    text = "\n".join(page.read_text(encoding="utf-8") for page in pages).replace("\\\n", " ")
    return sorted(set(re.findall(r"^python -m (benchmarks\S*.*)$", text, flags=re.MULTILINE)))


@pytest.mark.parametrize("command", documented())
def test_documented_commands_parse(command: str) -> None:
    module, *arguments = shlex.split(command)
    if module == "benchmarks":
        module = "benchmarks.__main__"
    import_module(module)._parse(arguments)


PAGE = """
| 4 validation images | steps | minutes | AP 50 | AP mean |
|---|---|---|---|---|
| plain | 10 | 3 | 0.5 ± 0.1 | 0.25 |
| ours | 10 | 2 | 0.75 | 0.5 ± 0.02 |

| AP 50, test images | steps | FL-I |
|---|---|---|
| plain | 10 | 0.1 |
"""


def test_the_curve_is_that_of_the_tables() -> None:
    """Tables without minutes are none of it; what is drawn is at the place that the table gives."""
    scores = curve.read_tables(PAGE)
    assert scores.to_dict("list") == {
        "images": ["validation images"] * 2,
        "training": ["plain", "ours"],
        "minutes": [3.0, 2.0],
        "AP 50": [0.5, 0.75],
        "AP 50 spread": [0.1, 0.0],
        "AP mean": [0.25, 0.5],
        "AP mean spread": [0.0, 0.02],
    }
    drawn = {line.get_label(): line.get_children()[0].get_xydata() for line in curve.draw(scores).axes[0].containers}
    np.testing.assert_array_equal(drawn["ours, validation images"], [[2, 0.75]])


def test_the_documented_curve_has_both_kinds_of_images() -> None:
    scores = curve.read_tables((curve.DOCS / "results.md").read_text(encoding="utf-8"))
    assert set(scores["images"]) == {"validation images", "test images"}
    assert scores["minutes"].max() > scores["minutes"].min()
