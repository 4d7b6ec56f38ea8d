"""StarDist as a :class:`karyoseg.models.base.Segmenter`."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pandas as pd

from karyoseg.core.errors import KaryosegError
from karyoseg.core.preparation import ImageFacts, Preparation, scale_from_estimate
from karyoseg.core.progress import Progress
from karyoseg.models.base import Augment, LabelledSamples, Prediction
from karyoseg.models.stardist.architecture import read_thresholds
from karyoseg.models.stardist.card import model_card
from karyoseg.models.stardist.quiet import import_tensorflow

if TYPE_CHECKING:  # TensorFlow is imported only when it is needed
    from stardist.models import StarDist2D

    from karyoseg.models.stardist.engines import Choice, Engine

logger = logging.getLogger(__name__)

WEIGHTS, CONFIG, THRESHOLDS = "weights_best.h5", "config.json", "thresholds.json"
TRAINING, HISTORY, CARD = "training.json", "history.csv", "model_card.md"
_UNKNOWN = ImageFacts()
_OPENING = threading.Lock()
#: Nuclei this much smaller or larger than those seen in training are still segmented without rescaling.
_TOLERANCE = 1.3
_FILES = (CONFIG, THRESHOLDS, WEIGHTS, TRAINING, HISTORY, CARD)


class StarDistSegmenter:
    """A StarDist model folder.

    Parameters
    ----------
    directory : Path
        Folder that holds, or will hold, the model.
    training : mapping, optional
        Content of training.json: how images are prepared and how the model came to be.

    Examples
    --------
    >>> model = StarDistSegmenter.load(Path("data/06_models/stardist"))  # doctest: +SKIP
    >>> image, scale = model.prepare(raw)  # doctest: +SKIP
    >>> model.predict(image, scale=scale, out_shape=raw.shape[:2]).labels  # doctest: +SKIP
    """

    def __init__(self, directory: Path, training: Mapping[str, Any] | None = None):
        self.directory = Path(directory)
        self.training: dict[str, Any] = dict(training or {})
        self._choice: Choice | None = None
        self._engine: Engine | None = None

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Open a model folder; the network is read at the first prediction.

        Parameters
        ----------
        directory : Path
            Folder with config.json and weights_best.h5; training.json is optional: folders of plain StarDist open too.

        Returns
        -------
        StarDistSegmenter
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
        contents: dict[str, Any] = {}
        for path in (directory / name for name in (CONFIG, THRESHOLDS, TRAINING)):
            try:
                contents[path.name] = json.loads(path.read_text()) if path.is_file() else None
            except ValueError as error:
                raise KaryosegError(
                    f"{path}: is not valid JSON ({error}); needed: the file as it was written. "
                    f"Restore it or train again."
                ) from error
        return cls(directory, contents[TRAINING])

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

    @property
    def config(self) -> dict[str, Any]:
        """Content of config.json."""
        config: dict[str, Any] = json.loads((self.directory / CONFIG).read_text())
        return config

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

    @property
    def thresholds(self) -> dict[str, float]:
        """Probability and NMS threshold."""
        return read_thresholds(self.directory)

    @cached_property
    def fingerprint(self) -> str:
        """Hash of weights, configuration, thresholds and preparation."""
        digest = hashlib.sha256()
        for name in (CONFIG, THRESHOLDS, WEIGHTS):
            path = self.directory / name
            digest.update(path.read_bytes() if path.is_file() else b"")
        digest.update(json.dumps(self.preparation.to_dict(), sort_keys=True, default=str).encode())
        return digest.hexdigest()[:32]

    def use(self, engine: str = "auto", precision: str = "auto") -> str:
        """Choose what runs the network; see :func:`karyoseg.models.stardist.engines.choose`.

        Parameters
        ----------
        engine : {"auto", "keras", "openvino"}
            Engine.
        precision : {"auto", "f32", "bf16"}
            Numbers it calculates with.

        Returns
        -------
        str
            Engine and precision chosen, such as ``openvino bf16``.
        """
        choice = self._choose(engine, precision)
        return f"{choice.engine} {choice.precision}"

    def _choose(self, engine: str = "auto", precision: str = "auto") -> Choice:
        from karyoseg.models.stardist.engines import choose

        choice = choose(self.directory, engine, precision)
        logger.info("%s runs in %s", self.directory, choice)
        self._choice, self._engine = choice, None
        return choice

    @property
    def engine(self) -> Engine:
        """The network, ready to run; opened on first use."""
        with _OPENING:  # several images may ask at the same time
            if self._engine is None:
                from karyoseg.models.stardist.engines import open_engine

                self._engine = open_engine(self.directory, self._choice or self._choose())
        return self._engine

    def prepare(
        self,
        image: np.ndarray,
        *,
        facts: ImageFacts = _UNKNOWN,
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
        recipe = self.preparation
        if channels is not None:
            recipe = replace(recipe, channels=tuple(channels))
        probe = recipe.apply(image[:2, :2], where=facts.where)
        n_channels = 1 if probe.ndim == 2 else probe.shape[-1]  # noqa: PLR2004
        if n_channels != self.n_channels:
            raise KaryosegError(
                f"{facts.where}: {n_channels} channel(s) after selection, the model {self.directory} takes "
                f"{self.n_channels}; needed: the same number. Choose channels, or use a model trained on such images."
            )
        scale = scale or self._scale(recipe, image, facts)
        return recipe.apply(image, scale, where=facts.where), scale

    def _scale(self, recipe: Preparation, image: np.ndarray, facts: ImageFacts) -> float:
        mode = recipe.rescale["name"]
        if mode in ("magnification", "pixel_size"):
            return recipe.scale_for(facts)
        target = float(recipe.rescale["target"]) if mode == "diameter" else self.diameter
        if target is None:
            return 1.0
        if facts.diameter is not None:
            return replace(recipe, rescale={"name": "diameter", "target": target}).scale_for(facts)
        estimate = recipe.estimated_diameter(image)
        low, high = self.training.get("diameter_range", (0, np.inf))
        if mode == "none" and low / _TOLERANCE <= estimate <= high * _TOLERANCE:
            return 1.0
        return scale_from_estimate(estimate, target)

    def predict(
        self,
        image: np.ndarray,
        *,
        scale: float = 1.0,
        out_shape: tuple[int, int] | None = None,
        prob_thresh: float | None = None,
        nms_thresh: float | None = None,
    ) -> Prediction:
        """Segment a prepared image; see :meth:`karyoseg.models.base.Segmenter.predict`.

        Parameters
        ----------
        image : (Y, X) or (Y, X, C) float32 ndarray
            Prepared image.
        scale : float
            Prepared pixels per output pixel; used if `out_shape` is not given.
        out_shape : tuple of int, optional
            Size of the output (Y, X) [px].
        prob_thresh, nms_thresh : float, optional
            In place of the model's own thresholds, 0..1.

        Returns
        -------
        Prediction
            Instances on the output grid.
        """
        from karyoseg.models.stardist.instances import candidates, suppress

        prob = self.thresholds["prob"] if prob_thresh is None else prob_thresh
        nms = self.thresholds["nms"] if nms_thresh is None else nms_thresh
        shape = (image.shape[0], image.shape[1])
        out_shape = out_shape or (max(1, round(shape[0] / scale)), max(1, round(shape[1] / scale)))
        found = candidates(self.engine, image, prob)
        return suppress(*found, nms_thresh=nms, shape=shape, out_shape=out_shape)

    def fit(
        self,
        train: LabelledSamples,
        validation: LabelledSamples,
        augment: Augment | None,
        options: Mapping[str, Any],
    ) -> pd.DataFrame:
        """Train, choose thresholds on the validation samples and write the model folder.

        Parameters
        ----------
        train, validation : LabelledSamples
            Prepared samples.
        augment : callable or None
            Applied to every training patch.
        options : mapping
            Fields of ``TrainParams``, and ``config``: the fields of ``Config2D``.

        Returns
        -------
        DataFrame
            One row per epoch.
        """
        import_tensorflow()
        from karyoseg.models.stardist import fitting

        fitted = fitting.fit(self.directory, train, validation, augment, options)
        self._choice = self._engine = None  # of the weights before
        thresholds = fitted.search(self._validation_predictions(fitted.network, validation), options["nms_grid"])
        self._write(fitted.facts, fitted.history, thresholds)
        return fitted.history

    def _validation_predictions(self, network: StarDist2D, validation: LabelledSamples) -> Any:
        from karyoseg.models.stardist.engines.keras import KerasEngine
        from karyoseg.models.stardist.instances import candidates, suppress
        from karyoseg.models.stardist.thresholds import PROB_GRID

        engine = KerasEngine(network)
        predicted = Progress(validation.ids, desc="predicting validation images", unit="image")
        found = {key: candidates(engine, validation.images[key](), float(PROB_GRID[0])) for key in predicted}

        def predict_at(nms: float) -> Iterator[tuple[np.ndarray, Prediction]]:
            for key in Progress(validation.ids, desc=f"trying NMS threshold {nms:g}", unit="image"):
                truth = validation.labels[key]()
                yield truth, suppress(*found[key], nms_thresh=nms, shape=truth.shape, out_shape=truth.shape)

        return predict_at

    def _write(self, facts: Mapping[str, Any], history: pd.DataFrame, thresholds: Any) -> None:
        from karyoseg.models.stardist.workspace import replace_text

        self.training = {**self.training, **facts, "validation_score": thresholds.score}
        replace_text(self.directory / THRESHOLDS, json.dumps({"prob": thresholds.prob, "nms": thresholds.nms}))
        replace_text(self.directory / TRAINING, json.dumps(self.training, indent=2, default=str))
        replace_text(self.directory / CARD, model_card(self.training, self.config, self.thresholds, history))
        self.__dict__.pop("fingerprint", None)

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
