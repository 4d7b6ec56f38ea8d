"""What all parameter groups share."""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, model_validator

from karyoseg.core.axes import parse_axes
from karyoseg.core.errors import KaryosegError

#: A path that begins with the home folder, and the fields in which that is understood.
_HOME = re.compile(r"~(?:$|[\w.-]*/)")
_HOME_IS_KNOWN = ("input", "labels", "url")

#: What runs a network, and in which numbers it calculates.
Engine = Literal["auto", "keras", "openvino", "onnxruntime"]
Precision = Literal["auto", "f32", "bf16", "int8"]
TrainingPrecision = Literal["auto", "f32", "bf16", "f16"]


def _known_axes(axes: str) -> str:
    try:
        return parse_axes(axes)
    except KaryosegError as error:
        raise ValueError(str(error)) from error


#: Axes of a stack that does not say itself.
Axes = Annotated[str, AfterValidator(_known_axes)]


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
            if cls._is_text(key) and isinstance(value, int | float) and not isinstance(value, bool):
                raise ValueError(
                    f"{key}={value} was read as a number, and is a text; on the command line write a path with ./ "
                    "before it (./2024_11_05), in a file put the text in quotes"
                )
        return values

    @model_validator(mode="before")
    @classmethod
    def _paths_are_whole(cls, values: Any) -> Any:
        # A shell leaves the ~ of key=~/folder as it is; a folder of that name would be made.
        for key, value in values.items() if isinstance(values, dict) else ():
            if cls._is_text(key) and key not in _HOME_IS_KNOWN and _HOME.match(str(value)):
                raise ValueError(
                    f"{key}={value} begins with ~, which is not understood here; needed: the whole path. On the "
                    "command line write $HOME in place of ~, in a file the folder itself"
                )
        return values

    @classmethod
    def _is_text(cls, key: str) -> bool:
        kind = cls.model_fields[key].annotation if key in cls.model_fields else None
        return set(get_args(kind) or (kind,)) <= {str, Path, type(None)}
