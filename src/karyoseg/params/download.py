"""Parameters of the download pipeline."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, StringConstraints, field_validator, model_validator

from karyoseg.params.base import Axes, Params

Layout = Literal["sample", "bsst265", "dsb2018", "stardist", "folder"]
_LISTED = ("dsb2018", "folder")


class SampleParams(Params):
    """The embedded sample: generated nuclei and one real image, written without network."""

    n_train: int = Field(default=24, ge=2, le=10_000)
    """Generated training images."""
    n_test: int = Field(default=8, ge=1, le=10_000)
    """Generated test images; the real image comes on top."""
    size: int = Field(default=256, ge=64, le=4096)
    """Height and width of the generated images [px]."""
    seed: int = Field(default=42, ge=0)
    """Seed of the generator."""


class DatasetParams(Params):
    """Which data set to use and how it is laid out.

    One flat group rather than a union per layout: ``--params dataset.layout=folder,dataset.url=DIR`` must
    work on top of any other choice, and runtime parameters are merged key by key.
    """

    layout: Layout = "sample"
    """Arrangement of the files; `sample` is embedded and needs no url."""
    url: str = ""
    """Archive (zip, tar) or folder: http(s), s3 or another fsspec URL, or a path."""
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-fA-F]{64}$")] | None = None
    """Checksum of the archive. Without it, that of the first download is recorded and must hold later."""
    directory: Path = Path("data/01_raw")
    """Folder for downloads and unpacked archives, relative to the working directory."""
    retries: int = Field(default=3, ge=0, le=20)
    """How many more times to try after a lost connection or a busy server."""
    timeout: float = Field(default=30.0, gt=0)
    """Longest silence of an http server before a try counts as failed [s]."""
    max_files: int = Field(default=200_000, ge=1)
    """Refuse archives with more files."""
    max_gigabytes: float = Field(default=100.0, gt=0)
    """Refuse archives that unpack to more [GB]."""
    on_bad_sample: Literal["stop", "skip"] = "stop"
    """`stop` with one report of all bad samples, or `skip` them; problems.csv lists them then."""
    pixel_size_um: float | None = Field(default=None, gt=0)
    """Side of a pixel [um], in place of what the files say."""
    axes: Axes | None = None
    """Axes of multi-page TIFF images that do not say it themselves, such as `CYX`."""
    sample_class: str = ""
    """Class of all samples that the data set itself gives none; metrics are broken down by it."""
    test_ids: Path | None = None
    """Text file with one sample id per line that make the test split; layouts `dsb2018` and `folder`."""
    sample: SampleParams = SampleParams()
    """The embedded sample; used by layout `sample`."""

    @field_validator("url", mode="before")
    @classmethod
    def _no_url(cls, value: Any) -> Any:
        return "" if value is None else value

    @model_validator(mode="after")
    def _fits_layout(self) -> Self:
        if self.layout != "sample" and not self.url.strip():
            raise ValueError(
                f"layout {self.layout!r} needs dataset.url: the archive or folder to read. Example: "
                f"--params dataset.layout={self.layout},dataset.url=PATH"
            )
        if self.layout == "sample" and self.url:
            raise ValueError(
                f"layout 'sample' is generated and takes no url, got {self.url!r}. Set dataset.layout to "
                "one of bsst265, dsb2018, stardist, folder, or remove dataset.url."
            )
        if self.test_ids is not None and self.layout not in _LISTED:
            raise ValueError(
                f"test_ids is for the layouts {' and '.join(_LISTED)}; {self.layout!r} names its own test split"
            )
        return self
