"""The network in 8 bit: faster on any processor of the last years, at some cost that is measured when it is made.

Activations are rounded to 256 steps between the extremes seen on sample images (Jacob et al. 2018, arXiv:1712.05877);
NNCF finds them. The first layer and the heads, which cost little, are not rounded. Rounding makes objects about one
percent smaller: a straight line per star distance makes up for it. The graph is kept beside the model and travels with
it.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import openvino as ov
from openvino import opset13 as ops

from karyoseg.core.errors import KaryosegError
from karyoseg.core.io.files import replacing
from karyoseg.core.metrics import AP_THRESHOLDS, match_table, pooled_ap
from karyoseg.core.progress import Progress
from karyoseg.core.size import resize_image
from karyoseg.models.base import LabelledSamples
from karyoseg.models.stardist.architecture import CONFIG, WEIGHTS, Geometry, read_config, read_thresholds, read_weights
from karyoseg.models.stardist.engines.layers import unsupported
from karyoseg.models.stardist.engines.openvino import OpenVinoEngine, build_graph
from karyoseg.models.stardist.folder import INT8
from karyoseg.models.stardist.instances import candidates, suppress

logger = logging.getLogger(__name__)

_GRAPH, _, _FACTS = INT8
_FORM = b"NCHW"  # graphs of another form do not count
_HEADS = ("prob", "dist")
_LIMIT = 0.005
_CONVOLUTION = "Convolution"
_LIKELY, _ENOUGH = 0.5, 1000  # probability, pixels
_SIDE = 256  # of the piece of each image that is looked at
#: Estimates of the size are wrong by as much, and nuclei of one image differ. Extremes of half and double size made the
#: steps between too coarse for the right one.
_ZOOMS = (0.7, 1, 1.4)
_MOST = 100  # images to find the extremes on: more change nothing


@dataclass(frozen=True)
class Cost:
    """What calculating in 8 bit costs, on labelled images.

    Parameters
    ----------
    n_images : int
        Images it was measured on.
    ap_50, ap_mean : float
        Average precision in 8 bit, 0..1.
    exact_ap_50, exact_ap_mean : float
        In 32 bit.
    """

    n_images: int
    ap_50: float
    ap_mean: float
    exact_ap_50: float
    exact_ap_mean: float

    @property
    def is_small(self) -> bool:
        """Whether both scores are at most 0.005 lower."""
        return self.exact_ap_50 - self.ap_50 <= _LIMIT and self.exact_ap_mean - self.ap_mean <= _LIMIT

    def __str__(self) -> str:
        return (
            f"on {self.n_images} images AP 50 is {self.ap_50:.4f} (in 32 bit {self.exact_ap_50:.4f}), "
            f"AP mean {self.ap_mean:.4f} ({self.exact_ap_mean:.4f})"
        )


def recall(folder: Path) -> Cost | None:
    """Return what 8 bit costs a model.

    Parameters
    ----------
    folder : Path
        StarDist model folder.

    Returns
    -------
    Cost or None
        None if the folder has no network in 8 bit, or one made of other weights.
    """
    if not all((folder / name).is_file() for name in INT8):
        return None
    try:
        facts = json.loads((folder / _FACTS).read_text())
        return Cost(**facts["cost"]) if facts["made_of"] == _hash(folder) else None
    except (ValueError, KeyError, TypeError) as error:
        logger.warning("%s is damaged (%s); the network in 8 bit is not used", folder / _FACTS, error)
        return None


def quantise(folder: Path, samples: LabelledSamples) -> Cost:
    """Make the network in 8 bit, and measure what it costs.

    Parameters
    ----------
    folder : Path
        StarDist model folder; gets the files.
    samples : LabelledSamples
        Prepared images like those that will be predicted, not those that scores are reported on.

    Returns
    -------
    Cost
        Scores on the same images in 32 and in 8 bit.

    Raises
    ------
    KaryosegError
        If it cannot be made.
    """
    try:
        import nncf
        from nncf.quantization.range_estimator import RangeEstimatorParametersSet
    except ModuleNotFoundError as error:
        raise KaryosegError(
            f"{folder}: cannot be brought to 8 bit without the package nncf; needed: python -m pip install nncf."
        ) from error
    if not os.access(folder, os.W_OK):
        raise KaryosegError(f"{folder}: cannot be written; needed: a model folder of your own. Copy it first.")
    if not samples.ids:
        raise KaryosegError(f"{folder}: no images to bring it to 8 bit on; needed: some, with labels.")
    config = read_config(folder)
    if reason := unsupported(config):
        raise KaryosegError(f"{folder}: cannot run in OpenVINO, {reason}; needed: a network that OpenVINO can run.")
    pieces = list(_pieces(samples, Geometry.from_config(config)))
    graph = build_graph(config, read_weights(folder / WEIGHTS), str(folder))
    convolutions = [
        node.get_friendly_name() for node in graph.get_ordered_ops() if node.get_type_name() == _CONVOLUTION
    ]
    logging.getLogger("nncf").setLevel(logging.ERROR)  # nncf.set_log_level changes the handlers of others, too
    graph = nncf.quantize(
        graph,
        nncf.Dataset([piece[np.newaxis] for piece in pieces]),
        subset_size=len(pieces),
        ignored_scope=nncf.IgnoredScope(names=[convolutions[0], *_HEADS]),
        advanced_parameters=nncf.AdvancedQuantizationParameters(
            activations_range_estimator_params=RangeEstimatorParametersSet.MINMAX
        ),
    )
    exact = OpenVinoEngine(folder, config, "f32")
    with tempfile.TemporaryDirectory() as made:
        plain = Path(made) / "plain"
        ov.save_model(graph, plain / _GRAPH)
        _straighten(graph, *_lines(OpenVinoEngine(plain, config, "int8"), exact, pieces))
        ov.save_model(graph, Path(made) / _GRAPH)
        rounded = OpenVinoEngine(Path(made), config, "int8")
        cost = Cost(
            len(samples.ids),
            *_scores(rounded, folder, samples, "in 8 bit"),
            *_scores(exact, folder, samples, "in 32 bit"),
        )
        (Path(made) / _FACTS).write_text(json.dumps({"made_of": _hash(folder), "cost": asdict(cost)}, indent=2))
        (folder / _FACTS).unlink(missing_ok=True)  # without it the other files do not count
        for name in INT8:
            with replacing(folder / name) as part:
                shutil.copyfile(Path(made) / name, part)
    return cost


def _pieces(samples: LabelledSamples, geometry: Geometry) -> Iterator[np.ndarray]:
    """The middle of each image, in several sizes."""
    ids = samples.ids
    for key in Progress(ids[:: -(-len(ids) // _MOST)], desc="reading images", unit="image"):
        image = samples.images[key]()
        for zoom in _ZOOMS:
            side = round(_SIDE / zoom)
            top, left = (max(n - side, 0) // 2 for n in image.shape[:2])
            piece = resize_image(image[top : top + side, left : left + side], zoom)
            piece = piece.reshape(*piece.shape[:2], geometry.n_channels)
            padding = [(0, -n % step) for n, step in zip(piece.shape[:2], geometry.stride, strict=True)]
            yield np.pad(piece, [*padding, (0, 0)], mode="reflect").astype(np.float32)


def _lines(
    rounded: OpenVinoEngine, exact: OpenVinoEngine, pieces: Sequence[np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Fit gain and offset that bring rounded distances to the exact ones, where there is likely an object."""
    pairs = []
    for piece in pieces:
        with exact.run(piece) as (prob, true), rounded.run(piece) as (_, found):
            likely = prob > _LIKELY
            pairs.append(np.stack([found[likely], true[likely]]).astype(np.float64))
    found, true = np.concatenate(pairs, axis=1)
    if len(found) < _ENOUGH:
        return np.ones(found.shape[1]), np.zeros(found.shape[1])
    centred = found - found.mean(axis=0)
    gain = (centred * true).mean(axis=0) / np.maximum((centred**2).mean(axis=0), 1e-9)
    return gain, true.mean(axis=0) - gain * found.mean(axis=0)


