"""What runs a network: TensorFlow, OpenVINO, which is faster on a processor, or ONNX Runtime."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

import numpy as np

from karyoseg.core.errors import KaryosegError
from karyoseg.core.runs.hardware import nvidia_gpus
from karyoseg.models.precision import has_bfloat16
from karyoseg.models.quiet import import_tensorflow
from karyoseg.models.stardist.architecture import Geometry, read_config

# With this package OpenVINO asks for consent in the terminal and reports imports to its maker; without it, it is quiet.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]


class Engine(Protocol):
    """A network that is ready to run."""

    name: str
    """`keras`, `openvino` or `onnxruntime`."""
    precision: str
    """Numbers the convolutions calculate with: `f32`, `bf16` or `int8`."""
    parallel: int
    """How many calls of `run` at a time are faster than one."""
    tile_bytes: int
    """Working memory for all tiles at once; more is not faster [byte]."""
    bytes_per_pixel: int
    """Working memory per pixel of a tile, about [byte]."""
    geometry: Geometry
    """Sides and channels it takes."""

    def run(self, tile: np.ndarray) -> AbstractContextManager[tuple[np.ndarray, np.ndarray]]:
        """Give probabilities ``(Y', X')`` and distances ``(Y', X', n_rays)``, valid in the block; also in threads."""


@dataclass(frozen=True)
class Choice:
    """Which engine runs a model, and why.

    Parameters
    ----------
    engine : {"keras", "openvino", "onnxruntime"}
        The engine.
    precision : {"f32", "bf16", "int8"}
        Numbers the convolutions calculate with.
    reason : str
        For the log.
    """

    engine: str
    precision: str
    reason: str

    def __str__(self) -> str:
        return f"{self.engine} {self.precision} ({self.reason})"


def choose(folder: Path, engine: str = "auto", precision: str = "auto") -> Choice:
    """Choose what runs a model: what is asked for, else the fastest whose output is close enough to TensorFlow's.

    Parameters
    ----------
    folder : Path
        StarDist model folder.
    engine : {"auto", "keras", "openvino", "onnxruntime"}
        Engine asked for.
    precision : {"auto", "f32", "bf16", "int8"}
        Precision asked for.

    Returns
    -------
    Choice
        What to open with :func:`open_engine`.

    Raises
    ------
    KaryosegError
        If the model cannot be run as asked for.
    """
    if engine != "openvino" and precision in ("auto", "f32"):
        if engine == "keras":
            return Choice("keras", "f32", "as asked for")
        if engine == "auto" and _has_gpu():
            return Choice("keras", "f32", "a GPU is there")
    elif engine in ("keras", "onnxruntime"):
        raise KaryosegError(
            f"precision {precision} with engine {engine}: not possible; needed: engine openvino, or precision f32."
        )
    from karyoseg.models.stardist.engines.layers import unsupported

    reason = unsupported(read_config(folder))
    if reason and engine == "auto" and precision in ("auto", "f32"):
        return Choice("keras", "f32", reason)
    if reason:
        name = {"onnxruntime": "ONNX Runtime"}.get(engine, "OpenVINO")
        raise KaryosegError(f"{folder}: cannot run in {name}, {reason}; needed: engine keras, in precision f32.")
    if engine == "onnxruntime":
        _require_onnx()
        return Choice("onnxruntime", "f32", "as asked for")
    return _choose_openvino(folder, engine, precision)


def _require_onnx() -> None:
    missing = [package for package in ("onnx", "onnxruntime") if find_spec(package) is None]
    if missing:
        raise KaryosegError(
            f"engine onnxruntime: {' and '.join(missing)} not installed; needed: python -m pip install "
            f"{' '.join(missing)}, or another engine."
        )


def _choose_openvino(folder: Path, engine: str, precision: str) -> Choice:
    from karyoseg.models.stardist.engines.int8 import recall

    if precision in ("auto", "int8"):
        cost = recall(folder)
        if precision == "int8" and cost is None:
            raise KaryosegError(
                f"{folder}: holds no network in 8 bit that was made of its weights; needed: one. Make it with "
                f"`kedro model quantize`, or choose another precision."
            )
        if cost and (cost.is_small or precision == "int8"):
            return Choice(
                "openvino", "int8", f"{'the fastest here' if precision == 'auto' else 'as asked for'}; {cost}"
            )
    if engine == "openvino" and precision != "auto":
        return Choice("openvino", precision, "as asked for")
    precisions = [precision] if precision != "auto" else ["bf16", "f32"] if has_bfloat16() else ["f32"]
    return _fastest(folder, precisions, needed=engine == "openvino" or precision == "bf16")


def _fastest(folder: Path, precisions: list[str], *, needed: bool) -> Choice:
    """Choose the first precision that is close enough; else TensorFlow, unless OpenVINO was asked for."""
    from karyoseg.models.stardist.engines.parity import check

    verdicts = check(folder)
    for precision in precisions:
        if verdicts[precision].passed:
            return Choice("openvino", precision, f"the fastest here; {verdicts[precision]}")
    last = precisions[-1]
    if needed:
        return Choice("openvino", last, f"as asked for; {verdicts[last]}")
    return Choice("keras", "f32", f"OpenVINO is not close enough: {verdicts[last]}")


def open_engine(folder: Path, choice: Choice) -> Engine:
    """Make a network ready to run.

    Parameters
    ----------
    folder : Path
        StarDist model folder.
    choice : Choice
        From :func:`choose`.

    Returns
    -------
    Engine
        The network.
    """
    if choice.engine == "openvino":
        from karyoseg.models.stardist.engines.openvino import OpenVinoEngine

        return OpenVinoEngine(folder, read_config(folder), choice.precision)
    if choice.engine == "onnxruntime":
        from karyoseg.models.stardist.engines.onnxruntime import OnnxRuntimeEngine

        return OnnxRuntimeEngine(folder, read_config(folder))
    import_tensorflow()
    from karyoseg.models.stardist.engines.keras import KerasEngine
    from karyoseg.models.stardist.network import open_folder

    return KerasEngine(open_folder(folder))


def _has_gpu() -> bool:
    """Tell whether TensorFlow has a GPU; it is only asked if the machine has one."""
    if not nvidia_gpus():
        return False
    import_tensorflow()
    import tensorflow as tf

    return bool(tf.config.list_physical_devices("GPU"))
