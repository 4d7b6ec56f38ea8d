"""Training of a StarDist network: its losses, and the numbers that its layers calculate with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
from stardist.models import StarDist2D

from karyoseg.models.precision import Precision, calculate_in, make_optimizer
from karyoseg.models.stardist.normalisation import fuse_batch_normalisation
from karyoseg.models.training.epochs import run_epochs
from karyoseg.models.training.patches import PatchStream, Targets
from karyoseg.models.training.workspace import Workspace


def run_training(
    network: StarDist2D,
    stream: PatchStream,
    validation: tuple[np.ndarray, Targets],
    workspace: Workspace,
    precision: Precision,
    options: Mapping[str, Any],
) -> pd.DataFrame:
    """Train until the last epoch or early stop; leave the best weights in the network.

    Parameters
    ----------
    network : StarDist2D
        Network to train.
    stream : PatchStream
        Training batches.
    validation : tuple
        Images and targets, one batch of all validation patches.
    workspace : Workspace
        Where checkpoints are.
    precision : {"f32", "bf16", "f16"}
        Numbers of the hidden layers; afterwards they calculate in 32 bit again.
    options : mapping
        Fields of ``TrainParams``: xla, epochs, batch_size, learning_rate, schedule, early_stopping, loggers.

    Returns
    -------
    DataFrame
        One row per epoch: epoch, losses and metrics, learning_rate, seconds.
    """
    model = network.keras_model
    fuse_batch_normalisation(model)
    calculate_in(model, precision)
    _compile(network, make_optimizer(options["learning_rate"], precision))
    model.jit_compile = options["xla"]
    history = run_epochs(model, stream, validation, workspace, options)
    calculate_in(model, "f32")
    return history


def _compile(network: StarDist2D, optimizer: keras.optimizers.Optimizer) -> None:
    """Let StarDist set up its losses.

    Its loss of the probability is a single number. Keras adds such numbers up over devices, where it averages others.
    """
    weights = network.config.train_loss_weights
    n_devices = tf.distribute.get_strategy().num_replicas_in_sync
    network.config.train_loss_weights = (weights[0] / n_devices, *weights[1:])
    try:
        network.prepare_for_training(optimizer)
    finally:
        network.config.train_loss_weights = weights
