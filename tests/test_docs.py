"""The documentation builds, and the commands it shows exist."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
from kedro.framework.cli.project import run as kedro_run
from kedro.framework.project import pipelines
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project
from kedro.validation.exceptions import ParameterValidationError
from kedro.validation.type_extractor import TypeExtractor

from karyoseg.cli import cli

PROJECT = Path(__file__).parents[1]
PAGES = sorted([PROJECT / "README.md", *(PROJECT / "docs").rglob("*.md")])
INVENTED = {"my-nuclei"}  # environments that a page makes up
WRONG_ON_PURPOSE = "kedro run --params train.epoch=12"


def commands() -> list[str]:
    """Every line of every block of shell commands, once."""
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    blocks = re.findall(r"^```(?:bash|sh|console)\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)
    lines = [line.strip() for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    return sorted({line.split(" #")[0].strip() for line in lines if line and not line.startswith("#")})


def parse(command: str) -> dict[str, Any]:
    """Options of a `kedro run` command; what click does not know is an error."""
    return kedro_run.make_context("run", shlex.split(command)[2:], resilient_parsing=False).params


def check_run(command: str) -> None:
    options = parse(command)
    env = options["env"]
    if env in INVENTED:
        env = None
    assert env is None or (PROJECT / "conf" / env).is_dir(), f"no environment {env}"
    names = [options["pipeline"] or "__default__"]
    if options["pipelines"]:
        names = options["pipelines"] if isinstance(options["pipelines"], list) else options["pipelines"].split(",")
    assert set(names) <= set(pipelines), f"no pipeline {names}"
    with KedroSession.create(PROJECT, env=env or "base", runtime_params=options["params"]) as session:
        values = session.load_context().params
    models = TypeExtractor(dict(pipelines)).extract_types_from_pipelines()
    for group in options["params"] or {}:
        models[group].model_validate(values[group])


@pytest.fixture(scope="module", autouse=True)
def _project() -> None:
    bootstrap_project(PROJECT)


def test_pages_show_commands() -> None:
    starts = {command.split()[0] for command in commands()}
    assert {"make", "kedro"} <= starts


@pytest.mark.parametrize("command", [c for c in commands() if c.startswith("kedro run") and c != WRONG_ON_PURPOSE])
def test_kedro_runs_are_valid(command: str) -> None:
    check_run(command)


def test_what_is_shown_as_a_mistake_is_one() -> None:
    assert WRONG_ON_PURPOSE in commands()
    with pytest.raises((ParameterValidationError, ValueError), match="epoch"):
        check_run(WRONG_ON_PURPOSE)


@pytest.mark.parametrize(
    "command", [c for c in commands() if c.split()[:1] == ["kedro"] and c.split()[1] in {*cli.commands} - {"run"}]
)
def test_commands_of_the_project_exist(command: str) -> None:
    group: click.Command = cli
    words = shlex.split(command)[1:]
    while isinstance(group, click.Group):
        group = group.commands[words.pop(0)]
    group.make_context(command, words)


def test_unknown_options_would_be_noticed() -> None:
    with pytest.raises(click.UsageError):
        parse("kedro run --pipelinee train")


def test_make_targets_and_scripts_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (PROJECT / "Makefile").read_text(), flags=re.MULTILINE))
    for command in commands():
        words = [word for word in shlex.split(command) if "=" not in word]
        if words and words[0] == "make":
            assert set(words[1:]) <= targets, command
        scripts = [word for word in words if word.startswith(("scripts/", "notebooks/", "tests/"))]
        assert [script for script in scripts if not (PROJECT / script).exists()] == [], command


@pytest.mark.parametrize("page", ["conf/README.md", "docs/reference/files.md"])
def test_every_environment_is_listed(page: str) -> None:
    text = (PROJECT / page).read_text(encoding="utf-8").split("## Configuration")[-1]
    listed = re.findall(r"(?:^├── |`)([\w-]+)/(?=[` ])", text, flags=re.MULTILINE)
    environments = [path.name for path in (PROJECT / "conf").iterdir() if path.is_dir()]
    assert sorted(listed) == sorted(environments)


@pytest.mark.slow
def test_documentation_builds_without_warnings(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")],
        cwd=PROJECT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    pages = list((tmp_path / "site").rglob("*.html"))
    assert len(pages) > len(list((PROJECT / "docs").rglob("*.md"))) / 2
    foreign = re.compile(r"<(?:script|link|img)[^>]+(?:src|href)=\"?https?://")
    assert [page.name for page in pages if foreign.search(page.read_text(encoding="utf-8"))] == []
