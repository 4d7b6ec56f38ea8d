"""Fused batch normalisation against Keras' own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest


def make_network(layer: Any, dtype: str = "float32") -> Any:
    import keras

    inputs = keras.Input((None, None, 3))
    return keras.Model(inputs, layer(dtype=dtype)(inputs))


@pytest.fixture
def pair(rng: np.random.Generator) -> tuple[Any, Any]:
    """Keras' layer and the fused one in a network each, with the same random weights."""
    import keras

    from karyoseg.models.stardist.normalisation import FusedBatchNormalization

    plain, fused = make_network(keras.layers.BatchNormalization), make_network(FusedBatchNormalization)
    plain.set_weights([rng.uniform(0.5, 2, weight.shape) for weight in plain.get_weights()])
    fused.set_weights(plain.get_weights())
    return plain, fused


@pytest.mark.parametrize("training", [False, True])
def test_results_and_gradients_are_those_of_keras(pair: tuple[Any, Any], training: bool, rng: np.random.Generator):
    import tensorflow as tf

    images = tf.constant(rng.normal(3, 2, (4, 8, 6, 3)).astype("float32"))
    results = []
    for model in pair:
        with tf.GradientTape() as tape:
            tape.watch(images)
            out = model(images, training=training)
            loss = tf.reduce_sum(out**3)
        results.append([out, *tape.gradient(loss, [images, *model.trainable_variables])])

    for plain, fused in zip(*results, strict=True):
        np.testing.assert_allclose(fused, plain, rtol=1e-3, atol=1e-3)


def test_moving_statistics_follow_the_batches(pair: tuple[Any, Any], rng: np.random.Generator):
    images = rng.normal(3, 2, (4, 8, 6, 3)).astype("float32")
    for _ in range(3):
        for model in pair:
            model(images, training=True)

    (_, _, *plain), (_, _, *fused) = (model.get_weights() for model in pair)

    np.testing.assert_allclose(fused[0], plain[0], rtol=1e-4)
    np.testing.assert_allclose(fused[1], plain[1], rtol=0.01)  # unbiased: 192 pixels / 191


def test_frozen_layers_keep_their_statistics(pair: tuple[Any, Any], rng: np.random.Generator):
    images = rng.normal(3, 2, (4, 8, 6, 3)).astype("float32")
    before = pair[1].get_weights()
    for model in pair:
        model.trainable = False

    plain, fused = (model(images, training=True) for model in pair)

    np.testing.assert_allclose(fused, plain, rtol=1e-4, atol=1e-5)
    for old, new in zip(before, pair[1].get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "mixed_float16"])
def test_16_bit_is_summed_in_32(dtype: str, rng: np.random.Generator):
    from karyoseg.models.stardist.normalisation import FusedBatchNormalization

    images = rng.normal(20, 1, (4, 64, 64, 3)).astype("float32")  # a 16-bit sum of 16384 such numbers is far off
    model = make_network(FusedBatchNormalization, dtype)

    normed = np.asarray(model(images, training=True), np.float32)

    np.testing.assert_allclose(normed.mean(axis=(0, 1, 2)), 0, atol=0.01)
    np.testing.assert_allclose(normed.std(axis=(0, 1, 2)), 1, atol=0.02)


def test_only_plain_normalisations_of_images_are_fused(rng: np.random.Generator):
    import keras

    from karyoseg.models.stardist.normalisation import FusedBatchNormalization, fuse_batch_normalisation

    inputs = keras.Input((8, 8, 3))
    options = [{}, {"scale": False}, {"axis": 1}, {"center": False}]
    x = inputs
    for option in options:
        x = keras.layers.BatchNormalization(**option)(x)
    model = keras.Model(inputs, keras.layers.BatchNormalization()(keras.layers.Flatten()(x)))
    image = rng.normal(0, 1, (2, 8, 8, 3)).astype("float32")
    before = model.predict_on_batch(image)

    fuse_batch_normalisation(model)

    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    assert [isinstance(layer, FusedBatchNormalization) for layer in norms] == [True, False, False, False, False]
    np.testing.assert_allclose(np.asarray(model(image)), before, rtol=1e-4, atol=1e-5)
