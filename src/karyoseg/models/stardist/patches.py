"""Training patches: which are drawn, how they become network targets.

Every patch depends only on the seed, the epoch and its position, never on what was drawn before; a resumed or
multi-threaded training therefore sees the same patches.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass

import keras
import numpy as np
from scipy import ndimage as ndi
from skimage.segmentation import clear_border
from stardist.geometry import star_dist
from stardist.utils import edt_prob

from karyoseg.core.augmentation.augmenter import Augmenter
from karyoseg.core.augmentation.warps import Window
from karyoseg.models.base import Augment, LabelledSamples


class SampleCache:
    """Decoded samples, the least recently used dropped beyond a memory limit.

    Parameters
    ----------
    samples : LabelledSamples
        Where to read from.
    limit_bytes : float
        Memory for decoded arrays.
    """

    def __init__(self, samples: LabelledSamples, limit_bytes: float):
        self._samples = samples
        self._limit = limit_bytes
        self._used = 0
        self._items: OrderedDict[str, tuple[np.ndarray, np.ndarray, np.ndarray]] = OrderedDict()
        self._lock = threading.Lock()  # batches may be prepared by several threads

    def __getitem__(self, key: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return image, labels and the bounding boxes ``(n, 4)`` of the instances."""
        with self._lock:
            found = self._items.get(key)
            if found is not None:
                self._items.move_to_end(key)
                return found
        image = self._samples.images[key]()
        image = image[..., None] if image.ndim == 2 else image  # noqa: PLR2004
        labels = self._samples.labels[key]()
        found = image, labels, _boxes(labels)
        with self._lock:
            if key not in self._items:
                self._items[key] = found
                self._used += sum(array.nbytes for array in found)
            while self._used > self._limit and len(self._items) > 1:
                _, old = self._items.popitem(last=False)
                self._used -= sum(array.nbytes for array in old)
        return found


def _boxes(labels: np.ndarray) -> np.ndarray:
    """Bounding boxes (y0, y1, x0, x1) of all instances."""
    slices = [box for box in ndi.find_objects(np.maximum(labels, 0)) if box is not None]
    return np.array([(y.start, y.stop, x.start, x.stop) for y, x in slices], dtype=np.int32).reshape(-1, 4)


