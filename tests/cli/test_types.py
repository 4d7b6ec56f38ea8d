"""``kedro types``: learn from a table of examples, classify a folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from PIL import Image

from karyoseg.cli import cli


@pytest.fixture
def folder(tmp_path: Path, rng: np.random.Generator) -> Path:
    """Dark and light images, and a table of some of them."""
    images = tmp_path / "images"
    images.mkdir()
    for i in range(6):
        for name, level in (("dark", 20), ("light", 220)):
            Image.fromarray(rng.normal(level, 9, (30, 30)).clip(0, 255).astype(np.uint8)).save(
                images / f"{name}{i}.png"
            )
    rows = [(f"images/{name}{i}.png", name) for i in range(4) for name in ("dark", "light")]
    pd.DataFrame(rows, columns=["image", "type"]).to_csv(tmp_path / "table.csv", index=False)
    return tmp_path


def run(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(cli, ["types", *map(str, arguments)])
    assert result.exit_code == code, result.output
    return result.output


def test_types_are_learnt_classified_and_sorted(folder: Path) -> None:
    assert "8 examples" in run("learn", folder / "table.csv", folder / "examples.csv")
    run("classify", folder / "examples.csv", folder / "images", folder / "result.csv", "--copy-to", folder / "sorted")
    result = pd.read_csv(folder / "result.csv")
    assert len(result) == 12
    for row in result.itertuples():
        assert row.type in Path(row.image).name
    assert {path.name for path in (folder / "sorted/dark").iterdir()} == {f"dark{i}.png" for i in range(6)}
    assert {path.name for path in (folder / "sorted/light").iterdir()} == {f"light{i}.png" for i in range(6)}


def test_copies_of_images_of_one_name_stay_apart(folder: Path) -> None:
    run("learn", folder / "table.csv", folder / "examples.csv")
    for plate, image in (("p1", "dark4.png"), ("p2", "dark5.png")):
        (folder / "plates" / plate).mkdir(parents=True)
        (folder / "images" / image).rename(folder / "plates" / plate / "A01.png")
    options = ("--copy-to", folder / "sorted", "--certain", 0)
    run("classify", folder / "examples.csv", f"{folder}/plates/*/*.png", folder / "result.csv", *options)
    assert {path.name for path in (folder / "sorted").rglob("*.png")} == {"p1_A01_png.png", "p2_A01_png.png"}


def test_files_that_are_there_are_replaced_only_when_told(folder: Path) -> None:
    examples, result, copies = folder / "examples.csv", folder / "result.csv", folder / "sorted"
    learn = ("learn", folder / "table.csv", examples)
    classify = ("classify", examples, folder / "images", result, "--copy-to", copies)
    for command, target in ((learn, examples), (classify, result)):
        target.write_text("mine")
        assert f"{target}: exists already" in run(*command, code=1)
        assert target.read_text() == "mine"
        run(*command, "--overwrite")
        assert target.read_text() != "mine"
    result.unlink()
    for path in copies.rglob("*.png"):
        path.unlink()
    (copies / "dark/dark0.png").write_text("mine")
    output = run(*classify, code=1)
    assert "11 of 12 images copied; 0 are not certain" in output
    assert f"{copies / 'dark/dark0.png'}: exists already" in output
    assert (copies / "dark/dark0.png").read_text() == "mine"
    assert len(list(copies.rglob("*.png"))) == 12
    run(*classify, "--overwrite")
    assert (copies / "dark/dark0.png").read_bytes() == (folder / "images/dark0.png").read_bytes()


@pytest.mark.parametrize("option", [(), ("--overwrite",)])
def test_what_is_read_is_never_replaced(folder: Path, option: tuple[str, ...]) -> None:
    run("learn", folder / "table.csv", folder / "examples.csv")
    (folder / "link.csv").symlink_to(folder / "table.csv")
    before = {path: path.read_bytes() for path in folder.rglob("*.*") if path.is_file()}
    image = folder / "images/dark0.png"
    for target in ("table.csv", "images/../table.csv", "link.csv", "images/dark0.png"):
        assert "read by this command" in run("learn", folder / "table.csv", folder / target, *option, code=1)
    for target in (folder / "examples.csv", image):
        output = run("classify", folder / "examples.csv", folder / "images", target, *option, code=1)
        assert "read by this command" in output
    assert {path: path.read_bytes() for path in folder.rglob("*.*") if path.is_file()} == before


def test_a_table_that_is_not_complete_is_refused(folder: Path) -> None:
    (folder / "table.csv").write_text("image,type\nimages/dark0.png,\n")
    assert "filled in each row" in run("learn", folder / "table.csv", folder / "examples.csv", code=1)
    assert not (folder / "examples.csv").exists()
