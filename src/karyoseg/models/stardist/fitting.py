"""One training from samples to a fitted network: checks, workspace, patches, loop, facts."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
from stardist.models import StarDist2D

from karyoseg.core.errors import KaryosegError
from karyoseg.core.lazy import fingerprint
from karyoseg.core.progress import Progress
from karyoseg.core.runs.hardware import hardware
from karyoseg.core.runs.provenance import package_versions
from karyoseg.core.size import median_diameter
from karyoseg.models import model_folder
from karyoseg.models.base import Augment, LabelledSamples
from karyoseg.models.precision import choose_precision
from karyoseg.models.stardist.architecture import WEIGHTS, Geometry
from karyoseg.models.stardist.checks import check_samples
from karyoseg.models.stardist.contrast import contrast_facts
from karyoseg.models.stardist.network import all_gpus, build, open_folder
from karyoseg.models.stardist.pretrained import pretrained_folder
from karyoseg.models.stardist.targets import TargetSpec
from karyoseg.models.stardist.thresholds import Thresholds, search_thresholds
from karyoseg.models.stardist.training import run_training
from karyoseg.models.training.patches import PatchStream, Targets
from karyoseg.models.training.workspace import Workspace

logger = logging.getLogger(__name__)

_MAX_VAL_PATCHES = 128
#: Options that change where a training writes and how fast it runs, not what it learns; `config` is looked at apart.
#: `precision` does change the last digits, yet a training may go on in another one, for it may be continued on a
#: machine that lacks the first: what is kept between epochs is 32 bit in each.
#: `early_stopping` ends a training, which may go on with more patience.
_NO_EFFECT = frozenset(
    {"workspace", "loggers", "workers", "cache_gb", "nms_grid", "config", "precision", "xla", "early_stopping"}
)


@dataclass(frozen=True)
class Fitted:
    """Result of a training.

    Parameters
    ----------
    network : StarDist2D
        With the best weights.
    history : DataFrame
        One row per epoch.
    facts : dict
        What should be remembered of the training.
    """

    network: StarDist2D
    history: pd.DataFrame
    facts: dict[str, Any]

    def search(self, images: Iterable[tuple[np.ndarray, Any]], nms_grid: Sequence[float]) -> Thresholds:
        """Choose the thresholds on validation predictions and say which."""
        best = search_thresholds(images, nms_grid)
        logger.info("Chosen thresholds: prob %.2f, nms %.2f (validation score %.4f)", best.prob, best.nms, best.score)
        return best


def fit(
    directory: Path,
    train: LabelledSamples,
    validation: LabelledSamples,
    augment: Augment | None,
    options: Mapping[str, Any],
) -> Fitted:
    """Train a network.

    Parameters
    ----------
    directory : Path
        Working folder; a training of the same data and parameters found there is continued.
    train, validation : LabelledSamples
        Prepared samples.
    augment : callable or None
        Applied to every training patch.
    options : mapping
        Fields of ``TrainParams``, and ``config``: the fields of ``Config2D``.

    Returns
    -------
    Fitted
        Network with the best weights, its history and what should be remembered of the training.

    Raises
    ------
    KaryosegError
        If data and network do not fit together.
    """
    started = time.time()
    donor = _donor(options)
    sizes = check_samples(train, validation, options)
    data = fingerprint(_content(train), _content(validation))
    workspace = Workspace(directory, _identity(data, options, donor), WEIGHTS)
    keras.utils.set_random_seed(options["seed"])
    precision, devices = choose_precision(options["precision"]), all_gpus()
    with devices.scope():
        network = _initial_network(directory, options, donor)
    stream, val_batch = _streams(network, train, validation, augment, options)
    logger.info(
        "Training on %d images (%d nuclei), validation on %d; %d epochs of %d batches of %d patches %s px; %s, %s",
        len(sizes),
        sum(sizes.values()),
        len(validation.ids),
        options["epochs"],
        options["steps_per_epoch"],
        options["batch_size"],
        "x".join(map(str, options["patch_size"])),
        ", ".join(_gpu_names()) or "no GPU found: on the processor",
        precision,
    )
    with devices.scope():
        history = run_training(network, stream, val_batch, workspace, precision, options)
    done = _run_facts(history, started, precision, options)
    return Fitted(network, history, {**done, **_data_facts(data, train, validation, sizes)})


def _content(samples: LabelledSamples) -> dict[str, list[str]]:
    return {key: [samples.images[key].fingerprint, samples.labels[key].fingerprint] for key in samples.ids}


def _identity(data: str, options: Mapping[str, Any], donor: StarDist2D | None) -> str:
    """Hash of what decides the course of a training: only a training with the same hash is continued.

    More epochs continue a training, except with the cosine schedule: there the number of epochs decides every
    learning rate, so the continued training would differ from one that had that number from the start.
    """
    free = _NO_EFFECT if options["schedule"]["name"] == "cosine" else _NO_EFFECT | {"epochs"}
    kept = {key: value for key, value in options.items() if key not in free}
    network = {key: value for key, value in options["config"].items() if not key.startswith("train_")}
    weights = hashlib.sha256(b"".join(w.tobytes() for w in donor.keras_model.get_weights())) if donor else None
    return fingerprint(data, kept, network, weights.hexdigest() if weights else "")


def _donor(options: Mapping[str, Any]) -> StarDist2D | None:
    """Open the model whose weights training starts from, and check that it fits."""
    init = options["init"]
    if init["name"] == "scratch":
        return None
    source = model_folder(init["path"]) if init["name"] == "model" else pretrained_folder(init["model"])
    donor = open_folder(source)
    config = donor.config
    wanted = options["config"]["n_channel_in"]
    if config.n_channel_in != wanted:
        raise KaryosegError(
            f"{source}: takes {config.n_channel_in} channel(s), the training images have {wanted}; needed: the "
            f"same number. Set colour or channels in preprocess, or start from another model."
        )
    if config.n_classes is not None:
        raise KaryosegError(
            f"{source}: tells {config.n_classes} classes of objects apart; needed: a model without classes. "
            f"Start from another model."
        )
    crop = 2 * options["completion_crop"] if options["shape_completion"] else 0
    stride = list(Geometry.from_config(vars(config)).stride)
    if any(patch <= crop or (patch - crop) % s for patch, s in zip(options["patch_size"], stride, strict=True)):
        raise KaryosegError(
            f"train.patch_size: {options['patch_size']}{f' minus {crop} px of completion crop' if crop else ''} does "
            f"not fit {source}; needed: multiples of {stride}. Change it."
        )
    return donor


def _initial_network(directory: Path, options: Mapping[str, Any], donor: StarDist2D | None) -> StarDist2D:
    if donor is None:
        return build(options["config"], directory)
    training = {key: value for key, value in options["config"].items() if key.startswith("train_")}
    network = build({**vars(donor.config), **training}, directory)
    network.keras_model.set_weights(donor.keras_model.get_weights())
    logger.info("Fine-tuning %s", donor.logdir)
    return network


def _streams(
    network: StarDist2D,
    train: LabelledSamples,
    validation: LabelledSamples,
    augment: Augment | None,
    options: Mapping[str, Any],
) -> tuple[PatchStream, tuple[np.ndarray, Targets]]:
    config = network.config
    crop = config.train_completion_crop if config.train_shape_completion else 0
    spec = TargetSpec(config.n_rays, tuple(config.grid), crop, bool(options["use_gpu"]))
    patch_size = (options["patch_size"][0], options["patch_size"][1])
    stream = PatchStream(
        train,
        spec.targets,
        patch_size=patch_size,
        crop=crop,
        batch_size=options["batch_size"],
        steps=options["steps_per_epoch"],
        foreground=options["foreground_only"],
        augment=augment,
        seed=options["seed"],
        augment_seed=options.get("augmentation", {}).get("seed"),
        cache_bytes=options["cache_gb"] * 1e9,
        workers=options["workers"],
    )
    n_val = options["n_val_patches"] or min(len(validation.ids), _MAX_VAL_PATCHES)
    fixed = PatchStream(
        validation,
        spec.targets,
        patch_size=patch_size,
        crop=crop,
        batch_size=n_val,
        steps=1,
        foreground=options["foreground_only"],
        seed=options["seed"],
        cache_bytes=0,
    )
    return stream, fixed[0]


def _run_facts(history: pd.DataFrame, started: float, precision: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """What should be remembered of the training; `started` in seconds since the epoch."""
    return {
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "epochs_done": len(history),
        "minutes": round(float(history["seconds"].sum()) / 60, 2),
        "minutes_this_run": round((time.time() - started) / 60, 2),
        "best_epoch": int(history["epoch"].iloc[int(history["val_loss"].argmin())]),
        "parameters": {k: v for k, v in options.items() if k not in ("config", "preparation")},
        "versions": package_versions(),
        "precision": precision,
        "hardware": {"processor": hardware()["processor"], "gpus": _gpu_names()},
    }


def _data_facts(
    data: str, train: LabelledSamples, validation: LabelledSamples, sizes: Mapping[str, int]
) -> dict[str, Any]:
    """What should be remembered of the samples."""
    return {
        "data_fingerprint": data,
        "n_train": len(sizes),
        "n_train_objects": sum(sizes.values()),
        "n_validation": len(validation.ids),
        **_diameters(train),
        **contrast_facts(train),
    }


def _diameters(samples: LabelledSamples) -> dict[str, Any]:
    """Nucleus sizes learnt from: median and central 90 % of the images' median diameters [px]."""
    diameters = [
        median_diameter(samples.labels[key]()) for key in Progress(samples.distinct, desc="measuring", unit="sample")
    ]
    low, middle, high = np.nanpercentile(diameters, [5, 50, 95]).round(2).tolist()
    return {"diameter": middle, "diameter_range": [low, high]}


def _gpu_names() -> list[str]:
    import tensorflow as tf

    return [device.name for device in tf.config.list_physical_devices("GPU")]
