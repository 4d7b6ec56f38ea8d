"""The network in 8 bit: made from a model and images, kept with the model, chosen if it costs little."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from karyoseg.cli.model import model as commands
from karyoseg.core.errors import KaryosegError
from karyoseg.core.metrics import match_table
from karyoseg.datasets import SamplePartitions
from karyoseg.models.base import LabelledSamples
from karyoseg.models.stardist import StarDistSegmenter
from karyoseg.models.stardist.engines import choose, int8
from karyoseg.models.stardist.folder import INT8


@pytest.fixture(scope="module")
def quantised(trained: StarDistSegmenter, samples: Callable, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copy of the trained model with the network in 8 bit, made by the command."""
    project = tmp_path_factory.mktemp("project")
    folder = project / "data/06_models/disks"
    trained.save(folder)
    prepared = project / "data/03_primary"
    validation: LabelledSamples = samples(range(300, 306))
    ids = ["NA", *validation.ids[1:]]  # any text is an id
    images, labels = (dict(zip(ids, part.values(), strict=True)) for part in (validation.images, validation.labels))
    SamplePartitions(path=str(prepared / "images"), file_format="image").save(images)
    SamplePartitions(path=str(prepared / "labels"), file_format="labels").save(labels)
    pd.DataFrame({"id": ids, "split": "val"}).to_csv(prepared / "splits.csv", index=False)
    (prepared / "preparation.json").write_text(json.dumps(trained.preparation.to_dict()))
    obj = SimpleNamespace(project_path=project)
    done = CliRunner().invoke(commands, ["quantize", str(folder)], obj=obj, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert "on 6 images AP 50 is" in done.output
    return folder


def test_the_same_objects_are_found(quantised: Path, sample: Callable) -> None:
    model = StarDistSegmenter.load(quantised)
    image, _ = sample(421, shape=(256, 256))
    model.use("openvino", "f32")
    exact = model.predict(image).labels
    assert model.use("auto", "int8") == "openvino int8"
    rounded = model.predict(image).labels
    assert match_table(exact, rounded, [0.7])["tp"].item() >= 0.9 * exact.max()
    assert not np.array_equal(exact, rounded)


def test_it_is_chosen_if_it_costs_little(quantised: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cost = int8.recall(quantised)
    assert cost is not None
    assert max(abs(cost.exact_ap_50 - cost.ap_50), abs(cost.exact_ap_mean - cost.ap_mean)) < 0.02
    little = replace(cost, ap_50=cost.exact_ap_50, ap_mean=cost.exact_ap_mean - 0.004)
    assert little.is_small
    monkeypatch.setattr(int8, "recall", lambda folder: little)
    chosen = choose(quantised)
    assert (chosen.engine, chosen.precision) == ("openvino", "int8")
    assert f"AP 50 is {little.ap_50:.4f}" in chosen.reason
    worse = replace(little, ap_mean=cost.exact_ap_mean - 0.006)
    assert not worse.is_small
    monkeypatch.setattr(int8, "recall", lambda folder: worse)
    assert choose(quantised).precision != "int8"
    assert choose(quantised, precision="int8").precision == "int8"
    assert choose(quantised, precision="f32").precision == "f32"
    with pytest.raises(KaryosegError, match="int8 with engine keras: not possible"):
        choose(quantised, "keras", "int8")


def test_it_travels_with_the_model_and_not_with_other_weights(
    quantised: Path, trained: StarDistSegmenter, tmp_path: Path
) -> None:
    StarDistSegmenter.load(quantised).save(tmp_path / "copy")
    assert int8.recall(tmp_path / "copy") == int8.recall(quantised)
    config = json.loads((tmp_path / "copy/config.json").read_text()) | {"train_epochs": 1}
    (tmp_path / "copy/config.json").write_text(json.dumps(config))
    for folder in (tmp_path / "copy", trained.directory):
        assert int8.recall(folder) is None
        with pytest.raises(KaryosegError, match=r"no network in 8 bit .*kedro model quantize"):
            choose(folder, precision="int8")
        assert choose(folder).precision != "int8"


def test_a_run_that_was_killed_leaves_nothing_that_counts(quantised: Path, tmp_path: Path) -> None:
    StarDistSegmenter.load(quantised).save(tmp_path / "m")
    (tmp_path / "m" / INT8[2]).write_text("{half")
    assert int8.recall(tmp_path / "m") is None
    (tmp_path / "m" / INT8[1]).unlink()
    assert int8.recall(tmp_path / "m") is None


def test_images_prepared_for_another_model_are_refused(quantised: Path, tmp_path: Path) -> None:
    model = StarDistSegmenter.load(quantised)
    facts = model.training | {"preparation": replace(model.preparation, pmax=99.0).to_dict()}
    model.save(tmp_path / "m")
    (tmp_path / "m/training.json").write_text(json.dumps(facts))
    obj = SimpleNamespace(project_path=tmp_path)
    arguments = ["quantize", str(tmp_path / "m"), "--data", str(quantised.parents[1])]
    assert "are prepared with pmax=99.8; needed: pmax=99" in CliRunner().invoke(commands, arguments, obj=obj).output


def test_what_is_missing_is_named(
    trained: StarDistSegmenter, samples: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(KaryosegError, match="no images"):
        int8.quantise(trained.directory, LabelledSamples({}, {}))
    obj = SimpleNamespace(project_path=tmp_path)
    arguments = ["quantize", str(trained.directory), "--data", str(tmp_path)]
    assert "03_primary: no prepared images" in CliRunner().invoke(commands, arguments, obj=obj).output
    monkeypatch.setitem(sys.modules, "nncf", None)
    with pytest.raises(KaryosegError, match=r"pip install nncf"):
        int8.quantise(trained.directory, samples(range(1)))
