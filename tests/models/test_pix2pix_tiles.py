"""What pix2pix is shown: conditions and tiles."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest

from karyoseg.core.errors import KaryosegError
from karyoseg.core.lazy import Lazy
from karyoseg.models.base import LabelledSamples
from karyoseg.models.pix2pix import tiles as tiles_module
from karyoseg.models.pix2pix.condition import N_CHANNELS, encode_labels
from karyoseg.models.pix2pix.tiles import Tiles, cut, grid, judging_side, orient, take_pairs, tile_side


def make_tiles(shapes: dict[str, tuple[int, int]], side: int = 16, seed: int = 0, **images: Any) -> Tiles:
    """Tiles whose labels are in the image: the first channel is the label, the others number row and column."""

    def draw(shape: tuple[int, int]) -> np.ndarray:
        rows, columns = np.indices(shape)
        return np.stack([(rows // 5 * 7 + columns // 5) % 11, rows % 256, columns % 256], -1).astype(np.uint8)

    def label(shape: tuple[int, int]) -> np.ndarray:
        return draw(shape)[..., 0].astype(np.int32)

    samples = LabelledSamples(
        {key: Lazy(partial(images.get(key, draw), shape), key) for key, shape in shapes.items()},
        {key: Lazy(partial(label, shape), key) for key, shape in shapes.items()},
    )
    return Tiles(samples, shapes, side, seed)


@pytest.mark.parametrize("condition", ["binary", "instance"])
def test_a_condition_has_its_channels_between_minus_one_and_one(disks: np.ndarray, condition: Any) -> None:
    encoded = encode_labels(disks, condition)
    assert encoded.shape == (*disks.shape, N_CHANNELS[condition])
    assert encoded.dtype == np.float32
    np.testing.assert_array_equal(encoded[..., 0], np.where(disks > 0, 1, -1))
    assert encoded.min() == -1
    assert encoded.max() == 1


def test_only_the_instance_condition_tells_touching_objects_apart() -> None:
    two = np.zeros((20, 40), np.int32)
    two[5:15, 5:20], two[5:15, 20:35] = 1, 2
    one = (two > 0).astype(np.int32)
    np.testing.assert_array_equal(encode_labels(two, "binary"), encode_labels(one, "binary"))
    seam = encode_labels(two)[10, 18:22]
    assert seam[1:3, 1].tolist() == [1, 1]  # border on both sides
    assert (encode_labels(one)[10, 18:22, 1] == -1).all()
    depth = encode_labels(two)[..., 2]
    assert (depth[two == 0] == -1).all()
    assert [depth[two == label].max() for label in (1, 2)] == [1, 1]  # relative to each object's own middle


def test_conditions_do_not_depend_on_the_numbers_of_the_labels(disks: np.ndarray) -> None:
    np.testing.assert_array_equal(encode_labels(disks), encode_labels(np.where(disks > 0, 1000 - disks, -3)))


@pytest.mark.parametrize("value", [0, 5])
def test_images_of_background_or_of_one_object_alone_have_a_condition(value: int) -> None:
    encoded = encode_labels(np.full((8, 9), value))
    assert np.isfinite(encoded).all()
    assert (encoded[..., 0] == (1 if value else -1)).all()


@pytest.mark.parametrize("shape", [(16, 16), (17, 40), (64, 33), (5, 50)])
def test_the_grid_covers_an_image_with_as_few_tiles_as_possible(shape: tuple[int, int]) -> None:
    covered = np.zeros(shape, int)
    corners = grid(shape, 16)
    for y, x in corners:
        part = covered[y : y + 16, x : x + 16]
        part += 1
        assert part.shape == (min(16, shape[0]), min(16, shape[1]))
    assert covered.min() == 1
    assert len(corners) == -(-shape[0] // 16) * -(-shape[1] // 16)


def test_a_single_image_gives_at_least_its_quadrants() -> None:
    assert tile_side({"a": (300, 260), "b": (300, 260)}, 256, 64) == 256
    side = tile_side({"a": (300, 260)}, 256, 64)
    assert side == 128
    assert len(grid((300, 260), side)) >= 4
    assert tile_side({"a": (40, 50)}, 256, 64) == 64  # the network takes nothing smaller
    assert tile_side({"a": (4000, 4000)}, 256, 64) == 256
    assert judging_side({"a": (40, 50)}, 64) == 32
    assert judging_side({"a": (40, 50)} | {str(i): (64, 64) for i in range(9)}, 64) == 64


def test_small_images_are_completed_by_their_mirror_image() -> None:
    image = np.arange(6).reshape(2, 3)
    assert cut(image, (0, 0), 4).tolist() == [[0, 1, 2, 2], [3, 4, 5, 5], [3, 4, 5, 5], [0, 1, 2, 2]]
    assert cut(np.zeros((3, 2, 3)), (0, 0), 16).shape == (16, 16, 3)


def test_the_eight_orientations_differ() -> None:
    image = np.arange(9).reshape(3, 3)
    assert len({orient(image, index).tobytes() for index in range(8)}) == 8


def test_drawn_tiles_keep_image_and_labels_together_and_visit_every_place() -> None:
    tiles = make_tiles({"a": (40, 40), "b": (16, 20), "c": (9, 30)})
    n = len(tiles)
    sizes = set()
    for position in range(3 * n):
        image, labels = tiles.draw(position)
        assert image.shape == (16, 16, 3)
        np.testing.assert_array_equal(image[..., 0], labels)
        sizes.add(image.tobytes())
    assert len(sizes) > n  # other positions and orientations at each visit


def test_what_is_drawn_depends_on_seed_and_position_alone() -> None:
    shapes = {"a": (40, 40), "b": (33, 20)}
    one, same, other = (make_tiles(shapes, seed=seed) for seed in (1, 1, 2))
    expected = [one.draw(position)[0] for position in range(9)]
    for position in (8, 0, 5):  # in any order, as after a resumption
        np.testing.assert_array_equal(same.draw(position)[0], expected[position])
    assert any((other.draw(position)[0] != expected[position]).any() for position in range(9))


def test_gray_clusters_are_recognised() -> None:
    def gray(shape: tuple[int, int]) -> np.ndarray:
        return np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)

    shapes = {"a": (20, 20), "b": (20, 20)}
    assert make_tiles(shapes, a=gray, b=lambda shape: gray(shape)[..., None]).is_gray
    assert not make_tiles(shapes, a=gray).is_gray


@pytest.mark.parametrize(
    "image", [np.zeros((4, 4), np.float32), np.zeros((4, 4, 2), np.uint8), np.zeros((4, 4, 4), np.uint8)]
)
def test_other_images_are_refused(image: np.ndarray) -> None:
    with pytest.raises(KaryosegError, match=r"field_7.*needed: gray or RGB of 8 bit"):
        make_tiles({"field_7": (4, 4)}, field_7=lambda _: image).draw(0)


def test_memory_for_decoded_images_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    shapes = {"a": (40, 40), "b": (33, 20), "c": (20, 20)}
    expected = [make_tiles(shapes).draw(position)[0] for position in range(9)]
    monkeypatch.setattr(tiles_module, "_CACHE_BYTES", 1.0)
    tight = make_tiles(shapes)
    for position, image in enumerate(expected):
        np.testing.assert_array_equal(tight.draw(position)[0], image)
    assert len(tight._cache._items) == 1


def test_labels_of_another_size_are_refused() -> None:
    tiles = make_tiles({"a": (20, 20)}, a=lambda shape: np.zeros((20, 21, 3), np.uint8))
    with pytest.raises(KaryosegError, match=r"style sample a: image \(20, 21\), labels \(20, 20\)"):
        tiles.draw(0)


def test_pairs_to_judge_are_tiles_of_the_grid() -> None:
    tiles = make_tiles({"a": (40, 40), "b": (16, 20)})
    pairs = take_pairs(tiles, seed=0)
    np.testing.assert_array_equal(pairs.images, [tiles[index][0] for index in range(len(tiles))])
    assert pairs.groups == ["a"] * 9 + ["b"] * 2
