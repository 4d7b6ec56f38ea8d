"""What all parameter groups share."""

from __future__ import annotations

import difflib
from typing import Any, Literal

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
