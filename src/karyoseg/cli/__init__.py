"""Commands of this project; Kedro finds the group :func:`cli` here."""

from __future__ import annotations

import click

from karyoseg.cli.bucket import bucket
from karyoseg.cli.convert import convert
from karyoseg.cli.model import model
from karyoseg.cli.run import run
from karyoseg.cli.runs import runs
from karyoseg.cli.score import score
from karyoseg.cli.types import types


@click.group(name="karyoseg")
def cli() -> None:
    """Commands of this project."""


cli.add_command(bucket)
cli.add_command(convert)
cli.add_command(model)
cli.add_command(run)
cli.add_command(runs)
cli.add_command(score)
cli.add_command(types)
