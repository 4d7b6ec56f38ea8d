"""What all parameter groups share."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, model_validator

#: What runs a network, and in which numbers it calculates.
Engine = Literal["auto", "keras", "openvino", "onnxruntime"]
Precision = Literal["auto", "f32", "bf16", "int8"]


class Params(BaseModel):
    """Frozen, typed parameters; an unknown key is an error, so a typo stops the run before the first node.

    The text below a field is its description; docs/reference is generated from it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    @model_validator(mode="before")
    @classmethod
    def _only_known_keys(cls, values: Any) -> Any:
        known = list(cls.model_fields)
        unknown = [str(key) for key in values if key not in known] if isinstance(values, dict) else []
        if unknown:
            near = difflib.get_close_matches(unknown[0], known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
            raise ValueError(f"unknown parameter {', '.join(map(repr, unknown))}; {hint}")
        return values

    @model_validator(mode="before")
    @classmethod
    def _texts_are_no_numbers(cls, values: Any) -> Any:
        # Kedro turns what looks like a number into one, 2024_11_05 too.
        for key, value in values.items() if isinstance(values, dict) else ():
            kind = cls.model_fields[key].annotation if key in cls.model_fields else None
            only_text = set(get_args(kind) or (kind,)) <= {str, Path, type(None)}
            if only_text and isinstance(value, int | float) and not isinstance(value, bool):
                raise ValueError(
                    f"{key}={value} was read as a number, and is a text; on the command line write a path with ./ "
                    "before it (./2024_11_05), in a file put the text in quotes"
                )
        return values
