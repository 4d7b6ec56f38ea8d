"""StarDist as a :class:`karyoseg.models.base.Segmenter`."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from karyoseg.core.blocks.grid import Objects
from karyoseg.core.io.files import replace_text
from karyoseg.core.preparation import ImageFacts, Plan, Preparation, scaled
from karyoseg.core.progress import Progress
from karyoseg.core.size import resize_image
from karyoseg.models.base import Augment, LabelledSamples, Prediction
from karyoseg.models.quiet import import_tensorflow
from karyoseg.models.resolve import model_folder
from karyoseg.models.stardist.architecture import THRESHOLDS, Geometry
from karyoseg.models.stardist.card import model_card
from karyoseg.models.stardist.contrast import plan_contrast
from karyoseg.models.stardist.folder import CARD, TRAINING, UNKNOWN, ModelFolder

if TYPE_CHECKING:  # TensorFlow is imported only when it is needed
    from stardist.models import StarDist2D

    from karyoseg.models.stardist.engines import Choice, Engine

logger = logging.getLogger(__name__)

_OPENING = threading.Lock()


class StarDistSegmenter(ModelFolder):
    """A StarDist model: trains, prepares images and finds objects in them.

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
        super().__init__(directory, training)
        self._choice: Choice | None = None
        self._engine: Engine | None = None

    def use(self, engine: str = "auto", precision: str = "auto") -> str:
        """Choose what runs the network; see :func:`karyoseg.models.stardist.engines.choose`.

        Parameters
        ----------
        engine : {"auto", "keras", "openvino", "onnxruntime"}
            Engine.
        precision : {"auto", "f32", "bf16", "int8"}
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
        logger.info("%s runs in %s", self.directory.name, choice)
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

    def plan(
        self,
        image: np.ndarray,
        *,
        facts: ImageFacts = UNKNOWN,
        scale: float | None = None,
        channels: Sequence[int] | None = None,
    ) -> Plan:
        """Decide how an image is to be prepared, from the whole image or a sample of it.

        Dark nuclei on a bright background are shown to a model that has learnt from bright ones only as what it knows,
        see :func:`karyoseg.models.stardist.contrast.plan_contrast`.

        Parameters
        ----------
        image, facts, scale, channels
            See :meth:`karyoseg.models.stardist.folder.ModelFolder.plan`.

        Returns
        -------
        Plan
            Recipe and scale.

        Raises
        ------
        KaryosegError
            If the image has other channels than the model, or its size cannot be derived.
        """
        usual = super().plan(image, facts=facts, scale=scale, channels=channels)
        return plan_contrast(self, image, facts, usual)

    def predict(
        self,
        image: np.ndarray,
        *,
        scale: float = 1.0,
        out_shape: tuple[int, int] | None = None,
        prob_thresh: float | None = None,
        nms_thresh: float | None = None,
        check_size: bool = True,
        prepare: Callable[..., np.ndarray] | None = None,
    ) -> Prediction:
        """Segment a prepared image; see :meth:`karyoseg.models.base.Segmenter.predict`.

        If what is found shows that the estimate of the size was wrong, it is corrected; see
        :func:`karyoseg.models.stardist.right_scale.find_at_right_scale`.

        Parameters
        ----------
        image : (Y, X) or (Y, X, C) float32 ndarray
            Prepared image.
        scale : float
            Prepared pixels per output pixel.
        out_shape : tuple of int, optional
            Size of the output (Y, X) [px].
        prob_thresh, nms_thresh : float, optional
            In place of the model's own thresholds, 0..1.
        check_size : bool
            Whether to do so; not for images whose size was stated.
        prepare : callable, optional
            Called with another scale, gives the image prepared at it; with a part (Y, X) [output px] besides, only
            that. Without it the prepared image is resized.

        Returns
        -------
        Prediction
            Instances on the output grid.
        """
        from karyoseg.models.stardist.instances import draw
        from karyoseg.models.stardist.right_scale import find_at_right_scale

        shape = out_shape or (max(1, round(image.shape[0] / scale)), max(1, round(image.shape[1] / scale)))

        def resized(at: float, part: tuple[slice, slice] | None = None) -> np.ndarray:
            seen = part and tuple(scaled(side, scale, n) for side, n in zip(part, shape, strict=True))
            return resize_image(image[seen or ...], at / scale)

        rescale = self.preparation.rescale
        found, right = find_at_right_scale(
            self.engine,
            prepare or resized,
            image,
            scale,
            shape,
            target=float(rescale["target"]) if check_size and rescale["name"] == "diameter" else None,
            prob_thresh=self.thresholds["prob"] if prob_thresh is None else prob_thresh,
            nms_thresh=self.thresholds["nms"] if nms_thresh is None else nms_thresh,
        )
        return draw(found, shape, right)

    @property
    def context(self) -> tuple[int, int]:
        """How far to either side the network sees (Y, X) [px of the prepared image]."""
        return Geometry.from_config(self.config).context

    @property
    def stride(self) -> tuple[int, int]:
        """Where parts of a prepared image may begin: at multiples of this (Y, X) [px]."""
        return Geometry.from_config(self.config).stride

    def find(
        self,
        image: np.ndarray,
        *,
        origin: tuple[int, int],
        valid: tuple[slice, slice],
        factor: tuple[float, float],
        prob_thresh: float | None = None,
        nms_thresh: float | None = None,
    ) -> Objects:
        """Find the objects of a part of a prepared image; see :meth:`karyoseg.models.base.Segmenter.find`.

        Parameters
        ----------
        image : (Y, X) or (Y, X, C) float32 ndarray
            Part of a prepared image.
        origin : tuple of int
            Where it begins (Y, X) [prepared px], a multiple of `stride`.
        valid : tuple of slice
            Candidates outside of this part of the whole prepared image are ignored: they do not see enough.
        factor : tuple of float
            Output pixels per prepared pixel (Y, X).
        prob_thresh, nms_thresh : float, optional
            In place of the model's own thresholds, 0..1.

        Returns
        -------
        Objects
            In raster order.
        """
        from karyoseg.models.stardist.instances import candidates, distinct

        prob_thresh = self.thresholds["prob"] if prob_thresh is None else prob_thresh
        nms_thresh = self.thresholds["nms"] if nms_thresh is None else nms_thresh
        found = candidates(self.engine, image, prob_thresh)
        found = replace(found, points=found.points + origin)
        sides = zip(valid, found.points.T, strict=True)
        inside = np.all([(part.start <= p) & (p < part.stop) for part, p in sides], axis=0)
        objects = distinct(found.pick(inside), nms_thresh, np.asarray(factor))
        return objects.pick(np.lexsort(objects.points.T[::-1]))

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

        self._compare_with(options["init"])
        fitted = fitting.fit(self.directory, train, validation, augment, options)
        self._choice = self._engine = None  # of the weights before
        thresholds = fitted.search(self._validation_predictions(fitted.network, validation), options["nms_grid"])
        self._write(fitted.facts, fitted.history, thresholds)
        return fitted.history

    def _compare_with(self, init: Mapping[str, Any]) -> None:
        """Warn if the model that training starts from has learnt from images prepared in another way."""
        if init["name"] != "model":
            return
        recipes = [model.training.get("preparation") for model in (ModelFolder.load(model_folder(init["path"])), self)]
        theirs, ours = (recipe and Preparation.from_dict(recipe) for recipe in recipes)
        if theirs and ours and theirs != ours:
            logger.warning(
                "%s has learnt from images prepared with %s, these are prepared with %s, so it has much to learn anew. "
                "Unless that is meant, set `preprocess` as it was and run it again",
                *(init["path"], theirs, ours),
            )

    def _validation_predictions(
        self, network: StarDist2D, validation: LabelledSamples
    ) -> Iterator[tuple[np.ndarray, Callable[[float], Prediction]]]:
        """Give the true labels of each image, and its prediction for any NMS threshold."""
        from karyoseg.models.stardist.engines.keras import KerasEngine
        from karyoseg.models.stardist.instances import candidates, suppress
        from karyoseg.models.stardist.thresholds import PROB_GRID

        engine = KerasEngine(network)
        for key in Progress(validation.ids, desc="choosing thresholds", unit="image"):
            found, truth = candidates(engine, validation.images[key](), float(PROB_GRID[0])), validation.labels[key]()

            def predict_at(nms: float, found: Any = found, shape: Any = truth.shape) -> Prediction:
                return suppress(found, nms_thresh=nms, shape=shape, out_shape=shape)

            yield truth, predict_at

    def _write(self, facts: Mapping[str, Any], history: pd.DataFrame, thresholds: Any) -> None:
        for cached in ("config", "thresholds", "fingerprint"):
            self.__dict__.pop(cached, None)
        self.training |= {"name": self.directory.name, **facts, "validation_score": thresholds.score}
        replace_text(self.directory / THRESHOLDS, json.dumps({"prob": thresholds.prob, "nms": thresholds.nms}))
        replace_text(self.directory / TRAINING, json.dumps(self.training, indent=2, default=str))
        replace_text(self.directory / CARD, model_card(self.training, self.config, self.thresholds, history))
