"""Invariants of the augmentation: pairs stay pairs, values and ids survive, seeds decide."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError
from scipy import ndimage as ndi

from karyoseg.core.augmentation import illumination, intensity
from karyoseg.core.augmentation.augmenter import TRANSFORM_NAMES, Augmenter
from karyoseg.core.augmentation.warps import Window, resample_image, resample_labels
from karyoseg.core.errors import KaryosegError
from karyoseg.params.augment import AugmentParams, Transform

GEOMETRIC = ("flip", "rotate90", "rotate", "scale", "elastic")
BIG = 2**31 - 1


def always(name: str, **settings: Any) -> dict[str, Any]:
    """Return a policy entry with the defaults of its model and p = 1."""
    return TypeAdapter(Transform).validate_python({"name": name, **settings, "p": 1.0}).model_dump(mode="json")


def disks(size: int = 96) -> np.ndarray:
    """Label image of nine disks."""
    y, x = np.mgrid[:size, :size]
    labels = np.zeros((size, size), np.int32)
    for index in range(9):
        cy, cx = (index // 3 + 0.5) * size / 3, (index % 3 + 0.5) * size / 3
        labels[(y - cy) ** 2 + (x - cx) ** 2 < (size / 9) ** 2] = index + 1
    return labels


@pytest.fixture
def everything() -> Augmenter:
    return Augmenter([always(name) for name in TRANSFORM_NAMES])


def test_parameters_and_core_know_the_same_names() -> None:
    allowed = TypeAdapter(Transform).json_schema()["discriminator"]["mapping"]
    assert set(allowed) == set(TRANSFORM_NAMES)


def test_unknown_transform_is_refused_with_the_allowed_names() -> None:
    with pytest.raises(ValidationError, match="gaussian_blur") as caught:
        AugmentParams(transforms=[{"name": "solarise"}])
    assert "solarise" in str(caught.value)
    with pytest.raises(KaryosegError, match=r"entry 1: unknown transform 'solarise'.*poisson_noise"):
        Augmenter([always("flip"), {"name": "solarise"}])


@pytest.mark.parametrize(
    ("entry", "part"),
    [
        ({"name": "scale", "factor": [1.2, 0.8]}, "backwards"),
        ({"name": "elastic", "magnitude": 30, "spacing": 32}, "folds"),
        ({"name": "flip", "p": 1.5}, "less than or equal to 1"),
        ({"name": "gamma", "sigma": [1, 2]}, "sigma"),
    ],
)
def test_bad_settings_are_refused(entry: dict[str, Any], part: str) -> None:
    with pytest.raises(ValidationError, match=part):
        AugmentParams(transforms=[entry])


def test_incomplete_policy_names_the_missing_field() -> None:
    with pytest.raises(KaryosegError, match="degrees"):
        Augmenter([{"name": "rotate", "p": 1.0}])


@pytest.mark.parametrize("axes", ["y", "x", "yx"])
def test_flip_twice_gives_the_input_back(axes: str) -> None:
    flip = Augmenter([always("flip", axes=axes)])
    labels = disks()
    image = np.random.default_rng(0).normal(size=(*labels.shape, 3)).astype(np.float32)
    once = flip(image, labels, 1)
    assert not np.array_equal(once[0], image)
    twice = flip(*once, 2)
    np.testing.assert_array_equal(twice[0], image)
    np.testing.assert_array_equal(twice[1], labels)


def test_quarter_turns_reach_all_orientations_and_only_those() -> None:
    image = np.random.default_rng(0).normal(size=(8, 8)).astype(np.float32)
    turn = Augmenter([always("rotate90")])
    seen = set()
    for seed in range(30):
        turned, _ = turn(image, np.zeros(image.shape, int), seed)
        seen |= {k for k in range(4) if np.array_equal(turned, np.rot90(image, k))}
    assert seen == {1, 2, 3}


@pytest.mark.parametrize("name", GEOMETRIC)
@pytest.mark.parametrize("channels", [(), (1,), (3,), (6,)])
def test_labels_move_with_the_image(name: str, channels: tuple[int, ...]) -> None:
    # The image holds the coordinates of each pixel, the label encodes them: after any warp both must agree to
    # the half pixel that nearest-neighbour sampling may be off.
    size = 64
    y, x = np.mgrid[:size, :size]
    labels = (1 + y * size + x).astype(np.int32)
    for seed in range(5):
        for coordinate in ("y", "x"):
            ramp = (y if coordinate == "y" else x).astype(np.float32)
            image = np.broadcast_to(ramp.reshape(size, size, *[1] * len(channels)), (size, size, *channels))
            moved, ids = Augmenter([always(name)])(image, labels, seed)
            assert moved.shape == image.shape
            assert ids.shape == labels.shape
            truth = (ids - 1) // size if coordinate == "y" else (ids - 1) % size
            shown = moved.reshape(size, size, -1)[..., 0]
            known = ids > 0
            assert known.mean() > 0.5
            np.testing.assert_allclose(shown[known], truth[known], atol=0.54)


@pytest.mark.parametrize("name", GEOMETRIC)
def test_image_that_is_the_label_map_stays_the_label_map(name: str) -> None:
    # Including the border: where image and labels are constant around a pixel, they must stay equal.
    labels = disks()
    image, ids = Augmenter([always(name)])((labels > 0).astype(np.float32), labels, 4)
    pure = ((image == 0) | (image == 1)) & (ids >= 0)
    assert pure.mean() > 0.6
    np.testing.assert_array_equal(image[pure] > 0, ids[pure] > 0)


@pytest.mark.parametrize("name", GEOMETRIC)
def test_ids_survive_whatever_their_size_and_sign(name: str) -> None:
    labels = np.where(disks() % 2, BIG - disks(), disks() + 70_000).astype(np.int32)
    labels[disks() == 0] = 0
    labels[:, 40:44] = -1
    labels[:8] = -(2**31)
    for seed in range(5):
        _, ids = Augmenter([always(name, **({"degrees": [10, 20]} if name == "rotate" else {}))])(
            np.zeros(labels.shape), labels, seed
        )
        assert ids.dtype == np.int32
        assert set(np.unique(ids)) <= set(np.unique(labels))
        assert (ids == -1).any()
        assert (ids > 0).any()


@pytest.mark.parametrize("shape", [(40_000, 9), (9, 40_000)])
@pytest.mark.parametrize("place", [-20.0, 3.25, 20_000.5, 39_985.0])
def test_images_larger_than_opencv_resamples_give_the_same_patches(shape: tuple[int, int], place: float) -> None:
    """At both borders and in between, a patch is that of the part around it."""
    rng = np.random.default_rng(3)
    image, labels = rng.random(shape, np.float32), rng.integers(0, 9, shape, np.int32)
    long = int(np.argmax(shape))
    start = int(np.clip(place - 100, 0, 39_800))
    part = tuple(slice(start, start + 200) if axis == long else slice(None) for axis in range(2))
    at = [np.arange(32.0)[:, None] + 0.3, np.arange(32.0)[None] - 4.2]
    at[long] = at[long] + place
    near = [along - (start if axis == long else 0) for axis, along in enumerate(at)]
    np.testing.assert_allclose(
        resample_image(image, (at[0], at[1])), resample_image(image[part], (near[0], near[1])), atol=0.04
    )
    np.testing.assert_array_equal(
        resample_labels(labels, (at[0], at[1])), resample_labels(labels[part], (near[0], near[1]))
    )


def test_beyond_the_image_labels_are_mirrored_as_the_image_is() -> None:
    labels = np.zeros((80, 80), np.int32)
    labels[4:12, 30:50] = 7  # not at the border
    labels[60:, 30:50] = 9  # cut by the border: continues in its mirror image
    image, ids = Augmenter([always("scale", factor=[0.5, 0.5])])((labels > 0).astype(np.float32), labels, 0)
    assert set(np.unique(ids)) == {0, 7, 9}
    assert ((ids > 0) == (image > 0.3)).mean() > 0.99
    assert (ids > 0).sum() > 1.5 * (labels > 0).sum() / 4  # whole and mirrored


def test_zooming_out_shows_more_of_the_image() -> None:
    y, x = np.mgrid[:200, :240]
    image = (y + 1000 * x).astype(np.float32)
    labels = np.ones(image.shape, np.int32)
    for corner in ((0, 0), (70, 90), (140, 180)):  # at corners of the image the window moves inside
        window = Window(*corner, 60, 60)
        shown, ids = Augmenter([always("scale", factor=[0.5, 0.5])])(image, labels, 1, window)
        assert shown.shape == ids.shape == (60, 60)
        assert (ids == 1).all()
        assert np.unique(np.diff(shown, axis=0)).tolist() == [2]
        assert np.unique(np.diff(shown, axis=1)).tolist() == [2000]
    assert shown.max() == image.max()


def test_turned_patches_are_whole_where_the_image_has_room() -> None:
    labels = np.ones((400, 400), np.int32)
    policy = [always("rotate", degrees=[45, 45]), always("scale", factor=[0.7, 0.7]), always("elastic")]
    for corner in ((0, 0), (150, 20), (300, 300)):
        _, ids = Augmenter(policy)(np.zeros(labels.shape), labels, 3, Window(*corner, 100, 100))
        assert (ids == 1).all()


def test_a_window_without_warps_is_a_plain_part_of_the_sample() -> None:
    rng = np.random.default_rng(0)
    image, labels = rng.normal(size=(50, 70, 3)).astype(np.float32), disks(70)[:50]
    part, ids = Augmenter([])(image, labels, 0, Window(11, 23, 32, 47))
    np.testing.assert_array_equal(part, image[11:43, 23:70])
    np.testing.assert_array_equal(ids, labels[11:43, 23:70])


def test_small_samples_lie_in_the_middle_of_the_window() -> None:
    image = np.arange(1, 13, dtype=np.float32).reshape(3, 4)
    part, ids = Augmenter([])(image, image.astype(int), 0, Window(0, 0, 7, 8))
    np.testing.assert_array_equal(part[2:5, 2:6], image)
    np.testing.assert_array_equal(part, np.pad(image, ((2, 2), (2, 2)), mode="reflect"))
    np.testing.assert_array_equal(ids, part)


def test_scale_changes_the_area_by_the_square_of_the_factor() -> None:
    labels = np.zeros((101, 101), np.int32)
    labels[40:61, 40:61] = 5
    _, ids = Augmenter([always("scale", factor=[1.5, 1.5])])(np.zeros(labels.shape), labels, 0)
    assert np.isclose((ids == 5).sum(), 21 * 21 * 2.25, rtol=0.05)


@pytest.mark.parametrize("name", TRANSFORM_NAMES)
def test_intensities_outside_0_1_are_not_clipped(name: str) -> None:
    rng = np.random.default_rng(0)
    image = rng.normal(0.5, 2, (64, 64, 3)).astype(np.float32)
    image[20:40, 20:40] = 9
    image[45:60, 45:60] = -6
    changed, ids = Augmenter([always(name)])(image, disks(64), 3)
    assert changed.dtype == np.float32
    assert np.isfinite(changed).all()
    assert changed.max() > 3 or name == "saturation"
    assert changed.min() < -3
    if name not in GEOMETRIC:
        np.testing.assert_array_equal(ids, disks(64))
        assert not np.array_equal(changed, image)


def test_same_seed_same_result_in_any_order_thread_and_process(everything: Augmenter) -> None:
    labels = disks()
    image = labels.astype(np.float32) / 9
    seeds = [(42, epoch, index) for epoch in range(3) for index in range(3)]
    first = [everything(image, labels, seed) for seed in seeds]
    np.random.seed(7)  # noqa: NPY002  (global state must play no role)
    copy = pickle.loads(pickle.dumps(everything))  # noqa: S301
    with ThreadPoolExecutor(4) as pool:
        again = list(pool.map(lambda seed: copy(image, labels, seed), reversed(seeds)))[::-1]
    for (image_a, labels_a), (image_b, labels_b) in zip(first, again, strict=True):
        np.testing.assert_array_equal(image_a, image_b)
        np.testing.assert_array_equal(labels_a, labels_b)
    assert len({changed.tobytes() for changed, _ in first}) == len(seeds)


def test_chances_of_transforms_are_independent() -> None:
    policy = [{**always("brightness", factor=[2, 2]), "p": 0.5}, {**always("flip", axes="x"), "p": 0.5}]
    both = Augmenter(policy)
    image = np.array([[1.0, 2.0]])
    seen = [tuple(both(image, np.zeros((1, 2), int), seed)[0].ravel()) for seed in range(200)]
    counts = [seen.count(case) for case in [(1, 2), (2, 1), (2, 4), (4, 2)]]
    assert sum(counts) == 200
    assert min(counts) > 25


def test_input_is_untouched_and_output_is_new(everything: Augmenter) -> None:
    labels = disks()
    image = labels.astype(np.float32)
    before = image.copy(), labels.copy()
    everything(image, labels, 0)
    Augmenter([])(image, labels, 0)[0][:] = 5
    np.testing.assert_array_equal(image, before[0])
    np.testing.assert_array_equal(labels, before[1])


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (5, 1), (3, 2), (33, 70), (2, 2, 3), (1, 1, 4)])
def test_any_shape_is_kept(everything: Augmenter, shape: tuple[int, ...]) -> None:
    for seed in range(3):
        image, labels = everything(np.ones(shape), np.ones(shape[:2], np.int64), seed)
        assert image.shape == shape
        assert labels.shape == shape[:2]
        assert set(np.unique(labels)) <= {-1, 1}


def test_different_sizes_are_refused(everything: Augmenter) -> None:
    with pytest.raises(KaryosegError, match=r"\(4, 4\).*\(4, 5\)"):
        everything(np.zeros((4, 4)), np.zeros((4, 5), int), 0)


def test_noise_has_the_variance_it_promises() -> None:
    rng = np.random.default_rng(0)
    image = np.full((200, 200), 0.5, np.float32)
    assert np.isclose(intensity.gaussian_noise(image, (0.1, 0.1), rng).std(), 0.1, rtol=0.05)
    photons = intensity.poisson_noise(image, (100, 100), rng)
    assert np.isclose(photons.mean(), 0.5, rtol=0.01)
    assert np.isclose(photons.std(), np.sqrt(0.5 / 100), rtol=0.05)


def test_each_object_gets_a_brightness_of_its_own_and_the_background_none() -> None:
    labels = disks()
    image = 0.1 + 0.5 * (labels > 0).astype(np.float32)
    changed, _ = Augmenter([always("object_brightness", factor=[0.5, 2])])(image, labels, 0)
    inside = ndi.binary_erosion(labels > 0, iterations=5)
    means = np.array([changed[inside & (labels == index)].mean() for index in range(1, 10)])
    spread = [changed[inside & (labels == index)].std() for index in range(1, 10)]
    assert len(np.unique(means.round(3))) == 9
    assert (means >= 0.1 + 0.25 - 0.01).all()
    assert (means <= 0.1 + 1.0 + 0.01).all()
    assert max(spread) < 0.01
    np.testing.assert_allclose(changed[labels == 0], 0.1, atol=1e-6)


def test_saturation_makes_its_level_the_end_of_the_range() -> None:
    ramp = np.linspace(-1, 2, 31, dtype=np.float32)[None]
    cut = illumination.saturation(ramp, (0.5, 0.5), np.random.default_rng(0))
    np.testing.assert_allclose(cut, np.minimum(ramp, 0.5) * 2, rtol=1e-6)


@pytest.mark.parametrize("change", [illumination.background, illumination.shading])
def test_uneven_light_changes_slowly_and_by_no_more_than_asked(change: Any) -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        difference = np.abs(change(np.ones((100, 80), np.float32), (0.4, 0.4), rng) - 1)
        assert 0 <= difference.min() < 0.01
        assert np.isclose(difference.max(), 0.4, atol=1e-5)
        assert max(np.abs(np.diff(difference, axis=axis)).max() for axis in (0, 1)) < 0.1


def test_haze_spreads_light_and_keeps_the_mean() -> None:
    image = np.zeros((128, 128), np.float32)
    image[56:72, 56:72] = 1
    hazy = illumination.haze(image, (1, 1), np.random.default_rng(0))
    assert np.isclose(hazy.mean(), image.mean(), rtol=0.1)
    assert hazy[50, 64] > 0.01
    assert hazy[64, 64] < 1


def test_grain_is_coarser_than_independent_noise() -> None:
    image = np.zeros((200, 200), np.float32)
    noise = illumination.grain(image, (0.1, 0.1), np.random.default_rng(0))
    assert 0.05 < noise.std() < 0.11
    assert np.corrcoef(noise[:, 1:].ravel(), noise[:, :-1].ravel())[0, 1] > 0.5


def test_gamma_is_monotone_through_zero() -> None:
    ramp = np.linspace(-2, 3, 101, dtype=np.float32)[None]
    bent = intensity.gamma(ramp, (0.5, 0.5), np.random.default_rng(0))
    assert (np.diff(bent) > 0).all()
    np.testing.assert_array_equal(bent[ramp <= 0], ramp[ramp <= 0])


def test_contrast_keeps_the_mean_of_each_channel() -> None:
    image = np.random.default_rng(0).normal([0, 1, 5], 1, (30, 30, 3)).astype(np.float32)
    changed = intensity.contrast(image, (1.7, 1.7), np.random.default_rng(0))
    np.testing.assert_allclose(changed.mean((0, 1)), image.mean((0, 1)), atol=1e-5)
    np.testing.assert_allclose(changed.std((0, 1)), 1.7 * image.std((0, 1)), rtol=1e-4)
