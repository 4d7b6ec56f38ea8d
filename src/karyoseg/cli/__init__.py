"""Commands of this project; Kedro finds the group :func:`cli` here."""

from __future__ import annotations

import click

from karyoseg.cli.run import run


@click.group(name="karyoseg")
def cli() -> None:
    """Commands of this project."""


cli.add_command(run)
