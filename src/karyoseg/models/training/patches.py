"""Training patches: which are drawn, how they become batches.

Every patch depends only on the seeds, the epoch and its position, never on what was drawn before; a resumed or
multi-threaded training therefore sees the same patches.
"""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np

from karyoseg.core.augmentation.augmenter import Augmenter
from karyoseg.core.augmentation.warps import Window
from karyoseg.models.base import Augment, LabelledSamples
from karyoseg.models.training.samples import SampleCache, in_turn

#: What a network should give: one array, or one for each of its outputs.
Targets = np.ndarray | tuple[np.ndarray, ...]
#: With one worker Keras has tf.data tune itself. The thread that tunes sleeps for up to a minute, and the next epoch
#: only begins when it has woken up: seen with TensorFlow 2.21, where epochs of 48 s took 82 s.
LEAST_WORKERS = 2
#: How often a patch is drawn until it has an annotated pixel, and how often from one image before the next is taken.
_MOST_DRAWS, _DRAWS_PER_IMAGE = 64, 4


class PatchStream(keras.utils.PyDataset):
    """Batches of augmented patches with their targets.

    A patch without annotated pixels is drawn again, as there is nothing to learn from it, and a batch of such patches
    has no loss: StarDist's is NaN then.

    Parameters
    ----------
    samples : LabelledSamples
        Training samples.
    make_targets : callable
        Turns the labels ``(Y, X)`` of a patch into what the network should give: an array, or a tuple of arrays.
    patch_size : tuple of int
        Patch size (y, x) [px].
    batch_size, steps : int
        Patches per batch, batches per epoch.
    crop : int
        Border that is cut off the image of a patch [px], where `make_targets` does so with the labels.
    foreground : float
        Share of patches that must hold a part of an instance, 0..1.
    augment : callable, optional
        Cuts every patch out of its sample and changes it; by default it only cuts.
    seed : int
        Seed of what is drawn.
    augment_seed : int, optional
        Seed of what `augment` does; by default `seed`.
    cache_bytes : float
        Memory for decoded samples.
    workers : int
        Threads that prepare batches; two at least.
    """

    def __init__(
        self,
        samples: LabelledSamples,
        make_targets: Callable[[np.ndarray], Targets],
        *,
        patch_size: tuple[int, int],
        batch_size: int,
        steps: int,
        crop: int = 0,
        foreground: float = 0.9,
        augment: Augment | None = None,
        seed: int = 0,
        augment_seed: int | None = None,
        cache_bytes: float = 1e9,
        workers: int = LEAST_WORKERS,
    ):
        super().__init__(workers=max(workers, LEAST_WORKERS))
        self._ids = samples.ids
        self._cache = SampleCache(samples, cache_bytes)
        self._make_targets = make_targets
        self._patch_size = patch_size
        self._batch_size = batch_size
        self._steps = steps
        self._inner = slice(crop, -crop) if crop else slice(None)
        self._foreground = foreground
        self._augment = augment or Augmenter([])
        self._seed = seed
        self._augment_seed = seed if augment_seed is None else augment_seed
        #: Set by the training loop at the start of each epoch.
        self.epoch = 0

    def __len__(self) -> int:
        return self._steps

    def __getitem__(self, step: int) -> tuple[np.ndarray, Targets]:
        """Return images ``(B, Y, X, C)`` and targets of one batch."""
        first = (self.epoch * self._steps + step) * self._batch_size
        patches = [self.patch(first + i) for i in range(self._batch_size)]
        images = np.stack([image[self._inner, self._inner] for image, _ in patches])
        targets = [self._make_targets(labels) for _, labels in patches]
        if isinstance(targets[0], tuple):
            return images, tuple(np.stack(parts) for parts in zip(*targets, strict=True))
        return images, np.stack(targets)

    def patch(self, position: int) -> tuple[np.ndarray, np.ndarray]:
        """Draw the patch at a position of the endless sequence.

        Every image is visited once before any is visited again, except to draw patches again that have no annotated
        pixel.

        Parameters
        ----------
        position : int
            Counts patches from the start of the training.

        Returns
        -------
        tuple of ndarray
            Image ``(Y, X, C)`` float32 and labels ``(Y, X)`` int32.
        """
        for attempt in range(_MOST_DRAWS):
            image, labels = self._draw(position, attempt)
            if (labels[self._inner, self._inner] >= 0).any():
                break
        return image, labels

    def _draw(self, position: int, attempt: int) -> tuple[np.ndarray, np.ndarray]:
        """Draw a patch; every attempt gives another one, after some of another image."""
        number = (position, attempt) if attempt else (position,)
        rng = np.random.default_rng((self._seed, 1, *number))
        turn = position + attempt // _DRAWS_PER_IMAGE
        image, labels, boxes = self._cache[in_turn(self._ids, self._seed, turn)]
        window = Window(*self._corner(labels.shape, boxes, rng), *self._patch_size)
        squeezed = image[..., 0] if image.shape[-1] == 1 else image
        image, labels = self._augment(squeezed, labels, (self._augment_seed, 2, *number), window)
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
