"""The embedded sample: synthetic images and one real image, as an archive in the layout of S-BSST265."""

from __future__ import annotations

import csv
import io
import os
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from itertools import chain
from pathlib import Path

import numpy as np
import numpy.typing as npt
import tifffile

from karyoseg.core.errors import KaryosegError
from karyoseg.core.io.files import replacing
from karyoseg.core.progress import Progress
from karyoseg.core.synthetic import SAMPLE_CLASSES, draw_scene, render_scene
from karyoseg.core.synthetic.presets import CAMERA_PIXEL_UM

COLUMNS = (
    "Image_Name",
    "Diagnosis",
    "Preparation",
    "Train-/Testset split",
    "Testset class",
    "Magnification",
    "Modality",
    "Device",
    "Software",
    "Mean BG signal",
    "Mean FG signal",
    "Signal/Noise",
    "S/N Class",
)
_REAL = ("stardist/data/images/img2d.tif", "stardist/data/images/mask2d.tif")
_ZIP_DATE = (1980, 1, 1, 0, 0, 0)  # the same bytes whenever the archive is written
_LOW, _HIGH = 4, 40  # classes of signal to noise in S-BSST265
_MIN_SIZE = 64
_UM_PER_CM = 1e4

Image = npt.NDArray[np.uint8 | np.uint16]
Labels = npt.NDArray[np.int32]


@dataclass(frozen=True)
class _Sample:
    """One image with what its row of the table says."""

    name: str
    image: Image
    labels: Labels
    preparation: str
    test_class: str  # empty for the train split
    magnification: int | None = None


def write_sample(path: Path, *, n_train: int = 24, n_test: int = 8, size: int = 256, seed: int = 2137) -> None:
    """Write the embedded sample data set.

    The archive holds ``rawimages/``, ``groundtruth/`` and ``image_description.csv`` like S-BSST265. Kinds of
    scene take turns and are the test classes; a quarter of the images has 12 bits in 16. The real image that
    the stardist package ships is one more test sample, of class ``real``. The same arguments give the same
    bytes.

    Parameters
    ----------
    path : Path
        The zip archive to write; appears only when it is complete.
    n_train, n_test : int
        Number of synthetic images per split.
    size : int
        Height and width of the synthetic images, at least 64 [px].
    seed : int
        Seed of the images.

    Raises
    ------
    KaryosegError
        If the stardist package or its image is missing, a number is out of range, or the path cannot be
        written.
    """
    if n_train < 0 or n_test < 0 or size < _MIN_SIZE or seed < 0:
        raise KaryosegError(
            f"The embedded sample cannot have n_train={n_train}, n_test={n_test}, size={size}, seed={seed}. "
            f"Needed: numbers of images and a seed of at least 0, a size of at least {_MIN_SIZE} px. "
            "Correct these parameters."
        )
    real = _real_sample()
    samples = _synthetic_samples(n_train, n_test, size, seed)
    shown = Progress(samples, desc="generating images", unit="image", total=n_train + n_test)
    try:
        _write_archive(Path(path), iter(shown), real)
    except OSError as error:
        raise KaryosegError(
            f"Cannot write {path}: {error.strerror}. Needed: a writable folder with space. "
            "Change the path, its permissions or free space."
        ) from error


def _synthetic_samples(n_train: int, n_test: int, size: int, seed: int) -> Iterator[_Sample]:
    kinds = list(SAMPLE_CLASSES)
    seeds = np.random.SeedSequence(seed).spawn(2)
    for split, n, split_seed in zip(("train", "test"), (n_train, n_test), seeds, strict=True):
        for i, child in enumerate(split_seed.spawn(n)):
            rng = np.random.default_rng(child)
            kind, turn = kinds[i % len(kinds)], i // len(kinds)
            # 16-bit images move on by one kind from turn to turn.
            bit_depth = 12 if (i + turn) % 4 == 1 else 8
            scene, magnification = draw_scene(kind, (size, size), rng, bit_depth)
            image, labels = render_scene(scene, rng)
            yield _Sample(
                name=f"{split}_{kind}_{turn:02d}",
                image=image,
                labels=labels,
                preparation=SAMPLE_CLASSES[kind].preparation,
                test_class=kind if split == "test" else "",
                magnification=magnification,
            )


