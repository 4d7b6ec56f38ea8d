"""Parameters of the style_transfer pipeline."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from karyoseg.params.base import Params


class GeneratorParams(Params):
    """The network that paints images (a U-Net)."""

    filters: int = Field(default=32, ge=1)
    """Filters of the first level, doubled at each level up to 8 times as many; 64 in the original work."""
    depth: int = Field(default=5, ge=2, le=10)
    """Levels; 8 in the original work."""
    dropout: float = Field(default=0.5, ge=0, lt=1)
    """Share of values dropped in up to three of the deeper levels (from depth 4 on), in training and, with
    `generation.dropout`, afterwards [0..1]."""


class DiscriminatorParams(Params):
    """The network that tells real from generated patches (PatchGAN)."""

    filters: int = Field(default=32, ge=1)
    """Filters of the first layer, doubled at each layer; 64 in the original work."""
    n_layers: int = Field(default=3, ge=1, le=5)
    """Layers that halve the size; 3 judge patches of 70 px."""


class GenerationParams(Params):
    """How images are made from label images."""

    dropout: bool = True
    """Drop values as in training: the same objects look different with other seeds."""


class QualityParams(Params):
    """When the images of a cluster are good enough to learn from."""

    n_images: int = Field(default=16, ge=1)
    """Generated images that are judged, before all others are generated."""
    max_kid_ratio: float = Field(default=0.8, gt=0)
    """Largest distance to the real images (kernel inception distance, KID), relative to that of label images painted in
    the mean colours of objects and background."""
    min_contrast: float = Field(default=0.5, ge=0, le=1)
    """Smallest visibility of the objects, relative to that in the real images [0..1]."""
    max_accuracy: float = Field(default=1.0, gt=0.5, le=1)
    """Largest share of tiles that a classifier of texture tells apart from real ones [0..1]. 1 only reports it: a
    slight blur is enough to be told, and from which value on training suffers was not measured."""


class StyleTransferParams(Params):
    """How generators are trained, one for each cluster of images, and what they make."""

    workspace: str = "data/06_models/.training/style"
    """Folder for checkpoints of unfinished trainings."""
    condition: Literal["instance", "binary"] = "instance"
    """What a generator is told of the labels: `instance` (foreground, borders, depth inside of each object) or `binary`
    (foreground; the original work)."""
    tile_size: int = Field(default=256, ge=8, le=2048)
    """Side of the square training tiles [px]; a multiple of 2 ** (generator.depth + 1)."""
    generator: GeneratorParams = GeneratorParams()
    """Network that paints."""
    discriminator: DiscriminatorParams = DiscriminatorParams()
    """Network that judges."""
    constant_steps: int = Field(default=1500, ge=0)
    """Training steps at the full learning rate; 5000 in the original work."""
    decay_steps: int = Field(default=500, ge=0)
    """Further steps in which the learning rate falls to 0; 100 per tile in the original work."""
    batch_size: int = Field(default=1, ge=1)
    """Tiles per step."""
    learning_rate: float = Field(default=2e-4, gt=0)
    """Learning rate of Adam, for both networks."""
    l1_weight: float = Field(default=100.0, ge=0)
    """Weight of the difference between generated and real image."""
    checkpoint_steps: int = Field(default=250, ge=1)
    """Steps between checkpoints, each with a sheet of sample images."""
    generation: GenerationParams = GenerationParams()
    """How images are made."""
    quality: QualityParams = QualityParams()
    """Which clusters are used."""
    seed: int = Field(default=42, ge=0)
    """Seed of weights, tiles and dropout."""

    @model_validator(mode="after")
    def _tiles_fit_network(self) -> Self:
        least = 2 ** (self.generator.depth + 1)
        if self.tile_size % least:
            raise ValueError(f"tile_size {self.tile_size} must be a multiple of {least} (2 ** (generator.depth + 1))")
        if self.constant_steps + self.decay_steps == 0:
            raise ValueError("constant_steps and decay_steps are both 0; at least one step is needed")
        return self
