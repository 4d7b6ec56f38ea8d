"""Does style transfer help where nobody annotated? Labels are of fluorescence only, targets are tissue and brightfield.

    python -m benchmarks.accuracy.style_transfer --targets DSB.zip --test-ids IDS.txt --data data --output OUT

DSB.zip has the layout of the Data Science Bowl 2018; its images with a bright background are the targets. Those named
in IDS.txt are scored, of the others only the images are used, except by the arm that is the upper bound. DATA is a data
folder in which `download` has run in the environment.

Arms differ in what is added to the fluorescence images, always with the same share of the training patches:

    untrained   nothing, and nothing is learnt: the model that train.init names, as it is
    plain       nothing
    classical   fluorescence images inverted, with channels mixed at random
    style       what style transfer made, as optical density
    weak        target images with their weak labels, as optical density
    true        target images with their true labels, as optical density: the upper bound

Target images are segmented in two ways, at the size at which a model is most certain: as they are, and as optical
density, which is what predict shows to models that know bright nuclei only.

Each model also segments the fluorescence images of val (test with --final): what was added must not hurt there.
"""

from __future__ import annotations

import argparse
import json
import logging
import shutil
import sys
import zipfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from benchmarks.accuracy.ablation import PROJECT, Run, Workshop, changed
from benchmarks.accuracy.splits import Sample, markdown, mean_and_spread, score
from karyoseg.core.absorption import may_absorb
from karyoseg.core.conversions import as_rgb8
from karyoseg.core.io.sample_tables import read_samples
from karyoseg.core.lazy import Lazy, fingerprint
from karyoseg.core.normalise import normalise
from karyoseg.core.preparation import VERSION, ImageFacts
from karyoseg.core.sources import Source, SourceOptions, open_source
from karyoseg.core.splits import TRAIN
from karyoseg.datasets import CSVDataset, SamplePartitions
from karyoseg.models import model_folder
from karyoseg.models.base import PREDICTION_VERSION
from karyoseg.models.stardist import StarDistSegmenter
from karyoseg.models.whole_image import segment_image

logger = logging.getLogger("style transfer")

UNTRAINED = "untrained"
#: What each arm adds to the fluorescence images, and what is learnt from it if nuclei are dark (`augment.style.dark`).
ARMS: dict[str, tuple[str | None, str]] = {
    UNTRAINED: (None, "keep"),
    "plain": (None, "keep"),
    "classical": ("inverted", "keep"),
    "style": ("synthetic", "density"),
    "weak": ("weak", "density"),
    "true": ("true", "density"),
}
AS_IT_IS, DENSITY = "as it is", "optical density"
#: Ways to segment a target image, and the share of dark images that the model is told to have learnt from.
WAYS: dict[str, float] = {AS_IT_IS: 1.0, DENSITY: 0.0}
SCORES = {"ap_50": "AP 50", "ap_mean": "DSB score"}
_N_BOOTSTRAP = 2000

Pairs = dict[str, tuple[Lazy[np.ndarray], Lazy[np.ndarray]]]


class Targets:
    """Target images: those to learn the style from, and those to score.

    Parameters
    ----------
    archive : Path
        Zip in the layout of the Data Science Bowl 2018.
    test_ids : sequence of str
        Samples to score.
    folder : Path
        Where to unpack it.
    """

    def __init__(self, archive: Path, test_ids: Sequence[str], folder: Path):
        if not folder.is_dir():
            part = folder.with_name(f"{folder.name}.part")
            with zipfile.ZipFile(archive) as packed:
                packed.extractall(part)
            part.rename(folder)
        self.source: Source = open_source(folder, "dsb2018", SourceOptions(test_ids=tuple(test_ids)))
        images = {record.id: record.image for record in self.source.records}
        dark = {key for key in images if may_absorb(self.image(key).mean(axis=-1))}
        self.test = sorted(record.id for record in self.source.records if record.split == "test")
        self.train = sorted(dark - set(self.test))

    def image(self, key: str) -> np.ndarray:
        """Read an image as RGB of 8 bit."""
        return as_rgb8(self.source.read_image(key).array)

    def labels(self, key: str) -> np.ndarray:
        """Read the true labels."""
        return self.source.read_labels(key)

    def samples(self) -> list[Sample]:
        """List the samples to score; their class is tissue (colour) or brightfield (gray)."""
        return [
            Sample(
                key,
                "brightfield" if self.source.read_image(key).array.ndim == 2 else "tissue",
                Lazy(partial(self.image, key), key),
                Lazy(partial(self.labels, key), key),
            )
            for key in self.test
        ]


