"""The model card: what a model is, what it learnt from, how to use it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

_CITATION = "Schmidt et al., Cell Detection with Star-Convex Polygons, MICCAI 2018, doi:10.1007/978-3-030-00934-2_30"


def model_card(
    training: Mapping[str, Any],
    config: Mapping[str, Any],
    thresholds: Mapping[str, float],
    history: pd.DataFrame,
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
| typical nucleus diameter | {size} |
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

`kedro run --pipeline predict --params predict.input=DIR,predict.model=PATH_OF_THIS_FOLDER`, or in Python
`StarDist2D(None, name, basedir)` after the preparation named above.

Scores on test images belong to the report of the evaluate pipeline; images unlike the training data (other stain,
magnification, tissue) need a check by eye first.

## Reference

{_CITATION}
"""


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
