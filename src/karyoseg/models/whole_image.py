"""Objects of an image that is segmented as a whole, prepared as the model asks for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

import numpy as np

from karyoseg.core.blocks.grid import Window
from karyoseg.core.preparation import ImageFacts, Preparation
from karyoseg.core.threads import PIXELS_SEEN
from karyoseg.models.base import Prediction, Segmenter

_UNKNOWN = ImageFacts()


@contextmanager
def preparing(recipe: Preparation, image: np.ndarray, where: str) -> Iterator[Callable[..., np.ndarray]]:
    """Give what prepares an image at any scale, as soon as there is room for it in memory; hold the room until the end.

    Parameters
    ----------
    recipe : Preparation
        How.
    image : (Y, X) or (Y, X, C) ndarray
        Raw image of any real dtype.
    where : str
        File or id, named in errors.

    Yields
    ------
    callable
        Called with a scale, gives the image prepared at it; with a part (Y, X) [px] besides, only that, prepared as if
        it were an image.
    """
    with ExitStack() as held:
        room = 0.0

        def prepare(scale: float, part: Window | None = None) -> np.ndarray:
            nonlocal room
            pixels = image if part is None else image[part]
            needed = pixels.size * max(1.0, scale**2)
            if needed > room:
                held.close()  # two that hold some and wait for more would wait for ever
                held.enter_context(PIXELS_SEEN.take(needed))
                room = needed
            return recipe.apply(pixels, scale, where=where)

        yield prepare


def segment_image(
    segmenter: Segmenter,
    image: np.ndarray,
    *,
    facts: ImageFacts = _UNKNOWN,
    scale: float | None = None,
    channels: Sequence[int] | None = None,
    **thresholds: float | None,
) -> tuple[Prediction, Preparation]:
    """Prepare an image and find its objects.

    Parameters
    ----------
    segmenter : Segmenter
        The model.
    image : (Y, X) or (Y, X, C) ndarray
        Raw image of any real dtype.
    facts : ImageFacts
        What is known about it.
    scale : float, optional
        Prepared pixels per pixel; None derives it from `facts`, or estimates the size of nuclei and corrects the
        estimate by what is found.
    channels : sequence of int, optional
        Channels to segment.
    **thresholds : float, optional
        ``prob_thresh`` and ``nms_thresh`` of the prediction.

    Returns
    -------
    prediction : Prediction
        Objects on the grid of `image`.
    recipe : Preparation
        How the image was prepared.

    Raises
    ------
    KaryosegError
        If the image has other channels than the model, or its size cannot be derived.

    Examples
    --------
    >>> found, _ = segment_image(load_segmenter("nuclei-fluo"), image)  # doctest: +SKIP
    >>> found.labels.shape == image.shape[:2]  # doctest: +SKIP
    True
    """
    plan = segmenter.plan(image, facts=facts, scale=scale, channels=channels)
    with preparing(plan.recipe, image, facts.where) as prepare:
        found = segmenter.predict(
            prepare(plan.scale),
            scale=plan.scale,
            out_shape=(image.shape[0], image.shape[1]),
            check_size=plan.estimated,
            prepare=prepare,
            **thresholds,
        )
    return found, plan.recipe
