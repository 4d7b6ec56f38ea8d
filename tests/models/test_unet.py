"""Foreground models: targets and loss against their formulas, and a tiny training."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import ndimage as ndi

from karyoseg.core.errors import KaryosegError
from karyoseg.core.preparation import Preparation
from karyoseg.models.base import LabelledSamples
from karyoseg.models.two_scales import open_foreground
from karyoseg.models.unet import ForegroundModel, foreground
from karyoseg.params.train_foreground import TrainForegroundParams

PARAMS = TrainForegroundParams(
    sigmas=[0.0, 1.0],
    depth=2,
    filters=4,
    epochs=3,
    steps_per_epoch=15,
    batch_size=4,
    patch_size=[32, 32],
    learning_rate=0.01,
    seed=3,
)
CONFIG = {"n_channels": 1, **PARAMS.model_dump(include={"depth", "filters", "sigmas", "test_time"})}
Samples = Callable[..., LabelledSamples]


def fit(folder: Path, samples: Samples, **changes: Any) -> tuple[ForegroundModel, Any]:
    """Train on disks."""
    model = ForegroundModel(folder, CONFIG, {"preparation": Preparation().to_dict()})
    options = PARAMS.model_dump(mode="json") | changes
    return model, model.fit(samples(range(6)), samples(range(100, 102)), None, options)


@pytest.fixture(scope="module")
def fitted(samples: Samples, tmp_path_factory: pytest.TempPathFactory) -> tuple[ForegroundModel, Any]:
    """A model that has learnt to find disks, and its history; do not change its folder."""
    return fit(tmp_path_factory.mktemp("foreground") / "disks", samples)


def test_each_network_has_the_next_seed_of_patches_and_of_their_changes(
    tmp_path: Path, samples: Samples, monkeypatch: pytest.MonkeyPatch
) -> None:
    from karyoseg.models.unet import fitting

    class Stop(Exception):
        pass

    seeds: list[tuple[int, int | None]] = []

    def stream(*data: Any, seed: int, augment_seed: int | None = None, **options: Any) -> list[None]:
        seeds.append((seed, augment_seed))
        return [None]

    def epochs(*given: Any) -> Any:
        if len(seeds) == 4:  # two networks, and what each is validated on
            raise Stop
        return pd.DataFrame({"epoch": [1]})

    monkeypatch.setattr(fitting, "PatchStream", stream)
    monkeypatch.setattr(fitting, "run_epochs", epochs)
    for policy, expected in (({"seed": 50}, [(3, 50), (4, 51)]), ({}, [(3, 3), (4, 4)])):
        seeds.clear()
        with pytest.raises(Stop):
            fit(tmp_path, samples, augmentation=policy)
        assert seeds[::2] == expected


def test_targets_are_softened_and_blurred_and_know_what_is_not_annotated(disks: np.ndarray) -> None:
    from karyoseg.models.unet.network import foreground_target

    disks = disks.copy()
    disks[:5] = -1
    sharp, blurred = foreground_target(disks, 0)[..., 0], foreground_target(disks, 2)[..., 0]
    assert set(np.unique(sharp)) == {np.float32(-1), np.float32(20 / 255), np.float32(235 / 255)}
    assert (blurred[:5] == -1).all()
    expected = ndi.gaussian_filter(np.where(disks > 0, 235, 20) / 255, 2, mode="nearest")
    assert np.allclose(blurred[5:], expected[5:], atol=1e-5)


def test_loss_is_one_minus_the_jaccard_index(rng: np.random.Generator) -> None:
    from karyoseg.models.unet.network import jaccard_loss

    x, y = rng.random((2, 3, 8, 8, 1)).astype(np.float32)
    assert float(jaccard_loss(x, y)) == pytest.approx(1 - (x * y).sum() / (x + y - x * y).sum(), abs=1e-5)
    binary = (x > 0.5).astype(np.float32)
    assert float(jaccard_loss(binary, binary)) == pytest.approx(0, abs=1e-5)
    assert float(jaccard_loss(binary, 1 - binary)) == pytest.approx(1, abs=1e-5)
    assert np.isfinite(float(jaccard_loss(x * 0, y * 0)))
    hidden = x.copy()
    hidden[0] = -1
    assert float(jaccard_loss(hidden, y)) == pytest.approx(float(jaccard_loss(x[1:], y[1:])), abs=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["bf16", "f16"])
def test_16_bit_learns_too_and_the_model_is_32_bit(samples: Samples, tmp_path: Path, precision: str) -> None:
    model, history = fit(tmp_path / "disks", samples, precision=precision, sigmas=[0.0])

    assert history["loss"].iloc[-1] < history["loss"].iloc[0]
    assert {layer.compute_dtype for layer in model.networks[0].layers} == {"float32"}


@pytest.mark.slow
def test_it_learns_and_the_map_is_the_mean_over_networks_and_flips(
    fitted: tuple[ForegroundModel, Any], sample: Callable[..., Any]
) -> None:
    model, history = fitted
    assert history.groupby("network").size().tolist() == [3, 3]
    losses = history.groupby("network")["val_loss"]
    assert (losses.last() < losses.first()).all()
    image, labels = sample(200, shape=(75, 91))  # no multiple of the stride
    found = model.predict(image)
    assert found.shape == labels.shape
    assert found.dtype == np.float32
    assert 0 <= found.min() < found.max() <= 1
    nuclei = found > 0.5
    assert (nuclei & (labels > 0)).sum() / (nuclei | (labels > 0)).sum() > 0.7
    assert np.allclose(model.predict(image[::-1])[::-1], found, atol=1e-5)
    alone = [ForegroundModel(model.directory, model.config | {"test_time": False}) for _ in range(2)]
    for index, single in enumerate(alone):
        single._networks = [model.networks[index]]
    flips = [(y, x) for y in (1, -1) for x in (1, -1)]
    maps = [single.predict(image[::y, ::x])[::y, ::x] for single in alone for y, x in flips]
    assert np.allclose(np.mean(maps, axis=0), found, atol=1e-5)


@pytest.mark.slow
def test_tiles_do_not_show(
    fitted: tuple[ForegroundModel, Any], sample: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, _ = fitted
    image, _ = sample(201, shape=(520, 300))
    whole = model.predict(image)
    monkeypatch.setattr(foreground, "_MEMORY", 1.0)
    assert np.allclose(model.predict(image), whole, atol=1e-4)


@pytest.mark.slow
def test_a_saved_model_is_the_same_and_a_finished_training_is_not_repeated(
    fitted: tuple[ForegroundModel, Any], samples: Samples, sample: Callable[..., Any], tmp_path: Path
) -> None:
    model, history = fitted
    model.save(tmp_path / "saved")
    loaded = ForegroundModel.load(tmp_path / "saved")
    assert loaded.fingerprint == model.fingerprint
    assert loaded.preparation == Preparation()
    image, _ = sample(202)
    assert np.array_equal(loaded.predict(image), model.predict(image))
    again, same = fit(model.directory, samples)
    assert same.equals(history)  # with the seconds of the first time
    assert again.fingerprint == model.fingerprint


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Skipping nested container")
def test_weights_of_another_network_are_refused(fitted: tuple[ForegroundModel, Any], tmp_path: Path) -> None:
    model, _ = fitted
    model.save(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(model.config | {"filters": 8}))
    opened = ForegroundModel.load(tmp_path)
    for _ in range(2):  # the second image, too
        with pytest.raises(KaryosegError, match=r"network_0\.weights\.h5: cannot be read .*train_foreground"):
            opened.predict(np.zeros((8, 8), np.float32))


@pytest.mark.slow
def test_wrong_channels_preparation_and_folders_are_refused(
    fitted: tuple[ForegroundModel, Any], tmp_path: Path
) -> None:
    model, _ = fitted
    with pytest.raises(KaryosegError, match="2 channel"):
        model.predict(np.zeros((8, 8, 2), np.float32))

    class Other:
        preparation = Preparation(pmin=3)

    model.save(tmp_path / "saved")
    with pytest.raises(KaryosegError, match="same prepared images"):
        open_foreground(str(tmp_path / "saved"), Other())  # type: ignore[arg-type]
    weights = tmp_path / "saved" / "network_1.weights.h5"
    content = weights.read_bytes()
    weights.write_bytes(content[: len(content) // 2])
    with pytest.raises(KaryosegError, match=r"network_1\.weights\.h5: cannot be read .*train_foreground"):
        ForegroundModel.load(tmp_path / "saved")
    weights.unlink()
    with pytest.raises(KaryosegError, match=r"network_1\.weights\.h5 missing"):
        ForegroundModel.load(tmp_path / "saved")
    (tmp_path / "saved" / "config.json").write_text(json.dumps({"n_rays": 32}))
    with pytest.raises(KaryosegError, match="its family is StarDist"):
        ForegroundModel.load(tmp_path / "saved")
    with pytest.raises(KaryosegError, match="train_foreground"):
        ForegroundModel.load(tmp_path / "nothing")


def test_no_samples_to_validate_on(samples: Samples, tmp_path: Path) -> None:
    model = ForegroundModel(tmp_path, CONFIG, {"preparation": Preparation().to_dict()})
    train = partial(samples, range(2))
    with pytest.raises(KaryosegError, match="val split"):
        model.fit(train(), LabelledSamples({}, {}), None, PARAMS.model_dump(mode="json"))


def test_patches_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="multiple of 16"):
        TrainForegroundParams(patch_size=[100, 96])
