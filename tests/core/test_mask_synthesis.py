"""Synthetic label images follow what was measured, and hold nothing that no annotator would draw."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pandas as pd
import pytest
from scipy import ndimage as ndi
from scipy.spatial.distance import cdist
from scipy.stats import ks_2samp
from skimage.measure import regionprops

from karyoseg.core.errors import KaryosegError
from karyoseg.core.mask_synthesis.compare import QUANTITIES, Comparison, compare_populations, comparison_figure
from karyoseg.core.mask_synthesis.layout import Layout
from karyoseg.core.mask_synthesis.placement import GapTarget, place
from karyoseg.core.mask_synthesis.population import DESCRIPTORS, describe, measure_population, nearest_gaps
from karyoseg.core.mask_synthesis.shapes import ShapeDatabase, Stamp, collect_shapes, make_stamp
from karyoseg.core.mask_synthesis.simulated import simulate_shapes
from karyoseg.core.mask_synthesis.synthesis import MaskSynthesiser, plan_masks, simulated_like
from karyoseg.core.mask_synthesis.tetris import count_to_fill, largest_gap, place_tetris
from karyoseg.core.synthetic import NucleiScene, render_scene

CROSS = ndi.generate_binary_structure(2, 1)
SIDE = 192


def scene(seed: int = 0, **changes: object) -> np.ndarray:
    """Label image of the sample generator."""
    known = {"shape": (SIDE, SIDE), "n_nuclei": 26, "diameter": 18.0, "clustering": 0.5, "elongation": 1.4}
    return render_scene(NucleiScene(**(known | changes)), np.random.default_rng(seed))[1]


@pytest.fixture(scope="module")
def annotated() -> ShapeDatabase:
    samples = [(str(seed), scene(seed, diameter=28.0, n_nuclei=14)) for seed in range(6)]
    return collect_shapes(samples, per_image=50, min_area=20, rng=np.random.default_rng(0))


def synthesiser(images: list[np.ndarray], annotated: ShapeDatabase, **changes: object) -> MaskSynthesiser:
    population = measure_population(images, SIDE, 20).plausible().denser(0.0)
    return MaskSynthesiser(population, annotated, simulated_like(population, 0), **({"side": SIDE} | changes))


def draw_all(masks: MaskSynthesiser, n: int = 6) -> list[np.ndarray]:
    plan = plan_masks({"a": masks.population}, n_masks=n, large_diameter=1e9, seed=3)
    return [masks.draw(row.tile, row.seed) for row in plan.itertuples()]


def assert_valid(labels: np.ndarray, side: int = SIDE, min_area: int = 20) -> None:
    assert labels.shape == (side, side)
    assert labels.dtype == np.int32
    n = int(labels.max())
    np.testing.assert_array_equal(np.unique(labels[labels > 0]), np.arange(1, n + 1))
    for label, box in enumerate(ndi.find_objects(labels), start=1):
        mask = labels[box] == label
        assert ndi.label(mask, CROSS)[1] == 1
        assert mask.sum() >= min_area


def test_gaps_are_those_of_all_pairs_of_pixels(rng: np.random.Generator) -> None:
    labels = np.zeros((90, 110), np.int32)
    y, x = np.ogrid[:90, :110]
    for label in range(3, 30):
        cy, cx, radius = rng.uniform(0, 90), rng.uniform(0, 110), rng.uniform(2, 9)
        labels[((y - cy) ** 2 + (x - cx) ** 2 <= radius**2) & (labels == 0)] = label
    pixels = [np.argwhere(labels == label) for label in np.unique(labels)[1:]]
    apart = [min(cdist(a, b).min() for b in pixels if b is not a) - 1 for a in pixels]
    np.testing.assert_allclose(nearest_gaps(labels), [0 if gap < 1 else gap for gap in apart], atol=1e-9)


@pytest.mark.parametrize(("labels", "gaps"), [([[0, 0]], []), ([[1, 1]], [np.inf]), ([[1, 0], [0, 2]], [0, 0])])
def test_gaps_of_few_objects(labels: list[list[int]], gaps: list[float]) -> None:
    np.testing.assert_array_equal(nearest_gaps(np.array(labels)), gaps)


def test_descriptors_are_those_of_scikit_image() -> None:
    labels = scene()
    table = describe(labels, min_area=1)
    expected = regionprops(labels)
    for name, attribute in (("area", "area"), ("major", "axis_major_length"), ("solidity", "solidity")):
        np.testing.assert_allclose(table[name], [getattr(region, attribute) for region in expected])
    np.testing.assert_allclose(table["ratio"], table["major"] / table["minor"])
    np.testing.assert_allclose(table["circularity"], table["area"] / table["perimeter"] ** 2)


def test_tiles_cover_each_image_once(rng: np.random.Generator) -> None:
    images = [scene(), np.ones((20, 450), np.int32), np.zeros((7, 5), np.int32)]
    population = measure_population(images, 200, 20)
    tiles = population.tiles
    assert (tiles["height"] * tiles["width"]).sum() == sum(image.size for image in images)
    assert tiles[["height", "width"]].to_numpy().max() <= 200
    covered = (tiles["coverage"] * tiles["height"] * tiles["width"]).sum()
    assert covered == pytest.approx(sum(np.count_nonzero(image) for image in images))


def test_wrong_objects_are_left_out_and_fuller_tiles_are_followed() -> None:
    full, sparse = scene(0), np.where(scene(1) > 3, 0, scene(1))
    wrong = full.copy()
    wrong[20:170, 20:170][wrong[20:170, 20:170] == 0] = 999
    population = measure_population([wrong, sparse, np.zeros_like(full)], SIDE, 20)
    plausible = population.plausible()
    assert population.objects["area"].max() > 5000
    assert plausible.objects["area"].max() < 1000
    assert plausible.tiles.loc[0, "coverage"] == pytest.approx((full > 0).mean(), rel=0.15)
    assert plausible.denser(0.0).tiles.index.tolist() == [0, 1]
    assert plausible.denser(0.5).tiles.index.tolist() == [0]


def test_images_of_large_nuclei_are_no_outliers_of_a_style_with_small_ones(annotated: ShapeDatabase) -> None:
    """Nor do masks that follow them get small nuclei, though each has too few to tell of a spread."""
    small = [scene(seed, n_nuclei=30, diameter=11.0) for seed in range(3)]
    large = [scene(seed, n_nuclei=7, diameter=44.0, clustering=0.0) for seed in range(3)]
    measured = measure_population(small + large, SIDE, 20)
    assert measured.tiles["image"].tolist() == [0, 1, 2, 3, 4, 5]
    masks = synthesiser(small + large, annotated)
    pd.testing.assert_frame_equal(masks.population.tiles[3:], measured.tiles[3:])
    for tile in (3, 4, 5):
        assert {tile} <= set(masks.population.like(tile).tiles.index) <= {3, 4, 5}
        drawn = measure_population([masks.draw(tile, 1)], SIDE, 20)
        assert drawn.whole["diameter"].median() > 30
    assert masks.population.like(0).tiles.index.tolist() == [0]


def test_of_a_tile_without_whole_objects_those_of_its_image_tell_then_those_of_all() -> None:
    cut = np.zeros((40, 80), np.int32)  # two tiles, the left one with a cut object only
    cut[:9, :9], cut[10:30, 50:70] = 1, 2
    other = np.pad(np.ones((8, 8), np.int32), 16)
    population = measure_population([cut, other], 40, 20)
    assert population.like(0).tiles.index.tolist() == [0, 1]
    alone = measure_population([cut[:, :40], other], 40, 20)
    assert alone.like(0).tiles.index.tolist() == [0, 1]
    assert population.like(1).tiles.index.tolist() == [1]


def test_nothing_measured_stays_nothing() -> None:
    for images in ([], [np.zeros((30, 30), np.int32)]):
        population = measure_population(images, SIDE, 20).plausible().denser(0.5)
        assert population.objects.empty
        assert population.tiles.empty


def test_database_holds_whole_objects_only(disks: np.ndarray) -> None:
    disks = disks.copy()
    disks[60, 40] = 0  # a hole
    pieces = np.zeros((40, 40), np.int32)
    pieces[5:12, 5:12] = pieces[20:27, 20:27] = 1
    database = collect_shapes(
        [("disks", disks), ("pieces", pieces)], per_image=9, min_area=9, rng=np.random.default_rng(0)
    )
    assert database.table[["source", "label"]].to_numpy().tolist() == [["disks", 1], ["disks", 2], ["disks", 3]]
    assert [mask.sum() for mask in database.masks] == database.table["area"].tolist()
    assert database.masks[1][14, 14]
    np.testing.assert_array_equal(database.masks[1], ndi.binary_fill_holes(database.masks[1]))
    assert set(DESCRIPTORS) <= set(database.table.columns)


def test_database_of_large_ids(disks: np.ndarray) -> None:
    labels = np.where(disks == 1, 2_000_000_000, disks)
    options = {"per_image": 9, "min_area": 9}
    small, large = (
        collect_shapes([("a", image)], **options, rng=np.random.default_rng(0)) for image in (disks, labels)
    )
    assert sorted(mask.sum() for mask in small.masks) == sorted(mask.sum() for mask in large.masks)
    assert 2_000_000_000 in set(large.table["label"])


def test_database_without_whole_objects_is_an_error() -> None:
    with pytest.raises(KaryosegError, match="reference label images hold no object"):
        collect_shapes([("a", np.ones((30, 30), np.int32))], per_image=9, min_area=9, rng=np.random.default_rng(0))


def test_lookup_finds_the_shape_itself_first(annotated: ShapeDatabase) -> None:
    found = annotated.nearest(annotated.table, 3)
    np.testing.assert_array_equal(found[:, 0], np.arange(len(annotated)))
    assert annotated.nearest(annotated.table, 10_000).shape == (len(annotated),) * 2


@pytest.mark.parametrize("diameter", [9.0, 28.0, 90.0])
@pytest.mark.parametrize("mirrored", [False, True])
def test_stamps_have_size_and_direction_asked_for(diameter: float, mirrored: bool) -> None:
    y, x = np.mgrid[-30:31, -30:31]
    ellipse = (y * np.cos(0.4) + x * np.sin(0.4)) ** 2 / 25**2 + (x * np.cos(0.4) - y * np.sin(0.4)) ** 2 / 10**2 <= 1
    before = regionprops(ellipse.astype(np.uint8))[0].orientation
    stamp = make_stamp(ellipse, diameter, 0.3, mirrored=mirrored)
    region = regionprops(np.pad(stamp.mask, 1).astype(np.uint8))[0]
    assert region.equivalent_diameter_area == pytest.approx(diameter, rel=0.06)
    wanted = (-before if mirrored else before) - 0.3
    assert np.sin(region.orientation - wanted) == pytest.approx(0, abs=0.08)
    assert ndi.label(stamp.mask, CROSS)[1] == 1


def test_a_stamp_is_never_empty() -> None:
    assert make_stamp(np.ones((20, 20), bool), 0.3, 0.0).area >= 1


def test_simulated_shapes_are_like_their_objects() -> None:
    measured = measure_population([scene()], SIDE, 20).whole
    shapes = simulate_shapes(measured, np.random.default_rng(0), tolerance=0.1)
    assert len(measured) / 3 < len(shapes) <= len(measured)
    columns = ["circularity", "eccentricity", "solidity"]
    off = np.abs(shapes.table[columns].to_numpy()[:, None] / measured[columns].to_numpy() - 1)
    assert (off <= 0.1 + 1e-9).all(axis=2).any(axis=1).all()


@pytest.mark.parametrize("clustering", [0.0, 0.8])
def test_masks_follow_density_sizes_and_gaps(annotated: ShapeDatabase, clustering: float) -> None:
    images = [scene(seed, clustering=clustering) for seed in range(8)]
    masks = synthesiser(images, annotated)
    drawn = draw_all(masks, 8)
    for labels in drawn:
        assert_valid(labels)
    real, synthetic = masks.population, measure_population(drawn, SIDE, 20)
    assert synthetic.tiles["coverage"].mean() == pytest.approx(real.tiles["coverage"].mean(), rel=0.15)
    assert ks_2samp(real.whole["diameter"], synthetic.whole["diameter"]).statistic < 0.2
    assert ks_2samp(real.objects["gap"], synthetic.objects["gap"]).statistic < 0.2
    touching = [(part.objects["gap"] == 0).mean() for part in (real, synthetic)]
    assert touching[1] == pytest.approx(touching[0], abs=0.12)


def test_gaps_stay_right_while_stamps_come_and_go(rng: np.random.Generator) -> None:
    stamps = [Stamp(np.ones((height, 30 - height), bool)) for height in rng.integers(4, 26, 25)]
    layout = Layout(SIDE, 0, stamps, reach=20.0)
    for _ in range(150):
        index = int(rng.integers(len(stamps)))
        if layout.placed[index]:
            layout.take(index)
        for corner in layout.positions(index, 0.0, np.inf, rng)[:1]:
            near = layout.measure(index, corner)
            if near is not None:
                foreseen = layout.gaps_with(index, near)
                layout.put(index, corner, near)
                np.testing.assert_array_equal(layout.gaps, foreseen)
        gaps = nearest_gaps(layout.canvas)
        assert np.isinf(layout.gaps[~layout.placed]).all()
        np.testing.assert_allclose(layout.gaps[layout.placed], np.where(gaps < 20, gaps, np.inf), atol=1e-5)
    assert np.isfinite(layout.gaps).sum() > 10


def test_random_placement_alone_would_not_match_gaps() -> None:
    """The correction does something: regular rows of disks have one gap only."""
    labels = np.zeros((SIDE, SIDE), np.int32)
    for label, (top, left) in enumerate(np.ndindex(8, 8), start=1):
        labels[4 + 24 * top : 20 + 24 * top, 4 + 24 * left : 20 + 24 * left] = label
    population = measure_population([labels], SIDE, 20)
    target = GapTarget(population)
    drawn = place([Stamp(np.ones((16, 16), bool))] * 60, SIDE, target, np.random.default_rng(0))
    wanted = target.classify(population.objects["gap"].to_numpy())[0]
    assert np.mean(target.classify(nearest_gaps(drawn)) == wanted) > 0.6


def test_elongated_nuclei_lie_in_one_direction(annotated: ShapeDatabase) -> None:
    images = [scene(seed, elongation=2.5, alignment=1.0, clustering=0.0) for seed in range(2)]
    long = [(str(seed), scene(seed, elongation=2.5, clustering=0.0)) for seed in range(3)]
    shapes = collect_shapes(long, per_image=50, min_area=20, rng=np.random.default_rng(0))
    table = measure_population(draw_all(synthesiser(images, shapes), 1), SIDE, 20).whole
    table = table[table["ratio"] > 1.6]
    assert abs(np.exp(2j * table["orientation"]).mean()) > 0.7


@pytest.mark.parametrize("placement", ["measured", "tetris"])
def test_same_seed_same_mask(annotated: ShapeDatabase, placement: str) -> None:
    masks = synthesiser([scene()], annotated, placement=placement)
    np.testing.assert_array_equal(masks.draw(0, 5), masks.draw(0, 5))
    assert not np.array_equal(masks.draw(0, 5), masks.draw(0, 6))


def test_same_seed_same_mask_wherever_the_memory_lies(
    annotated: ShapeDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last bit of OpenCV's distances depends on the alignment of the image in memory."""
    masks = synthesiser([scene(seed, clustering=0.0) for seed in range(3)], annotated, side=2 * SIDE)
    expected = [masks.draw(tile, 5) for tile in range(3)]
    distances = cv2.distanceTransform
    monkeypatch.setattr(cv2, "distanceTransform", lambda *args: np.nextafter(distances(*args), np.float32(np.inf)))
    for tile, labels in enumerate(expected):
        np.testing.assert_array_equal(masks.draw(tile, 5), labels)


