"""Nodes of the mask_synthesis pipeline."""

from __future__ import annotations

import logging
from functools import partial

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from karyoseg.core.errors import KaryosegError
from karyoseg.core.lazy import Lazy, Partitions, fingerprint
from karyoseg.core.mask_synthesis.compare import Comparison, compare_populations, comparison_figure
from karyoseg.core.mask_synthesis.population import Population, measure_population
from karyoseg.core.mask_synthesis.shapes import ShapeDatabase, collect_shapes
from karyoseg.core.mask_synthesis.synthesis import MaskSynthesiser, plan_masks, simulated_like
from karyoseg.core.progress import Progress
from karyoseg.core.splits import TRAIN
from karyoseg.params.mask_synthesis import MaskSynthesisParams

Populations = dict[str, Population]

logger = logging.getLogger(__name__)

#: Differences from what was measured that are told.
_COVERAGE_OFF = 0.15  # relative
_TOUCHING_OFF = 0.15

_VERSION = 2  # raised when the same inputs give other masks


def measure_styles(
    labels: Partitions, clusters: pd.DataFrame, params: MaskSynthesisParams
) -> tuple[Populations, Populations]:
    """Measure size, density, distances and shapes of the nuclei of each style.

    In: weak label images, and the style of each.
    Out: all objects of each style; and those that can be nuclei, of the tiles
    in which most was found, which is what the masks follow.

    Styles without any object are left out.
    """
    everything, populations = {}, {}
    for cluster, ids in Progress(_members(clusters, labels).items(), desc="measuring styles", unit="style"):
        measured = measure_population((labels[key]() for key in ids), params.size, params.min_area)
        followed = measured.plausible().denser(params.density_quantile)
        if followed.objects.empty:
            logger.warning("%s: no nuclei found in its %d image(s); it gets no synthetic masks", cluster, len(ids))
            continue
        diameter = followed.whole["diameter"].median()
        if diameter > params.size / 4:
            logger.warning(
                "%s: nuclei of %.0f px on masks of %d px; raise mask_synthesis.size", cluster, diameter, params.size
            )
        everything[cluster], populations[cluster] = measured, followed
    if not populations:
        raise KaryosegError(
            f"mask_synthesis: no nuclei of at least {params.min_area} px in the images of any style; needed: some, to "
            f"learn their size and density. Look at 03_primary/style/labels and run presegment with another model or "
            f"threshold."
        )
    return everything, populations


def _members(clusters: pd.DataFrame, labels: Partitions) -> dict[str, list[str]]:
    """Ids of the images of each style."""
    table = clusters.dropna(subset="cluster").astype({"id": str, "cluster": str})
    missing = sorted(set(table["id"]) - labels.keys())
    if missing:
        raise KaryosegError(
            f"03_primary/style/clusters.csv: {len(missing)} image(s) without label image, such as {missing[0]}; "
            f"needed: the styles of the images that are there. Run style_clusters again."
        )
    return {str(cluster): sorted(part["id"]) for cluster, part in table.groupby("cluster")}


def build_shape_database(labels: Partitions, splits: pd.DataFrame, params: MaskSynthesisParams) -> ShapeDatabase:
    """Cut the shapes of nuclei out of annotated images.

    In: label images as published, of which the train split is used.
    Out: shapes and their descriptors.
    """
    ids = sorted(key for key in splits.loc[splits["split"] == TRAIN, "id"].astype(str) if key in labels)
    database = collect_shapes(
        ((key, labels[key]()) for key in Progress(ids, desc="collecting shapes", unit="image")),
        per_image=params.shapes_per_image,
        min_area=params.min_area,
        rng=np.random.default_rng(params.seed),
    )
    logger.info("%d shapes of %d annotated image(s)", len(database), len(ids))
    return database


