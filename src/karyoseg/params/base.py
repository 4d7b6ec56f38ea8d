"""What all parameter groups share."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Params(BaseModel):
    """Frozen, typed parameters; an unknown key is an error, so a typo stops the run before the first node.

    The text below a field is its description; docs/reference is generated from it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)
