"""Training of the networks of a foreground model, one after the other."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import keras
import pandas as pd

from karyoseg.core.errors import KaryosegError
from karyoseg.core.lazy import fingerprint
from karyoseg.models.base import Augment, LabelledSamples
from karyoseg.models.precision import calculate_in, choose_precision, make_optimizer
from karyoseg.models.training.epochs import run_epochs
from karyoseg.models.training.patches import PatchStream
from karyoseg.models.training.workspace import Workspace
from karyoseg.models.unet.network import build_unet, foreground_target, jaccard_loss

logger = logging.getLogger(__name__)

BEST = "best.weights.h5"
_MOST_VALIDATION_PATCHES = 64
#: Options that do not change what is learnt. `precision` may change within a training: all that is kept is 32 bit.
_NO_EFFECT = {"workspace", "workers", "cache_gb", "test_time", "sigmas", "precision"}


def fit_networks(
    directory: Path,
    train: LabelledSamples,
    validation: LabelledSamples,
    augment: Augment | None,
    options: Mapping[str, Any],
) -> tuple[list[keras.Model], pd.DataFrame]:
    """Train one network per blur, each with a seed of its own.

    A training of the same data and parameters that was interrupted is continued.

    Parameters
    ----------
    directory : Path
        Working folder.
    train, validation : LabelledSamples
        Prepared samples.
    augment : callable or None
        Cuts and changes the training patches.
    options : mapping
        Fields of ``TrainForegroundParams``, and ``n_channels``.

    Returns
    -------
    networks : list of keras.Model
        With their best weights by validation loss.
    history : DataFrame
        One row per network and epoch.

    Raises
    ------
    KaryosegError
        If there are no samples to learn from, or none to validate on.
    """
    for name, samples in (("train", train), ("val", validation)):
        if not samples.ids:
            raise KaryosegError(
                f"train_foreground: no samples in the {name} split; needed: at least one. Set preprocess.splits."
            )
    data = [
        [key, part.images[key].fingerprint, part.labels[key].fingerprint]
        for part in (train, validation)
        for key in part.ids
    ]
    kept = {name: value for name, value in options.items() if name not in _NO_EFFECT}
    precision = choose_precision(options["precision"])
    networks, histories = [], []
    for index, sigma in enumerate(options["sigmas"]):
        number = f"{index + 1} of {len(options['sigmas'])}"
        logger.info("Foreground network %s: targets blurred by %g px; %s", number, sigma, precision)
        seed = options["seed"] + index
        keras.utils.set_random_seed(seed)
        workspace = Workspace(directory / f"network_{index}", fingerprint(data, kept, sigma, index), BEST)
        form = options["n_channels"], options["depth"], options["filters"]
        network = build_unet(*form)
        calculate_in(network, precision)
        network.compile(make_optimizer(options["learning_rate"], precision), jaccard_loss)
        make_targets = partial(foreground_target, sigma=sigma)
        size = {"patch_size": options["patch_size"], "cache_bytes": 1e9 * options["cache_gb"]}
        stream = PatchStream(
            train,
            make_targets,
            batch_size=options["batch_size"],
            steps=options["steps_per_epoch"],
            augment=augment,
            seed=seed,
            augment_seed=options.get("augmentation", {}).get("seed", options["seed"]) + index,
            workers=options["workers"],
            **size,
        )
        n_patches = min(len(validation.ids), _MOST_VALIDATION_PATCHES)
        known = PatchStream(validation, make_targets, batch_size=n_patches, steps=1, seed=options["seed"], **size)[0]
        schedule = {"schedule": {"name": "cosine", "warmup_epochs": 0, "final_fraction": 0.01}, "loggers": []}
        history = run_epochs(network, stream, known, workspace, {**options, **schedule, "seed": seed})
        histories.append(history.assign(network=index, sigma=sigma))
        bare = build_unet(*form)  # whose file holds no state of an optimizer
        bare.set_weights(network.get_weights())
        networks.append(bare)
    return networks, pd.concat(histories, ignore_index=True)
