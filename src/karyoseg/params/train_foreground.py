"""Parameters of the train_foreground pipeline."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from karyoseg.params.base import Params, TrainingPrecision


class TrainForegroundParams(Params):
    """How the U-Nets are trained whose foreground map the full prediction can use."""

    workspace: str = "data/06_models/.training/stardist-foreground"
    """Folder for checkpoints of the training while it is unfinished."""
    sigmas: list[Annotated[float, Field(ge=0)]] = Field(default=[0.5], min_length=1)
    """Blur of the targets of each network [px]: as many networks as numbers, each with a seed of its own; their maps
    are averaged. Published is the ensemble [0, 0, 0.5, 0.5, 0.5, 1, 2]; one network is the cheaper default."""
    test_time: bool = True
    """Average over the image and its three flips when predicting: steadier, four times as long."""
    depth: int = Field(default=4, ge=1, le=6)
    """Levels below the first; each halves the image."""
    filters: int = Field(default=32, ge=2)
    """Channels of the first level, published 64; each further level has twice as many."""
    epochs: int = Field(default=100, ge=1)
    """Epochs; an epoch is `steps_per_epoch` batches."""
    steps_per_epoch: int = Field(default=50, ge=1)
    """Batches per epoch."""
    batch_size: int = Field(default=12, ge=1)
    """Patches per batch."""
    patch_size: list[int] = Field(default=[256, 256], min_length=2, max_length=2)
    """Patch (y, x) [px of the prepared image]; a multiple of 2 to the power of `depth`."""
    learning_rate: float = Field(default=1e-3, gt=0)
    """First learning rate of Adam; it falls along a half cosine to a hundredth."""
    early_stopping: int = Field(default=0, ge=0)
    """Stop after so many epochs without a better validation loss; 0 never stops early."""
    cache_gb: float = Field(default=1.0, ge=0)
    """Memory for decoded training samples [GB]."""
    workers: int = Field(default=2, ge=1)
    """Threads that prepare batches; two at least."""
    precision: TrainingPrecision = "auto"
    """Numbers the hidden layers calculate with; as for `train.precision`."""
    seed: int = Field(default=42, ge=0)
    """Seed of weights and of which patches are cut; each further network has the next, also of `augment.seed`."""

    @model_validator(mode="after")
    def _patch_fits_network(self) -> Self:
        for axis, side in zip("yx", self.patch_size, strict=True):
            if side <= 0 or side % 2**self.depth:
                raise ValueError(f"patch_size {side} along {axis} must be a positive multiple of {2**self.depth}")
        return self
