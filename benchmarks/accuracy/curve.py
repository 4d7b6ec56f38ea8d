"""Draw accuracy over minutes of training, from the tables of docs/results.md: so picture and tables agree."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from karyoseg.core.plots import to_png_bytes
from karyoseg.core.plots.canvas import BLUE, VERMILLION, new_figure, style_axes

DOCS = Path(__file__).parents[2] / "docs"

_COLOURS = (VERMILLION, BLUE)
_SHOWN = ("AP 50", "AP mean")
_STYLES = {"test images": "-", "validation images": "--"}


def read_tables(text: str) -> pd.DataFrame:
    """Find the scores over minutes in a page.

    Parameters
    ----------
    text : str
        Page in Markdown with a table for each kind of images, ``| 50 test images | ... | minutes | ... | AP 50 | ...``;
        scores are written as ``mean ± spread`` or as one number.

    Returns
    -------
    DataFrame
        One row per row of a table: images, training, minutes, and for each score the number and its spread (0 of one
        number).
    """
    rows = []
    header: list[str] = []
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")] if line.startswith("|") else []
        if not cells or {"minutes", *_SHOWN} <= set(cells):
            header = cells
        elif header and not cells[0].startswith("---"):
            row = dict(zip(header, cells, strict=True))
            images = header[0].partition(" ")[2]
            rows.append({"images": images, "training": cells[0], "minutes": float(row["minutes"])})
            for name in _SHOWN:
                value, _, spread = row[name].partition("±")
                rows[-1] |= {name: float(value), f"{name} spread": float(spread or 0)}
    return pd.DataFrame(rows)


def draw(scores: pd.DataFrame) -> Figure:
    """Plot each score over minutes, a line for each training and kind of images."""
    figure = new_figure(9, 3.6)
    axes = figure.subplots(1, len(_SHOWN))
    colours = dict(zip(scores["training"].unique(), _COLOURS, strict=False))
    for ax, name in zip(axes, _SHOWN, strict=True):
        for (training, images), group in scores.groupby(["training", "images"], sort=False):
            ordered = group.sort_values("minutes")
            ax.errorbar(
                ordered["minutes"],
                ordered[name],
                ordered[f"{name} spread"],
                color=colours[training],
                linestyle=_STYLES[str(images)],
                marker="o",
                markersize=4,
                markerfacecolor=colours[training] if _STYLES[str(images)] == "-" else "white",
                capsize=3,
                label=f"{training}, {images}",
            )
        style_axes(ax)
        ax.set_xlim(left=0)
        ax.set_xlabel("minutes of training on 2 cores")
        ax.set_title(name, fontsize=11, loc="left")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=9, frameon=False)
    return figure


def main(arguments: Sequence[str] | None = None) -> None:
    """Read, draw, write."""
    options = _parse(arguments)
    options.output.write_bytes(to_png_bytes(draw(read_tables(options.page.read_text(encoding="utf-8")))))
    print(options.output)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accuracy.curve", description=__doc__)
    option = parser.add_argument
    option("--page", type=Path, default=DOCS / "results.md", help="page with the tables")
    option("--output", type=Path, default=DOCS / "images/accuracy_over_minutes.png", help="picture to write")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
