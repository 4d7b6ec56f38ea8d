"""Losses and learning rate of pix2pix as a Keras model, whose training step works on every backend.

Generator and discriminator learn in the same step from one loss. Its terms are cut apart: the discriminator sees a copy
of the generated image that passes no gradient, and the generator is judged by a copy of the discriminator that learns
nothing from it. Adam keeps its state per weight, so this equals two optimizers with the same settings.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


class ConstantThenLinear(keras.optimizers.schedules.LearningRateSchedule):
    """A learning rate that stays for a while, then falls in a line to almost 0.

    Parameters
    ----------
    rate : float
        Learning rate at the start.
    constant_steps, decay_steps : int
        Steps of the two phases.

    Examples
    --------
    >>> schedule = ConstantThenLinear(1.0, 2, 3)  # doctest: +SKIP
    >>> [float(schedule(step)) for step in range(5)]  # doctest: +SKIP
    [1.0, 1.0, 0.75, 0.5, 0.25]
    """

    def __init__(self, rate: float, constant_steps: int, decay_steps: int):
        self._rate, self._constant, self._decay = rate, constant_steps, decay_steps

    def __call__(self, step: Any) -> Any:
        """Return the learning rate of a step, counted from 0."""
        late = ops.maximum(ops.cast(step, "float32") + 1 - self._constant, 0.0)
        return self._rate * ops.maximum(1 - late / (self._decay + 1), 0.0)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the class."""
        return {"rate": self._rate, "constant_steps": self._constant, "decay_steps": self._decay}


def cross_entropy(logits: Any, real: float) -> Any:
    """Compute the mean binary cross-entropy of the discriminator's answers.

    Parameters
    ----------
    logits : tensor
        Answers, positive for real.
    real : float
        1 if they should be real, 0 if not.

    Returns
    -------
    tensor
        Scalar.
    """
    return ops.mean(ops.softplus(logits) - logits * real)


class Pix2Pix(keras.Model):
    """Generator and discriminator, trained together: ``x`` is the condition, ``y`` the real image.

    Parameters
    ----------
    generator, discriminator : keras.Model
        The networks.
    l1_weight : float
        Weight of the mean absolute difference between generated and real image.
    """

    def __init__(self, generator: keras.Model, discriminator: keras.Model, l1_weight: float):
        super().__init__()
        self.generator = generator
        self.discriminator = discriminator
        self._l1_weight = l1_weight
        self._parts = {name: keras.metrics.Mean(name=name) for name in ("generator_loss", "discriminator_loss", "l1")}

    def call(self, condition: Any, training: bool = False) -> Any:
        """Generate images."""
        return self.generator(condition, training=training)

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        """Return the sum of both networks' losses, of which each learns from its own alone."""
        judge = self.discriminator
        frozen = [ops.stop_gradient(weight) for weight in judge.trainable_variables]
        fooled, _ = judge.stateless_call(frozen, judge.non_trainable_variables, [x, y_pred], training=training)
        difference = ops.mean(ops.abs(y_pred - y))
        generator = cross_entropy(fooled, 1.0)
        real = judge([x, y], training=training)
        fake = judge([x, ops.stop_gradient(y_pred)], training=training)
        discriminator = (cross_entropy(real, 1.0) + cross_entropy(fake, 0.0)) / 2
        for name, value in zip(self._parts, (generator, discriminator, difference), strict=True):
            self._parts[name].update_state(value)
        return generator + self._l1_weight * difference + discriminator
