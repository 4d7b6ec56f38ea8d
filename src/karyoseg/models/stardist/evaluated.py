"""The data folder in which a model was trained and evaluated."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tifffile

from karyoseg.core.errors import KaryosegError
from karyoseg.core.io.sample_tables import read_samples
from karyoseg.core.metrics import AP_THRESHOLDS, match_table, pooled_ap
from karyoseg.core.progress import Progress
from karyoseg.core.splits import TRAIN, VALIDATION
from karyoseg.models.stardist.segmenter import StarDistSegmenter

_SAME = 0.99
_N_CHECKED = 3


class Evaluated:
    """What preprocess, train and evaluate left on disk.

    Parameters
    ----------
    data : Path
        With 02_intermediate, 03_primary, 07_model_output and 08_reporting.

    Raises
    ------
    KaryosegError
        If files are missing.
    """

    def __init__(self, data: Path):
        self._data = data
        try:
            self.scores: dict[str, Any] = json.loads((data / "08_reporting/metrics.json").read_text())
            self._evaluated: list[str] = read_samples(data / "08_reporting/metrics_per_image.csv")["id"].tolist()
            self._table = read_samples(data / "03_primary/manifest.csv").set_index("id")
        except (OSError, ValueError, KeyError) as error:
            raise KaryosegError(
                f"{data}: not the data folder of an evaluated model ({error}); needed: what preprocess, train and "
                f"evaluate wrote. Run `kedro run --pipeline evaluate`, or name the folder with --data."
            ) from error
        self.validation: list[str] = self._table.index[self._table["split"] == VALIDATION].tolist()

    def sizes(self) -> dict[str, list[float]]:
        """Return the range of nucleus diameter (median of each image), pixel size and magnification learnt from."""
        seen = self._table[self._table["split"] == TRAIN]
        known = seen[["diameter", "pixel_size_um", "magnification"]].apply(pd.to_numeric).agg(["min", "max"])
        return {str(name): known[name].round(3).tolist() for name in known if known[name].notna().all()}

    def check_scores_of(self, model: StarDistSegmenter) -> None:
        """Make sure that the scores are those of a model, by segmenting some of the evaluated images again.

        Parameters
        ----------
        model : StarDistSegmenter
            The model.

        Raises
        ------
        KaryosegError
            If it finds other objects than those on disk.
        """
        stored = self._data / "07_model_output/test_labels"
        for key in self._evaluated[:_N_CHECKED]:
            if _ap([(_read(stored / f"{key}.tif"), self._predict(model, key))])[0] < _SAME:
                raise KaryosegError(
                    f"{stored}: holds other objects than {model.directory} finds (image {key}); needed: the "
                    f"predictions of this model. Run `kedro run --pipeline evaluate` for it, then try again."
                )

    def validation_ap(self, model: StarDistSegmenter) -> dict[str, float]:
        """Score a model on the validation images.

        Parameters
        ----------
        model : StarDistSegmenter
            The model.

        Returns
        -------
        dict of str to float
            ``ap_50`` and ``ap_mean``, 0..1.
        """
        keys = Progress(self.validation, desc="validation images", unit="image")
        truth = self._data / "02_intermediate/labels"
        ap = _ap((_read(truth / f"{key}.tif"), self._predict(model, key)) for key in keys)
        return {"ap_50": ap[0], "ap_mean": float(np.mean(ap))}

    def _predict(self, model: StarDistSegmenter, key: str) -> np.ndarray:
        row = self._table.loc[[key]].to_dict("records")[0]
        shape = (int(row["height"]), int(row["width"]))
        image = _read(self._data / f"03_primary/images/{key}.tif")
        return model.predict(image, scale=float(row["scale"]), out_shape=shape).labels


def _ap(pairs: Iterable[tuple[np.ndarray, np.ndarray]]) -> list[float]:
    """Average precision at IoU 0.50, 0.55 ... 0.95, of the objects of all images together."""
    ap: list[float] = pooled_ap(match_table(true, found, AP_THRESHOLDS) for true, found in pairs).tolist()
    return ap


def _read(path: Path) -> np.ndarray:
    try:
        array: np.ndarray = tifffile.imread(path)
    except (OSError, ValueError) as error:
        raise KaryosegError(
            f"{path}: cannot be read ({error}); needed: the images and labels of the evaluation. Run preprocess and "
            f"evaluate again."
        ) from error
    return array
