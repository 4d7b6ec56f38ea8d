"""Pixel size from image metadata.

Three sources, the first that answers wins: OME-XML (``PhysicalSizeX``), ImageJ metadata (``unit`` with the
resolution tags), plain TIFF resolution tags. Plain tags and ImageJ's inch are believed only between 0.01
and 10 um per pixel, because cameras, scanners and image editors fill them with print resolutions (72 dpi
would be 353 um) or 1. Pixels that are not square count with the geometric mean of both sides, so that areas
stay right.
"""

from __future__ import annotations

import logging
import math
import re
from xml.etree import ElementTree as ET

import tifffile

logger = logging.getLogger(__name__)

_UM = {
    "pm": 1e-6, "å": 1e-4, "angstrom": 1e-4, "nm": 1e-3, "nanometer": 1e-3,
    "µm": 1.0, "um": 1.0, "micron": 1.0, "microns": 1.0, "micrometer": 1.0, "micrometre": 1.0, "mu": 1.0,
    "mm": 1e3, "millimeter": 1e3, "cm": 1e4, "centimeter": 1e4, "m": 1e6, "meter": 1e6,
    "inch": 25400.0, "in": 25400.0,
}  # fmt: skip
_RESOLUTION_UNIT = {2: _UM["inch"], 3: _UM["cm"]}
_PLAUSIBLE_UM = (0.01, 10.0)
_STATED_UM = (1e-4, 1e3)
_SQUARE = 0.01
_PRINT_UNITS = ("inch", "in")


def tiff_pixel_size(tif: tifffile.TiffFile) -> float | None:
    """Read the pixel size of a TIFF.

    Parameters
    ----------
    tif : tifffile.TiffFile
        Open file.

    Returns
    -------
    float or None
        Side of a pixel [um]; None if unknown or not believable.
    """
    if tif.is_ome and tif.ome_metadata and (size := _ome(tif.ome_metadata)):
        return size
    page = tif.pages.first
    per_unit = [_ratio(page, name) for name in ("XResolution", "YResolution")]
    if per_unit[0] is None or per_unit[1] is None:
        return None
    x, y = 1 / per_unit[0], 1 / per_unit[1]
    if tif.is_imagej:
        unit = str((tif.imagej_metadata or {}).get("unit", ""))
        factor = unit_in_um(unit)
        if factor is None:
            return None
        limits = _PLAUSIBLE_UM if unit.lower() in _PRINT_UNITS else _STATED_UM
        return _combine(x * factor, y * factor, limits)
    tag = page.tags.get("ResolutionUnit")
    factor = _RESOLUTION_UNIT.get(int(tag.value)) if tag is not None else None
    return _combine(x * factor, y * factor, _PLAUSIBLE_UM) if factor else None


def unit_in_um(unit: str) -> float | None:
    """Convert a unit of length.

    Parameters
    ----------
    unit : str
        Name or symbol; ImageJ's escaped ``\\u00B5m`` is understood.

    Returns
    -------
    float or None
        Micrometres per unit; None for an unknown unit such as ``pixel``.

    Examples
    --------
    >>> unit_in_um("micron"), unit_in_um("nm"), unit_in_um("pixel")
    (1.0, 0.001, None)
    """
    name = re.sub(r"\\u([0-9a-fA-F]{4})", lambda match: chr(int(match[1], 16)), unit.strip().strip('"'))
    # Two code points look like a micro sign, and two like an angstrom.
    return _UM.get(name.lower().replace("\u03bc", "\u00b5"))


def _ratio(page: tifffile.TiffPage, name: str) -> float | None:
    tag = page.tags.get(name)
    try:
        numerator, denominator = tag.value if tag is not None else (0, 0)
        value = numerator / denominator
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return value if math.isfinite(value) and value > 0 else None


def _combine(x: float, y: float, limits: tuple[float, float]) -> float | None:
    if not all(limits[0] <= side <= limits[1] for side in (x, y)):
        return None
    if abs(x - y) > _SQUARE * max(x, y):
        logger.warning("Pixels are not square, %.4g x %.4g um: their geometric mean is used", x, y)
    return round(math.sqrt(x * y), 9)


def _ome(xml: str) -> float | None:
    try:
        # tifffile took this text from the file's own tag; ElementTree loads no external entities.
        root = ET.fromstring(xml)  # noqa: S314
    except ET.ParseError:
        return None
    pixels = next((node for node in root.iter() if node.tag.endswith("}Pixels")), None)
    if pixels is None:
        return None
    sides = []
    for side in "XY":
        factor = unit_in_um(pixels.get(f"PhysicalSize{side}Unit", "µm"))
        try:
            sides.append(float(pixels.get(f"PhysicalSize{side}", "nan")) * (factor or math.nan))
        except ValueError:
            return None
    return _combine(sides[0], sides[1], _STATED_UM)