@pytest.mark.parametrize("placement", ["measured", "tetris"])
@pytest.mark.parametrize(
    "labels",
    [
        pytest.param(np.pad(np.ones((12, 16), np.int32), ((30, 80), (40, 70))), id="one object"),
        pytest.param(np.pad(np.ones((12, 9), np.int32), 2), id="image smaller than a tile"),
        pytest.param(np.ones((40, 40), np.int32), id="cut by every border"),
        pytest.param(np.pad(np.ones((600, 500), np.int32), 20), id="larger than the canvas"),
    ],
)
def test_odd_measurements_still_give_masks(annotated: ShapeDatabase, labels: np.ndarray, placement: str) -> None:
    population = measure_population([labels], 1024, 20).plausible().denser(0.5)
    masks = MaskSynthesiser(population, annotated, simulated_like(population, 0), side=SIDE, placement=placement)
    drawn = masks.draw(0, 1)
    assert_valid(drawn)
    assert drawn.any()


def test_share_of_simulated_shapes_can_be_all_or_none(annotated: ShapeDatabase) -> None:
    masks = synthesiser([scene()], annotated, share_simulated=0.0)
    nothing = replace(masks, simulated=ShapeDatabase([], masks.simulated.table.iloc[:0]))
    np.testing.assert_array_equal(masks.draw(0, 1), replace(masks, placement="measured").draw(0, 1))
    assert_valid(nothing.draw(0, 1))
    assert_valid(replace(masks, share_simulated=1.0).draw(0, 1))