@dataclass(frozen=True)
class TargetSpec:
    """How labels become targets; the fields of StarDist's ``Config2D`` that matter for it.

    Parameters
    ----------
    n_rays : int
        Rays of each polygon.
    grid : tuple of int
        Subsampling of the targets (y, x).
    completion_crop : int
        Border cut off the patch for shape completion [px]; 0 = none.
    use_gpu : bool
        Compute distances by OpenCL.
    """

    n_rays: int
    grid: tuple[int, int]
    completion_crop: int = 0
    use_gpu: bool = False

    def targets(self, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Compute object probability and star distances of one patch.

        Parameters
        ----------
        labels : (Y, X) int32 ndarray
            Label patch; negative pixels get no loss.

        Returns
        -------
        prob : (Y', X', 1) float32 ndarray
            Normalised distance to the instance border on the grid; -1 where not annotated.
        dist : (Y', X', n_rays + 1) float32 ndarray
            Distances [px], last channel the weight of the distance loss.
        """
        crop = self.completion_crop
        inner = (slice(crop, -crop),) * 2 if crop else (slice(None),) * 2
        step = tuple(slice(None, None, g) for g in self.grid)
        ignored = labels[inner][step] < 0
        labels = np.maximum(labels, 0)
        prob = edt_prob(labels[inner][step])
        whole = clear_border(labels) if crop else labels
        mode = "opencl" if self.use_gpu else "cpp"
        if crop:
            dist = star_dist(whole, self.n_rays, mode=mode)[inner][step]
            weight = edt_prob(whole[inner][step])
        else:
            dist = star_dist(labels, self.n_rays, mode=mode, grid=self.grid)
            weight = prob
        weight = np.where(ignored, 0, weight)
        prob = np.where(ignored, -1, prob)  # what StarDist leaves out of the loss
        return prob[..., None].astype(np.float32), np.concatenate([dist, weight[..., None]], -1).astype(np.float32)


class PatchStream(keras.utils.PyDataset):
    """Batches of augmented patches with their targets.

    Parameters
    ----------
    samples : LabelledSamples
        Training samples.
    spec : TargetSpec
        How labels become targets.
    patch_size : tuple of int
        Patch size (y, x) [px].
    batch_size, steps : int
        Patches per batch, batches per epoch.
    foreground : float
        Share of patches that must hold a part of an instance, 0..1.
    augment : callable, optional
        Cuts every patch out of its sample and changes it; by default it only cuts.
    seed : int
        Seed of all choices.
    cache_bytes : float
        Memory for decoded samples.
    workers : int
        Threads that prepare batches.
    """

    def __init__(
        self,
        samples: LabelledSamples,
        spec: TargetSpec,
        *,
        patch_size: tuple[int, int],
        batch_size: int,
        steps: int,
        foreground: float = 0.9,
        augment: Augment | None = None,
        seed: int = 0,
        cache_bytes: float = 1e9,
        workers: int = 1,
    ):
        super().__init__(workers=workers)
        self._ids = samples.ids
        self._cache = SampleCache(samples, cache_bytes)
        self._spec = spec
        self._patch_size = patch_size
        self._batch_size = batch_size
        self._steps = steps
        self._foreground = foreground
        self._augment = augment or Augmenter([])
        self._seed = seed
        #: Set by the training loop at the start of each epoch.
        self.epoch = 0

    def __len__(self) -> int:
        return self._steps

    def __getitem__(self, step: int) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]:
        """Return images ``(B, Y, X, C)`` and targets ``(prob, dist)`` of one batch."""
        first = (self.epoch * self._steps + step) * self._batch_size
        patches = [self.patch(first + i) for i in range(self._batch_size)]
        targets = [self._spec.targets(labels) for _, labels in patches]
        crop = self._spec.completion_crop
        inner = slice(crop, -crop) if crop else slice(None)
        images = np.stack([image[inner, inner] for image, _ in patches])
        return images, (np.stack([prob for prob, _ in targets]), np.stack([dist for _, dist in targets]))

    def patch(self, position: int) -> tuple[np.ndarray, np.ndarray]:
        """Draw the patch at a position of the endless sequence.

        Every image is visited once before any is visited again.

        Parameters
        ----------
        position : int
            Counts patches from the start of the training.

        Returns
        -------
        tuple of ndarray
            Image ``(Y, X, C)`` float32 and labels ``(Y, X)`` int32.
        """
        n = len(self._ids)
        order = np.random.default_rng((self._seed, 0, position // n)).permutation(n)
        rng = np.random.default_rng((self._seed, 1, position))
        image, labels, boxes = self._cache[self._ids[order[position % n]]]
        window = Window(*self._corner(labels.shape, boxes, rng), *self._patch_size)
        squeezed = image[..., 0] if image.shape[-1] == 1 else image
        image, labels = self._augment(squeezed, labels, (self._seed, 2, position), window)
        image = image[..., None] if image.ndim == 2 else image  # noqa: PLR2004
        return image.astype(np.float32, copy=False), labels

    def _corner(self, shape: tuple[int, ...], boxes: np.ndarray, rng: np.random.Generator) -> tuple[int, int]:
        room = [max(0, have - want) for have, want in zip(shape, self._patch_size, strict=True)]
        if not len(boxes) or rng.random() >= self._foreground:
            return int(rng.integers(room[0] + 1)), int(rng.integers(room[1] + 1))
        y0, y1, x0, x1 = boxes[rng.integers(len(boxes))]
        corner = []
        for low, high, want, most in zip((y0, x0), (y1, x1), self._patch_size, room, strict=True):
            inside = rng.integers(low, high)
            corner.append(int(np.clip(inside - rng.integers(want), 0, most)))
        return corner[0], corner[1]
