"""Parameters of style transfer refuse what no network can take."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from karyoseg.params.style_transfer import StyleTransferParams


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"tile_size": 250}, r"tile_size 250 must be a multiple of 64 \(2 \*\* \(generator.depth \+ 1\)\)"),
        ({"tile_size": 256, "generator": {"depth": 8}}, "multiple of 512"),
        ({"constant_steps": 0, "decay_steps": 0}, "at least one step"),
        ({"generator": {"dropout": 1.0}}, "less than 1"),
        ({"condition": "colour"}, "'instance' or 'binary'"),
        ({"quality": {"kid": 1}}, "unknown parameter 'kid'"),
    ],
)
def test_style_transfer_refuses(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        StyleTransferParams.model_validate(values)


def test_the_sizes_of_the_original_work_are_accepted() -> None:
    params = StyleTransferParams(
        tile_size=512, generator={"filters": 64, "depth": 8}, discriminator={"filters": 64}, constant_steps=5000
    )
    assert params.l1_weight == 100
    assert params.learning_rate == 2e-4