def draw_masks(
    populations: Populations, database: ShapeDatabase, params: MaskSynthesisParams
) -> tuple[Partitions, pd.DataFrame]:
    """Draw label images for each style.

    In: what was measured in each style, and shapes of annotated nuclei.
    Out: label images, and style and seed of each.
    """
    plan = plan_masks(populations, n_masks=params.n_masks, large_diameter=params.large_diameter, seed=params.seed)
    masks: Partitions = {}
    for cluster, rows in plan.groupby("cluster"):
        population = populations[str(cluster)]
        synthesiser = MaskSynthesiser(
            population,
            database,
            simulated_like(population, params.seed),
            side=params.size,
            min_area=params.min_area,
            share_simulated=params.share_simulated,
            n_similar=params.n_similar,
            placement=params.placement,
        )
        sources = population.fingerprint, database.fingerprint, params.model_dump(exclude={"n_masks"}), _VERSION
        for key, tile, seed in zip(rows["id"].tolist(), rows["tile"].tolist(), rows["seed"].tolist(), strict=True):
            masks[key] = Lazy(partial(synthesiser.draw, tile, seed), fingerprint(*sources, tile, seed))
    return masks, plan


def measure_masks(
    masks: Partitions, plan: pd.DataFrame, populations: Populations, params: MaskSynthesisParams
) -> tuple[pd.DataFrame, Populations]:
    """Measure the synthetic label images as the real ones were measured.

    In: synthetic label images, their styles, and what they follow.
    Out: number of objects and coverage of each, and what was measured in each
    style.
    """
    drawn = {}
    for cluster, rows in plan.groupby("cluster"):
        # Tiles as large as the real ones: the border of small ones hides more neighbours.
        side = min(params.size, populations[str(cluster)].side)
        drawn[str(cluster)] = measure_population((masks[key]() for key in rows["id"]), side, params.min_area)
    sizes = [(int(mask.max()), float((mask > 0).mean())) for mask in (masks[key]() for key in plan["id"])]
    table = plan.join(pd.DataFrame(sizes, columns=["n_objects", "coverage"]))
    logger.info("%d synthetic masks with %d objects, of %d style(s)", len(table), table["n_objects"].sum(), len(drawn))
    return table[["id", "cluster", "n_objects", "coverage", "seed"]], drawn


def compare_masks(measured: Populations, populations: Populations, drawn: Populations) -> pd.DataFrame:
    """Compare synthetic with measured nuclei.

    In: all that was measured, what of it was followed, and what was drawn.
    Out: medians and distances of density, sizes, gaps and shapes, by style, of
    what was drawn and all that was measured: what was left out shows.

    Styles whose density or share of touching nuclei was not reached are named.
    """
    table = compare_populations({cluster: (populations[cluster], drawn[cluster]) for cluster in drawn})
    off = (table["synthetic"] - table["real"]).abs()
    differs = (table["quantity"] == "coverage") & (off > _COVERAGE_OFF * table["real"])
    differs |= (table["quantity"] == "touching") & (off > _TOUCHING_OFF)
    for row in table[differs].itertuples():
        logger.warning(
            "%s: %s (%s) is %.2f in the synthetic masks, %.2f was to be reached; look at 08_reporting/style/masks.png",
            *(row.cluster, row.quantity, row.unit, row.synthetic, row.real),
        )
    return compare_populations({cluster: (measured[cluster], drawn[cluster]) for cluster in drawn})


def draw_comparison(
    measured: Populations,
    drawn: Populations,
    labels: Partitions,
    clusters: pd.DataFrame,
    masks: Partitions,
    plan: pd.DataFrame,
) -> Figure:
    """Show measured and synthetic label images of each style, and their distributions.

    In: both, and all that was measured on them.
    Out: one row of panels per style.
    """
    members = _members(clusters, labels)
    comparisons = {}
    for cluster in drawn:
        by_coverage = sorted(members[cluster], key=lambda key: float((labels[key]() > 0).mean()))
        typical = by_coverage[3 * len(by_coverage) // 4]  # in the midst of those that are followed
        ids = plan.loc[plan["cluster"] == cluster, "id"].tolist()
        comparisons[cluster] = Comparison(
            measured[cluster], drawn[cluster], labels[typical](), masks[ids[len(ids) // 2]]()
        )
    return comparison_figure(comparisons)
