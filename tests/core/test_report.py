"""The report: complete, self-contained, safe; and the tables behind it."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image

from karyoseg.core.errors import KaryosegError
from karyoseg.core.report.html import DEFINITIONS, Report, flatten, picture, render_report
from karyoseg.core.report.tables import (
    count_samples,
    object_diameters,
    pick_examples,
    select_cases,
    training_facts,
)

EVIL = "<script>alert('x')</script>"


def scores(ids: list[str], values: list[float]) -> pd.DataFrame:
    return pd.DataFrame(
        {"id": ids, "class": "c", "n_true": 3, "n_pred": 2, "ap_50": values, "f1": values, "pq": np.nan}
    )


def example(name: str = EVIL) -> Report:
    figure = Figure()
    figure.subplots().plot([0, 1])
    return Report(
        title=name,
        metrics={"f1": 0.5, "map": None, "n_images": 2, "n_true": 6, "n_pred": 4},
        per_class=pd.DataFrame({"class": [name], "n_images": [2], "f1": [0.25], "map": [np.nan]}),
        per_image=scores([name, "b"], [0.25, 1.0]),
        data=pd.DataFrame({"class": [name, "all"], "split": "test", "images": 2, "objects": 6}),
        pictures={
            "worst": [picture(name, figure, name, photo=True)],
            "curves": [picture("c", figure, "curve")],
        },
        facts={name: name},
        parameters={name: {"x": [name]}},
        versions={name: name},
        created=name,
    )


class Loads(HTMLParser):
    """Collects everything that a browser would fetch, and all scripts."""

    def __init__(self) -> None:
        super().__init__()
        self.urls: list[str] = []
        self.scripts = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.scripts += tag == "script"
        self.urls += [
            value or "" for key, value in attrs if key in {"src", "href", "srcset", "data", "action", "poster"}
        ]


def test_nothing_is_loaded_and_everything_escaped() -> None:
    html = render_report(example())
    parser = Loads()
    parser.feed(html)
    assert parser.scripts == 1, "only our own sorting script"
    assert all(url.startswith(("data:image/", "#")) for url in parser.urls)
    assert not re.search(r"https?://|@import|url\(", html)
    assert EVIL not in html
    assert html.count("&lt;script&gt;") >= 9


def test_numbers_definitions_and_pictures_are_there() -> None:
    html = render_report(example("name"))
    assert DEFINITIONS["f1"][1] in html
    assert ">0.500<" in html
    assert ">0.250<" in html
    assert ">nan<" not in html
    assert ">None<" not in html
    images = re.findall(r'src="data:image/(\w+);base64,([^"]+)"', html)
    assert [kind for kind, _ in images] == ["png", "jpeg"]
    for _, content in images:
        Image.open(io.BytesIO(base64.b64decode(content))).verify()


def test_a_report_can_be_given_away_without_passwords() -> None:
    report = example("name")
    report = replace(report, parameters={"dataset": {"url": "https://me:pw@example.org/a.zip?signature=1"}})
    html = render_report(report)
    assert "https://example.org/a.zip" in html
    assert "me:pw" not in html
    assert "signature=1" not in html


def test_empty_tables_make_a_report() -> None:
    empty = pd.DataFrame()
    data = pd.DataFrame(columns=["class", "split", "images", "objects"])
    html = render_report(Report("t", {}, empty, empty, data))
    assert html.rstrip().endswith("</html>")


def test_cases_from_both_ends_do_not_overlap() -> None:
    table = scores(list("abcde"), [0.5, 0.1, 0.9, 0.1, 0.7]).assign(ap_mean=[0.5, 0.3, 0.9, 0.2, 0.7])
    assert select_cases(table, "ap_50", 2, 2, ["c", "c"]) == {
        "worst": ["d", "b"],
        "best": ["c", "e"],
        "chosen": ["c"],
    }
    assert select_cases(table, "ap_50", 9, 9) == {"worst": ["d", "b", "a"], "best": ["c", "e"], "chosen": []}
    assert select_cases(table, "ap_50", 9, 0)["worst"] == ["d", "b", "a", "e", "c"]
    assert select_cases(table, "ap_50", 0, 0) == {"worst": [], "best": [], "chosen": []}
    assert select_cases(table.head(1), "ap_50", 3, 3) == {"worst": ["a"], "best": [], "chosen": []}


def test_unknown_ids_are_all_named_with_similar_ones() -> None:
    with pytest.raises(KaryosegError) as caught:
        select_cases(scores(["nuc_001", "nuc_002"], [0, 1]), "f1", 1, 1, ["nuc_01", "zzz", "nuc_002"])
    message = str(caught.value)
    assert "2 problems" in message
    assert "'nuc_01'" in message
    assert "nuc_001" in message
    assert "'zzz'" in message


def test_samples_are_counted_by_class_and_split() -> None:
    manifest = pd.DataFrame({"id": list("abcd"), "class": ["x", "x", None, "x"], "n_objects": [1, 2, np.nan, 4]})
    splits = pd.DataFrame({"id": list("abc"), "split": ["test", "train", "train"]})
    rows = count_samples(manifest, splits).to_numpy().tolist()
    assert rows == [
        ["unclassified", "train", 1, 0],
        ["x", "train", 1, 2],
        ["x", "test", 1, 1],
        ["x", "unused", 1, 4],
        ["all", "train", 2, 2],
        ["all", "test", 1, 1],
        ["all", "unused", 1, 4],
    ]


def test_examples_take_turns_between_classes() -> None:
    manifest = pd.DataFrame(
        {"id": list("abcdef"), "class": ["x"] * 4 + ["y", ""], "n_objects": [1, 5, 6, 90, np.nan, 2]}
    )
    assert pick_examples(manifest, 4) == ["f", "b", "c", "e"]
    assert len(pick_examples(manifest, 2)) == 2
    assert sorted(pick_examples(manifest, 99)) == list("abcdef")
    assert pick_examples(manifest.head(0), 3) == []


def test_training_facts_name_the_best_epoch() -> None:
    history = pd.DataFrame({"epoch": [1, 2, 3], "loss": [3.0, 2, 1], "val_loss": [np.nan, 0.5, 0.7]})
    assert training_facts(history) == {
        "epochs": "3",
        "best validation loss": "0.5000, epoch 2",
        "last training loss": "1.0000",
    }
    assert training_facts(pd.DataFrame()) == {"epochs": "0"}


def test_diameters_are_those_of_circles() -> None:
    y, x = np.mgrid[:201, :201]
    labels = np.where(np.hypot(y - 100, x - 100) < 60, 2**31 - 1, -1).astype(np.int32)
    np.testing.assert_allclose(object_diameters(labels), [120], rtol=0.01)
    assert object_diameters(np.zeros((2, 2), int)).size == 0


def test_lists_of_parameter_groups_are_numbered() -> None:
    assert flatten({"a": {"t": [{"name": "flip", "p": 1}], "n": None}}) == {
        "a.t.0": "name=flip, p=1",
        "a.n": "None",
    }
