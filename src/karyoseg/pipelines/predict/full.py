"""Full mode: predictions at two scales become one by the rules of the post-processing."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass
from typing import Any, NoReturn

import fsspec
import numpy as np

from karyoseg.core.errors import KaryosegError
from karyoseg.core.io.image_files import ImageError
from karyoseg.core.io.inputs import InputImage
from karyoseg.core.io.storage import storage_errors
from karyoseg.core.postprocessing.combine import PostProcessing, combine
from karyoseg.core.preparation import ImageFacts, Preparation
from karyoseg.models.base import Segmenter
from karyoseg.models.two_scales import open_foreground, segment_at_two_scales
from karyoseg.models.unet import ForegroundModel
from karyoseg.params.predict import PredictParams
from karyoseg.pipelines.predict.large import why_in_blocks

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class FullMode:
    """What the full mode needs beside the model.

    Parameters
    ----------
    postprocessing : PostProcessing
        Parameters of the rules.
    second_scale : float
        How much larger nuclei are in the second run.
    foreground : ForegroundModel or None
        Maps where nuclei are.
    """

    postprocessing: PostProcessing
    second_scale: float
    foreground: ForegroundModel | None = None

    @classmethod
    def open(cls, params: PredictParams, segmenter: Segmenter) -> FullMode:
        """Read the parameters of the rules; warn if they were searched for something else.

        Parameters
        ----------
        params : PredictParams
            All parameters.
        segmenter : Segmenter
            The model.

        Returns
        -------
        FullMode
            Ready to segment.
        """
        foreground = open_foreground(params.full.foreground_model, segmenter)
        mark = foreground and foreground.fingerprint
        path, second_scale = params.full.postprocessing, params.full.second_scale
        found, searched = read_rules(path)
        if searched.get("second_scale", second_scale) != second_scale:
            logger.warning("%s: searched with second_scale %g, not %g", path, searched["second_scale"], second_scale)
        if searched.get("fingerprint", segmenter.fingerprint) != segmenter.fingerprint:
            logger.warning("%s: searched with another model (%s)", path, searched.get("model"))
        if searched.get("foreground_fingerprint", mark) != mark:
            used = searched.get("foreground_model") or "none"
            logger.warning("%s: searched with another foreground model (%s)", path, used)
        logger.info("Full mode: scales 1 and %g, %s", second_scale, found)
        return cls(found, second_scale, foreground)

    @property
    def identity(self) -> dict[str, Any]:
        """JSON-able facts that decide the results."""
        mark = self.foreground and self.foreground.fingerprint
        return asdict(self.postprocessing) | {"second_scale": self.second_scale, "foreground_model": mark}

    def segment(
        self,
        segmenter: Segmenter,
        image: np.ndarray,
        params: PredictParams,
        *,
        facts: ImageFacts,
        scale: float | None,
    ) -> tuple[np.ndarray, float, Preparation]:
        """Segment an image.

        Parameters
        ----------
        segmenter : Segmenter
            The model.
        image : (Y, X) or (Y, X, C) ndarray
            Raw image.
        params : PredictParams
            All parameters.
        facts : ImageFacts
            What is known about the image.
        scale : float or None
            Of the first run [prepared px per px]; None lets the image decide.

        Returns
        -------
        labels : (Y, X) int32 ndarray
            Label image.
        scale : float
            Of the first run.
        recipe : Preparation
            How the image was prepared.
        """
        found = segment_at_two_scales(
            segmenter,
            image,
            facts=facts,
            second_scale=self.second_scale,
            foreground=self.foreground,
            scale=scale,
            channels=params.channels,
            prob_thresh=params.prob_thresh,
            nms_thresh=params.nms_thresh,
        )
        return combine(found.first, found.second, found.foreground, self.postprocessing), found.scale, found.recipe


def read_rules(path: str | None) -> tuple[PostProcessing, dict[str, Any]]:
    """Read the parameters of the rules.

    Parameters
    ----------
    path : str or None
        File that tune_postprocessing wrote; None for the default parameters.

    Returns
    -------
    parameters : PostProcessing
        The parameters.
    searched : dict
        The whole file, which says for what they were searched.

    Raises
    ------
    KaryosegError
        If there is no such file, or it holds something else.
    """
    text = '{"parameters": {}}' if path is None else _read(path)
    return PostProcessing.from_json(text, str(path)), json.loads(text)


def refuse_large(params: PredictParams, source: InputImage) -> NoReturn:
    """Raise: an image that is predicted in blocks cannot be predicted in full mode.

    Parameters
    ----------
    params : PredictParams
        All parameters.
    source : InputImage
        The image.

    Raises
    ------
    ImageError
        Always.
    """
    reason, advice = why_in_blocks(params, source)
    raise ImageError(
        source.path,
        f"{reason}, so it is predicted in blocks, which the full mode cannot",
        "an image that is predicted as a whole",
        f"{advice}, or predict it alone, with predict.mode=fast.",
    )


def _read(path: str) -> str:
    try:
        with storage_errors(path), fsspec.open(path, "rt") as file:
            text: str = file.read()
            return text
    except OSError as error:
        raise KaryosegError(
            f"predict.full.postprocessing: {path} cannot be read ({error}); needed: the file that tune_postprocessing "
            f"wrote. Run `kedro run --pipeline tune_postprocessing`, or leave it out for the default parameters."
        ) from error