class Experiment(Workshop):
    """The arms, each a project of its own.

    Parameters
    ----------
    output, data, env
        See :class:`benchmarks.accuracy.ablation.Workshop`.
    targets : Targets
        Target images.
    """

    def __init__(self, output: Path, data: Path, env: str, targets: Targets):
        super().__init__(output, data, env)
        self._targets = targets

    def train(self, run: Run) -> Path:
        """Prepare and train, unless that is done; return the folder."""
        added, dark = ARMS[run.variant]
        augment = run.parameters["augment"]
        changed = {"augment": {**augment, "style": {**augment["style"], "use": added is not None, "dark": dark}}}
        folder = self._project(self.output / run.folder, {**run.parameters, **changed}, self._prepared(run))
        if run.variant == UNTRAINED:
            return self._copy_start(folder, run)
        if added and not (folder / "trained").is_file():
            _store(folder / "data/05_model_input/style", self._pairs(added, run))
        self._once(folder, "trained", "--pipelines", "augment,train")
        return folder

    def _copy_start(self, folder: Path, run: Run) -> Path:
        """Put the model that trainings start from where a trained one would be."""
        init = run.parameters["train"].get("init", {})
        if init.get("name") != "model":
            raise SystemExit(
                f"arm {UNTRAINED} needs a model to start from: --set 'train.init={{name: model, path: ...}}'"
            )
        name = yaml.safe_load((PROJECT / "conf" / self._env / "globals.yml").read_text())["model"]
        shutil.copytree(model_folder(init["path"]), folder / "data/06_models" / name, dirs_exist_ok=True)
        return folder

    def style(self, run: Run) -> Path:
        """Run style transfer once for all arms and seeds; return its folder."""
        images = self.output / "target_images"
        SamplePartitions(path=str(images), file_format="image").save(
            {key: Lazy(partial(self._targets.image, key), key) for key in self._targets.train}
        )
        shared = {key: value for key, value in run.parameters.items() if key != "train"}
        name = f"style-{fingerprint(shared)[:8]}"
        folder = self._project(self.output / name, shared, self._prepared(run))
        self._once(folder, "styled", "--pipeline", "style", "--params", f"presegment.input={images}")
        return folder

    def _pairs(self, name: str, run: Run) -> Pairs:
        """Images and labels that an arm adds."""
        if name == "inverted":
            return inverted_pairs(self._prepared(run), run.seed)
        if name == "true":
            read_image, read_labels = self._targets.image, self._targets.labels
            return {
                f"true_{key}": (Lazy(partial(read_image, key), key), Lazy(partial(read_labels, key), key))
                for key in self._targets.train
            }
        data = self.style(run) / "data"
        if name == "synthetic":
            return _load(data / "05_model_input/style/images", data / "05_model_input/style/labels")
        return _load(data / "03_primary/style/images", data / "03_primary/style/labels")


def inverted_pairs(prepared: Path, seed: int) -> Pairs:
    """Make dark nuclei on a bright background of the fluorescence training images, in random colours.

    Parameters
    ----------
    prepared : Path
        Data folder in which `download` and `preprocess` have run.
    seed : int
        Seed of the colours.
    """
    splits = CSVDataset(filepath=str(prepared / "03_primary/splits.csv")).load()
    ids = sorted(splits.loc[splits["split"] == TRAIN, "id"])
    found = _load(prepared / "02_intermediate/images", prepared / "02_intermediate/labels")

    def invert(key: str, number: int) -> np.ndarray:
        rng = np.random.default_rng((seed, number))
        image = normalise(as_rgb8(found[key][0]()), 1, 99.8).clip(0, 1)  # else most would have few grey values
        light, stain = rng.uniform(0.6, 1.0, 3), rng.uniform(0.2, 1.0, 3)
        mixed: np.ndarray = 255 * light * (1 - stain * image[..., rng.permutation(3)])
        return mixed.astype(np.uint8)

    return {
        f"inverted_{key}": (Lazy(partial(invert, key, number), f"{seed}-{number}"), found[key][1])
        for number, key in enumerate(ids)
    }


