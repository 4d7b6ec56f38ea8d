"""Whether OpenVINO gives what TensorFlow gives, measured on the model at hand.

A drawn image goes through both, up to the objects at the model's own thresholds. TensorFlow is needed for that, so it
is done once per model: the figures are kept in the user's cache folder.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np

from karyoseg.core.io.files import replacing
from karyoseg.core.matching import count_matches, find_overlap
from karyoseg.core.normalise import normalise
from karyoseg.core.synthetic import SAMPLE_CLASSES, draw_scene, render_scene
from karyoseg.models.stardist.architecture import CONFIG, WEIGHTS, Geometry, read_config, read_thresholds
from karyoseg.models.stardist.engines import Choice, Engine, open_engine
from karyoseg.models.stardist.instances import candidates, suppress
from karyoseg.models.stardist.pretrained import cache_folder

logger = logging.getLogger(__name__)

#: Probabilities, distances, label image.
Outputs = tuple[np.ndarray, np.ndarray, np.ndarray]

_SIDE = 256
_SEED = 0
_LIMITS = {"f32": (1e-3, 1e-3), "bf16": (0.03, 0.03)}
_LIKELY = 0.3  # distances matter where there may be an object
_ALIKE = 0.99  # share of objects; a barely trained model has many probabilities next to the threshold


@dataclass(frozen=True)
class Verdict:
    """How far the output of an engine is from TensorFlow's.

    Parameters
    ----------
    prob : float
        99th percentile of the difference of object probabilities.
    dist : float
        Median relative difference of the star distances where an object is likely.
    objects : float
        Share of the objects that both find, 0..1: F1 at IoU 0.5; 1 if there are none.
    passed : bool
        Whether that is close enough.
    """

    prob: float
    dist: float
    objects: float
    passed: bool

    def __str__(self) -> str:
        return (
            f"beside TensorFlow: probabilities differ by {self.prob:.1g}, distances by {100 * self.dist:.1g} %, "
            f"{100 * self.objects:.4g} % of objects are the same"
        )


def check(folder: Path) -> dict[str, Verdict]:
    """Compare OpenVINO with TensorFlow, or recall the earlier comparison.

    Parameters
    ----------
    folder : Path
        StarDist model folder.

    Returns
    -------
    dict of str to Verdict
        For ``f32`` and ``bf16``; on a processor without bfloat16 its verdict is that of its emulation.
    """
    kept = cache_folder() / "parity" / f"{_key(folder)}.json"
    try:
        return {precision: Verdict(**facts) for precision, facts in json.loads(kept.read_text()).items()}
    except (OSError, ValueError, TypeError):
        logger.info("First prediction with %s here: comparing OpenVINO with TensorFlow", folder)
    image = probe(Geometry.from_config(read_config(folder)))
    thresholds = read_thresholds(folder)
    reference = _outputs(open_engine(folder, Choice("keras", "f32", "")), image, thresholds)
    verdicts = {}
    for precision in _LIMITS:
        engine = open_engine(folder, Choice("openvino", precision, ""))
        verdicts[precision] = compare(reference, _outputs(engine, image, thresholds), precision)
    _keep(kept, json.dumps({precision: asdict(verdict) for precision, verdict in verdicts.items()}))
    return verdicts


def probe(geometry: Geometry) -> np.ndarray:
    """Draw the image for the comparison: nuclei of all kinds, and dark ones on bright ground in every second channel.

    Parameters
    ----------
    geometry : Geometry
        What the network takes.

    Returns
    -------
    (Y, X, C) float32 ndarray
        Prepared image, always the same.
    """
    rng = np.random.default_rng(_SEED)
    scenes = [render_scene(draw_scene(kind, (_SIDE, _SIDE), rng)[0], rng)[0] for kind in SAMPLE_CLASSES]
    half = len(scenes) // 2
    plane = normalise(np.block([scenes[:half], scenes[half : 2 * half]]))
    sides = tuple(slice(None, n // step * step) for n, step in zip(plane.shape, geometry.stride, strict=True))
    plane = plane[sides]
    return np.stack([plane if channel % 2 == 0 else 1 - plane for channel in range(geometry.n_channels)], axis=-1)


def compare(reference: Outputs, output: Outputs, precision: str) -> Verdict:
    """Judge the output of an engine.

    Parameters
    ----------
    reference, output : tuple of ndarray
        Probabilities, distances and label image, of TensorFlow and of the engine.
    precision : {"f32", "bf16"}
        How close they have to be.

    Returns
    -------
    Verdict
        The differences, and whether they are small enough.
    """
    likely = reference[0] >= min(_LIKELY, float(np.quantile(reference[0], 0.99)))
    prob = float(np.quantile(np.abs(output[0] - reference[0]), 0.99))
    scale = np.maximum(np.abs(reference[1][likely]), 1)
    dist = float(np.median(np.abs(output[1][likely] - reference[1][likely]) / scale))
    (found,) = count_matches(find_overlap(reference[2], output[2]), [0.5]).to_dict("records")
    n_objects = found["n_true"] + found["n_pred"]
    objects = float(2 * found["tp"] / n_objects) if n_objects else 1.0
    limits = _LIMITS[precision]
    return Verdict(prob, dist, objects, bool(prob <= limits[0] and dist <= limits[1] and objects >= _ALIKE))


def _outputs(engine: Engine, image: np.ndarray, thresholds: Mapping[str, float]) -> Outputs:
    shape = (image.shape[0], image.shape[1])
    found = candidates(engine, image, thresholds["prob"])
    labels = suppress(found, nms_thresh=thresholds["nms"], shape=shape, out_shape=shape).labels
    with engine.run(image) as (prob, dist):
        return prob.copy(), dist.copy(), labels


def _key(folder: Path) -> str:
    digest = hashlib.sha256(version("openvino").encode())
    digest.update(json.dumps(read_thresholds(folder)).encode())
    for name in (CONFIG, WEIGHTS):
        digest.update((folder / name).read_bytes())
    return digest.hexdigest()[:32]


def _keep(path: Path, text: str) -> None:
    """Write the figures; without a writable cache the comparison is made each time."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path, f"{{}}.{os.getpid()}.part") as part:
            part.write_text(text)
    except OSError as error:
        logger.info("%s cannot be written (%s); the comparison is not kept", path, error)
