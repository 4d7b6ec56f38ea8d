"""What a user sees when something is wrong."""

from __future__ import annotations

import subprocess
import sys

import click
import pytest
from kedro.io import DatasetError

from karyoseg import cli
from karyoseg.core.errors import KaryosegError


def test_the_user_error_is_found_in_the_chain_of_causes() -> None:
    mendable, wrapped = KaryosegError("file.tif: broken"), DatasetError("Failed while saving")
    wrapped.__cause__ = mendable
    assert cli.user_error(wrapped) is mendable
    assert cli.user_error(RuntimeError("a bug")) is None


def test_links_for_programmers_are_left_out() -> None:
    text = "epochs\n  Input should be an integer [type=int]\n    For further information visit https://x.y/z"
    assert cli.readable(KaryosegError(text)) == "epochs\n  Input should be an integer [type=int]"
    assert cli.readable(KaryosegError("bad name [type=value_error, input_value={...}]")) == "bad name"


def test_unknown_pipelines_are_refused_with_the_known_ones() -> None:
    cli.check_pipelines(["download", "__default__"])
    with pytest.raises(KaryosegError, match=r"'trian'.*train"):
        cli.check_pipelines(["trian"])


def test_errors_become_messages_and_bugs_stay_visible(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(error: Exception) -> click.Command:
        def callback(**_: object) -> None:
            raise error

        return cli._with_readable_errors(click.Command("run", callback=callback))

    with pytest.raises(click.ClickException, match="no such file"):
        fail(KaryosegError("no such file")).callback(pipeline="train", pipelines=[])  # type: ignore[misc]
    with pytest.raises(ZeroDivisionError):
        fail(ZeroDivisionError()).callback(pipeline=None, pipelines=[])  # type: ignore[misc]
    monkeypatch.setenv("KARYOSEG_TRACEBACK", "1")
    with pytest.raises(KaryosegError):
        fail(KaryosegError("no such file")).callback(pipeline=None, pipelines=[])  # type: ignore[misc]


def test_one_pipeline_is_passed_on_without_the_deprecated_option() -> None:
    seen: list[object] = []
    command = click.Command("run", callback=lambda pipeline, pipelines: seen.append((pipeline, pipelines)))
    cli._with_readable_errors(command).callback(pipeline="train", pipelines=["evaluate"])  # type: ignore[misc]
    assert seen == [(None, ["train", "evaluate"])]


def test_listing_pipelines_does_not_import_tensorflow() -> None:
    code = (
        "import sys; from kedro.framework.project import configure_project, pipelines; "
        "configure_project('karyoseg'); names = list(pipelines); "
        "sys.exit(0 if 'train' in names and not {'tensorflow', 'stardist', 'keras'} & set(sys.modules) else 1)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
