"""What kedro-viz shows of a data set; of one that is not there yet, quietly nothing."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast

from kedro.io import AbstractDataset
from kedro_datasets._typing import ImagePreview, JSONPreview, TablePreview
from PIL.Image import Image

from karyoseg.core.previews import captioned_sheet, to_base64

Preview = TypeVar("Preview", bound=Callable[..., Any])


def if_present(preview: Preview) -> Preview:
    """Let a method ``preview`` of a data set give nothing, instead of an error, while there is no data.

    Parameters
    ----------
    preview : callable
        The method.

    Returns
    -------
    callable
        Method of the same signature; kedro-viz reads the kind of preview from its annotation.
    """

    @functools.wraps(preview)
    def preview_if_present(self: AbstractDataset[Any, Any], *options: Any, **named: Any) -> Any:
        return preview(self, *options, **named) if self.exists() else ""

    return cast("Preview", preview_if_present)


def as_image(picture: Image) -> ImagePreview:
    """Hand a picture to kedro-viz.

    Parameters
    ----------
    picture : Image
        RGB.

    Returns
    -------
    str
        PNG, base64.
    """
    return ImagePreview(to_base64(picture))


def as_sheet(tiles: Mapping[str, Image]) -> ImagePreview:
    """Hand captioned pictures to kedro-viz.

    Parameters
    ----------
    tiles : mapping of str to Image
        Pictures by caption.

    Returns
    -------
    str
        PNG, base64; empty without pictures.
    """
    return as_image(captioned_sheet(tiles)) if tiles else ImagePreview("")


def as_table(table: dict[str, Any]) -> TablePreview:
    """Hand rows of a table to kedro-viz, with six digits per number.

    Parameters
    ----------
    table : dict
        As pandas' ``to_dict(orient="split")`` gives it.

    Returns
    -------
    dict
        The same.
    """
    rows = [[float(f"{value:.6g}") if isinstance(value, float) else value for value in row] for row in table["data"]]
    return TablePreview({**table, "data": rows})


def as_json(facts: Any) -> JSONPreview:
    """Hand facts to kedro-viz, whose page breaks on NaN: such numbers become null.

    Parameters
    ----------
    facts : object
        JSON-able but for numbers that are not finite; other objects are shown as text.

    Returns
    -------
    str
        JSON.
    """
    finite = json.loads(json.dumps(facts, default=str), parse_constant=lambda _: None)
    return JSONPreview(json.dumps(finite))