def _load(images: Path, labels: Path) -> Pairs:
    stored = SamplePartitions(path=str(images), file_format="image").load()
    found = SamplePartitions(path=str(labels), file_format="labels").load()
    return {key: (image, found[key]) for key, image in stored.items() if key in found}


def _store(folder: Path, pairs: Pairs) -> None:
    for index, (name, form) in enumerate((("images", "image"), ("labels", "labels"))):
        SamplePartitions(path=str(folder / name), file_format=form).save(  # type: ignore[arg-type]
            {key: pair[index] for key, pair in pairs.items()}
        )


def bootstrap(values: np.ndarray, seed: int = 0) -> tuple[float, float]:
    """Interval of 95 % of a mean over images.

    Parameters
    ----------
    values : (n,) ndarray
        One number per image.
    seed : int
        Seed of the draws.
    """
    draws = np.random.default_rng(seed).choice(values, (_N_BOOTSTRAP, len(values))).mean(axis=1)
    low, high = np.percentile(draws, [2.5, 97.5])
    return float(low), float(high)


def intervals(per_image: pd.DataFrame) -> pd.DataFrame:
    """Mean over images with its interval, by way, class and arm.

    Parameters
    ----------
    per_image : DataFrame
        Columns arm, way, seed, id, class, ap_50, ap_mean.
    """
    rows = []
    for (way, kind, arm), table in _by_class(per_image).groupby(["way", "shown_class", "arm"], sort=False):
        images = table.groupby("id")[list(SCORES)].mean()
        rows.append({"way": way, "class": kind, "arm": arm, "images": len(images)} | _with_intervals(images))
    return pd.DataFrame(rows)


def advantages(per_image: pd.DataFrame, arm: str = "style") -> pd.DataFrame:
    """How far an arm is ahead of the others, image by image: as `predict` uses the models, and with optical density.

    Parameters
    ----------
    per_image : DataFrame
        As for :func:`intervals`.
    arm : str
        The arm that is compared.
    """
    rows = []
    for kind, table in _by_class(per_image).groupby("shown_class", sort=False):
        scores = table.groupby(["arm", "way", "id"])[list(SCORES)].mean()
        for other in (name for name in table["arm"].unique() if name != arm):
            for way in dict.fromkeys((_way_of_predict(other), DENSITY)):
                ahead = scores.loc[arm, _way_of_predict(arm)] - scores.loc[other, way]
                rows.append({"class": kind, "ahead of": f"{other}, {way}"} | _with_intervals(ahead))
    return pd.DataFrame(rows)


def _way_of_predict(arm: str) -> str:
    """How `predict` shows dark images to a model: as they are if it has learnt from such."""
    added, dark = ARMS[arm]
    return AS_IT_IS if added and dark == "keep" else DENSITY


def _by_class(per_image: pd.DataFrame) -> pd.DataFrame:
    """The same rows once for all classes together, and once for each."""
    return pd.concat([per_image.assign(shown_class="all"), per_image.assign(shown_class=per_image["class"])])


def _with_intervals(images: pd.DataFrame) -> dict[str, str]:
    """Mean of each score over images, with its interval."""
    cells = {}
    for name, shown in SCORES.items():
        values = images[name].to_numpy()
        low, high = bootstrap(values)
        cells[shown] = f"{values.mean():.3f} [{low:.3f}, {high:.3f}]"
    return cells


def _ahead(per_image: pd.DataFrame) -> str:
    arms = set(per_image["arm"])
    if "style" not in arms or len(arms) == 1:
        return ""
    by_seed = [(f", seed {seed}", table) for seed, table in per_image.groupby("seed") if set(table["arm"]) == arms]
    tables = [("", per_image), *(by_seed if len(by_seed) > 1 else [])]
    return "".join(f"\n\nStyle is ahead{seed}:\n\n{markdown(advantages(table))}" for seed, table in tables)


