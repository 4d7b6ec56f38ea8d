"""The parameter reference agrees with the models, and the script that writes it leaves nothing out."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import pytest
from pydantic import BaseModel, Field

from karyoseg.params.base import Params

SCRIPT = Path(__file__).parents[2] / "scripts" / "write_parameter_reference.py"


@pytest.fixture(scope="module")
def writer() -> ModuleType:
    """The script as a module."""
    spec = importlib.util.spec_from_file_location("write_parameter_reference", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Small(Params):
    """A few <odd> things."""

    name: Literal["small"]
    """Selects this."""
    size: float = Field(default=2.0, gt=1, le=3)
    """Size of `a<b` in <x> [px]."""


class Large(Params):
    """Nothing to set."""

    name: Literal["large"]
    """Selects this."""


class Inner(Params):
    """Inner group."""

    pair: list[Annotated[int, Field(ge=4)]] = Field(default=[5, 6], min_length=2, max_length=2)
    """Two numbers."""


class Outer(Params):
    """Outer group."""

    inner: Inner = Inner()
    """Inner."""
    pattern: str | None = Field(default=None, pattern="^(a|b)$")
    """A pattern."""
    variant: Annotated[Small | Large, Field(discriminator="name")] = Large(name="large")
    """What it is."""
    wanted: Literal["x", "y"]
    """Must be given."""


def test_committed_page_is_up_to_date() -> None:
    command = [sys.executable, str(SCRIPT), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_check_notices_a_difference(
    writer: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "parameters.md"
    monkeypatch.setattr(writer, "TARGET", page)
    monkeypatch.setattr(writer, "find_groups", lambda: {"outer": Outer})
    assert writer.main(["--check"]) == 1
    assert writer.main([]) == 0
    assert writer.main(["--check"]) == 0
    page.write_text(page.read_text() + "\n")
    assert writer.main(["--check"]) == 1
    assert str(page) in capsys.readouterr().err


def test_rows_state_type_default_range_and_meaning(writer: ModuleType) -> None:
    page = writer.render({"outer": Outer}, {})
    assert "| `inner.pair` | [integer, integer] | `[5, 6]` | ≥ 4 | Two numbers. |" in page
    assert "| `pattern` | text or null | `null` | matches `^(a\\|b)$` | A pattern. |" in page
    assert "| `wanted` | `x`, `y` | required |  | Must be given. |" in page
    assert "| `size` | number | `2` | > 1, ≤ 3 | Size of `a<b` in &lt;x> [px]. |" in page


def test_rows_state_what_conf_base_sets(writer: ModuleType) -> None:
    base = {"inner": {"pair": [7, 8]}, "variant": {"name": "small", "size": 3.0}, "pattern": None, "wanted": "x"}
    page = writer.render({"outer": Outer}, {"outer": base})
    assert "| `[5, 6]`; in `conf/base` `[7, 8]` |" in page
    assert "| `{name: large}`; in `conf/base` `{name: small, size: 3.0}` |" in page
    assert "| `size` | number | `2`; in `conf/base` `3` |" in page
    assert "| `pattern` | text or null | `null` |" in page
    assert "| required; in `conf/base` `x` |" in page
    same = writer.render({"outer": Outer}, {"outer": {"inner": {"pair": [5, 6]}, "variant": {"name": "large"}}})
    assert same == writer.render({"outer": Outer}, {})


def test_the_page_knows_the_recipe(writer: ModuleType) -> None:
    assert writer.read_base()["train"]["network"]["unet_batch_norm"] is True


def test_variants_have_sections_in_their_order(writer: ModuleType) -> None:
    page = writer.render({"outer": Outer}, {})
    small, large = page.index("### `outer.variant`: `name: small`"), page.index("`name: large`")
    assert small < large
    assert "A few &lt;odd> things." in page[small:large]
    assert "No further fields." in page[large:]


def test_every_field_of_every_model_has_a_row(writer: ModuleType) -> None:
    groups = writer.find_groups()
    assert {"dataset", "train", "predict"} <= groups.keys()
    page = writer.render(groups, writer.read_base())
    cells = {line.split("|")[1].strip(" `") for line in page.splitlines() if line.startswith("| `")}
    last_parts = {cell.rsplit(".", 1)[-1] for cell in cells}
    for model in groups.values():
        for name, description in _fields(model):
            assert description, f"{name} of {model.__name__} has no description"
            assert name in last_parts


def _fields(model: type[BaseModel]) -> Iterator[tuple[str, str | None]]:
    """Every field that holds a value, nested models included; an independent walk over the annotations."""
    for name, field in model.model_fields.items():
        nested = list(_models(field.annotation))
        is_group = field.annotation in nested
        is_selector = get_origin(field.annotation) is Literal and len(get_args(field.annotation)) == 1
        if not is_group and not is_selector:
            yield name, field.description
        for inner in nested:
            yield from _fields(inner)


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    elif get_origin(annotation) in (Union, UnionType, Annotated, list, tuple):
        for part in get_args(annotation):
            yield from _models(part)
