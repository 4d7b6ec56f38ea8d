"""Engines: OpenVINO gives what TensorFlow gives, for every form of the network; the choice between them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from karyoseg.core.errors import KaryosegError
from karyoseg.core.metrics import match_table
from karyoseg.models.precision import has_bfloat16
from karyoseg.models.stardist import StarDistSegmenter, engines
from karyoseg.models.stardist.architecture import Geometry, grid_pools, read_weights
from karyoseg.models.stardist.engines import Choice, choose, open_engine, parity
from karyoseg.models.stardist.engines.layers import unsupported
from karyoseg.models.stardist.engines.openvino import OpenVinoEngine
from karyoseg.models.stardist.instances import candidates

SMALL = {"n_rays": 8, "grid": (2, 2), "unet_n_depth": 2, "unet_n_filter_base": 4, "net_conv_after_unet": 8}
FORMS = {
    "small": {},
    "no grid": {"grid": (1, 1)},
    "uneven grid": {"grid": (4, 2)},
    "colour": {"n_channel_in": 3},
    "batch norm": {"unet_batch_norm": True},
    "dropout": {"unet_dropout": 0.3, "unet_batch_norm": True},
    "no features": {"net_conv_after_unet": 0},
    "classes": {"n_classes": 2, "train_class_weights": (1, 1, 1), "train_loss_weights": (1, 0.2, 1)},
    "kernels": {"unet_kernel_size": (5, 3)},
    "even kernels": {"unet_kernel_size": (2, 4)},
    "convolutions": {"unet_n_conv_per_depth": 3, "unet_n_depth": 1},
    "one convolution": {"unet_n_conv_per_depth": 1},
    "pool": {"unet_pool": (4, 2)},
    "expansion": {"unet_expansion": 1.5, "unet_n_depth": 3},
    "activations": {"unet_activation": "elu", "unet_last_activation": "tanh"},
    "prefix": {"unet_prefix": "p_"},
    "swish": {"unet_activation": "swish", "unet_last_activation": "selu"},
}
HAS_ONNX = bool(find_spec("onnx") and find_spec("onnxruntime"))


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Maker of model folders with random weights."""
    from karyoseg.models.stardist.network import build

    def make(**form: Any) -> Path:
        folder = tmp_path_factory.mktemp("forms") / "m"
        model = build({**SMALL, **form}, folder).keras_model
        rng = np.random.default_rng(3)
        # Trained networks have biases, and statistics in their batch normalisations.
        model.set_weights([w + rng.uniform(-0.1, 0.1, w.shape) for w in model.get_weights()])
        model.save_weights(str(folder / "weights_best.h5"))
        return folder

    return make


def outputs(folder: Path, engine: str, image: np.ndarray, precision: str = "f32") -> tuple[np.ndarray, np.ndarray]:
    """Probabilities and distances."""
    with open_engine(folder, Choice(engine, precision, "")).run(image) as (prob, dist):
        return prob.copy(), dist.copy()


def config_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "config.json").read_text())


