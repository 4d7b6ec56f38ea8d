"""What the cases work on: real images from an archive, or drawn ones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from karyoseg.core.io.archive import extract
from karyoseg.core.sources import SourceOptions, open_source
from karyoseg.core.synthetic import SAMPLE_CLASSES, draw_scene, render_scene
from karyoseg.models import bundled_models, model_folder
from karyoseg.params.train import TrainParams

SEED = 0
TILE = 256
SHAPES = [(256, 256), (256, 320), (360, 360), (520, 696), (512, 640), (1024, 1024)]  # of BBBC038
MODEL = Path("data/06_models/bbbc038")
ARCHIVE = Path("../shared/data/bbbc038-fluorescence.zip")
_MAX_FILES, _MAX_BYTES = 10_000, 10**10
_PART = 4  # one image in so many makes the smaller folder

Pair = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Inputs:
    """Images on disk.

    Parameters
    ----------
    folder : Path
        With ``images`` and ``truth`` (TIFF files of the same names), ``part`` (links to a quarter of the images, of the
        same mix of sizes), ``large/large.tif`` and pieces of it: ``blocks/blocks.tif``, ``image.tif``.
    facts : dict
        Where they come from; number and size.
    """

    folder: Path
    facts: dict[str, Any]

    def setting(self, case: str) -> dict[str, Any]:
        """Return what a case works on: folder, amount of work in it, single image."""
        name, amount = {
            "folder": ("images", "images"), "engines": ("part", "part"), "cluster": ("blocks", "blocks_mpx")
        }.get(case, ("large", "large_mpx"))  # fmt: skip
        return {
            "images": str(self.folder / name),
            "amount": self.facts[amount],
            "image": str(self.folder / "image.tif"),
        }


def scenes(n: int, shape: tuple[int, int]) -> list[Pair]:
    """Draw seeded raw images with labels."""
    rng = np.random.default_rng(SEED)
    kinds = list(SAMPLE_CLASSES)
    return [render_scene(draw_scene(kinds[i % len(kinds)], shape, rng)[0], rng) for i in range(n)]


def make_inputs(
    folder: Path, archive: Path | None, n_images: int, *, large: int, blocks: int = 0, single: int
) -> Inputs:
    """Write the images.

    Parameters
    ----------
    folder : Path
        Empty.
    archive : Path or None
        In the layout of S-BSST265, with real images; without it they are drawn. Only its training part is used.
    n_images : int
        Files in the folder.
    large, blocks, single : int
        Sides of the large image, of the one that is predicted in blocks, and of the single one [px].
    """
    for name in ("images", "truth", "part", "large", "blocks"):
        (folder / name).mkdir()
    pairs = _real(archive, folder / "archive", n_images) if archive else _drawn(n_images)
    source = f"training part of {archive.name}" if archive else "drawn"
    names, pixels = [], 0
    for number, (image, labels) in enumerate(pairs):
        names.append(f"{number:03d}.tif")
        tifffile.imwrite(folder / "images" / names[-1], image, compression="zlib")
        tifffile.imwrite(folder / "truth" / names[-1], labels.astype(np.int32), compression="zlib")
        pixels += image.size
    part = names[::_PART]
    for name in part:
        (folder / "part" / name).symlink_to(folder / "images" / name)
    mosaic = _mosaic([tifffile.imread(folder / "images" / name) for name in names], large)
    tifffile.imwrite(folder / "large" / "large.tif", mosaic)
    tifffile.imwrite(folder / "image.tif", mosaic[:single, :single])
    if blocks:
        tifffile.imwrite(folder / "blocks" / "blocks.tif", mosaic[:blocks, :blocks], tile=(512, 512))
    facts = {
        "source": source, "images": len(names), "mpx": pixels / 1e6, "part": len(part),
        "large_mpx": mosaic.size / 1e6, "single_mpx": min(single, large) ** 2 / 1e6,
        "blocks_mpx": min(blocks, large) ** 2 / 1e6,
    }  # fmt: skip
    return Inputs(folder, facts)


def model_path(model: str | None, scratch: Path) -> Path:
    """Find a model: the one named, else that of BBBC038, else one that ships, else an untrained one."""
    if model or (MODEL / "config.json").is_file():
        return model_folder(model or str(MODEL)).resolve()
    if bundled := bundled_models():
        return next(iter(bundled.values()))
    from karyoseg.models.stardist.network import build

    folder = scratch / "untrained"
    network: Any = build(TrainParams().config2d(1), folder)
    network.keras_model.save_weights(str(folder / "weights_best.h5"))
    (folder / "thresholds.json").write_text('{"prob": 0.5, "nms": 0.4}')
    return folder


def _real(archive: Path, unpacked: Path, n: int) -> Iterator[Pair]:
    """Read images spread evenly over the archive, with their labels."""
    extract(archive, unpacked, max_files=_MAX_FILES, max_bytes=_MAX_BYTES)
    source = open_source(unpacked, "bsst265", SourceOptions())
    ids = [record.id for record in source.records if record.split != "test"]
    for number in range(n):
        key = ids[number * len(ids) // n]
        image = source.read_image(key).array
        yield image if image.ndim == 2 else image[..., 0], source.read_labels(key)


def _drawn(n: int) -> Iterator[Pair]:
    drawn = [scenes(-(-n // len(SHAPES)), shape) for shape in SHAPES]
    return (drawn[number % len(SHAPES)][number // len(SHAPES)] for number in range(n))


def _mosaic(images: list[np.ndarray], side: int) -> np.ndarray:
    """Join pieces of the images, stretched to 8 bit."""
    rng = np.random.default_rng(SEED)
    images = [image for image in images if min(image.shape) >= TILE]
    joined = np.zeros((side, side), np.uint8)
    for number in range((side // TILE) ** 2):
        image = images[number % len(images)]
        low, high = np.percentile(image, [1, 99.8])
        top, left = (int(rng.integers(0, n - TILE + 1)) for n in image.shape)
        y, x = (TILE * n for n in divmod(number, side // TILE))
        piece = image[top : top + TILE, left : left + TILE].astype(np.float32)
        joined[y : y + TILE, x : x + TILE] = np.clip((piece - low) / max(high - low, 1) * 200 + 10, 0, 255)
    return joined
