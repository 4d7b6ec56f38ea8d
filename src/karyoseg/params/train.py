"""Parameters of the train pipeline."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from karyoseg.params.base import Params, TrainingPrecision

Pair = Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=2, max_length=2)]


class FromScratch(Params):
    """Random weights."""

    name: Literal["scratch"] = "scratch"
    """Train a new network."""


class FromPretrained(Params):
    """Weights of a published StarDist model."""

    name: Literal["pretrained"]
    """Fine-tune a published model."""
    model: Literal["2D_versatile_fluo", "2D_versatile_he", "2D_paper_dsb2018"]
    """Registered name."""


class FromModel(Params):
    """Weights of any model."""

    name: Literal["model"]
    """Fine-tune a model of your own, or one that ships."""
    path: str
    """As `predict.model`: `nuclei-fluo`, a folder, its name in data/06_models, a URL, or `FOLDER@VERSION`."""


class ConstantRate(Params):
    """One learning rate for all epochs."""

    name: Literal["constant"]
    """Constant learning rate."""


class CosineRate(Params):
    """Linear warm-up, then a half cosine."""

    name: Literal["cosine"]
    """Cosine decay."""
    warmup_epochs: int = Field(default=1, ge=0)
    """Epochs of linear warm-up."""
    final_fraction: float = Field(default=0.02, ge=0, le=1)
    """Last learning rate as a share of the first."""


class PlateauRate(Params):
    """Reduce when the validation loss stops falling."""

    name: Literal["plateau"]
    """StarDist's own schedule."""
    factor: float = Field(default=0.5, gt=0, lt=1)
    """Multiplier of each reduction."""
    patience: int = Field(default=40, ge=1)
    """Epochs without improvement before a reduction."""


#: Names that Keras knows and that suit layers of a U-Net.
Activation = Literal[
    "relu",
    "elu",
    "selu",
    "gelu",
    "leaky_relu",
    "silu",
    "swish",
    "mish",
    "tanh",
    "sigmoid",
    "softplus",
    "softsign",
    "linear",
]