@pytest.mark.parametrize("form", FORMS)
def test_all_engines_give_what_tensorflow_gives(make: Callable, form: str) -> None:
    folder = make(**FORMS[form])
    geometry = Geometry.from_config(config_of(folder))
    shape = (4 * geometry.stride[0], 6 * geometry.stride[1], geometry.n_channels)
    image = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    reference = outputs(folder, "keras", image)
    assert reference[0].shape == (shape[0] // geometry.grid[0], shape[1] // geometry.grid[1])
    assert reference[1].shape[-1] == geometry.n_rays
    for engine in ["openvino", "onnxruntime"] if HAS_ONNX else ["openvino"]:
        for found, expected in zip(outputs(folder, engine, image), reference, strict=True):
            tolerance = {"rtol": 1e-4, "atol": 1e-5 * max(1, np.abs(expected).max())}
            np.testing.assert_allclose(found, expected, **tolerance, err_msg=engine)


@pytest.mark.parametrize("form", ["small", "uneven grid", "kernels", "even kernels", "convolutions", "pool"])
def test_nothing_beyond_the_context_matters(make: Callable, form: str) -> None:
    folder = make(**FORMS[form])
    engine = OpenVinoEngine(folder, config_of(folder), "f32")
    (top, left), (down, right) = engine.geometry.context, engine.geometry.stride
    assert top % down == left % right == 0
    rng = np.random.default_rng(0)
    own = np.s_[top : top + 2 * down, left : left + 2 * right]
    shape = (2 * top + 2 * down, 2 * left + 2 * right)
    image = rng.normal(size=(shape[0] + 2 * down, shape[1] + 2 * right, 1)).astype(np.float32)
    with engine.run(image) as (prob, _):
        whole = prob.copy()
    with engine.run(image[down : down + shape[0], right : right + shape[1]]) as (prob, _):
        part = prob.copy()
    grid = engine.geometry.grid
    inner = tuple(slice(side.start // g, side.stop // g) for side, g in zip(own, grid, strict=True))
    shifted = tuple(
        slice((s.start + d) // g, (s.stop + d) // g) for s, d, g in zip(own, (down, right), grid, strict=True)
    )
    np.testing.assert_allclose(part[inner], whole[shifted], atol=1e-6)


def test_default_network_needs_little_context() -> None:
    default = {"n_channel_in": 1, "n_rays": 32, "grid": [2, 2], "unet_n_depth": 3, "unet_pool": [2, 2]}
    default |= {"unet_kernel_size": [3, 3], "unet_n_conv_per_depth": 2, "net_conv_after_unet": 128}
    assert Geometry.from_config(default) == Geometry(1, 32, (2, 2), (16, 16), (96, 96))
    assert grid_pools((1, 1)) == []


def test_many_threads_give_the_same_as_one(trained: StarDistSegmenter, sample: Callable) -> None:
    model = StarDistSegmenter.load(trained.directory)
    model.use("openvino")
    images = [sample(400 + i, shape=(60 + 9 * i, 90))[0] for i in range(8)]
    alone = [model.predict(image) for image in images]
    with ThreadPoolExecutor(5) as pool:
        together = list(pool.map(model.predict, images * 3))
    for one, other in zip(alone * 3, together, strict=True):
        np.testing.assert_array_equal(one.labels, other.labels)
        np.testing.assert_array_equal(one.prob, other.prob)


@pytest.mark.skipif(not HAS_ONNX, reason="onnx and onnxruntime are extra packages")
def test_onnx_runtime_gives_the_labels_of_tensorflow(trained: StarDistSegmenter, sample: Callable) -> None:
    model = StarDistSegmenter.load(trained.directory)
    images = [sample(430 + i, shape=(70 + 31 * i, 90))[0] for i in range(3)]
    model.use("keras")
    expected = [model.predict(image).labels for image in images]
    assert model.use("onnxruntime") == "onnxruntime f32"
    with ThreadPoolExecutor(3) as pool:
        for found, labels in zip(pool.map(model.predict, images), expected, strict=True):
            np.testing.assert_array_equal(found.labels, labels)


def test_onnx_runtime_asks_for_its_packages(trained: StarDistSegmenter, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(KaryosegError, match="bf16 with engine onnxruntime: not possible"):
        choose(trained.directory, "onnxruntime", "bf16")
    monkeypatch.setattr(engines, "find_spec", lambda name: None)
    with pytest.raises(KaryosegError, match=r"onnx and onnxruntime not installed; .*pip install onnx onnxruntime,"):
        choose(trained.directory, "onnxruntime")


def test_candidates_are_those_of_stardist(trained: StarDistSegmenter, sample: Callable) -> None:
    from karyoseg.models.stardist.network import open_folder

    image, _ = sample(420, shape=(123, 77))
    expected = open_folder(trained.directory).predict_sparse(image, prob_thresh=0.2, b=0)
    found = candidates(open_engine(trained.directory, Choice("openvino", "f32", "")), image, 0.2)
    assert len(expected[0]) > 50
    np.testing.assert_array_equal(found.points, expected[2])
    np.testing.assert_allclose(found.prob, expected[0], atol=1e-5)
    np.testing.assert_allclose(found.dist, expected[1], rtol=1e-4, atol=1e-4)


def test_bfloat16_finds_the_same_objects(trained: StarDistSegmenter, sample: Callable) -> None:
    model = StarDistSegmenter.load(trained.directory)
    image, _ = sample(421, shape=(256, 256))
    assert model.use("openvino", "f32") == "openvino f32"
    exact = model.predict(image).labels
    assert model.use("openvino", "bf16") == "openvino bf16"
    rounded = model.predict(image).labels
    assert match_table(exact, rounded, [0.8])["tp"].item() >= 0.95 * exact.max()


def test_prediction_does_without_tensorflow(trained: StarDistSegmenter) -> None:
    choose(trained.directory)  # the comparison is done and kept
    script = (
        "import sys, numpy as np; from karyoseg.models import load_segmenter; m = load_segmenter(sys.argv[1]);"
        "print(m.use()); m.predict(np.eye(64, dtype='float32')); assert 'tensorflow' not in sys.modules"
    )
    command = [sys.executable, "-c", script, str(trained.directory)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith("openvino")


def test_openvino_reports_nothing_to_its_maker(trained: StarDistSegmenter, tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from karyoseg.models.stardist.engines import Choice, open_engine;"
        "open_engine(Path(sys.argv[1]), Choice('openvino', 'f32', ''));"
        "assert 'openvino.tools.ovc.telemetry_stub' in sys.modules"
    )
    command = [sys.executable, "-c", script, str(trained.directory)]
    home = {"HOME": str(tmp_path), "USERPROFILE": str(tmp_path)}
    run = subprocess.run(command, env=os.environ | home, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert not (tmp_path / "intel").exists()


def test_the_fastest_that_is_close_enough_is_chosen(
    trained: StarDistSegmenter, monkeypatch: pytest.MonkeyPatch
) -> None:
    same = parity.Verdict(0.0, 0.0, 1.0, True)
    monkeypatch.setattr(parity, "check", lambda folder: {"f32": same, "bf16": same})
    chosen = choose(trained.directory)
    assert (chosen.engine, chosen.precision) == ("openvino", "bf16" if has_bfloat16() else "f32")
    assert "beside TensorFlow: probabilities differ by" in chosen.reason
    assert choose(trained.directory, precision="f32").precision == "f32"
    assert choose(trained.directory, "openvino", "bf16").reason == "as asked for"
    assert str(choose(trained.directory, "keras")) == "keras f32 (as asked for)"
    with pytest.raises(KaryosegError, match="bf16 with engine keras: not possible"):
        choose(trained.directory, "keras", "bf16")


def test_what_is_not_close_enough_is_not_chosen(trained: StarDistSegmenter, monkeypatch: pytest.MonkeyPatch) -> None:
    verdicts = {"f32": parity.Verdict(0.0, 0.0, 1.0, True), "bf16": parity.Verdict(0.2, 0.1, 1.0, False)}
    monkeypatch.setattr(parity, "check", lambda folder: verdicts)
    assert choose(trained.directory).precision == "f32"
    verdicts["f32"] = parity.Verdict(0.5, 0.1, 1.0, False)
    chosen = choose(trained.directory)
    assert chosen.engine == "keras"
    assert "not close enough: beside TensorFlow: probabilities differ by 0.5" in chosen.reason
    assert choose(trained.directory, "openvino").precision == "f32"


def test_comparison_is_made_once_per_model(
    trained: StarDistSegmenter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KARYOSEG_CACHE", str(tmp_path / "cache"))
    first = parity.check(trained.directory)
    assert first["f32"].passed
    assert first["f32"].prob < 1e-4
    monkeypatch.setattr(parity, "open_engine", None)
    trained.save(tmp_path / "copy")
    assert parity.check(tmp_path / "copy") == first
    (kept,) = (tmp_path / "cache" / "parity").iterdir()
    kept.write_text("{half")
    with pytest.raises(TypeError):  # would compare again
        parity.check(tmp_path / "copy")


def test_comparison_tells_differences(trained: StarDistSegmenter, disks: np.ndarray) -> None:
    image = parity.probe(Geometry.from_config(trained.config))
    prob, dist = outputs(trained.directory, "keras", image)
    reference = prob, dist, disks
    assert parity.compare(reference, reference, "f32") == parity.Verdict(0, 0, 1, True)
    assert not parity.compare(reference, (prob * 0.8, dist, disks), "bf16").passed
    assert not parity.compare(reference, (prob, dist * 1.1, disks), "bf16").passed
    one_lost = parity.compare(reference, (prob, dist, np.where(disks == 2, 0, disks)), "bf16")
    assert one_lost == parity.Verdict(0, 0, pytest.approx(2 * 3 / (4 + 3)), False)
    nothing = np.zeros_like(disks)
    assert parity.compare((prob, dist, nothing), (prob, dist, nothing), "bf16").passed


def test_comparison_without_a_writable_cache(trained: StarDistSegmenter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KARYOSEG_CACHE", "/proc/nowhere")
    assert parity.check(trained.directory)["f32"].passed


def test_networks_that_openvino_cannot_build_run_in_tensorflow(make: Callable) -> None:
    folder = make(unet_activation="hard_sigmoid")
    assert unsupported(config_of(folder)) == "the activation 'hard_sigmoid' is unknown"
    assert str(choose(folder)) == "keras f32 (the activation 'hard_sigmoid' is unknown)"
    for engine, name in (("openvino", "OpenVINO"), ("onnxruntime", "ONNX Runtime")):
        with pytest.raises(KaryosegError, match=rf"cannot run in {name}, the activation .*engine keras"):
            choose(folder, engine)


def test_a_gpu_is_used(trained: StarDistSegmenter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "_has_gpu", lambda: True)
    assert str(choose(trained.directory)) == "keras f32 (a GPU is there)"
    assert choose(trained.directory, "openvino").engine == "openvino"


def test_weights_that_do_not_fit(make: Callable) -> None:
    folder = make()
    for wrong in ({"unet_n_filter_base": 8}, {"unet_n_depth": 1}, {"unet_batch_norm": True}, {"grid": (1, 1)}):
        with pytest.raises(KaryosegError, match="weights do not fit the configuration"):
            OpenVinoEngine(folder, config_of(folder) | wrong, "f32")
    (folder / "weights_best.h5").write_bytes(b"no HDF5")
    with pytest.raises(KaryosegError, match="cannot be opened as Keras weights"):
        read_weights(folder / "weights_best.h5")
