"""``kedro model``: versions of trained models, and where a model came from."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from kedro.framework.session import KedroSession
from kedro.framework.startup import ProjectMetadata

from karyoseg.cli.errors import with_readable_errors
from karyoseg.cli.facts import two_columns
from karyoseg.core.image_files import is_url

_REMOTE = click.option("--remote", "-r", help="Remote of DVC, in place of its default.")


@click.group()
def model() -> None:
    """Release, fetch and describe trained models."""


@model.command()
@click.argument("name")
@click.option("--version", "-v", required=True, help="For example 1.2; becomes the tag NAME-v1.2.")
@_REMOTE
@click.pass_obj
@with_readable_errors
def push(metadata: ProjectMetadata, name: str, version: str, remote: str | None) -> None:
    """Release data/06_models/NAME: upload, commit, tag."""
    from karyoseg.models.versions import ModelVersions

    release = ModelVersions(metadata.project_path, remote).push(name, version)
    done = "Released" if release.new else "Already released"
    click.echo(f"{done} {release.tag}: commit {release.commit[:10]}, {release.uploaded} files uploaded.")
    click.echo(f"Let others have it: git push origin HEAD {release.tag}")


@model.command()
@click.argument("name")
@click.option("--rev", help="Version (1.2), tag, branch or commit; default: what the working tree asks for.")
@click.option("--force", is_flag=True, help="Replace a model folder that no version holds.")
@_REMOTE
@click.pass_obj
@with_readable_errors
def pull(metadata: ProjectMetadata, name: str, rev: str | None, force: bool, remote: str | None) -> None:
    """Bring a released model to data/06_models/NAME."""
    from karyoseg.models import load_segmenter
    from karyoseg.models.tracking import MODELS
    from karyoseg.models.versions import ModelVersions

    versions = ModelVersions(metadata.project_path, remote)
    changed = versions.pull(name, rev, force=force)
    folder = str(metadata.project_path / MODELS / name)
    click.echo(two_columns(_facts(folder, load_segmenter(folder).describe())))
    if changed:
        click.echo(f"To stay with this version, commit {changed}.")


@model.command()
@click.argument("name", metavar="MODEL")
@click.option("--json", "as_json", is_flag=True, help="Everything that is known, as JSON.")
@click.pass_obj
@with_readable_errors
def describe(metadata: ProjectMetadata, name: str, as_json: bool) -> None:
    """Say where a model came from: revisions, data, parameters, score.

    MODEL is a name in data/06_models, or what predict.model takes: a folder, a URL, or a published model.
    """
    from karyoseg.models import load_segmenter
    from karyoseg.models.tracking import MODELS

    ours = metadata.project_path / MODELS / name
    where = str(ours) if ours.is_dir() and not Path(name).exists() else name
    if is_url(where):
        KedroSession.create(metadata.project_path).load_context()  # reads the credentials
    known = load_segmenter(where).describe()
    if as_json:
        click.echo(json.dumps(known, indent=2, default=str))
    else:
        click.echo(two_columns(_facts(where, known) | _settings(known)))


def _facts(where: str, known: Mapping[str, Any]) -> dict[str, str]:
    """Collect what a reader wants to know first."""
    training = defaultdict(lambda: "unknown", known["training"])
    origin = training.get("provenance", {})
    return {
        "model": training.get("name", Path(where).name),
        "place": where,
        "created": training["created"],
        "git revision": _revision(origin.get("git")),
        "raw data": _raw_data(origin.get("dvc")),
        "data fingerprint": training["data_fingerprint"],
        "images": f"{training['n_train']} training, {training['n_validation']} validation",
        "validation score": str(training["validation_score"]),
        "thresholds": ", ".join(f"{name} {value:.3g}" for name, value in known["thresholds"].items()),
    }


def _settings(known: Mapping[str, Any]) -> dict[str, str]:
    """Collect how a model was trained."""
    from karyoseg.core.report import flatten

    training = known["training"]
    return flatten({name: training.get(name, {}) for name in ("preparation", "parameters", "versions")})


def _raw_data(tracked: dict[str, str] | None) -> str:
    if tracked is None:
        return "unknown"
    return ", ".join(f"{path} (md5 {md5})" for path, md5 in tracked.items()) or "not tracked by DVC"


def _revision(git: dict[str, object] | None) -> str:
    if not git:
        return "unknown"
    branch = f", branch {git['branch']}" if git["branch"] else ""
    changes = ", with changes that are not committed" if git["dirty"] else ""
    return f"{git['commit']} ({git['describe']}{branch}){changes}"
