"""The files of a StarDist model, and how they say that images are prepared."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np

from karyoseg.core.errors import KaryosegError
from karyoseg.core.io.image_files import ImageError
from karyoseg.core.preparation import ImageFacts, Plan, Preparation, scale_from_estimate
from karyoseg.models.stardist.architecture import CONFIG, THRESHOLDS, WEIGHTS, read_config, read_json, read_thresholds

TRAINING, HISTORY, CARD = "training.json", "history.csv", "model_card.md"
#: The network in 8 bit, and what it was made of; only if it was made.
INT8 = ("openvino_int8.xml", "openvino_int8.bin", "openvino_int8.json")
UNKNOWN = ImageFacts()
#: Nuclei this much smaller or larger than those seen in training are still segmented without rescaling.
_TOLERANCE = 1.3
#: px, taken for the size that models know which do not say it, such as the published ones.
_TYPICAL = 20.0
#: Facts of the training by which scale and contrast of an image are chosen.
_DECISIVE = ("diameter", "diameter_range", "share_dark")
_FILES = (CONFIG, THRESHOLDS, WEIGHTS, TRAINING, HISTORY, CARD, *INT8)


class ModelFolder:
    """A folder with a StarDist model: what its files say, and images prepared accordingly.

    Parameters
    ----------
    directory : Path
        Folder that holds, or will hold, the model.
    training : mapping, optional
        Content of training.json: how images are prepared and how the model came to be.
    """

    def __init__(self, directory: Path, training: Mapping[str, Any] | None = None):
        self.directory = Path(directory)
        self.training: dict[str, Any] = dict(training or {})

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Open a model folder; the network is read at the first prediction.

        Parameters
        ----------
        directory : Path
            Folder with config.json and weights_best.h5; training.json is optional: folders of plain StarDist open too.

        Returns
        -------
        ModelFolder
            The model.

        Raises
        ------
        KaryosegError
            If the folder holds no model.
        """
        directory = Path(directory)
        missing = [name for name in (CONFIG, WEIGHTS) if not (directory / name).is_file()]
        if missing:
            raise KaryosegError(
                f"{directory}: no model there ({' and '.join(missing)} missing); needed: a folder with {CONFIG} and "
                f"{WEIGHTS}. Train one with `kedro run --pipeline train`, pull one with dvc, or give another path."
            )
        training = directory / TRAINING
        model = cls(directory, read_json(training) if training.is_file() else None)
        _ = model.config, model.thresholds  # read now: what is in memory stays together if the folder changes
        return model

    def save(self, directory: Path) -> None:
        """Copy the model files into a folder.

        Parameters
        ----------
        directory : Path
            Target; made if needed.
        """
        directory.mkdir(parents=True, exist_ok=True)
        for name in _FILES:
            if (self.directory / name).is_file():
                shutil.copy2(self.directory / name, directory / name)
        if (self.directory / "logs").is_dir():
            shutil.copytree(self.directory / "logs", directory / "logs", dirs_exist_ok=True)

    @cached_property
    def config(self) -> dict[str, Any]:
        """Content of config.json."""
        return read_config(self.directory)

    @property
    def n_channels(self) -> int:
        """Channels the network takes."""
        return int(self.config["n_channel_in"])

    @property
    def preparation(self) -> Preparation:
        """How raw images are prepared."""
        default = {"colour": "gray" if self.n_channels == 1 else "keep"}
        return Preparation.from_dict(self.training.get("preparation", default))

    @property
    def diameter(self) -> float | None:
        """Median nucleus diameter seen in training [px of the prepared image]; None if unknown."""
        value = self.training.get("diameter")
        return None if value is None else float(value)

    @cached_property
    def thresholds(self) -> dict[str, float]:
        """Probability and NMS threshold."""
        return read_thresholds(self.directory)

    @cached_property
    def fingerprint(self) -> str:
        """Hash of all that decides what is found: weights, 8-bit network, configuration, thresholds, preparation."""
        digest = hashlib.sha256()
        for name in (CONFIG, THRESHOLDS, WEIGHTS, *INT8[:2]):
            path = self.directory / name
            digest.update(path.read_bytes() if path.is_file() else b"")
        facts = {"preparation": self.preparation.to_dict()} | {name: self.training.get(name) for name in _DECISIVE}
        digest.update(json.dumps(facts, sort_keys=True, default=str).encode())
        return digest.hexdigest()[:32]

    def prepare(
        self,
        image: np.ndarray,
        *,
        facts: ImageFacts = UNKNOWN,
        scale: float | None = None,
        channels: Sequence[int] | None = None,
    ) -> tuple[np.ndarray, float]:
        """Turn a raw image into network input.

        A model trained at one size needs the size of the image: it comes from `facts`, or the nucleus diameter is
        estimated. A model trained on natural sizes takes images as they are, unless their nuclei are far smaller or
        larger than those it learnt from.

        Parameters
        ----------
        image : (Y, X) or (Y, X, C) ndarray
            Raw image of any real dtype.
        facts : ImageFacts
            What is known about the image.
        scale : float, optional
            Prepared pixels per raw pixel; None derives it.
        channels : sequence of int, optional
            Channels to segment, in place of those of the recipe.

        Returns
        -------
        image : (Y', X') or (Y', X', C') float32 ndarray
            Prepared image.
        scale : float
            The scale used.

        Raises
        ------
        KaryosegError
            If the image has other channels than the model, or its size cannot be derived.
        """
        plan = self.plan(image, facts=facts, scale=scale, channels=channels)
        return plan.recipe.apply(image, plan.scale, where=facts.where), plan.scale

    def plan(
        self,
        image: np.ndarray,
        *,
        facts: ImageFacts = UNKNOWN,
        scale: float | None = None,
        channels: Sequence[int] | None = None,
    ) -> Plan:
        """Decide how an image is to be prepared, from the whole image or a sample of it.

        Parameters
        ----------
        image, facts, scale, channels
            See :meth:`prepare`.

        Returns
        -------
        Plan
            Recipe and scale.

        Raises
        ------
        KaryosegError
            See :meth:`prepare`.
        """
        recipe = self.preparation
        if channels is not None:
            recipe = replace(recipe, channels=tuple(channels))
        if image.dtype.kind == "f" and not np.isfinite(image).all():
            raise KaryosegError(
                f"{facts.where}: pixels that are NaN or infinite; needed: finite numbers. Replace them, for instance "
                "by the background (numpy.nan_to_num)."
            )
        probe = recipe.apply(image[:2, :2], where=facts.where)
        n_channels = 1 if probe.ndim == 2 else probe.shape[-1]  # noqa: PLR2004
        if n_channels != self.n_channels:
            raise ImageError(
                facts.where,
                f"{n_channels} channel(s) after selection, the model {self.directory} takes {self.n_channels}",
                "the same number",
                "Choose channels, or use a model trained on such images.",
            )
        stated = scale or self._stated_scale(recipe, facts)
        return Plan(recipe, stated) if stated else Plan(recipe, self._estimated_scale(recipe, image), estimated=True)

    def _stated_scale(self, recipe: Preparation, facts: ImageFacts) -> float | None:
        mode = recipe.rescale["name"]
        if mode in ("magnification", "pixel_size"):
            return recipe.scale_for(facts)
        if facts.diameter is None:
            return None
        return replace(recipe, rescale={"name": "diameter", "target": self._size(recipe) or _TYPICAL}).scale_for(facts)

    def _estimated_scale(self, recipe: Preparation, image: np.ndarray) -> float:
        size = self._size(recipe)
        if size is None:
            return 1.0
        estimate = recipe.estimated_diameter(image)
        low, high = self.training.get("diameter_range", (0, np.inf))
        if recipe.rescale["name"] == "none" and low / _TOLERANCE <= estimate <= high * _TOLERANCE:
            return 1.0
        return scale_from_estimate(estimate, size)

    def _size(self, recipe: Preparation) -> float | None:
        """Diameter at which nuclei are segmented [px of the prepared image]; None if unknown."""
        return float(recipe.rescale["target"]) if recipe.rescale["name"] == "diameter" else self.diameter

    def describe(self) -> dict[str, Any]:
        """Return facts for reports.

        Returns
        -------
        dict
            Family, folder, thresholds, configuration and training facts.
        """
        return {
            "family": "StarDist2D",
            "directory": str(self.directory),
            "fingerprint": self.fingerprint,
            "thresholds": self.thresholds,
            "training": self.training,
            "config": self.config,
        }
