"""What a user sees when something is wrong."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from kedro.framework.startup import bootstrap_project
from kedro.io import DatasetError
from kedro.validation.exceptions import ModelInstantiationError, ParameterValidationError
from kedro.validation.model_factory import instantiate_model

from karyoseg.cli import cli
from karyoseg.cli.errors import readable, user_error
from karyoseg.cli.run import adapt, check_pipelines
from karyoseg.core.errors import KaryosegError
from karyoseg.params.base import Params
from projects import copy_project


def test_the_user_error_is_found_in_the_chain_of_causes() -> None:
    mendable, wrapped = KaryosegError("file.tif: broken"), DatasetError("Failed while saving")
    wrapped.__cause__ = mendable
    assert user_error(wrapped) is mendable
    assert user_error(RuntimeError("a bug")) is None


def test_links_for_programmers_are_left_out() -> None:
    text = "epochs\n  Input should be an integer [type=int]\n    For further information visit https://x.y/z"
    assert readable(KaryosegError(text)) == "epochs\n  Input should be an integer [type=int]"
    assert readable(KaryosegError("bad name [type=value_error, input_value={...}]")) == "bad name"


def test_wrong_parameters_are_told_without_names_of_classes() -> None:
    class TrainParams(Params):
        epochs: int = 1

    def message(**values: object) -> str:
        with pytest.raises(ModelInstantiationError) as caught:
            instantiate_model("train", values, TrainParams)
        return readable(ParameterValidationError(f"- Parameter 'train': {caught.value}"))

    assert message(epohcs=3) == "- Parameter 'train':\n  unknown parameter 'epohcs'; did you mean 'epochs'?"
    assert message(epochs="many").splitlines() == [
        "- Parameter 'train':",
        "epochs",
        "  Input should be a valid integer, unable to parse string as an integer (found 'many')",
    ]


def test_unknown_pipelines_are_refused_with_the_known_ones() -> None:
    check_pipelines(["download", "__default__"])
    with pytest.raises(KaryosegError, match=r"'trian'.*train"):
        check_pipelines(["trian"])


def test_errors_become_messages_and_bugs_stay_visible(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)

    def fail(error: Exception) -> click.Command:
        def callback(**_: object) -> None:
            raise error

        return adapt(click.Command("run", callback=callback))

    with pytest.raises(click.ClickException, match="no such file"):
        fail(KaryosegError("no such file")).callback(pipeline="train", pipelines=[])  # type: ignore[misc]
    with pytest.raises(ZeroDivisionError):
        fail(ZeroDivisionError()).callback(pipeline=None, pipelines=[])  # type: ignore[misc]
    monkeypatch.setenv("KARYOSEG_TRACEBACK", "1")
    with pytest.raises(KaryosegError):
        fail(KaryosegError("no such file")).callback(pipeline=None, pipelines=[])  # type: ignore[misc]


def test_one_pipeline_is_passed_on_without_the_deprecated_option(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)
    seen: list[object] = []
    command = click.Command("run", callback=lambda pipeline, pipelines: seen.append((pipeline, pipelines)))
    adapt(command).callback(pipeline="train", pipelines=["evaluate"])  # type: ignore[misc]
    assert seen == [(None, ["train", "evaluate"])]


def test_a_run_below_the_project_is_refused_as_it_would_split_its_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    below = tmp_path / "project" / "notebooks"
    below.mkdir(parents=True)
    (tmp_path / "project/pyproject.toml").write_text("[tool.kedro]\n")
    seen: list[Path] = []
    command = adapt(click.Command("run", callback=lambda **_: seen.append(Path.cwd())))
    for here in (tmp_path, tmp_path / "project"):  # an installed package, and the project
        monkeypatch.chdir(here)
        command.callback(pipeline="train", pipelines=[])  # type: ignore[misc]
    monkeypatch.chdir(below)
    with pytest.raises(click.ClickException, match=rf"{below}: .*Run it in {tmp_path / 'project'}\."):
        command.callback(pipeline="train", pipelines=[])  # type: ignore[misc]
    assert seen == [tmp_path, tmp_path / "project"]


def test_listing_pipelines_does_not_import_what_only_some_steps_need() -> None:
    slow = {"tensorflow", "stardist", "keras", "albumentations", "sklearn", "scipy.stats", "sqlalchemy"}
    code = (
        "import sys, karyoseg.hooks; from kedro.framework.project import configure_project, pipelines; "
        "configure_project('karyoseg'); names = list(pipelines); assert 'train' in names; "
        f"sys.exit(sorted({slow} & set(sys.modules)) or 0)"
    )
    run = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


@pytest.fixture(scope="module")
def workspace(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_project(project, tmp_path_factory.mktemp("cli") / "project")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--pipeline", "train", "--params", "train.epohcs=3"], ["epohcs", "did you mean 'epochs'"]),
        (["--pipeline", "train", "--params", "train.epochs=many"], ["epochs", "valid integer"]),
        (["--pipeline", "preprocess", "--params", "preprocess.rescale.name=size"], ["rescale", "'diameter'"]),
        (
            ["--pipeline", "download", "--params", "dataset.layout=folder,dataset.url=nowhere"],
            ["nowhere does not exist"],
        ),
        (["--pipeline", "preprocess"], ["02_intermediate", "manifest.csv"]),
        (["--pipeline", "predict", "--params", "predict.input=nowhere"], ["nowhere"]),
        (["--env", "unknown"], ["unknown"]),
    ],
)
def test_mistakes_end_with_code_1_and_a_plain_message(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: list[str]
) -> None:
    monkeypatch.chdir(workspace)
    bootstrap_project(workspace)
    run = CliRunner().invoke(cli, ["run", *arguments])
    assert run.exit_code == 1
    assert isinstance(run.exception, SystemExit)  # a message of the command line, not an exception that escaped
    for text in said:
        assert text in run.output
    assert "Traceback" not in run.output


@pytest.mark.parametrize(
    "modules",
    [
        "pipelines.train.nodes, karyoseg.pipelines.predict.nodes, karyoseg.pipelines.evaluate.nodes",
        "datasets, karyoseg.models, karyoseg.hooks, karyoseg.pipelines.visualize.nodes",
    ],
)
def test_nodes_and_datasets_do_not_import_tensorflow(modules: str) -> None:
    code = (
        f"import sys, karyoseg.{modules}; "
        "sys.exit(sorted({'tensorflow', 'stardist', 'csbdeep', 'keras'} & set(sys.modules)) or 0)"
    )
    run = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
