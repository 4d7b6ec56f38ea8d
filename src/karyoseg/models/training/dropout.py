"""The random state of dropout, which checkpoints do not hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # Keras is imported only when it is needed
    import keras


def seed_dropout(network: keras.Model, seed: int, step: int = 0) -> None:
    """Set the random state of dropout.

    Parameters
    ----------
    network : keras.Model
        Network.
    seed, step : int
        Equal values drop the same.
    """
    for index, layer in enumerate(network.layers):
        generator = getattr(layer, "seed_generator", None)
        if generator is not None:
            generator.state.assign([(seed + index) % 2**32, step])
