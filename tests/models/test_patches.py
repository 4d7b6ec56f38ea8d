"""Training patches and targets, compared with StarDist's own data generator."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

from karyoseg.core.augmentation.augmenter import Augmenter
from karyoseg.core.augmentation.warps import Window
from karyoseg.core.lazy import Lazy
from karyoseg.models.base import LabelledSamples
from karyoseg.models.training.samples import SampleCache


@pytest.fixture(scope="module")
def patches() -> Any:
    """The module under test; importing it imports TensorFlow."""
    from karyoseg.models.training import patches

    return patches


@pytest.fixture(scope="module")
def spec() -> Any:
    """Maker of StarDist's targets."""
    from karyoseg.models.stardist.targets import TargetSpec

    return TargetSpec


@pytest.fixture
def stream(patches: Any, samples: Callable, spec: Any) -> Callable:
    """Maker of small streams."""

    def make(seed: int = 0, **options: Any) -> Any:
        given = {"patch_size": (32, 48), "batch_size": 2, "steps": 3, "seed": seed} | options
        data = given.pop("data", None) or samples(range(5))
        return patches.PatchStream(data, given.pop("make_targets", spec(8, (2, 2)).targets), **given)

    return make


def stardist_targets(labels: np.ndarray, spec: Any) -> tuple[np.ndarray, np.ndarray]:
    """Targets of one patch from StarDist's generator."""
    from stardist.models.model2d import StarDistData2D

    data = StarDistData2D(
        [np.zeros(labels.shape, np.float32)],
        [labels],
        batch_size=1,
        n_rays=spec.n_rays,
        length=1,
        patch_size=labels.shape,
        grid=spec.grid,
        shape_completion=spec.completion_crop > 0,
        b=spec.completion_crop,
    )
    _, (prob, dist) = data[0]
    return prob[0], dist[0]


