"""Numbers that training calculates with: 32 bit, or 16 bit where the machine is faster with them.

Weights, losses and what the optimizer keeps are always 32 bit; 16 bit are the activations between the layers
(Micikevicius et al. 2018, arXiv:1710.03740).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:  # Keras is imported only when it is needed
    import keras

Precision = Literal["f32", "bf16", "f16"]

_POLICIES = {"f32": "float32", "bf16": "mixed_bfloat16", "f16": "mixed_float16"}
#: First compute capability of NVIDIA GPUs with fast matrix units for a number format.
_BFLOAT16_SINCE, _FLOAT16_SINCE = (8, 0), (7, 0)


def choose_precision(wanted: str) -> Precision:
    """Choose the numbers that training calculates with.

    Parameters
    ----------
    wanted : {"auto", "f32", "bf16", "f16"}
        ``auto`` takes bf16 if processor or GPU calculate in it, f16 on GPUs of the generation before, else f32.

    Returns
    -------
    {"f32", "bf16", "f16"}
        Precision.

    Examples
    --------
    >>> choose_precision("f32")
    'f32'
    """
    if wanted == "auto":
        return _fastest()
    return next(known for known in ("f32", "bf16", "f16") if known == wanted)


def _fastest() -> Precision:
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    if not gpus:
        return "bf16" if has_bfloat16() else "f32"
    capability = min(tf.config.experimental.get_device_details(gpu).get("compute_capability", (0, 0)) for gpu in gpus)
    return "bf16" if capability >= _BFLOAT16_SINCE else "f16" if capability >= _FLOAT16_SINCE else "f32"


def has_bfloat16() -> bool:
    """Tell whether the processor calculates in bfloat16."""
    import openvino

    return "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def calculate_in(model: keras.Model, precision: Precision) -> None:
    """Let the hidden layers of a network calculate in a precision.

    Parameters
    ----------
    model : keras.Model
        Network; changed in place. Its weights and outputs stay 32 bit, as the losses compare outputs with 32-bit
        targets.
    precision : {"f32", "bf16", "f16"}
        Numbers of the activations.
    """
    import keras

    for layer in model.layers:
        if layer.name not in model.output_names and not isinstance(layer, keras.layers.InputLayer):
            layer.dtype_policy = keras.DTypePolicy(_POLICIES[precision])


def make_optimizer(learning_rate: float, precision: Precision) -> keras.optimizers.Optimizer:
    """Make the optimizer of a training.

    Parameters
    ----------
    learning_rate : float
        First learning rate of Adam.
    precision : {"f32", "bf16", "f16"}
        f16 has too few exponents for small gradients: the loss is scaled up and the gradients down again.

    Returns
    -------
    keras.optimizers.Optimizer
        Optimizer.
    """
    import keras

    optimizer = keras.optimizers.Adam(learning_rate)
    return keras.optimizers.LossScaleOptimizer(optimizer) if precision == "f16" else optimizer
