"""``kedro bucket check``: can a bucket be used, and how is it protected."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from kedro.framework.session import KedroSession
from rich.console import Console
from rich.table import Table

from karyoseg.cli.errors import with_readable_errors


@click.group()
def bucket() -> None:
    """Look at S3 buckets."""


@bucket.command()
@click.argument("url")
@click.option("--write", is_flag=True, help="Also try to write; nothing is left in the bucket.")
@with_readable_errors
def check(url: str, *, write: bool) -> None:
    """Say whether the bucket of URL (s3://BUCKET/FOLDER) can be used, and how it is protected.

    Uses the entry `s3` of conf/local/credentials.yml, else the AWS_* variables and profiles. Ends with code 1 if the
    bucket cannot be used; the message says why and what to do.
    """
    from karyoseg.datasets.bucket import check_bucket

    session: Any = KedroSession.create(Path.cwd())
    with session:
        session.load_context()  # reads the credentials
    report = check_bucket(url, write=write)
    table = Table(show_header=False, box=None)
    for name, value in report.facts.items():
        table.add_row(name, value)
    console = Console()
    console.print(table)
    for warning in report.warnings:
        console.print(f"[yellow]warning[/yellow]: {warning}")
