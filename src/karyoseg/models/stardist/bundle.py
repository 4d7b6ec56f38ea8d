"""A trained model as a small folder that ships with the package."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import h5py
import numpy as np
import pandas as pd

from karyoseg.core.errors import KaryosegError
from karyoseg.core.io.image_files import is_url
from karyoseg.core.lazy import fingerprint
from karyoseg.models.stardist.architecture import CONFIG, THRESHOLDS, WEIGHTS
from karyoseg.models.stardist.card import bundle_card
from karyoseg.models.stardist.evaluated import Evaluated
from karyoseg.models.stardist.folder import CARD, HISTORY, TRAINING
from karyoseg.models.stardist.segmenter import StarDistSegmenter

MAX_BYTES = 6_000_000
MAX_LOSS = 0.002  # of AP, when weights are rounded
#: Parameters of where and how fast a training ran.
_OF_THE_MACHINE = {"workspace", "workers", "cache_gb", "loggers"}


def bundle(model: StarDistSegmenter, data: Path, target: Path, about: str) -> dict[str, float]:
    """Write a model with weights of 16 bit and a model card that says how good it is, ready to be shipped.

    Parameters
    ----------
    model : StarDistSegmenter
        Trained model.
    data : Path
        Data folder in which it was trained and evaluated.
    target : Path
        Folder of the bundle, replaced as a whole; its name becomes that of the model.
    about : str
        Markdown for the model card: data, licence, command, known failures.

    Returns
    -------
    dict of str to float
        ``ap_50`` and ``ap_mean`` on the validation images with weights of 16 bit; the same ending in ``_before`` of
        the model as it was trained; and ``bytes``.

    Raises
    ------
    KaryosegError
        If the scores on disk are not of this model, weights of 16 bit give other scores, or the folder gets too large.
    """
    if not model.training:
        raise KaryosegError(
            f"{model.directory}: does not say how it was trained ({TRAINING} is missing); needed: a model that "
            f"karyoseg trained. Fine-tune it first."
        )
    evaluated = Evaluated(data)
    model.use("auto", "f32")
    evaluated.check_scores_of(model)
    part = target.with_name(f".{target.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        training = public_facts(model.training) | {"name": target.name, "sizes": evaluated.sizes()}
        (part / TRAINING).write_text(json.dumps(training, indent=2) + "\n")
        for name in (CONFIG, THRESHOLDS, HISTORY):
            shutil.copyfile(model.directory / name, part / name)
        halve_weights(model.directory / WEIGHTS, part / WEIGHTS)
        if _size(part) > MAX_BYTES:
            raise KaryosegError(
                f"{model.directory}: makes {_size(part) / 1e6:.1f} MB; needed: at most {MAX_BYTES / 1e6:g} MB to ship "
                f"with the package. Train a smaller network (train.network.unet_n_filter_base, unet_n_depth)."
            )
        parity = _compare(model, StarDistSegmenter.load(part), evaluated)
        card = bundle_card(
            training,
            model.config,
            model.thresholds,
            pd.read_csv(part / HISTORY),
            scores=evaluated.scores,
            parity=parity,
            about=about,
            hashes={
                "weights (SHA-256)": _sha256(part / WEIGHTS),
                "weights as trained": _sha256(model.directory / WEIGHTS),
                "data": training["data_fingerprint"],
                "parameters": fingerprint(training["parameters"]),
            },
        )
        (part / CARD).write_text(card)
        shutil.rmtree(target, ignore_errors=True)
        part.rename(target)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return parity | {"bytes": _size(target)}


def halve_weights(source: Path, target: Path) -> None:
    """Copy a weights file with numbers of 16 bit; Keras and we read them as 32 bit.

    Parameters
    ----------
    source, target : Path
        ``weights_best.h5``.
    """
    with h5py.File(source, "r") as old, h5py.File(target, "w") as new:
        new.attrs.update(old.attrs)

        def copy(name: str, item: h5py.Group | h5py.Dataset) -> None:
            if isinstance(item, h5py.Group):
                copied = new.require_group(name)
            else:
                values = item[()]
                copied = new.create_dataset(
                    name, data=values.astype(np.float16) if values.dtype.kind == "f" else values
                )
            copied.attrs.update(item.attrs)

        old.visititems(copy)


def public_facts(training: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of training.json without what only concerns the machine of the training.

    Parameters
    ----------
    training : mapping
        Content of training.json.

    Returns
    -------
    dict
        The same; of absolute paths and URLs only the last part is left.

    Examples
    --------
    >>> public_facts({"parameters": {"workspace": "data", "init": {"path": "/home/me/nuclei"}, "epochs": 3}})
    {'parameters': {'init': {'path': 'nuclei'}, 'epochs': 3}}
    """
    parameters = {key: value for key, value in training["parameters"].items() if key not in _OF_THE_MACHINE}
    facts: dict[str, Any] = _without_places({**training, "parameters": parameters})
    return facts


def _without_places(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {_without_places(key): _without_places(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_places(item) for item in value]
    if isinstance(value, str):
        for path in (PurePosixPath(value), PureWindowsPath(value)):
            if path.is_absolute() or is_url(value):
                return path.name
    return value


def _compare(model: StarDistSegmenter, rounded: StarDistSegmenter, evaluated: Evaluated) -> dict[str, float]:
    rounded.use("auto", "f32")
    before, after = evaluated.validation_ap(model), evaluated.validation_ap(rounded)
    for name, value in before.items():
        if value - after[name] > MAX_LOSS:
            raise KaryosegError(
                f"{model.directory}: {name} on the validation images is {after[name]:.4f} with weights of 16 bit, "
                f"{value:.4f} as trained; needed: at most {MAX_LOSS:g} less. Train again, with another seed."
            )
    return after | {f"{name}_before": value for name, value in before.items()}


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
