"""Parameters of the style_clusters pipeline."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from karyoseg.params.base import Params


class AutoClusters(Params):
    """Every image is assigned, and the number of clusters is chosen; one is possible."""

    name: Literal["auto"] = "auto"
    """Features in which images differ more than their own quarters do."""
    n_clusters: int | None = Field(default=None, ge=1)
    """Number of clusters; null chooses it."""
    max_clusters: int = Field(default=10, ge=1)
    """Largest number that is tried."""
    min_silhouette: float = Field(default=0.6, ge=-1, le=1)
    """Least mean silhouette for more than one cluster [-1..1]."""
    tolerance: float = Field(default=0.05, ge=0)
    """Of the numbers of clusters whose silhouette is at most this much below the best, the largest is chosen."""
    min_stability: float = Field(default=0.8, ge=0, le=1)
    """Least agreement with the clusters that are found without every fifth image [adjusted Rand index]."""
    divide_from: int = Field(default=10, ge=2)
    """Clusters of at least so many images are looked at again, each by itself."""


class ReferenceClusters(Params):
    """What nucleAIzer does, to compare with: learnt distances, correlation k-means, many small clusters."""

    name: Literal["reference"]
    """Three classifiers learn from pairs of images how different two styles are."""
    styles: str | None = None
    """Table (CSV) with the columns `id` and `style` to learn from, for some of the images; null learns from parts of
    the images: those of one image are of the same style, those of unlike images are not."""
    images_per_cluster: list[Annotated[int, Field(ge=1)]] = Field(default=[5, 6, 7, 8, 9, 10], min_length=1)
    """Mean numbers of images in a cluster to try; the cheapest clusters are taken, nearly always the smallest ones."""
    keep: int | None = Field(default=None, ge=1)
    """So many images next to the centre of each cluster are kept, all others are left out; null keeps all.
    nucleAIzer keeps 3."""
    restarts: int = Field(default=30, ge=1)
    """Random beginnings of k-means."""
    max_pairs: int = Field(default=1000, ge=1)
    """Pairs of the same style, and of different ones, to learn from."""


class StyleClustersParams(Params):
    """From images without masks to groups that look alike; style transfer learns each on its own."""

    method: Annotated[AutoClusters | ReferenceClusters, Field(discriminator="name")] = AutoClusters()
    """How the clusters are made: `auto` or `reference`."""
    images_shown: int = Field(default=8, ge=2, le=30)
    """Images per cluster in the figure."""
    seed: int = Field(default=42, ge=0)
    """Seed of all that is random."""
