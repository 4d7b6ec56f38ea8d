"""The mask_synthesis pipeline."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from kedro.io import DataCatalog, MemoryDataset
from kedro.runner import SequentialRunner

from karyoseg.core.errors import KaryosegError
from karyoseg.core.lazy import Lazy
from karyoseg.core.mask_synthesis.population import Population, measure_population
from karyoseg.core.synthetic import NucleiScene, render_scene
from karyoseg.datasets import SamplePartitions
from karyoseg.params.mask_synthesis import MaskSynthesisParams
from karyoseg.pipelines.mask_synthesis import create_pipeline
from karyoseg.pipelines.mask_synthesis.nodes import build_shape_database, compare_masks, draw_masks, measure_styles

PARAMS = MaskSynthesisParams(n_masks=2, size=128)


def scene(seed: int, diameter: float = 16.0) -> np.ndarray:
    kind = NucleiScene(shape=(128, 128), n_nuclei=12, diameter=diameter, clustering=0.4)
    return render_scene(kind, np.random.default_rng(seed))[1]


def partitions(values: dict[str, np.ndarray]) -> dict[str, Lazy[Any]]:
    return {key: Lazy(partial(np.copy, value), f"{key}{value.sum()}") for key, value in values.items()}


@pytest.fixture
def inputs() -> dict[str, Any]:
    nothing = np.zeros((60, 50), np.int32)
    style = {"a": scene(0), "b": scene(1), "c": scene(2, 24.0), "d": nothing, "e": nothing}
    clusters = pd.DataFrame({"id": list("abcd"), "cluster": ["group_001", "group_001", "group_002", "group_003"]})
    return {
        "style_labels": partitions(style),
        "style_clusters": pd.concat([clusters, pd.DataFrame({"id": ["e"], "cluster": [None]})]),
        "intermediate_labels": partitions({"x": scene(5), "y": scene(6), "z": scene(7)}),
        "splits": pd.DataFrame({"id": list("xyz"), "split": ["train", "train", "test"]}),
        "params:mask_synthesis": PARAMS,
    }


def run(inputs: dict[str, Any], folder: Path) -> dict[str, Any]:
    store = SamplePartitions(path=str(folder / "labels"), file_format="labels")
    catalog = DataCatalog({name: MemoryDataset(value, copy_mode="assign") for name, value in inputs.items()})
    catalog["synthetic_labels"] = store
    outputs = SequentialRunner().run(create_pipeline(), catalog)
    return {name: dataset.load() for name, dataset in outputs.items()} | {"labels": store.load()}


def test_masks_of_each_style_are_stored_counted_and_compared(inputs: dict[str, Any], tmp_path: Path) -> None:
    found = run(inputs, tmp_path)
    table = found["synthetic_masks_table"]
    assert table["id"].tolist() == [f"group_00{cluster}_00{index}" for cluster in (1, 2) for index in (0, 1)]
    assert set(found["labels"]) == set(table["id"])
    for row in table.itertuples():
        labels = found["labels"][row.id]()
        assert labels.shape == (128, 128)
        assert labels.max() == row.n_objects == len(np.unique(labels)) - 1 > 0
        assert (labels > 0).mean() == pytest.approx(row.coverage)
    comparison = found["mask_comparison"].set_index(["cluster", "quantity"])["synthetic"]
    assert comparison["group_002", "diameter"] > 1.2 * comparison["group_001", "diameter"]
    assert found["mask_comparison_figure"].axes[0].get_ylabel() == "group_001"


def population(labels: np.ndarray) -> Population:
    return measure_population([labels], 512, 20)


def squares(step: int, side: int = 20) -> np.ndarray:
    """Rows of squares of 20 px."""
    labels = np.zeros((7 * step, 7 * step), np.int32)
    for index, (y, x) in enumerate(np.ndindex(7, 7), start=1):
        labels[y * step : y * step + side, x * step : x * step + side] = index
    return labels


def test_styles_whose_density_or_touching_was_not_reached_are_told(caplog: pytest.LogCaptureFixture) -> None:
    populations = {"same": population(squares(26)), "dense": population(squares(22)), "close": population(squares(22))}
    drawn = {
        "same": population(squares(27)),
        "dense": population(squares(26)),
        "close": population(squares(20)[:, : 3 * 20]),
    }
    table = compare_masks(populations, populations, drawn)
    assert set(table["cluster"]) == {"same", "dense", "close"}
    assert "dense: coverage (share of the area) is 0.59 in the synthetic masks, 0.83 was to be reached" in caplog.text
    assert (
        "close: touching (share of the objects) is 1.00 in the synthetic masks, 0.00 was to be reached" in caplog.text
    )
    assert "same" not in caplog.text


def test_the_comparison_is_with_what_was_measured_before_anything_was_left_out(inputs: dict[str, Any]) -> None:
    wrong = scene(0)
    wrong[:100, :100][wrong[:100, :100] == 0] = 999
    labels = inputs["style_labels"] | partitions({"a": wrong, "b": np.zeros_like(wrong)})
    measured, followed = measure_styles(labels, inputs["style_clusters"], PARAMS)
    assert len(followed["group_001"].objects) == len(measured["group_001"].objects) - 1
    assert len(followed["group_001"].tiles) < len(measured["group_001"].tiles) == 2
    table = compare_masks(measured, followed, followed).set_index(["cluster", "quantity"])
    assert table.loc[("group_001", "coverage"), "real"] == pytest.approx((wrong > 0).mean() / 2, rel=0.01)
    assert table.loc[("group_001", "coverage"), "synthetic"] == pytest.approx((scene(0) > 0).mean(), rel=0.1)


def test_stored_masks_are_not_drawn_again(inputs: dict[str, Any], tmp_path: Path) -> None:
    run(inputs, tmp_path)
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "labels").glob("*.tif")}
    run(inputs | {"params:mask_synthesis": PARAMS.model_copy(update={"n_masks": 3})}, tmp_path)
    assert {path: path.stat().st_mtime_ns for path in files} == files


def test_fingerprints_follow_what_masks_depend_on(inputs: dict[str, Any]) -> None:
    def marks(params: MaskSynthesisParams = PARAMS, **changes: Any) -> list[str]:
        known = inputs | changes
        _, styles = measure_styles(known["style_labels"], known["style_clusters"], params)
        shapes = build_shape_database(known["intermediate_labels"], known["splits"], params)
        return [mask.fingerprint for mask in draw_masks(styles, shapes, params)[0].values()]

    first = marks()
    assert marks() == first
    assert len(set(first)) == len(first)
    other_test = inputs["intermediate_labels"] | partitions({"z": scene(9)})
    assert marks(intermediate_labels=other_test) == first
    for changed in (
        marks(PARAMS.model_copy(update={"seed": 1})),
        marks(PARAMS.model_copy(update={"placement": "tetris"})),
        marks(style_labels=inputs["style_labels"] | partitions({"a": scene(7), "b": scene(8), "c": scene(9)})),
        marks(intermediate_labels=inputs["intermediate_labels"] | partitions({"x": scene(8)})),
    ):
        assert not set(changed) & set(first)


def test_nothing_found_anywhere_is_an_error(inputs: dict[str, Any]) -> None:
    labels = partitions(dict.fromkeys("abcde", np.zeros((20, 20), np.int32)))
    with pytest.raises(KaryosegError, match="no nuclei of at least 20 px"):
        measure_styles(labels, inputs["style_clusters"], PARAMS)


def test_clusters_of_other_images_are_an_error(inputs: dict[str, Any]) -> None:
    with pytest.raises(KaryosegError, match=r"1 image\(s\) without label image, such as b"):
        measure_styles({"a": 1, "c": 1, "d": 1}, inputs["style_clusters"], PARAMS)


def test_large_nuclei_on_small_masks_are_told(inputs: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    labels = inputs["style_labels"] | partitions({"c": np.pad(np.ones((70, 70), np.int32), 20)})
    measure_styles(labels, inputs["style_clusters"], PARAMS)
    assert "raise mask_synthesis.size" in caplog.text
    assert "group_003: no nuclei found" in caplog.text
