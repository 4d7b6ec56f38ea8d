"""Training of one generator: what identifies it, checks, facts, files. The loop itself is in :mod:`.loop`.

All state is the history table and the last weights (with the state of the optimizer). A killed training continues after
its last checkpoint, with the result of one that was not killed.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from karyoseg.core.errors import KaryosegError
from karyoseg.core.io.files import replace_text, replacing
from karyoseg.core.lazy import Lazy, fingerprint
from karyoseg.core.runs.provenance import package_versions
from karyoseg.models.base import LabelledSamples
from karyoseg.models.pix2pix.generate import CONFIG, TRAINING, WEIGHTS, StyleGenerator, import_keras
from karyoseg.models.pix2pix.tiles import Shapes, Tiles, tile_side
from karyoseg.models.training.workspace import Workspace

logger = logging.getLogger(__name__)

#: Options that do not change what is learnt.
_NO_EFFECT = frozenset({"workspace", "generation", "quality"})


def deferred_training(
    folder: Path, samples: LabelledSamples, shapes: Shapes, options: Mapping[str, Any]
) -> Lazy[StyleGenerator]:
    """Prepare the training of a cluster's generator; nothing is read or trained yet.

    Parameters
    ----------
    folder : Path
        Working folder; a training of the same samples and parameters found there is continued.
    samples : LabelledSamples
        Images (uint8, gray or RGB) and labels with at least one object each.
    shapes : mapping of str to tuple
        Their sizes (Y, X) [px].
    options : mapping
        Fields of ``StyleTransferParams``.

    Returns
    -------
    Lazy
        Trains when it is called; its fingerprint covers samples and options.
    """
    content = {key: [samples.images[key].fingerprint, samples.labels[key].fingerprint] for key in samples.ids}
    mark = fingerprint(content, {key: value for key, value in options.items() if key not in _NO_EFFECT})
    return Lazy(partial(_train, folder, samples, shapes, options, mark), mark)


def _train(
    folder: Path, samples: LabelledSamples, shapes: Shapes, options: Mapping[str, Any], mark: str
) -> StyleGenerator:
    if _is_finished(folder, mark):
        return StyleGenerator.load(folder)
    _forget_result(folder)
    import_keras()
    from karyoseg.models.pix2pix.loop import run_training

    stride = 2 ** options["generator"]["depth"]
    tiles = Tiles(samples, shapes, tile_side(shapes, options["tile_size"], 2 * stride), options["seed"])
    config = {
        "condition": options["condition"],
        "image_channels": 1 if tiles.is_gray else 3,
        "seed": options["seed"],
        **options["generator"],
    }
    logger.info(
        "%s: %d images, %d tiles of %d px, %d steps",
        folder.name,
        len(samples.ids),
        len(tiles),
        tiles.side,
        options["constant_steps"] + options["decay_steps"],
    )
    workspace = Workspace(folder, mark)
    network, history = run_training(tiles, config, workspace, options)
    facts = {
        "fingerprint": mark,
        "cluster": folder.name,
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "images": samples.ids,
        "n_tiles": len(tiles),
        "tile_size": tiles.side,
        "steps": int(history["step"].iloc[-1]),
        "minutes": round(float(history["seconds"].sum()) / 60, 2),
        "parameters": dict(options),
        "versions": package_versions(),
    }
    with replacing(folder / WEIGHTS, "part_{}") as part:  # Keras looks at the suffix
        network.save_weights(str(part))
    replace_text(folder / CONFIG, json.dumps(config, indent=2))
    replace_text(folder / TRAINING, json.dumps(facts, indent=2, default=str))
    workspace.weights_after(len(history)).unlink()
    return StyleGenerator.load(folder)


def _forget_result(folder: Path) -> None:
    """Let no later training take what another one left for its own; before any other of its files changes."""
    try:
        (folder / TRAINING).unlink(missing_ok=True)
    except OSError as error:
        raise KaryosegError(
            f"{folder / TRAINING}: cannot be deleted ({error.strerror}); needed: a writable folder for checkpoints. "
            f"Check its permissions."
        ) from error


def _is_finished(folder: Path, mark: str) -> bool:
    """Tell whether the working folder holds the whole result of this training."""
    try:
        return bool(json.loads((folder / TRAINING).read_text(encoding="utf-8"))["fingerprint"] == mark)
    except (OSError, ValueError, KeyError):
        return False
