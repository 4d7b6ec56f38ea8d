"""Layout of Kaggle's Data Science Bowl 2018: ``ID/images/ID.png`` and ``ID/masks/*.png``, a nucleus per mask.

References
----------
.. [1] J. C. Caicedo et al., "Nucleus segmentation across imaging experiments: the 2018 Data Science Bowl",
   Nature Methods 16 (2019), doi:10.1038/s41592-019-0612-7.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy import ndimage as ndi

from karyoseg.core.errors import KaryosegError, Problems
from karyoseg.core.io.images import ImageError, ImageFile, read_image, refuse_lossy
from karyoseg.core.sources.base import FileSource, SampleRecord, SourceOptions, apply_test_ids
from karyoseg.core.sources.names import image_files, locate, subfolder, unique_ids

logger = logging.getLogger(__name__)

_SEARCH_DEPTH = 3


class MaskFolderSource(FileSource):
    """Source with one mask file per object."""

    def read_image(self, sample_id: str) -> ImageFile:
        """Read the image of a sample; gray images stored as RGB become one channel.

        Parameters
        ----------
        sample_id : str
            Sample id.

        Returns
        -------
        ImageFile
            ``(Y, X)`` or ``(Y, X, C)`` pixels.
        """
        return collapse_gray(super().read_image(sample_id))

    def read_labels(self, sample_id: str) -> np.ndarray:
        """Combine the masks of a sample into one label image.

        Parameters
        ----------
        sample_id : str
            Sample id.

        Returns
        -------
        (Y, X) int32 ndarray
            The labels.

        Raises
        ------
        KaryosegError
            If a mask cannot be read or the masks differ in size.
        """
        paths = self.record(sample_id).labels
        shape: tuple[int, int] | None = None
        pieces: list[tuple[tuple[slice, slice], np.ndarray]] = []
        for path in paths:
            mask = read_mask(path)
            shape = shape or (mask.shape[0], mask.shape[1])
            if mask.shape != shape:
                raise ImageError(
                    str(path),
                    f"a mask of {mask.shape[0]} x {mask.shape[1]} px",
                    f"{shape[0]} x {shape[1]} px as in {paths[0].name}",
                    "Export the masks of this sample again.",
                )
            piece = crop(mask)
            if piece is None:
                logger.warning("%s marks no pixel; it counts as no nucleus.", path)
            else:
                pieces.append(piece)
        if shape is None:
            raise KaryosegError(f"Sample {sample_id} has no masks.")
        return paint(pieces, shape)


def collapse_gray(image: ImageFile) -> ImageFile:
    """Reduce a colour image whose channels are all equal to one channel.

    Parameters
    ----------
    image : ImageFile
        Any image.

    Returns
    -------
    ImageFile
        ``(Y, X)`` if the image was gray, else the image itself.
    """
    array = image.array
    if array.ndim == 2 or any(  # noqa: PLR2004
        not np.array_equal(array[..., 0], array[..., c]) for c in range(1, array.shape[-1])
    ):
        return image
    return replace(image, array=np.ascontiguousarray(array[..., 0]), axes="YX")


def read_mask(path: Path) -> np.ndarray:
    """Read a mask that marks one object with any value above zero.

    Parameters
    ----------
    path : Path
        The file; an alpha channel does not count.

    Returns
    -------
    (Y, X) bool ndarray
        True inside the object.

    Raises
    ------
    ImageError
        If it cannot be read, or is compressed as JPEG.
    """
    file = read_image(path)
    refuse_lossy(str(path), lossy=file.lossy)
    array = np.asarray(file.array > 0)
    return array if array.ndim == 2 else np.asarray(array.any(axis=-1))  # noqa: PLR2004


def crop(mask: np.ndarray) -> tuple[tuple[slice, slice], np.ndarray] | None:
    """Cut a mask to its bounding box and fill its holes; None if it is empty.

    Parameters
    ----------
    mask : (Y, X) bool ndarray
        One object.

    Returns
    -------
    tuple of (slice, slice) and (h, w) bool ndarray, or None
        The box and the filled mask inside it.

    Examples
    --------
    >>> box, filled = crop(np.pad([[1, 1, 1], [1, 0, 1], [1, 1, 1]], 2).astype(bool))
    >>> box[0], int(filled.sum())
    (slice(2, 5, None), 9)
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        return None
    box = (slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1))
    return box, ndi.binary_fill_holes(mask[box])