@pytest.mark.parametrize("grid", [(1, 1), (2, 2), (4, 2)])
@pytest.mark.parametrize("crop", [0, 8])
@pytest.mark.parametrize("negative", [False, True])
def test_targets_are_those_of_stardist(
    spec: Any, sample: Callable, grid: tuple[int, int], crop: int, negative: bool
) -> None:
    _, labels = sample(3, shape=(96, 128))
    if negative:
        labels[:20, 60:] = -1
        labels[labels == 2] = -1
    chosen = spec(16, grid, crop)
    prob, dist = chosen.targets(labels)
    expected_prob, expected_dist = stardist_targets(labels, chosen)
    assert (prob.dtype, dist.dtype) == (np.float32, np.float32)
    np.testing.assert_allclose(prob, expected_prob, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(dist, expected_dist, rtol=1e-5, atol=1e-6)
    assert (prob == -1).any() == negative


def test_not_annotated_pixels_have_no_weight_in_either_loss(spec: Any, sample: Callable) -> None:
    _, labels = sample(3)
    labels[:, 40:] = -1
    prob, dist = spec(8, (1, 1)).targets(labels)
    assert (prob[:, 40:] == -1).all()
    assert (dist[:, 40:, -1] == 0).all()
    assert (prob[:, :40] >= 0).all()


def test_a_patch_depends_only_on_seed_and_position(stream: Callable) -> None:
    first, second = stream(), stream(cache_bytes=0)
    positions = [7, 0, 3, 7, 19]
    found = {position: first.patch(position) for position in positions}
    for position in reversed(positions):
        for a, b in zip(found[position], second.patch(position), strict=True):
            np.testing.assert_array_equal(a, b)
    assert any(not np.array_equal(found[p][0], stream(seed=1).patch(p)[0]) for p in positions)


def test_batches_are_consecutive_positions_of_the_epoch(stream: Callable) -> None:
    one = stream()
    one.epoch = 2
    images, (prob, dist) = one[1]
    assert images.shape == (2, 32, 48, 1)
    assert prob.shape == (2, 16, 24, 1)
    assert dist.shape == (2, 16, 24, 9)
    assert len(one) == 3
    for index, position in enumerate((14, 15)):  # (2 epochs * 3 steps + 1) * 2
        np.testing.assert_array_equal(images[index], one.patch(position)[0])


def test_targets_may_be_one_array(stream: Callable) -> None:
    one = stream(make_targets=lambda labels: labels > 0)
    images, targets = one[0]
    assert len(images) == len(targets) == 2
    np.testing.assert_array_equal(targets[1], one.patch(1)[1] > 0)


def test_batches_are_prepared_by_two_threads_at_least(stream: Callable) -> None:
    assert [stream(**options).workers for options in ({}, {"workers": 1}, {"workers": 3})] == [2, 2, 3]


def test_every_image_is_visited_once_per_pass(patches: Any) -> None:
    visited: list[int] = []

    def read(seed: int) -> np.ndarray:
        visited.append(seed)
        return np.zeros((40, 40), np.float32)

    data = LabelledSamples(
        {f"s{i}": Lazy(partial(read, i), str(i)) for i in range(7)},
        {f"s{i}": Lazy(partial(np.zeros, (40, 40), np.int32), str(i)) for i in range(7)},
    )
    stream = patches.PatchStream(data, np.asarray, patch_size=(16, 16), batch_size=1, steps=1, cache_bytes=0)
    orders = []
    for number in range(3):
        visited.clear()
        for position in range(7):
            stream.patch(7 * number + position)
        # The cache may spare the reading of an image that ends one pass and begins the next.
        assert set(Counter(visited).values()) == {1}
        assert len(visited) >= 6
        orders.append(tuple(visited))
    assert len(set(orders)) == 3


def test_patches_are_cut_from_one_image_without_change(stream: Callable, samples: Callable) -> None:
    data = samples(range(1))
    image, labels = data.images["s0"](), data.labels["s0"]()
    one = stream(data=data)
    for position in range(20):
        patch, patch_labels = one.patch(position)
        y, x = next(
            (y, x)
            for y in range(image.shape[0] - 31)
            for x in range(image.shape[1] - 47)
            if image[y, x] == patch[0, 0, 0]
        )
        np.testing.assert_array_equal(patch[..., 0], image[y : y + 32, x : x + 48])
        np.testing.assert_array_equal(patch_labels, labels[y : y + 32, x : x + 48])


def test_foreground_share(patches: Any) -> None:
    labels = np.zeros((300, 300), np.int32)
    labels[5:12, 5:12] = 1  # random patches nearly never meet it
    data = LabelledSamples({"a": Lazy(lambda: np.zeros((300, 300), np.float32), "i")}, {"a": Lazy(lambda: labels, "l")})

    def share(foreground: float) -> float:
        stream = patches.PatchStream(
            data, np.asarray, patch_size=(32, 32), batch_size=1, steps=1, foreground=foreground
        )
        return float(np.mean([(stream.patch(i)[1] > 0).any() for i in range(300)]))

    assert share(1.0) == 1
    assert share(0.5) == pytest.approx(0.5, abs=0.1)
    assert share(0.0) < 0.1


def test_small_images_and_their_labels_are_mirrored(stream: Callable, samples: Callable) -> None:
    data = samples(range(1), shape=(20, 30))
    image, labels = data.images["s0"](), data.labels["s0"]()
    patch, patch_labels = stream(data=data).patch(0)
    assert patch.shape == (32, 48, 1)
    inner = np.s_[6:26, 9:39]
    np.testing.assert_array_equal(patch[inner][..., 0], image)
    np.testing.assert_array_equal(patch[:6, 9:39, 0], image[6:0:-1])
    np.testing.assert_array_equal(patch_labels, np.pad(labels, ((6, 6), (9, 9)), mode="reflect"))


def test_images_without_objects_give_background_patches(stream: Callable) -> None:
    data = LabelledSamples(
        {"a": Lazy(lambda: np.zeros((64, 64), np.float32), "i")},
        {"a": Lazy(lambda: np.zeros((64, 64), np.int32), "l")},
    )
    _, (prob, dist) = stream(data=data, foreground=1.0)[0]
    assert not prob.any()
    assert not dist[..., -1].any()


def test_augmentation_gets_pairs_and_a_seed_of_its_own_per_position(stream: Callable) -> None:
    seeds = []

    def augment(image: np.ndarray, labels: np.ndarray, seed: tuple[int, ...], window: Window) -> Any:
        assert window[2:] == (32, 48)
        seeds.append(seed)
        patch, ids = Augmenter([])(image, labels, 0, window)
        return patch[::-1].copy(), ids[::-1].copy()

    plain, flipped = stream(), stream(augment=augment)
    for position in range(6):
        for a, b in zip(plain.patch(position), flipped.patch(position), strict=True):
            np.testing.assert_array_equal(a[::-1], b)
    assert len(set(seeds)) == 6


def test_augmentation_has_its_own_seed_which_is_that_of_the_patches_by_default(stream: Callable) -> None:
    noise = Augmenter([{"name": "gaussian_noise", "sigma": [0.5, 1.0], "p": 1.0}])
    usual, same, other = (stream(seed=7, augment=noise, augment_seed=seed) for seed in (None, 7, 8))
    for position in range(6):
        image, labels = usual.patch(position)
        np.testing.assert_array_equal(same.patch(position)[0], image)
        assert not np.array_equal(other.patch(position)[0], image)
        np.testing.assert_array_equal(other.patch(position)[1], labels)


@pytest.mark.parametrize("crop", [0, 8])
def test_patches_without_annotation_are_drawn_again(stream: Callable, samples: Callable, crop: int) -> None:
    whole = samples(range(5))

    def hidden(key: str) -> np.ndarray:
        labels = whole.labels[key]()
        labels[{"s0": np.s_[:], "s1": np.s_[60:]}.get(key, np.s_[:0])] = -1
        return labels

    data = LabelledSamples(whole.images, {key: Lazy(partial(hidden, key), key) for key in whole.ids})
    plain, partly = stream(data=whole, foreground=0, crop=crop), stream(data=data, foreground=0, crop=crop)
    inner = slice(crop, -crop) if crop else slice(None)
    again = 0
    for position in range(50):
        (image, _), (known, labels) = plain.patch(position), partly.patch(position)
        assert (labels[inner, inner] >= 0).any()
        assert np.array_equal(partly.patch(position)[0], known)
        again += not np.array_equal(image, known)
    assert 10 <= again < 20  # all of s0, some of s1


def test_drawing_again_ends(stream: Callable, samples: Callable) -> None:
    whole = samples(range(2))
    nothing = {key: Lazy(partial(np.full, (96, 80), -1, np.int32), key) for key in whole.ids}
    _, labels = stream(data=LabelledSamples(whole.images, nothing)).patch(0)
    assert (labels == -1).all()


def test_shape_completion_crops_after_augmentation(spec: Any, stream: Callable) -> None:
    shapes = []

    def augment(image: np.ndarray, labels: np.ndarray, seed: tuple[int, ...], window: Window) -> Any:
        patch, ids = Augmenter([])(image, labels, seed, window)
        shapes.append((patch.shape, ids.shape))
        return patch, ids

    one = stream(make_targets=spec(8, (2, 2), completion_crop=8).targets, crop=8, augment=augment)
    images, (prob, _) = one[0]
    assert set(shapes) == {((32, 48), (32, 48))}
    assert images.shape == (2, 16, 32, 1)
    assert prob.shape == (2, 8, 16, 1)


def test_cache_holds_to_its_limit_and_reads_once_within_it(samples: Callable) -> None:
    reads: Counter[str] = Counter()
    data = samples(range(4))

    def counted(key: str) -> np.ndarray:
        reads[key] += 1
        return data.images[key]()

    counting = LabelledSamples({k: Lazy(partial(counted, k), k) for k in data.ids}, data.labels)
    roomy = SampleCache(counting, 1e9)
    for _ in range(3):
        for key in data.ids:
            roomy[key]
    assert set(reads.values()) == {1}
    tight = SampleCache(counting, 1)
    for key in data.ids:
        tight[key]
    assert len(tight._items) == 1
    assert tight._used == sum(array.nbytes for array in next(iter(tight._items.values())))


def test_samples_of_equal_content_are_kept_once(samples: Callable) -> None:
    data = samples(range(1))
    again = LabelledSamples(dict.fromkeys("abc", data.images["s0"]), dict.fromkeys("abc", data.labels["s0"]))
    cache = SampleCache(again, 1e9)
    assert cache["a"] is cache["b"] is cache["c"]
    assert len(cache._items) == 1


def test_cache_keeps_its_books_when_threads_read_at_once(samples: Callable) -> None:
    data = samples(range(6))
    one = sum(array.nbytes for array in SampleCache(data, 1e9)["s0"])
    cache = SampleCache(data, 3 * one)
    failures: list[BaseException] = []

    def work(seed: int) -> None:
        try:
            for index in np.random.default_rng(seed).integers(0, 6, 150):
                cache[f"s{index}"]
        except BaseException as error:  # noqa: BLE001
            failures.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert cache._used == sum(array.nbytes for item in cache._items.values() for array in item)
