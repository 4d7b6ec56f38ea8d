"""Parameters refuse what makes no sense, and say what would."""

from __future__ import annotations

from typing import Any, get_args

import pytest
from pydantic import ValidationError

from karyoseg.params.download import DatasetParams
from karyoseg.params.predict import PredictParams
from karyoseg.params.preprocess import PreprocessParams
from karyoseg.params.train import Activation, TrainParams


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"epohcs": 3}, "did you mean 'epochs'"),
        ({"xyz": 3}, "known are workspace, "),
        ({"network": {"n_ray": 8}}, "did you mean 'n_rays'"),
        ({"epochs": 0}, "greater than or equal to 1"),
        ({"epochs": "many"}, "valid integer"),
        ({"patch_size": [250, 256]}, "multiple of 16"),
        ({"patch_size": [256]}, "at least 2 items"),
        ({"network": {"grid": [3, 2]}}, "powers of 2"),
        ({"schedule": {"name": "linear"}}, "'constant', 'cosine', 'plateau'"),
        ({"init": {"name": "pretrained", "model": "mine"}}, "2D_versatile_fluo"),
        ({"shape_completion": True, "completion_crop": 128}, "completion crop"),
        ({"network": {"unet_activation": "rleu"}}, "'relu', 'elu', "),
        ({"network": {"unet_last_activation": "LeakyReLU"}}, "'leaky_relu', "),
    ],
)
def test_train_refuses(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        TrainParams.model_validate(values)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"pmin": 99.9, "pmax": 99.8}, "must be below"),
        ({"rescale": {"name": "diameter"}}, "target"),
        ({"rescale": {"name": "none", "target": 3}}, "unknown parameter 'target'"),
        ({"splits": {"val_fraction": 1.0}}, "less than 1"),
        ({"channels": [-1]}, "greater than or equal to 0"),
        ({"channels": []}, "at least 1 item"),
        ({"splits": {"group_pattern": "(unclosed"}}, r"'\(unclosed' is no regular expression \(missing \)"),
    ],
)
def test_preprocess_refuses(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        PreprocessParams.model_validate(values)


def test_star_distances_by_opencl_need_gputools(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("karyoseg.params.train.find_spec", lambda name: None)
    with pytest.raises(ValidationError, match=r"gputools is not installed; run `pip install gputools`, or leave"):
        TrainParams(use_gpu=True)
    monkeypatch.setattr("karyoseg.params.train.find_spec", lambda name: name)
    assert TrainParams(use_gpu=True).use_gpu


def test_keras_knows_every_activation() -> None:
    from keras import activations

    for name in get_args(Activation):
        assert callable(activations.get(name))


def test_every_architecture_field_of_stardist_can_be_set() -> None:
    """Fields of Config2D that describe the network or its training; classes are not supported yet."""
    from stardist.models import Config2D

    fixed = {"n_dim", "axes", "n_channel_in", "n_channel_out", "n_classes", "backbone", "train_class_weights"}
    derived = {"net_input_shape", "net_mask_shape", "unet_prefix", "train_checkpoint", "train_checkpoint_last"}
    replaced = {"train_sample_cache", "train_reduce_lr", "train_checkpoint_epoch"}  # cache_gb, schedule, workspace
    ours = TrainParams().config2d(1)
    assert set(vars(Config2D())) - fixed - derived - replaced <= set(ours)
    config = vars(Config2D(**ours))
    plain = {key: tuple(value) if isinstance(value, list) else value for key, value in ours.items() if key != "axes"}
    assert {key: tuple(config[key]) if isinstance(config[key], list) else config[key] for key in plain} == plain


@pytest.mark.parametrize(
    ("model", "values"),
    [
        (PredictParams, {"input": 20241105, "output": "o"}),
        (PredictParams, {"output": 2024.5}),
        (DatasetParams, {"test_ids": 7}),
        (DatasetParams, {"sample_class": 1}),
    ],
)
def test_texts_that_look_like_numbers(model: Any, values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=r"was read as a number.*\./2024_11_05"):
        model(**values)


def test_what_belongs_to_the_full_mode_is_refused_in_another() -> None:
    full = {"postprocessing": "best.json"}
    assert PredictParams(output="o", mode="full", full=full).full.postprocessing == "best.json"
    with pytest.raises(ValidationError, match=r"full\.postprocessing has no effect in mode fast"):
        PredictParams(output="o", full=full)


def test_numbers_are_numbers() -> None:
    assert PredictParams(output="o", scale=2, prob_thresh=0.5, channels=[0], diameter_px=30).scale == 2


@pytest.mark.parametrize(
    ("model", "values"),
    [
        (PredictParams, {"output": "~/results"}),
        (PredictParams, {"output": "o", "model": "~me/models/mine"}),
        (PredictParams, {"output": "o", "full": {"postprocessing": "~/best.json"}}),
        (DatasetParams, {"directory": "~"}),
        (TrainParams, {"init": {"name": "model", "path": "~/mine"}}),
    ],
)
def test_the_home_folder_is_refused_where_it_would_become_a_folder_of_that_name(model: Any, values: Any) -> None:
    with pytest.raises(ValidationError, match=r"=~.* begins with ~.*write \$HOME in place of ~"):
        model(**values)


def test_the_home_folder_is_taken_where_it_is_understood() -> None:
    assert PredictParams(output="~results", input="~/images").input == "~/images"
    assert DatasetParams(layout="folder", url="~/images").url == "~/images"