def _straighten(graph: ov.Model, gain: np.ndarray, offset: np.ndarray) -> None:
    """Apply gain and offset to the distances."""
    result = graph.get_results()[1]
    gain, offset = (values.astype(np.float32).reshape(1, -1, 1, 1) for values in (gain, offset))
    corrected = ops.add(ops.multiply(result.input_value(0), gain), offset)
    result.input(0).replace_source_output(corrected.output(0))


def _scores(engine: OpenVinoEngine, folder: Path, samples: LabelledSamples, how: str) -> tuple[float, float]:
    """AP 50 and AP mean."""
    thresholds = read_thresholds(folder)
    tables = []
    for key in Progress(samples.ids, desc=f"predicting {how}", unit="image"):
        image, truth = samples.images[key](), samples.labels[key]()
        found = candidates(engine, image, thresholds["prob"])
        labels = suppress(found, nms_thresh=thresholds["nms"], shape=truth.shape, out_shape=truth.shape).labels
        tables.append(match_table(truth, labels, AP_THRESHOLDS))
    ap = pooled_ap(tables)
    return round(float(ap.iloc[0]), 6), round(float(ap.mean()), 6)


def _hash(folder: Path) -> str:
    digest = hashlib.sha256(_FORM + (folder / CONFIG).read_bytes())
    digest.update((folder / WEIGHTS).read_bytes())
    return digest.hexdigest()[:32]
