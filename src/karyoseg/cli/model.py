"""``kedro model``: versions of trained models, where a model came from, and models that ship."""

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
from karyoseg.core.errors import KaryosegError
from karyoseg.core.io.image_files import is_url

_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
_REMOTE = click.option("--remote", "-r", help="Remote of DVC, in place of its default.")


@click.group()
def model() -> None:
    """Release, fetch, describe and bundle trained models."""


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

    MODEL is what predict.model takes: a bundled or published name, a folder or its name in data/06_models, a URL, or
    FOLDER@VERSION.
    """
    from karyoseg.models import load_segmenter, model_folder

    if is_url(name):
        KedroSession.create(metadata.project_path).load_context()  # reads the credentials
    folder = str(model_folder(name, metadata.project_path))
    known = load_segmenter(folder).describe()
    if as_json:
        click.echo(json.dumps(known, indent=2, default=str))
    else:
        click.echo(two_columns(_facts(name if is_url(name) else folder, known) | _settings(known)))


@model.command()
@click.argument("name", metavar="MODEL")
@click.option("--as", "bundled", required=True, metavar="NAME", help="Name of the model that ships.")
@click.option("--data", type=_FOLDER, help="Data folder of its training and evaluation; default: the one it is in.")
@click.pass_obj
@with_readable_errors
def bundle(metadata: ProjectMetadata, name: str, bundled: str, data: Path | None) -> None:
    """Make a trained and evaluated model ship with the package.

    Writes src/karyoseg/bundled/NAME: weights of 16 bit, and a model card with the scores of the evaluation and the text
    of src/karyoseg/bundled/NAME.md (data, licence, command, known failures). Refuses a model that scores less with
    weights of 16 bit, is too large, or was not the one evaluated.
    """
    from karyoseg.models import model_folder
    from karyoseg.models.stardist import StarDistSegmenter
    from karyoseg.models.stardist.bundle import bundle as make_bundle
    from karyoseg.models.tracking import checked_name

    folder = model_folder(name, metadata.project_path)
    target = metadata.source_dir / str(metadata.package_name) / "bundled" / checked_name(bundled, "model")
    about = target.with_name(f"{bundled}.md")
    if not about.is_file():
        raise KaryosegError(
            f"{about}: is missing; needed: what the model card cannot know, in Markdown: data, licence of the data, "
            f"command, known failures. Write it."
        )
    data = data or folder.absolute().parents[1]
    made = make_bundle(StarDistSegmenter.load(folder), data, target, about.read_text(encoding="utf-8"))
    click.echo(
        f"Wrote {target}: {made['bytes'] / 1e6:.1f} MB. On the validation images AP@0.5 is {made['ap_50']:.4f} "
        f"({made['ap_50_before']:.4f} before), AP mean {made['ap_mean']:.4f} ({made['ap_mean_before']:.4f})."
    )


@model.command()
@click.argument("name", metavar="MODEL")
@click.option("--data", type=_FOLDER, help="Data folder with prepared images; default: the one it is in.")
@click.pass_obj
@with_readable_errors
def quantize(metadata: ProjectMetadata, name: str, data: Path | None) -> None:
    """Make a model predict faster, in 8 bit, and measure what that costs.

    Adds openvino_int8.* to the model folder: the network in 8 bit, fitted to the validation images of data/03_primary.
    predict.precision=int8 uses it, and so does auto if the scores on these images are at most 0.005 lower.
    """
    from karyoseg.core.preparation import Preparation
    from karyoseg.core.splits import VALIDATION
    from karyoseg.datasets import CSVDataset, SamplePartitions
    from karyoseg.models import model_folder
    from karyoseg.models.stardist import StarDistSegmenter
    from karyoseg.models.stardist.engines.int8 import quantise
    from karyoseg.pipelines.evaluate.nodes import check_preparation
    from karyoseg.pipelines.train.nodes import select_samples

    folder = StarDistSegmenter.load(model_folder(name, metadata.project_path)).directory
    prepared = (data or folder.absolute().parents[1]) / "03_primary"
    if not all((prepared / file).is_file() for file in ("splits.csv", "preparation.json")):
        raise KaryosegError(
            f"{prepared}: no prepared images; needed: what the pipeline preprocess wrote. Run it, or name its data "
            f"folder with --data."
        )
    images = SamplePartitions(path=str(prepared / "images"), file_format="image").load()
    labels = SamplePartitions(path=str(prepared / "labels"), file_format="labels").load()
    splits = CSVDataset(filepath=str(prepared / "splits.csv")).load()
    recipe = json.loads((prepared / "preparation.json").read_text(encoding="utf-8"))
    check_preparation(StarDistSegmenter.load(folder), Preparation.from_dict(recipe))
    cost = quantise(folder, select_samples(images, labels, splits, VALIDATION))
    click.echo(f"{folder}: {cost}.")
    click.echo(f"predict.precision=auto {'takes' if cost.is_small else 'does not take'} it.")


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
    from karyoseg.core.report.html import flatten

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
