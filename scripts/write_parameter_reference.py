"""Write docs/reference/parameters.md from the pydantic models that the pipelines take as parameters.

The groups are found as Kedro finds them for validation: what a node takes as ``params:NAME`` with a model as
type hint. Fields, types, defaults, ranges and meanings come from the JSON schema of the model.

Usage: python scripts/write_parameter_reference.py [--check]
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from kedro.config import OmegaConfigLoader
from kedro.framework.project import configure_project, pipelines
from kedro.validation.type_extractor import TypeExtractor
from pydantic import BaseModel

from karyoseg.pipeline_registry import WORKFLOW

PROJECT = Path(__file__).resolve().parents[1]
TARGET = PROJECT / "docs" / "reference" / "parameters.md"
_TYPES = {
    "string": "text",
    "integer": "integer",
    "number": "number",
    "boolean": "true or false",
    "null": "null",
}
_LONGEST_VALUE = 70
_BOUNDS = {"exclusiveMinimum": "> ", "minimum": "≥ ", "exclusiveMaximum": "< ", "maximum": "≤ "}
_INTRO = """# Parameters

<!-- Written by scripts/write_parameter_reference.py from src/karyoseg/params: change those. -->

Every field of every parameter group. A group is a key of a file in `conf/`, for example `train:` in
`conf/base/parameters_train.yml`. The column *default* is what holds when no file sets the field. Runs start from
`conf/base`, where many fields have another value, named in the same column: those of the training recipe, and a short
training for the embedded sample.

Set a field for one run on the command line, with a dot between group and field:

```bash
kedro run --params train.epochs=20,evaluate.split=val
```

