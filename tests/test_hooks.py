"""One line per written dataset, one per run."""

from __future__ import annotations

import logging

import pytest
from kedro.pipeline import Node

from karyoseg.hooks import RunLogHooks, peak_memory_gb


def double(values: list[int]) -> list[int]:
    return values * 2


def test_lines_name_node_dataset_and_count(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="karyoseg")
    hooks, node = RunLogHooks(), Node(double, "a", "b", name="double_it")
    hooks.before_pipeline_run({})
    hooks.before_node_run(node)
    hooks.after_dataset_saved("b", [1, 2, 3], node)
    hooks.after_dataset_saved("text", "long text", node)
    hooks.after_pipeline_run({"pipeline_names": ["train"]})
    started, listed, text, finished = (record.getMessage() for record in caplog.records)
    assert started == "double_it ..."
    assert listed.startswith("double_it -> b (3), ")
    assert text.startswith("double_it -> text, ")
    assert finished.startswith("Finished train in 0 s, peak memory ")


def test_peak_memory_is_that_of_this_process() -> None:
    assert 0.01 < peak_memory_gb() < 100
