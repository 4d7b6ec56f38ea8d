"""``kedro bucket check``: can a bucket be used, and how is it protected."""

from __future__ import annotations

import click
from kedro.framework.session import KedroSession
from kedro.framework.startup import ProjectMetadata

from karyoseg.cli.errors import with_readable_errors
from karyoseg.cli.facts import two_columns


@click.group()
def bucket() -> None:
    """Look at S3 buckets."""


@bucket.command()
@click.argument("url")
@click.option("--write", is_flag=True, help="Also try to write; nothing is left in the bucket.")
@click.pass_obj
@with_readable_errors
def check(metadata: ProjectMetadata, url: str, write: bool) -> None:
    """Say whether the bucket of URL (s3://BUCKET/FOLDER) can be used, and how it is protected.

    Uses the entry `s3` of conf/local/credentials.yml, else the AWS_* variables and profiles. Ends with code 1 if the
    bucket cannot be used; the message says why and what to do.
    """
    from karyoseg.core.io.bucket import check_bucket

    KedroSession.create(metadata.project_path).load_context()  # reads the credentials
    report = check_bucket(url, write=write)
    click.echo(two_columns(report.facts))
    for warning in report.warnings:
        click.echo(f"warning: {warning}")