def test_tetris_fills_the_image_without_overlap(annotated: ShapeDatabase) -> None:
    images = [scene(seed, n_nuclei=6, clustering=0.0) for seed in range(2)]
    masks = synthesiser(images, annotated, placement="tetris")
    drawn = masks.draw(0, 1)
    assert_valid(drawn)
    assert (drawn > 0).mean() > 1.5 * masks.population.tiles["coverage"].mean()


def test_tetris_keeps_to_its_limits() -> None:
    rng = np.random.default_rng(0)
    square, huge = Stamp(np.ones((10, 10), bool)), Stamp(np.ones((99, 5), bool))
    drawn = place_tetris([huge, *[square] * 9], 64, n=7, gap=5, rng=rng)
    assert np.bincount(drawn.ravel())[1:].tolist() == [100] * 7
    population = measure_population([np.pad(np.ones((10, 10), np.int32), 40)], SIDE, 20)
    assert largest_gap(population, 100) == 20  # nothing is known about the gaps of one object
    counts = [count_to_fill(population, 30, rng) for _ in range(9)]
    assert min(counts) >= 25


def test_plan_has_one_seed_per_mask_and_goes_through_all_tiles() -> None:
    population = measure_population([scene(seed) for seed in range(4)], SIDE, 20)
    plan = plan_masks({"a": population, "b": population}, n_masks=8, large_diameter=80, seed=1)
    assert plan["id"].is_unique
    assert plan["seed"].is_unique
    assert plan.groupby("cluster")["tile"].value_counts().tolist() == [2] * 8
    longer = plan_masks({"a": population}, n_masks=9, large_diameter=80, seed=1)
    assert longer["seed"].tolist()[:8] == plan["seed"].tolist()[:8]
    assert len(plan_masks({"a": population}, n_masks=8, large_diameter=5, seed=1)) == 16


def test_comparison_tells_equal_from_different() -> None:
    one, other = (measure_population([scene(0, diameter=size)], SIDE, 20) for size in (12.0, 24.0))
    table = compare_populations({"same": (one, one), "other": (one, other)}).set_index(["cluster", "quantity"])
    assert table.loc["same", "distance"].tolist() == [0.0] * len(QUANTITIES)
    assert table.loc[("other", "diameter"), "distance"] > 0.9
    assert table.loc[("same", "touching"), "real"] == pytest.approx((one.objects["gap"] == 0).mean())
    empty = measure_population([], SIDE, 20)
    assert pd.isna(compare_populations({"none": (one, empty)})["distance"]).all()


def test_figure_has_a_row_per_style() -> None:
    labels = scene()
    population = measure_population([labels], SIDE, 20)
    comparison = Comparison(population, population, labels, labels)
    figure = comparison_figure({"group_001": comparison, "group_002": comparison, "group_003": comparison}, most=2)
    assert len(figure.axes) == 2 * (2 + len(QUANTITIES))
    assert figure.get_suptitle() == "the first 2 of 3 styles"
