"""A recipe for tests whose models look at grey values."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from karyoseg.core.preparation import Preparation
from karyoseg.core.size import resize_image


@dataclass(frozen=True)
class OnlyRescaled(Preparation):
    """Channels and size are changed, intensities are not."""

    def apply(self, image: np.ndarray, scale: float = 1.0, where: str = "image") -> np.ndarray:
        """Rescale the channels of the recipe."""
        return resize_image(self.select(image, where), scale)
