"""Telling types of images apart."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from karyoseg.core.errors import KaryosegError
from karyoseg.core.image_types import FEATURES, TYPE, ImageTypes, type_features


def fluorescence(rng: np.random.Generator) -> np.ndarray:
    image = rng.poisson(8, (40, 50))
    image[5:15, 5:20] += rng.integers(60, 200)
    return image.astype(np.uint8)


def tissue(rng: np.random.Generator) -> np.ndarray:
    image = rng.normal([200, 150, 210], 15, (40, 50, 3))
    image[5:25, 5:20] = rng.normal([90, 50, 140], 15, (20, 15, 3))
    return image.clip(0, 255).astype(np.uint8)


def test_features_are_those_of_each_channel(rng: np.random.Generator) -> None:
    image = tissue(rng)
    features = dict(zip(FEATURES, type_features(image), strict=True))
    assert len(features) == 24
    for index, name in enumerate(("red", "green", "blue")):
        channel = image[..., index]
        assert features[f"{name}_min"] == channel.min()
        assert features[f"{name}_upper_quartile"] == np.percentile(channel, 75)
        assert features[f"{name}_std"] == pytest.approx(channel.std())
    assert features["green_max"] >= features["gray_min"]


def test_depth_and_number_of_channels_do_not_matter(rng: np.random.Generator) -> None:
    image = fluorescence(rng)
    np.testing.assert_array_equal(type_features(image), type_features(np.stack([image] * 3, axis=-1)))
    assert type_features(image.astype(np.uint16) * 257).shape == (24,)


def test_types_are_learnt_and_known_again_from_the_table_alone(rng: np.random.Generator) -> None:
    images = [make(rng) for make in (fluorescence, tissue) for _ in range(6)]
    names = ["fluorescence"] * 6 + ["tissue"] * 6
    learnt = ImageTypes.from_features([type_features(image) for image in images], names)
    assert learnt.accuracy > 0.9
    again = ImageTypes(pd.DataFrame(learnt.table.to_dict("list")))
    new = np.stack([type_features(fluorescence(rng)), type_features(tissue(rng))])
    found = again.probabilities(new)
    np.testing.assert_allclose(found.sum(axis=1), 1)
    assert found.idxmax(axis=1).tolist() == ["fluorescence", "tissue"]
    pd.testing.assert_frame_equal(found, learnt.probabilities(new))


def test_too_few_examples_are_refused(rng: np.random.Generator) -> None:
    images = [fluorescence(rng), fluorescence(rng), tissue(rng)]
    with pytest.raises(KaryosegError, match="1 of 'tissue'"):
        ImageTypes.from_features([type_features(image) for image in images], ["fluorescence"] * 2 + ["tissue"])
    with pytest.raises(KaryosegError, match="lacks red_min"):
        ImageTypes(pd.DataFrame({TYPE: ["a", "a", "b", "b"]}))
