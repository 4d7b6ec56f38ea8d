"""Parameters of the predict pipeline."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from karyoseg.core.preparation import Contrast
from karyoseg.params.base import Axes, Engine, Params, Precision
from karyoseg.params.cluster import Cluster, NoCluster


class BlockParams(Params):
    """How large images are cut."""

    size: Literal["auto"] | Annotated[int, Field(ge=512, multiple_of=512)] = "auto"
    """Side of a block [px], a multiple of 512; `auto` is what the network sees as 4096 px."""
    overlap: Literal["auto"] | Annotated[int, Field(ge=1)] = "auto"
    """How far around a block objects are looked for [px], at least the largest object; `auto` starts with four times
    the typical nucleus, and takes more if it finds larger ones."""
    above_megapixels: float = Field(default=200, gt=0)
    """Local TIFF files with more pixels, also once they are enlarged for small nuclei, are predicted in blocks
    [million px]; Zarr always is."""


class FullParams(Params):
    """Of `mode: full`."""

    postprocessing: str | None = None
    """JSON file that tune_postprocessing wrote, or its URL; null takes the default parameters."""
    foreground_model: str | None = None
    """Folder, URL or name of a model that train_foreground wrote, which corrects contours and removes what it does not
    confirm; null for none."""
    second_scale: float = Field(default=1.5, gt=1, le=2)
    """How much larger than in training nuclei are in the second run; published is 2, which suits models that have seen
    nuclei of that size."""


class PredictParams(Params):
    """From a user's images to label images and measurements."""

    input: str | None = None
    """Images: a folder, a pattern such as `scans/**/*.tif`, a file, a zip, or any of these as a URL."""
    output: str
    """Folder for the results, or its URL: with `--params`, or as `predict_output` in `globals.yml`. In a parameter file
    it would not move the results, and is refused."""
    model: str = "nuclei-fluo"
    """A model that ships (`nuclei-fluo`, `nuclei-fluo-fast`), a published one (`2D_versatile_fluo`), the folder of a
    trained model, its name in data/06_models, its URL, or `FOLDER@VERSION` of one that DVC tracks."""
    engine: Engine = "auto"
    """What runs the network: `keras` (TensorFlow), `openvino` (faster on a processor), `onnxruntime` (an extra
    package), or `auto`: TensorFlow with a GPU, else the fastest whose output is close enough to TensorFlow's for this
    model."""
    precision: Precision = "auto"
    """Numbers the network calculates with: `f32`; with OpenVINO also `bf16` (half the bits, twice as fast on
    processors made for it) and `int8` (faster still; after `kedro model quantize`); or `auto`: the fastest that is
    close enough."""
    mode: Literal["fast", "full"] = "fast"
    """`fast` predicts each image once; `full` at two scales, and merges and corrects the objects found by the rules of
    nucleAIzer, which takes three to five times as long."""
    full: FullParams = FullParams()
    """Of `mode: full`."""
    axes: Axes | None = None
    """Axes of TIFF stacks that do not say themselves, such as `CYX`; what files say counts first."""
    channels: list[Annotated[int, Field(ge=0)]] | None = Field(default=None, min_length=1)
    """Channels to segment and measure, counted from 0; null measures all, and a model of one channel sees their
    mixture."""
    pixel_size_um: float | None = Field(default=None, gt=0)
    """Side of a pixel [um], in place of what the files say; null trusts the files."""
    magnification: float | None = Field(default=None, gt=0)
    """Objective magnification of the images [x], for models trained at one magnification."""
    diameter_px: float | None = Field(default=None, gt=0)
    """Typical nucleus diameter in the images [px], from which they are rescaled to sizes that the model has learnt.
    null estimates it, and searches that of dark nuclei."""
    contrast: Contrast = "auto"
    """Whether nuclei are brighter (`bright`) or darker (`dark`) than what is around them. To a model that has learnt
    from bright ones only, dark ones are shown as optical density, and their size is searched. `auto` decides image by
    image, for models that say what they have learnt from. Others get images as they are."""
    scale: Literal["auto", "none"] | Annotated[float, Field(gt=0)] = "auto"
    """Rescaling for the network: `auto` as the model was trained, `none`, or a factor [network px per px]."""
    prob_thresh: float | None = Field(default=None, ge=0, le=1)
    """Objects below this probability are dropped [0..1]; null takes the model's own."""
    nms_thresh: float | None = Field(default=None, ge=0, le=1)
    """Overlap above which the less probable of two objects is dropped: their intersection over the smaller of the two
    areas [0..1]; null takes the model's own."""
    min_area: int = Field(default=0, ge=0)
    """Smaller objects are dropped [px]."""
    overlay: bool = True
    """Write a preview PNG per image."""
    blocks: BlockParams = BlockParams()
    """How large images are cut."""
    cluster: Cluster = NoCluster()
    """Who computes the blocks of large images; `none`, `local`, the address of a Dask scheduler or `slurm` may be given
    in place of the group."""
    on_bad_image: Literal["stop", "skip"] = "stop"
    """`stop` reads all images first and reports every bad one before predicting; `skip` predicts the
    others and lists the bad ones in problems.csv."""

    @model_validator(mode="after")
    def _full_has_an_effect(self) -> Self:
        given = [name for name in ("postprocessing", "foreground_model") if getattr(self.full, name)]
        if given and self.mode != "full":
            raise ValueError(f"predict.full.{given[0]} has no effect in mode {self.mode}; needed: predict.mode=full")
        return self

    @property
    def fixed_scale(self) -> float | None:
        """Rescaling that does not depend on the image [network px per px]; None if it does."""
        if isinstance(self.scale, str):
            return 1.0 if self.scale == "none" else None
        return self.scale
