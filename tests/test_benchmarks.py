"""The benchmarks: turns, processes, time left, and a record that holds what it promises."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from benchmarks import __main__ as command
from benchmarks.alternate import TimeLeft, measure, turns
from benchmarks.cases import CASES, PLAIN
from benchmarks.inputs import make_inputs
from benchmarks.record import score_folder, summary

PROJECT = Path(__file__).parents[1]


def test_turns_are_fair() -> None:
    order = list(turns("abc", 4))
    assert sorted(order) == sorted("abc" * 4)
    assert all(set(order[start : start + 3]) == set("abc") for start in range(0, 12, 3))
    followers = set(itertools.pairwise(order))
    assert {("a", "b"), ("b", "a"), ("b", "c"), ("c", "b")} <= followers


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module that answers as one side of a benchmark does."""
    (tmp_path / "answering.py").write_text(
        "import os, sys\n"
        "from benchmarks.alternate import answer\n"
        "def work(setting):\n"
        "    print('chatter of a library')\n"
        "    if 'fail' in setting: sys.exit('the reason')\n"
        "    return {'twice': 2 * setting['x'], 'pid': os.getpid()}\n"
        "answer(work)\n"
    )
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{PROJECT}")
    return "answering"


def test_every_measurement_has_a_process_of_its_own(module: str) -> None:
    one, other = (measure(module, {"x": x}) for x in (3, 4))
    assert (one["twice"], other["twice"]) == (6, 8)
    assert one["pid"] != other["pid"]


def test_a_failing_process_says_why(module: str) -> None:
    with pytest.raises(RuntimeError, match=r"(?s)-m answering .*code 1:.*the reason"):
        measure(module, {"fail": True})


def test_time_left_learns_from_what_was_measured() -> None:
    left = TimeLeft(["a", "b", "b", "c"], {"a": 10, "b": 20, "c": 30})
    assert left.seconds() == 80
    left.done("a", 20)  # everything takes twice as long
    assert left.seconds() == 2 * 70
    left.done("b", 100)
    assert left.seconds() == pytest.approx(100 + 30 * 120 / 30)
    left.done("b", 100)
    left.done("c", 1)
    assert left.seconds() == 0


def test_summary_compares_round_by_round() -> None:
    """A machine that gets slower changes the rates, not the ratios."""
    runs = [
        {"side": side, "amount": 10, "seconds": seconds * pace, "start_seconds": 1, "peak_gb": pace}
        for pace in (1, 2, 4)
        for side, seconds in ((PLAIN, 10), ("fast", 2))
    ]
    found = summary("folder", runs, {"fast": {"ap_50": 0.5}})["sides"]
    assert found[PLAIN]["ratio"] == 1
    assert found["fast"]["ratio"] == pytest.approx(5)
    assert found["fast"]["rate"] == pytest.approx(2.5)
    assert found["fast"]["peak_gb"] == 4
    assert (found["fast"]["scores"], found[PLAIN]["scores"]) == ({"ap_50": 0.5}, None)


def test_drawn_inputs_have_truth_and_a_part(tmp_path: Path) -> None:
    inputs = make_inputs(tmp_path, None, 8, large=512, single=256)
    images = sorted(path.name for path in (tmp_path / "images").iterdir())
    assert len(images) == inputs.facts["images"] == 8
    assert [path.name for path in sorted((tmp_path / "part").iterdir())] == images[::4]
    for name in images:
        assert tifffile.imread(tmp_path / "images" / name).shape == tifffile.imread(tmp_path / "truth" / name).shape
    assert tifffile.imread(tmp_path / "large" / "large.tif").shape == (512, 512)
    assert tifffile.imread(tmp_path / "image.tif").shape == (256, 256)
    assert inputs.facts["source"] == "drawn"
    perfect = score_folder(images, tmp_path / "truth", tmp_path / "truth")
    assert perfect["ap_50"] == perfect["ap_mean"] == 1
    empty = tmp_path / "empty"
    empty.mkdir()
    tifffile.imwrite(empty / images[0], np.zeros_like(tifffile.imread(tmp_path / "images" / images[0])))
    assert score_folder(images[:1], tmp_path / "truth", empty)["ap_50"] == 0
    with pytest.raises(FileNotFoundError):  # an image that was not predicted is no gain
        score_folder(images, tmp_path / "truth", empty)


def test_every_case_is_known_to_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command.main(["--help"])
    shown = capsys.readouterr().out
    assert all(case in shown for case in CASES)


@pytest.mark.slow
def test_record_holds_what_it_promises(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "results" / "bench.json"
    assert command.main(["--quick", "--only", "loading", "--json", str(file)]) == 0
    record = json.loads(file.read_text())
    assert {"created", "command", "git", "hardware", "system", "versions", "inputs", "model"} <= set(record)
    assert record["hardware"]["cores"] >= 1
    assert "stardist" in record["versions"]
    assert record["failed"] == {}
    sides = record["cases"]["loading"]["sides"]
    assert set(sides) == {PLAIN, "karyoseg"}
    for side in sides.values():
        assert {"rate", "rates", "ratio", "seconds", "start_seconds", "peak_gb", "scores"} <= set(side)
        assert side["rate"] > 0
        assert 0.05 < side["peak_gb"] < 20
    printed = capsys.readouterr().out
    assert "| karyoseg |" in printed
    assert command.main(["--show", str(file)]) == 0
    assert capsys.readouterr().out.strip() in printed