def _segment(model: StarDistSegmenter, facts: ImageFacts, sample: Sample) -> np.ndarray:
    return segment_image(model, sample.image(), facts=facts)[0].labels


def scored(folder: Path, targets: Targets) -> pd.DataFrame:
    """Score the model in a project folder on the test images; what is done with the same results is read."""
    tables = []
    (config,) = (folder / "data/06_models").glob("*/config.json")
    for way, share_dark in WAYS.items():
        path = folder / f"targets_{way.replace(' ', '_')}_{VERSION}_{PREDICTION_VERSION}.csv"
        if not path.is_file():
            model = StarDistSegmenter.load(config.parent)
            model.training["share_dark"] = share_dark
            model.use("auto", "f32")
            _, table = score(targets.samples(), partial(_segment, model, ImageFacts(contrast="dark")))
            table.to_csv(path, index=False)
        tables.append(read_samples(path).assign(way=way))
    return pd.concat(tables, ignore_index=True)


def plan(
    parameters: Mapping[str, Any], changes: Mapping[str, Any], arms: Sequence[str], seeds: Sequence[int]
) -> list[Run]:
    """List the trainings, the first seed of all arms first."""
    return [Run(arm, seed, changed(parameters, changes, seed)) for seed in seeds for arm in arms]


def main(arguments: Sequence[str] | None = None) -> int:
    """Train and score the arms, and write the tables after each."""
    options = _parse(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    options.output.mkdir(parents=True, exist_ok=True)
    targets = Targets(options.targets, options.test_ids.read_text().split(), options.output / "targets")
    logger.info("%d target images to learn from, %d to score", len(targets.train), len(targets.test))
    parameters = yaml.safe_load((PROJECT / "conf" / options.env / "parameters.yml").read_text())
    changes = {name: yaml.safe_load(value) for name, _, value in (given.partition("=") for given in options.set)}
    changes["augment.style.share"] = options.share
    experiment = Experiment(options.output, options.data, options.env, targets)
    rows, tables = [], []
    for run in plan(parameters, changes, options.arms, options.seeds):
        logger.info("%s, seed %d", run.variant, run.seed)
        tables.append(scored(experiment.train(run), targets).assign(arm=run.variant, seed=run.seed))
        per_image = pd.concat(tables, ignore_index=True)
        per_image.to_csv(options.output / "per_image.csv", index=False)
        rows.append(experiment.evaluate(run, "test" if options.final else "val"))
        text = (
            f"Target images, mean over images [95 % interval], averaged over seeds:\n\n{markdown(intervals(per_image))}"
            f"{_ahead(per_image)}"
            f"\n\nFluorescence:\n\n{markdown(mean_and_spread(pd.DataFrame(rows), 'variant'))}\n"
        )
        (options.output / "style_transfer.md").write_text(text)
        (options.output / "fluorescence.json").write_text(json.dumps(rows, indent=2))
    print(text)
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.accuracy.style_transfer",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    option = parser.add_argument
    option("--targets", type=Path, required=True, help="zip with target images")
    option("--test-ids", type=Path, required=True, help="text file with the ids of the images to score")
    option("--data", type=Path, default=Path("data"), help="data folder in which download has run in that environment")
    option("--env", default="bbbc038", help="environment with the fluorescence images and the recipe")
    option("--output", type=Path, default=Path("data/08_reporting/style_transfer"), help="folder for runs and tables")
    option("--arms", nargs="+", choices=list(ARMS), default=["untrained", "classical", "style", "weak", "true"])
    option("--seeds", nargs="+", type=int, default=[42])
    option("--share", type=float, default=0.5, help="share of the training patches cut from what an arm adds")
    option("--set", nargs="+", default=[], metavar="NAME=VALUE", help="changed parameters, such as train.epochs=40")
    option("--final", action="store_true", help="score the fluorescence test split instead of val")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