class NetworkParams(Params):
    """Architecture; the fields of StarDist's ``Config2D``. Ignored when fine-tuning: the given model decides."""

    n_rays: int = Field(default=32, ge=3)
    """Rays of each star-convex polygon."""
    grid: Pair = Field(default=[2, 2])
    """Subsampling of the prediction grid (y, x); powers of 2."""
    unet_n_depth: int = Field(default=3, ge=1, le=6)
    """Resolution levels of the U-Net."""
    unet_kernel_size: Pair = Field(default=[3, 3])
    """Convolution kernel [px]."""
    unet_n_filter_base: int = Field(default=32, ge=1)
    """Filters of the first level; doubled at each level."""
    unet_n_conv_per_depth: int = Field(default=2, ge=1)
    """Convolutions per level."""
    unet_pool: Pair = Field(default=[2, 2])
    """Pooling between levels."""
    unet_activation: Activation = "relu"
    """Activation of hidden layers."""
    unet_last_activation: Activation = "relu"
    """Activation of the last U-Net layer."""
    unet_batch_norm: bool = False
    """Batch normalisation."""
    unet_dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout rate."""
    unet_expansion: float = Field(default=2, gt=0)
    """Growth of the number of filters per level."""
    net_conv_after_unet: int = Field(default=128, ge=0)
    """Filters of the layer after the U-Net; 0 leaves it out."""

    @model_validator(mode="after")
    def _grid_is_power_of_two(self) -> Self:
        if any(g & (g - 1) for g in self.grid):
            raise ValueError(f"grid {self.grid} must hold powers of 2")
        return self


class TrainParams(Params):
    """How a model is trained."""

    workspace: str = "data/06_models/.training/stardist"
    """Folder for checkpoints of the training while it is unfinished; its name is that of the model."""
    init: Annotated[FromScratch | FromPretrained | FromModel, Field(discriminator="name")] = FromScratch()
    """What training starts from: `scratch`, `pretrained` or `model`."""
    network: NetworkParams = NetworkParams()
    """Architecture."""
    epochs: int = Field(default=40, ge=1)
    """Epochs; an epoch is `steps_per_epoch` batches."""
    steps_per_epoch: int = Field(default=100, ge=1)
    """Batches per epoch."""
    batch_size: int = Field(default=4, ge=1)
    """Patches per batch."""
    patch_size: Pair = Field(default=[256, 256])
    """Patch (y, x) [px of the prepared image]; a multiple of the network's stride."""
    learning_rate: float = Field(default=3e-4, gt=0)
    """Learning rate of Adam."""
    schedule: Annotated[ConstantRate | CosineRate | PlateauRate, Field(discriminator="name")] = PlateauRate(
        name="plateau"
    )
    """Learning rate schedule."""
    early_stopping: int = Field(default=0, ge=0)
    """Stop after so many epochs without a better validation loss; 0 never stops early."""
    foreground_only: float = Field(default=0.9, ge=0, le=1)
    """Share of patches that must hold a part of a nucleus (Config2D.train_foreground_only) [0..1]."""
    background_reg: float = Field(default=1e-4, ge=0)
    """Weight that pulls distances in the background to 0 (train_background_reg)."""
    dist_loss: Literal["mae", "mse", "iou"] = "mae"
    """Loss of the distances (train_dist_loss)."""
    loss_weights: list[Annotated[float, Field(ge=0)]] = Field(default=[1.0, 0.2], min_length=2, max_length=2)
    """Weights of probability and distance loss (train_loss_weights)."""
    shape_completion: bool = False
    """Learn whole shapes of nuclei cut by the patch border (train_shape_completion)."""
    completion_crop: int = Field(default=32, ge=1)
    """Border cut off for shape completion [px] (train_completion_crop)."""
    n_val_patches: int | None = Field(default=None, ge=1)
    """Validation patches; null takes one per validation image (train_n_val_patches)."""
    cache_gb: float = Field(default=1.0, ge=0)
    """Memory for decoded training samples [GB] (in place of train_sample_cache)."""
    workers: int = Field(default=2, ge=1)
    """Threads that prepare batches; two at least."""
    precision: TrainingPrecision = "auto"
    """Numbers the hidden layers calculate with; `auto` takes 16 bit where processor or GPU are faster with them."""
    xla: bool = False
    """Compile the training step with XLA; may be faster on GPUs, is slower on processors."""
    use_gpu: bool = False
    """Compute star distances on the GPU by OpenCL (needs gputools); the network uses a GPU by itself."""
    loggers: list[Literal["tensorboard", "dvclive"]] = Field(default=[])
    """Also write training curves for these tools."""
    nms_grid: list[Annotated[float, Field(gt=0, lt=1)]] = Field(default=[0.3, 0.4, 0.5], min_length=1)
    """NMS thresholds tried on the validation images."""
    seed: int = Field(default=42, ge=0)
    """Seed of weights and of which patches are cut; how they are changed is up to `augment.seed`."""

    @field_validator("use_gpu")
    @classmethod
    def _gputools_is_there(cls, value: bool) -> bool:
        if value and find_spec("gputools") is None:
            raise ValueError(
                "use_gpu is true, but the package gputools is not installed; run `pip install gputools`, or leave "
                "use_gpu false: the network uses a GPU nevertheless"
            )
        return value

    @model_validator(mode="after")
    def _patch_fits_network(self) -> Self:
        crop = 2 * self.completion_crop if self.shape_completion else 0
        for axis, patch, pool, grid in zip(
            "yx", self.patch_size, self.network.unet_pool, self.network.grid, strict=True
        ):
            stride = pool**self.network.unet_n_depth * grid
            if self.init.name == "scratch" and (patch <= crop or (patch - crop) % stride):
                raise ValueError(
                    f"patch_size {patch} along {axis}{f' minus {crop} px of completion crop' if crop else ''} must be "
                    f"a positive multiple of {stride} (unet_pool ** unet_n_depth * grid)"
                )
        return self

    def config2d(self, n_channels: int) -> dict[str, Any]:
        """Return the fields of ``stardist.models.Config2D``."""
        return {
            "axes": "YX" if n_channels == 1 else "YXC",
            "n_channel_in": n_channels,
            **self.network.model_dump(mode="json"),
            **self.training_config(),
        }

    def training_config(self) -> dict[str, Any]:
        """Return the ``train_*`` fields of ``Config2D``; they also apply to fine-tuned models."""
        return {
            "use_gpu": self.use_gpu,
            "train_patch_size": tuple(self.patch_size),
            "train_epochs": self.epochs,
            "train_steps_per_epoch": self.steps_per_epoch,
            "train_batch_size": self.batch_size,
            "train_learning_rate": self.learning_rate,
            "train_foreground_only": self.foreground_only,
            "train_background_reg": self.background_reg,
            "train_dist_loss": self.dist_loss,
            "train_loss_weights": tuple(self.loss_weights),
            "train_shape_completion": self.shape_completion,
            "train_completion_crop": self.completion_crop,
            "train_n_val_patches": self.n_val_patches,
            "train_tensorboard": "tensorboard" in self.loggers,
        }
