"""The model card: what a model is, what it learnt from, how to use it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from karyoseg.core.metrics import ALL_IMAGES

_SCORES = {"F1": "f1", "AP@0.5": "ap_50", "AP@0.75": "ap_75", "AP mean": "ap_mean", "DSB": "dsb_score", "AJI": "aji"}
_SIZES = {
    "diameter": "nuclei of {} px (median of an image)",
    "pixel_size_um": "pixels of {} um",
    "magnification": "{}x",
}
_USE = """`kedro run --pipeline predict --params predict.input=DIR,predict.model=PATH_OF_THIS_FOLDER`, or in Python
`StarDist2D(None, name, basedir)` after the preparation named above."""
_USE_BUNDLED = """`kedro run --pipeline predict --params predict.input=DIR,predict.model={name}`, or in Python
`StarDist2D(None, "{name}", karyoseg.models.model_folder("{name}").parent)` after the preparation named above."""
_NO_SCORES = """Scores on test images belong to the report of the evaluate pipeline; images unlike the training data
(other stain, magnification, tissue) need a check by eye first."""
_CITATION = "Schmidt et al., Cell Detection with Star-Convex Polygons, MICCAI 2018, doi:10.1007/978-3-030-00934-2_30"


def model_card(
    training: Mapping[str, Any],
    config: Mapping[str, Any],
    thresholds: Mapping[str, float],
    history: pd.DataFrame,
    *,
    use: str = _USE,
    scores: str = _NO_SCORES,
) -> str:
    """Write the model card.

    Parameters
    ----------
    training : mapping
        Content of training.json.
    config : mapping
        Content of config.json.
    thresholds : mapping
        Content of thresholds.json.
    history : DataFrame
        One row per epoch.
    use, scores : str
        How to use the model, and how good it is: Markdown.

    Returns
    -------
    str
        Markdown.
    """
    recipe = training.get("preparation", {})
    best = history.iloc[int(history["val_loss"].argmin())]
    diameter = training.get("diameter")
    size = f"{diameter:g} px after preparation" if diameter else "unknown"
    return f"""# {training["name"]}

Instance segmentation of nuclei by star-convex polygons (StarDist2D).

| | |
|---|---|
| created | {training["created"]}, {_revision(training.get("provenance", {}).get("git"))} |
| network | {_architecture(config)} |
| input | {config["n_channel_in"]} channel(s); percentiles {recipe.get("pmin")} to {recipe.get("pmax")} mapped to 0..1 |
| rescaling | {recipe.get("rescale", {"name": "none"})} |
| typical nucleus diameter | {size} |{_seen(training.get("sizes", {}))}
| thresholds | prob {thresholds["prob"]:.2f}, nms {thresholds["nms"]:.2f}, chosen on the validation images |
| validation score at these thresholds | {training["validation_score"]:.4f} (AP, mean over IoU 0.3, 0.5, 0.7) |

## Data

{training["n_train"]} training images with {training["n_train_objects"]} nuclei, {training["n_validation"]} validation
images. Fingerprint of the data: `{training["data_fingerprint"]}`.{_raw_data(training)}

## Training

Started from {training["parameters"]["init"]["name"]}; {training["epochs_done"]} epochs in {training["minutes"]} min,
best validation loss {best["val_loss"]:.4f} in epoch {int(best["epoch"])}. All parameters are in `training.json`, the
curve is in `history.csv`.

Versions: {", ".join(f"{k} {v}" for k, v in training["versions"].items())}.

## Use

{use}

{scores}

## Reference

{_CITATION}
"""


def bundle_card(
    training: Mapping[str, Any],
    config: Mapping[str, Any],
    thresholds: Mapping[str, float],
    history: pd.DataFrame,
    *,
    scores: Mapping[str, Any],
    parity: Mapping[str, float],
    about: str,
    hashes: Mapping[str, str],
) -> str:
    """Write the card of a model that ships: as :func:`model_card`, with scores, origin and checksums.

    Parameters
    ----------
    training, config, thresholds, history
        As for :func:`model_card`.
    scores : mapping
        Content of metrics.json.
    parity : mapping
        ``ap_50``, ``ap_mean`` on the validation images, and the same ending in ``_before``: with weights of 32 bit.
    about : str
        Markdown: data, licence, command, known failures.
    hashes : mapping
        By what was hashed.

    Returns
    -------
    str
        Markdown.
    """
    ap_50, ap_mean = (f"{parity[name]:.4f} ({parity[f'{name}_before']:.4f})" for name in ("ap_50", "ap_mean"))
    text = f"""## Scores

On {scores["n_images"]} images of the data set that played no part in the training:

{_score_table(scores)}

Weights are stored in 16 bit. On the validation images (in brackets: with those of the training, in 32 bit) AP@0.5 is
{ap_50}, AP mean {ap_mean}.

{about.strip()}

## Checksums

{_table(["of", "is"], [[name, f"`{value}`"] for name, value in hashes.items()])}"""
    use = _USE_BUNDLED.format(name=training["name"])
    return model_card(training, config, thresholds, history, use=use, scores=text)


def _score_table(scores: Mapping[str, Any]) -> str:
    groups = scores["by_class"] | {ALL_IMAGES: scores}
    rows = [
        [name, str(group["n_images"]), str(group["n_true"]), *(_score(group[key]) for key in _SCORES.values())]
        for name, group in groups.items()
    ]
    return _table(["class", "images", "nuclei", *_SCORES], rows)


def _score(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _table(head: list[str], rows: list[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [head, ["---"] * len(head), *rows])


def _seen(sizes: Mapping[str, tuple[float, float]]) -> str:
    ranges = {name: f"{low:.3g}" if low == high else f"{low:.3g} to {high:.3g}" for name, (low, high) in sizes.items()}
    seen = ", ".join(_SIZES[name].format(text) for name, text in ranges.items())
    return f"\n| learnt from | {seen} |" if seen else ""


def _architecture(config: Mapping[str, Any]) -> str:
    depth, filters = config["unet_n_depth"], config["unet_n_filter_base"]
    return f"{config['n_rays']} rays, grid {config['grid']}, depth {depth}, {filters} filters"


def _revision(git: Mapping[str, Any] | None) -> str:
    if not git:
        return "git revision unknown"
    return f"git revision {git['describe']}{', with changes that are not committed' if git['dirty'] else ''}"


def _raw_data(training: Mapping[str, Any]) -> str:
    tracked = training.get("provenance", {}).get("dvc", {})
    return "".join(f"\nTracked by DVC: {path}, MD5 `{md5}`." for path, md5 in tracked.items())
