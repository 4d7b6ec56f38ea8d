"""Small pictures of images, label images and figures."""

from __future__ import annotations

import base64
import io

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from karyoseg.core.plots.canvas import new_figure, to_png_bytes
from karyoseg.core.previews import (
    SHAPE,
    captioned_sheet,
    encode_png,
    image_tile,
    label_colours,
    label_tile,
    paint_outlines,
    shrunken_figure,
    spread,
    to_base64,
    to_rgb8,
)


def decode(png: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB")


@pytest.mark.parametrize("shape", [(1, 1), (20, 30), (20, 30, 1), (20, 30, 2), (20, 30, 3), (20, 30, 5)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, bool])
def test_any_image_becomes_rgb(rng: np.random.Generator, shape: tuple[int, ...], dtype: type) -> None:
    rgb = to_rgb8((rng.random(shape) * 200).astype(dtype))
    assert rgb.shape == (*shape[:2], 3)
    assert rgb.dtype == np.uint8


def test_stretch_uses_the_whole_range(rng: np.random.Generator) -> None:
    rgb = to_rgb8(rng.normal(1000, 5, (50, 50)))
    assert rgb.min() == 0
    assert rgb.max() == 255
    assert (rgb[..., 0] == rgb[..., 1]).all()


def test_nan_does_not_spoil_the_preview() -> None:
    image = np.linspace(0, 1, 400).reshape(20, 20)
    image[0, 0] = np.nan
    assert to_rgb8(image).max() == 255


def test_neighbours_in_number_differ_in_colour_and_none_is_dark() -> None:
    colours = label_colours(np.arange(1, 200)).astype(int)
    assert (colours.max(axis=-1) == 255).all()
    assert np.abs(np.diff(colours, axis=0)).max(axis=-1).min() > 100
    assert label_colours(np.empty(0, int)).shape == (0, 3)


def test_only_the_rim_of_objects_is_painted(disks: np.ndarray) -> None:
    rgb = np.full((*disks.shape, 3), 7, np.uint8)
    paint_outlines(rgb, disks)
    painted = (rgb != 7).any(axis=-1)
    assert {int(label) for label in np.unique(disks[painted])} == {1, 2, 3, 4}
    assert 0 < painted.sum() < (disks > 0).sum() / 2


@pytest.mark.parametrize("zoom", [1, 5])
def test_tiles_have_the_asked_size_and_outlines_are_thin_in_them(disks: np.ndarray, zoom: int) -> None:
    labels = np.kron(disks, np.ones((zoom, zoom), int))
    image = (labels > 0).astype(np.uint16) * 900
    plain, outlined = image_tile(image, side=224), image_tile(image, labels, side=224)
    assert plain.size == outlined.size == (224, 192)
    painted = (np.array(plain) != np.array(outlined)).any(axis=-1)
    length = 2 * np.pi * 2 * (10 + 14 + 12 + 13)  # of the outlines, at twice the size
    assert 0.5 * length < painted.sum() < 1.5 * length


def test_each_instance_has_a_colour_background_is_black_not_annotated_grey(disks: np.ndarray) -> None:
    disks[:5] = -1
    tile = np.array(label_tile(disks, side=112))
    colours = {label: {tuple(colour) for colour in tile[disks == label]} for label in range(-1, 5)}
    assert colours[0] == {(0, 0, 0)}
    assert colours[-1] == {(80, 80, 80)}
    assert all(len(shades) == 1 for shades in colours.values())
    assert len(set.union(*colours.values())) == 6


@pytest.mark.parametrize("n", [1, 2, 4, 6, 7, 12])
def test_sheet_shows_every_tile_whole_and_its_caption(n: int) -> None:
    colours = [tuple(int(x) for x in label_colours(np.array(i))) for i in range(1, n + 1)]
    sheet = captioned_sheet({f"a long caption {i}" * 5: Image.new("RGB", (60, 50), c) for i, c in enumerate(colours)})
    pixels = np.array(sheet)
    assert all((pixels == colour).all(axis=-1).sum() == 60 * 50 for colour in colours)
    assert (pixels == 0).all(axis=-1).any()
    assert 0.4 < sheet.width / sheet.height / SHAPE < 2.5


def test_payload_has_the_shape_of_the_side_panel_and_is_small(rng: np.random.Generator) -> None:
    noise = {str(i): image_tile(rng.random((300, 300))) for i in range(6)}
    text = to_base64(captioned_sheet(noise))
    assert len(text) < 300e3  # noise is the worst that can come
    picture = decode(text)
    assert picture.width / picture.height == pytest.approx(SHAPE, abs=0.01)
    tall = decode(to_base64(Image.new("RGB", (10, 100), "red")))
    assert tall.size == (150, 100)
    assert (np.array(tall) == (255, 0, 0)).all(axis=-1).sum() == pytest.approx(1000, abs=100)


def test_figures_are_reduced_but_never_enlarged() -> None:
    png = to_png_bytes(new_figure(4, 2), dpi=100)
    assert shrunken_figure(png, side=200).size == (200, 100)
    assert shrunken_figure(png, side=999).size == (400, 200)


@pytest.mark.parametrize("n", [1, 3, 6, 20])
def test_choice_goes_from_the_first_to_the_last(n: int) -> None:
    names = list("abcdefghij")
    chosen = spread(names, n)
    assert len(chosen) == min(n, 10)
    assert chosen == sorted(set(chosen))
    assert chosen[0] == "a"
    assert n == 1 or chosen[-1] == "j"
    assert spread([], n) == []


@pytest.mark.parametrize("shape", [(1, 1), (3, 1), (37, 50)])
def test_pngs_hold_the_picture(rng: np.random.Generator, shape: tuple[int, int]) -> None:
    picture = rng.integers(0, 256, (*shape, 3)).astype(np.uint8)
    content = encode_png(picture)
    assert np.array_equal(imagecodecs.png_decode(content), picture)
    assert np.array_equal(np.array(Image.open(io.BytesIO(content))), picture)