def paint(pieces: Sequence[tuple[tuple[slice, slice], np.ndarray]], shape: tuple[int, int]) -> np.ndarray:
    """Paint object masks into one label image, the largest first.

    A pixel claimed by several masks goes to the smallest of them: it loses the larger share if it yields, a
    nucleus inside another's outline would even vanish. Of equal masks the earlier one keeps its pixels, so a
    mask given twice is one object. The rule depends on the areas only, not on how boxes or centroids happen
    to lie. A mask in several pieces stays one object, as it was annotated.

    Parameters
    ----------
    pieces : sequence of ((slice, slice), (h, w) bool ndarray)
        Bounding boxes and masks from :func:`crop`, in a fixed order (file names).
    shape : (int, int)
        Height and width of the image.

    Returns
    -------
    (Y, X) int32 ndarray
        Labels 1..n in the order of `pieces`; objects that lost all pixels are left out.
    """
    labels = np.zeros(shape, np.int32)
    # Of equal areas the earlier mask is painted last.
    order = sorted(range(len(pieces)), key=lambda i: (int(pieces[i][1].sum()), i), reverse=True)
    for index in order:
        box, mask = pieces[index]
        labels[box][mask] = index + 1
    _, compact = np.unique(np.append(labels.ravel(), 0), return_inverse=True)
    return compact[:-1].reshape(shape).astype(np.int32)


def open_dsb2018(folder: Path, options: SourceOptions) -> MaskFolderSource:
    """Open a data set in Kaggle's layout.

    Folders below one whose name contains ``test`` (``stage1_test``) form the test split and may lack masks,
    those below ``train`` the training split; `options.test_ids` overrides both.

    Parameters
    ----------
    folder : Path
        Folder with one folder per sample, at most three levels down.
    options : SourceOptions
        Class and test ids.

    Returns
    -------
    MaskFolderSource
        The samples.

    Raises
    ------
    KaryosegError
        If no sample folder is found, or none of the test ids.
    """
    locate(folder, lambda p: bool(_sample_folders(p, 1)), "dsb2018", "ID/images/ID.png and ID/masks/*.png")
    problems = Problems()
    found: list[tuple[tuple[str, ...], SampleRecord]] = []
    for path in _sample_folders(folder, _SEARCH_DEPTH):
        parts = path.relative_to(folder).parts
        record = _record(path, " ".join(parts[:-1]), options, problems)
        if record is not None:
            found.append((parts, record))
    ids = unique_ids([parts for parts, _ in found])
    records = [replace(record, id=sample_id) for sample_id, (_, record) in zip(ids, found, strict=True)]
    names = [parts[-1] for parts, _ in found]
    return MaskFolderSource("dsb2018", apply_test_ids(records, names, options.test_ids), problems, options)


def _sample_folders(folder: Path, depth: int) -> list[Path]:
    """List the folders at most `depth` levels down that have an ``images`` folder of their own."""
    children = [p for p in sorted(folder.iterdir()) if p.is_dir() and not p.name.startswith((".", "__"))]
    found: list[Path] = []
    for child in children:
        if subfolder(child, "images") is not None:
            found.append(child)
        elif depth > 1:
            found += _sample_folders(child, depth - 1)
    return found


def _has_word(names: str, word: str) -> bool:
    """Find a word in names of folders, as in ``stage1_test``, ``Testing`` or ``TestSet``, but not in ``testis``."""
    apart = rf"(?<![^\W\d_])(?i:{word}(s|ing|set|data)?)(?![^\W\d_])"
    return re.search(rf"{apart}|(?<![A-Z]){word.title()}(?![a-z])", names) is not None


def _record(path: Path, above: str, options: SourceOptions, problems: Problems) -> SampleRecord | None:
    """Describe one sample folder; `above` names the folders around it. None if it is incomplete."""
    images_folder, masks_folder = subfolder(path, "images"), subfolder(path, "masks")
    images = image_files(images_folder) if images_folder else []
    masks = image_files(masks_folder) if masks_folder else []
    split = next((word for word in ("test", "train") if _has_word(above, word)), "")
    if len(images) != 1:
        problems.add(
            str(path / "images"),
            f"{len(images)} images",
            "one image per sample",
            "Keep one image in this folder, or remove the sample.",
        )
        return None
    if not masks and (masks_folder is not None or split != "test"):
        problems.add(
            str(path),
            "an image without mask",
            "masks/ with one mask file per nucleus",
            "Add the masks, or move the sample below a folder named test if it has no annotation.",
        )
        return None
    return SampleRecord(path.name, images[0], tuple(masks), split, options.sample_class)
