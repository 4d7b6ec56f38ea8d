"""Training in 16 bit and on several devices: what may differ from 32 bit on one, and what may not."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from karyoseg.models.stardist import StarDistSegmenter

SIXTEEN_BIT = pytest.mark.parametrize(("precision", "dtype"), [("bf16", "bfloat16"), ("f16", "float16")])
TWO_DEVICES = """
import sys
from pathlib import Path
import tensorflow as tf
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)
from karyoseg.models.stardist import StarDistSegmenter, fitting
from tests.models.conftest import make_options, make_samples
fitting.all_gpus = lambda: tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
model = StarDistSegmenter(Path(sys.argv[1]))
model.fit(make_samples(range(4)), make_samples(range(100, 102)), None, make_options())
"""


@pytest.fixture
def network(options: Callable[..., dict[str, Any]]) -> Any:
    from karyoseg.models.stardist.network import build

    return build(options()["config"] | {"unet_batch_norm": True})


@SIXTEEN_BIT
def test_only_hidden_layers_change(network: Any, precision: str, dtype: str):
    from karyoseg.models.precision import calculate_in

    model = network.keras_model
    before = [np.array(weight) for weight in model.get_weights()]

    calculate_in(model, precision)

    assert {layer.variable_dtype for layer in model.layers} == {"float32"}
    assert {layer.compute_dtype for layer in model.layers if layer.name in ("input", "prob", "dist")} == {"float32"}
    hidden = [layer for layer in model.layers if layer.name not in ("input", "prob", "dist")]
    assert {layer.compute_dtype for layer in hidden} == {dtype}
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@SIXTEEN_BIT
def test_results_are_near_and_then_32_bit_again(network: Any, precision: str, dtype: str):
    from karyoseg.models.precision import calculate_in

    model = network.keras_model
    image = np.random.default_rng(0).random((1, 64, 64, 1), np.float32)
    exact = model.predict_on_batch(image)

    calculate_in(model, precision)
    near = model([image])
    calculate_in(model, "f32")
    again = model([image])

    for truth, low, back in zip(exact, near, again, strict=True):
        assert np.asarray(low).dtype == np.float32
        assert not np.array_equal(np.asarray(low), truth)
        np.testing.assert_allclose(np.asarray(low), truth, atol=0.02)
        np.testing.assert_allclose(np.asarray(back), truth, atol=1e-5)


@SIXTEEN_BIT
def test_training_in_16_bit_lowers_the_loss_and_says_so(
    tmp_path: Path, samples: Callable, options: Callable, precision: str, dtype: str
):
    model = StarDistSegmenter(tmp_path / "model")

    history = model.fit(
        samples(range(4)),
        samples(range(100, 102)),
        None,
        options(precision=precision, epochs=3, steps_per_epoch=10, learning_rate=0.003),
    )

    assert history["loss"].iloc[-1] < history["loss"].iloc[0]
    assert model.training["precision"] == precision


@SIXTEEN_BIT
def test_outputs_and_weights_of_any_network_stay_32_bit(precision: str, dtype: str):
    from karyoseg.models.precision import calculate_in
    from karyoseg.models.unet.network import build_unet

    network = build_unet(1, 2, 4)

    calculate_in(network, precision)  # type: ignore[arg-type]

    first, *hidden, last = network.layers
    assert {layer.compute_dtype for layer in hidden} == {dtype}
    assert first.compute_dtype == last.compute_dtype == "float32"
    assert network(np.zeros((1, 8, 8, 1), np.float32)).dtype == "float32"
    assert {weight.dtype for weight in network.weights} == {"float32"}


def test_wanted_precision_is_taken_and_auto_is_one_of_them():
    from karyoseg.models.precision import choose_precision

    assert [choose_precision(wanted) for wanted in ("f32", "bf16", "f16")] == ["f32", "bf16", "f16"]
    assert choose_precision("auto") in ("f32", "bf16", "f16")


@pytest.mark.slow
def test_several_devices_learn_what_one_learns(project: Path, tmp_path: Path, samples: Callable, options: Callable):
    """Each device averages over its own share of a batch: nearly the loss of the whole batch, not to the last digit."""
    # In the project, for it imports from tests.
    subprocess.run([sys.executable, "-c", TWO_DEVICES, str(tmp_path / "two")], cwd=project, check=True, timeout=300)
    one = StarDistSegmenter(tmp_path / "one")
    history = one.fit(samples(range(4)), samples(range(100, 102)), None, options())

    two = pd.read_csv(tmp_path / "two" / "history.csv")

    np.testing.assert_allclose(two["loss"], history["loss"], rtol=0.05)
    np.testing.assert_allclose(two["val_loss"], history["val_loss"], rtol=0.05)