Set it for good in `conf/local/parameters.yml`. A field that does not exist, a wrong type or a value out of
range stops the run before the first node.
"""

Schema = Mapping[str, Any]


def find_groups() -> dict[str, type[BaseModel]]:
    """Find the parameter groups of all pipelines.

    Returns
    -------
    dict of str to type
        Model by group name, in the order in which the pipelines use them.
    """
    configure_project("karyoseg")
    names = [*WORKFLOW, *sorted(set(pipelines) - {"__default__", *WORKFLOW})]
    return TypeExtractor({name: pipelines[name] for name in names}).extract_types_from_pipelines()


def read_base() -> dict[str, Any]:
    """Read what conf/base sets.

    Returns
    -------
    dict of str to dict
        Fields by group name.
    """
    loader = OmegaConfigLoader(str(PROJECT / "conf"), base_env="base", default_run_env="base")
    return dict(loader["parameters"])


def render(groups: Mapping[str, type[BaseModel]], base: Mapping[str, Any]) -> str:
    """Write the page.

    Parameters
    ----------
    groups : mapping of str to type
        Model by group name.
    base : mapping of str to dict
        What conf/base sets, by group name.

    Returns
    -------
    str
        Markdown.
    """
    return "\n".join([_INTRO, *(_group(name, model, base.get(name, {})) for name, model in groups.items())])


def _group(name: str, model: type[BaseModel], base: Any) -> str:
    schema = model.model_json_schema()
    return _section(f"## `{name}`", schema, schema.get("$defs", {}), name, base)


def _section(heading: str, schema: Schema, defs: Schema, path: str, base: Any, chosen_by: str = "") -> str:
    """One heading, description and table; then a section for each variant of the fields that are unions."""
    fields = [item for item in _flatten(schema, defs) if item[0] != chosen_by]
    table = ["| field | type | default | range | meaning |", "|---|---|---|---|---|"]
    table += [_row(*item, _at(base, item[0])) for item in fields]
    parts = [
        heading,
        "",
        _text(schema.get("description", "")),
        "",
        *(table if fields else ["No further fields."]),
        "",
    ]
    for name, field, _ in fields:
        for key, value, variant in _variants(field, defs):
            place, chosen = f"{path}.{name}", _at(base, name)
            inside = chosen if _at(chosen, key) == value else None
            parts.append(_section(f"### `{place}`: `{key}: {value}`", variant, defs, place, inside, key))
    return "\n".join(parts)


def _at(base: Any, name: str) -> Any:
    """Look up a dotted name; None if it is not set."""
    for part in name.split("."):
        base = base.get(part) if isinstance(base, Mapping) else None
    return base


def _flatten(schema: Schema, defs: Schema, prefix: str = "") -> Iterator[tuple[str, Schema, bool]]:
    """Give dotted name, schema and whether it is required of every field, those of nested groups included."""
    for name, field in schema.get("properties", {}).items():
        required = name in schema.get("required", ())
        nested = _resolve(field, defs)
        if "properties" in nested:
            yield from _flatten(nested, defs, f"{prefix}{name}.")
        else:
            yield prefix + name, field, required


def _resolve(field: Schema, defs: Schema) -> Schema:
    reference = field.get("$ref", "")
    return defs[reference.rsplit("/", 1)[-1]] if reference else field


def _variants(field: Schema, defs: Schema) -> Iterator[tuple[str, str, Schema]]:
    """Give discriminating field, its value and schema of each variant of a union, in its order."""
    union = field.get("items", field)
    key = union.get("discriminator", {}).get("propertyName", "")
    for option in union.get("oneOf", ()) if key else ():
        variant = _resolve(option, defs)
        yield key, variant["properties"][key]["const"], variant


def _row(name: str, field: Schema, required: bool, base: Any) -> str:
    default = "required" if required else f"`{_yaml(field.get('default'))}`"
    if not _says_the_same(base, field.get("default")):
        text = f"`{_yaml(base)}`"
        default += f"; in `conf/base` {text}" if len(text) <= _LONGEST_VALUE else "; set in `conf/base`"
    cells = [
        f"`{name}`",
        _type(field),
        default,
        ", ".join(_limits(field)),
        _text(field.get("description", "")),
    ]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _says_the_same(base: Any, default: Any) -> bool:
    """Whether nothing is set, or the default, or a group that the default only completes."""
    if isinstance(base, Mapping) and isinstance(default, Mapping):
        return base.items() <= default.items()
    return base in (None, default)


def _type(field: Schema) -> str:
    """Say in words what a field holds."""
    if "discriminator" in field:
        return f"group with `{field['discriminator']['propertyName']}`, see below"
    if "anyOf" in field:
        return " or ".join(_type(option) for option in field["anyOf"])
    if "enum" in field or "const" in field:
        return ", ".join(f"`{value}`" for value in field.get("enum", [field.get("const")]))
    if field.get("type") == "array":
        item = _type(field["prefixItems"][0] if "prefixItems" in field else field["items"])
        least, most = field.get("minItems", 0), field.get("maxItems")
        return f"[{', '.join([item] * least)}]" if least and least == most else f"list of {item}"
    return "path" if field.get("format") == "path" else _TYPES.get(field.get("type", ""), "any")


def _limits(field: Schema) -> list[str]:
    """List the limits of a field, of its alternatives or of the items of a list."""
    own = [f"{sign}{_yaml(field[key])}" for key, sign in _BOUNDS.items() if key in field]
    own += [f"matches `{field['pattern']}`"] if "pattern" in field else []
    if "minItems" in field and field["minItems"] != field.get("maxItems"):
        own.append(f"at least {field['minItems']} of them")
    inner = [*field.get("anyOf", ()), *field.get("prefixItems", ())[:1]]
    inner += [field["items"]] if "items" in field else []
    return own + [limit for part in inner for limit in _limits(part)]


def _yaml(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.12g}"
    return yaml.safe_dump(value, default_flow_style=True, width=sys.maxsize, sort_keys=False).split("\n")[0]


def _text(description: str) -> str:
    """Turn a docstring into one line of Markdown: `<` outside of code must not look like a tag."""
    paragraphs = re.split(r"\n\s*\n", description.strip().replace("``", "`"))
    line = " ".join(" ".join(paragraph.split()) for paragraph in paragraphs)
    return "`".join(part if index % 2 else part.replace("<", "&lt;") for index, part in enumerate(line.split("`")))


def main(arguments: list[str]) -> int:
    """Write the page, or compare it with the one on disk.

    Parameters
    ----------
    arguments : list of str
        ``--check`` to compare only.

    Returns
    -------
    int
        Exit status; 1 if ``--check`` finds a difference.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare with the page on disk, write nothing")
    check = parser.parse_args(arguments).check
    page = render(find_groups(), read_base())
    if not check:
        TARGET.parent.mkdir(parents=True, exist_ok=True)
        TARGET.write_text(page, encoding="utf-8")
    elif not TARGET.is_file() or TARGET.read_text(encoding="utf-8") != page:
        print(f"{TARGET}: differs from the models; run python {Path(__file__).name}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
