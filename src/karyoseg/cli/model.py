"""``kedro model``: versions of trained models, and where a model came from."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

import click
from kedro.framework.startup import ProjectMetadata

from karyoseg.cli.errors import with_readable_errors

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
    from karyoseg.models.tracking import MODELS
    from karyoseg.models.versions import ModelVersions

    versions = ModelVersions(metadata.project_path, remote)
    changed = versions.pull(name, rev, force=force)
    click.echo(_table(_facts(metadata.project_path / MODELS / name)))
    if changed:
        click.echo(f"To stay with this version, commit {changed}.")


@model.command()
@click.argument("path_or_name")
@click.option("--json", "as_json", is_flag=True, help="Everything that is known, as JSON.")
@click.pass_obj
@with_readable_errors
def describe(metadata: ProjectMetadata, path_or_name: str, as_json: bool) -> None:
    """Say where a model came from: revisions, data, parameters, score."""
    from karyoseg.models import load_segmenter
    from karyoseg.models.tracking import MODELS

    folder = Path(path_or_name)
    if not folder.exists() and (metadata.project_path / MODELS / path_or_name).is_dir():
        folder = metadata.project_path / MODELS / path_or_name
    if as_json:
        click.echo(json.dumps(load_segmenter(str(folder)).describe(), indent=2, default=str))
    else:
        click.echo(_table(_facts(folder) | _settings(folder)))


def _facts(folder: Path) -> dict[str, str]:
    """Collect what a reader wants to know first."""
    from karyoseg.models import load_segmenter

    known = load_segmenter(str(folder)).describe()
    training = defaultdict(lambda: "unknown", known["training"])
    origin = training.get("provenance", {})
    return {
        "model": training.get("name", folder.name),
        "folder": str(folder),
        "created": training["created"],
        "git revision": _revision(origin.get("git")),
        "raw data": ", ".join(f"{path} (md5 {md5})" for path, md5 in origin.get("dvc", {}).items())
        or "not tracked by DVC",
        "data fingerprint": training["data_fingerprint"],
        "images": f"{training['n_train']} training, {training['n_validation']} validation",
        "validation score": str(training["validation_score"]),
        "thresholds": ", ".join(f"{name} {value:.3g}" for name, value in known["thresholds"].items()),
    }


def _settings(folder: Path) -> dict[str, str]:
    """Collect how a model was trained."""
    from karyoseg.core.report import flatten
    from karyoseg.models import load_segmenter

    training = load_segmenter(str(folder)).describe()["training"]
    return flatten({name: training.get(name, {}) for name in ("preparation", "parameters", "versions")})


def _revision(git: dict[str, object] | None) -> str:
    if not git:
        return "unknown"
    branch = f", branch {git['branch']}" if git["branch"] else ""
    return (
        f"{git['commit']} ({git['describe']}{branch}){', with changes that are not committed' if git['dirty'] else ''}"
    )


def _table(facts: dict[str, str]) -> str:
    width = max(map(len, facts))
    return "\n".join(f"{name:<{width}}  {value}" for name, value in facts.items())