def _real_sample() -> _Sample:
    """Read the image that stardist ships, without importing stardist (and TensorFlow with it)."""
    advice = "Run 'pip install stardist' in this environment, or choose another dataset."
    try:
        package = distribution("stardist")
    except PackageNotFoundError as error:
        raise KaryosegError(
            f"The embedded sample takes its real image from stardist, which is not installed. {advice}"
        ) from error
    arrays = []
    for name in _REAL:
        file = Path(str(package.locate_file(name)))
        try:
            arrays.append(tifffile.imread(file))
        except (OSError, ValueError) as error:
            raise KaryosegError(
                f"The embedded sample needs the image {file} of the stardist package: {error}. "
                f"The installation is incomplete. {advice.replace('install', 'install --force-reinstall')}"
            ) from error
    image, labels = arrays
    return _Sample("real_stardist", image, labels.astype(np.int32), "fluorescence", "real")


def _write_archive(path: Path, samples: Iterator[_Sample], real: _Sample) -> None:
    """Write beside the target and rename, so that the archive is complete or absent."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path, f".{{}}.{os.getpid()}.part") as part, zipfile.ZipFile(part, "w") as archive:
        _fill(archive, samples, real)


def _fill(archive: zipfile.ZipFile, samples: Iterator[_Sample], real: _Sample) -> None:
    table = io.StringIO()
    writer = csv.writer(table, delimiter=";", lineterminator="\n")
    writer.writerow(COLUMNS)
    for sample in chain(samples, (real,)):
        pixel = CAMERA_PIXEL_UM / sample.magnification if sample.magnification else None
        _add(archive, f"rawimages/{sample.name}.tif", _tiff(sample.image, pixel))
        _add(archive, f"groundtruth/{sample.name}.tif", _tiff(sample.labels.astype(np.uint16), pixel))
        writer.writerow(_row(sample))
    _add(archive, "image_description.csv", table.getvalue().encode())


def _row(sample: _Sample) -> list[str]:
    """Fill one line of the table; decimal commas, `-` for what does not apply, as published."""
    inside = sample.labels > 0
    foreground = float(sample.image[inside].mean()) if inside.any() else 0.0
    background = float(sample.image[~inside].mean()) if not inside.all() else 0.0
    ratio = foreground / max(background, 0.1)
    noise_class = "<4" if ratio < _LOW else ">=4,<40" if ratio < _HIGH else ">=40"
    numbers = [f"{value:.1f}".replace(".", ",") for value in (background, foreground, ratio)]
    return [
        sample.name,
        "-",
        sample.preparation,
        "test" if sample.test_class else "train",
        sample.test_class or "-",
        f"{sample.magnification}x" if sample.magnification else "-",
        "FM",
        "-",
        "-" if sample.test_class == "real" else "karyoseg",
        *numbers,
        noise_class,
    ]


def _tiff(array: npt.NDArray[np.uint8 | np.uint16], pixel_um: float | None) -> bytes:
    buffer = io.BytesIO()
    resolution = (_UM_PER_CM / pixel_um,) * 2 if pixel_um else None
    tifffile.imwrite(
        buffer,
        array,
        photometric="minisblack",
        compression="zlib",
        metadata=None,
        software="karyoseg",
        resolution=resolution,
        resolutionunit="CENTIMETER" if resolution else None,
    )
    return buffer.getvalue()


def _add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    entry = zipfile.ZipInfo(name, _ZIP_DATE)
    entry.external_attr = 0o644 << 16
    entry.compress_type = zipfile.ZIP_DEFLATED
    archive.writestr(entry, content)
