"""Figures: they show what they claim, for every kind of image, and never fail on empty ones."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from PIL import Image

from karyoseg.core import plots
from karyoseg.core.augmentation.warps import Window
from karyoseg.core.plots.canvas import outlines, shrink

SHAPES_AND_TYPES = [
    ((40, 60), np.uint8),
    ((40, 60), np.uint16),
    ((40, 60), np.float32),
    ((40, 60, 3), np.uint8),
    ((40, 60, 2), np.float32),
    ((40, 60, 5), np.uint16),
    ((1, 1), np.uint8),
    ((3, 900), np.uint8),
    ((2100, 30), np.uint16),
]


def png_size(figure: Figure, dpi: int = 50) -> tuple[int, int]:
    """Render a figure, check that it is not blank, and return its size."""
    image = Image.open(io.BytesIO(plots.to_png_bytes(figure, dpi)))
    assert np.ptp(np.asarray(image.convert("L"))) > 0
    return image.size


def legend(ax: Axes) -> list[str]:
    found = ax.get_legend()
    assert found is not None
    return [text.get_text() for text in found.get_texts()]


def squares(shape: tuple[int, int] = (40, 60)) -> np.ndarray:
    labels = np.zeros(shape, np.int32)
    labels[5:15, 5:15] = 1
    labels[5:15, 15:30] = 70_000
    labels[25:35, 40:55] = 3
    return labels


@pytest.mark.parametrize(("shape", "dtype"), SHAPES_AND_TYPES)
def test_every_kind_of_image_can_be_shown(shape: tuple[int, ...], dtype: type) -> None:
    rng = np.random.default_rng(0)
    image: np.ndarray = (rng.random(shape) * 200).astype(dtype)
    truth = np.zeros(shape[:2], np.int32)
    truth[: shape[0] // 2 + 1, : shape[1] // 2 + 1] = 1
    pred = np.zeros_like(truth)
    for figure, panels in [
        (plots.case_panel(image, truth, pred, "title"), 3),
        (plots.case_panel(image, truth, truth), 3),
        (plots.case_panel(image, pred, truth), 3),
        (plots.label_overlay(image, truth, "x"), 1),
        (plots.gallery([("a", image, truth), ("b", image, None)], n_columns=2), 2),
        (plots.case_grid([("a", image, truth, pred)] * 2, "grid"), 6),
    ]:
        assert len(figure.axes) == panels
        png_size(figure, 20)


def test_errors_are_counted_as_found_false_and_missed() -> None:
    truth = squares()
    pred = np.zeros_like(truth)
    pred[5:15, 5:15] = 9  # the first square exactly
    pred[0:3, 50:60] = 4  # nothing there
    pred[25:27, 40:55] = 5  # far too little of the third
    errors = plots.case_panel(np.zeros(truth.shape), truth, pred).axes[2]
    assert legend(errors) == ["found (1)", "false (2)", "missed (2)"]
    shown = np.asarray(errors.images[0].get_array())
    assert len({tuple(shown[y, x]) for y, x in [(10, 10), (1, 55), (10, 20), (20, 20)]}) == 4


def test_not_annotated_area_is_named() -> None:
    truth = squares()
    truth[:, 56:] = -1
    errors = plots.case_panel(np.zeros(truth.shape), truth, squares()).axes[2]
    assert legend(errors) == ["found (3)", "false (0)", "missed (0)", "not annotated"]


def test_overlay_draws_one_outline_per_object_and_counts_them() -> None:
    pred = squares()
    pred[pred == 3] = 0
    ax = plots.case_panel(np.zeros(pred.shape), squares(), pred).axes[1]
    truth_lines, pred_lines = (c for c in ax.collections if isinstance(c, LineCollection))
    assert (len(truth_lines.get_segments()), len(pred_lines.get_segments())) == (3, 2)
    assert legend(ax) == ["truth (3)", "prediction (2)"]


def test_outlines_enclose_their_object() -> None:
    for line, (top, bottom, left, right) in zip(
        outlines(squares()), [(5, 15, 5, 15), (25, 35, 40, 55), (5, 15, 15, 30)], strict=True
    ):
        assert line[0].tolist() == line[-1].tolist()
        assert line.min(axis=0).tolist() == [left - 0.5, top - 0.5]
        assert line.max(axis=0).tolist() == [right - 0.5, bottom - 0.5]
    assert len(outlines(squares(), only=[70_000])) == 1
    assert outlines(np.full((3, 3), -1)) == []


def test_large_images_are_reduced_in_step_with_their_labels() -> None:
    labels = np.kron(np.arange(1, 13).reshape(3, 4), np.ones((700, 700), int))
    small, (ids,) = shrink(labels.astype(np.float32), labels, side=800)
    assert small.shape == ids.shape
    assert max(small.shape) <= 800
    assert (small == ids).mean() > 0.98
    assert shrink(labels[:10, :10])[0] is not None


def test_label_images_of_any_id_get_colours() -> None:
    labels = np.array([[0, 2**31 - 1], [-5, 1]], np.int32)
    assert min(png_size(plots.label_overlay(np.zeros((2, 2)), labels))) > 0


def curve_table(classes: list[str]) -> pd.DataFrame:
    thresholds = np.linspace(0, 1, 20)
    score = dict.fromkeys(("ap", "precision", "recall", "f1"), 1 - thresholds)
    return pd.concat([pd.DataFrame({"class": name, "threshold": thresholds, **score}) for name in classes])


@pytest.mark.parametrize(("classes", "lines"), [(["all"], 1), (["all", "a"], 1), (["all", "a", "b"], 3)])
def test_ap_plot_has_a_line_per_class(classes: list[str], lines: int) -> None:
    figure = plots.ap_plot(curve_table(classes))
    labelled = [line for line in figure.axes[0].lines if not str(line.get_label()).startswith("_")]
    assert len(labelled) == lines
    assert {line.get_label() for line in figure.axes[1].lines[:3]} == {"precision", "recall", "F1"}
    png_size(figure)


def test_learning_curves_show_what_the_history_holds() -> None:
    history = pd.DataFrame({"epoch": [1, 2, 3], "loss": [3.0, 2, 1], "val_loss": [3.0, 1, 2], "lr": [1e-3] * 3})
    figure = plots.learning_curves(history)
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["total loss", "learning rate"]
    best = [line for line in figure.axes[0].lines if line.get_label() == "best, epoch 2"]
    assert len(best) == 1
    png_size(figure)
    keras = history.rename(columns={"lr": "learning_rate"}).assign(prob_loss=1.0, val_dist_loss=2.0)
    assert len(plots.learning_curves(keras).axes) == 4


@pytest.mark.parametrize(
    "history",
    [
        pd.DataFrame(),
        pd.DataFrame({"loss": [1.0]}),
        pd.DataFrame({"epoch": [], "loss": [], "val_loss": []}),
        pd.DataFrame({"epoch": [1], "loss": [np.nan], "val_loss": [np.nan]}),
    ],
)
def test_learning_curves_survive_short_histories(history: pd.DataFrame) -> None:
    assert min(png_size(plots.learning_curves(history))) > 0


@pytest.mark.parametrize(
    "groups",
    [{}, {"truth": []}, {"truth": [5.0], "prediction": []}, {"truth": [10, 20.0], "other": [700, 1]}],
)
def test_size_histogram_counts_everything(groups: dict[str, list[float]]) -> None:
    figure = plots.size_histogram(groups)
    png_size(figure)
    if any(groups.values()):
        texts = legend(figure.axes[0])
        assert [text.split("(")[1].split(",")[0].rstrip(")") for text in texts] == [
            str(len(group)) for group in groups.values()
        ]


def test_contact_sheet_shows_original_then_variants() -> None:
    calls = []

    def augment(image: np.ndarray, labels: np.ndarray, seed: Any, window: Window) -> Any:
        calls.append(seed)
        part = np.s_[window.top : window.top + window.height, window.left : window.left + window.width]
        return image[part][::-1], labels[part][::-1]

    image = np.random.default_rng(0).random((40, 60)).astype(np.float32)
    window = Window(5, 10, 20, 30)
    samples = [("a", image, squares(), window), ("b", image, squares(), window)]
    figure = plots.contact_sheet(samples, augment, 3, seed=5)
    assert len(figure.axes) == 8
    assert calls == [(5, epoch, index) for index in range(2) for epoch in range(3)]
    first, second = (np.asarray(ax.images[0].get_array()) for ax in figure.axes[:2])
    np.testing.assert_array_equal(first[::-1], second)
    png_size(figure)


@pytest.mark.parametrize("size", [1, 16, 40, 500])
def test_random_window_holds_an_object_and_stays_inside(size: int) -> None:
    labels = squares()
    for seed in range(20):
        top, left, height, width = plots.random_window(labels, size, (1, seed))
        assert (height, width) == (min(size, 40), min(size, 60))
        part = labels[top : top + height, left : left + width]
        assert part.shape == (height, width)
        assert (part > 0).any()
    assert plots.random_window(np.zeros_like(labels), 8, 0)[2:] == (8, 8)


def test_png_and_jpeg_have_the_wanted_resolution() -> None:
    figure = plots.size_histogram({"truth": [5.0]})
    width, height = figure.get_size_inches()
    assert png_size(figure, 100) == (round(width * 100), round(height * 100))
    figure.set_dpi(60)
    assert Image.open(io.BytesIO(plots.to_jpeg_bytes(figure))).size == (round(width * 60), round(height * 60))
