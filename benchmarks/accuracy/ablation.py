"""Train and score variants of a recipe, one after another; what is done is skipped.

The YAML file names the variants and what they change of an environment (default: bbbc038):

    seeds: [42, 43, 44]
    all: {train.epochs: 40}                  # in every variant
    variants:
      final: {}
      without gamma: {without: [gamma]}      # transforms left out of augment.transforms
      natural sizes: {preprocess.rescale.name: none}
      one seed is enough: {seeds: [42], train.learning_rate: 0.001}

Each run has a folder of its own with the whole configuration and the model in it; `kedro run --env ENV` repeats it
there. Recipes are chosen on val; test is scored only with --final.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from benchmarks.accuracy.splits import flat, markdown, mean_and_spread
from karyoseg.core.lazy import fingerprint

logger = logging.getLogger("ablation")

PROJECT = Path(__file__).parents[2]
_LINKED = ("pyproject.toml", ".telemetry", "conf/base", "conf/logging.yml")
#: Kedro wants `src`; what runs is the installed package.
_FOLDERS = ("conf/local", "data", "src")
_PARAMETERS = "parameters.yml"


@dataclass(frozen=True)
class Run:
    """One training.

    Parameters
    ----------
    variant : str
        Its name.
    seed : int
        Of weights and patches.
    parameters : dict
        Content of ``parameters.yml`` of its environment.
    """

    variant: str
    seed: int
    parameters: dict[str, Any]

    @property
    def folder(self) -> str:
        """Name of its folder; another recipe of the same name gets another."""
        name = re.sub(r"\W+", "-", self.variant).strip("-")
        return f"{name}-{self.seed}-{fingerprint(self.parameters)[:8]}"


def plan(
    content: Mapping[str, Any], parameters: Mapping[str, Any], transforms: Sequence[Mapping[str, Any]]
) -> list[Run]:
    """List the runs, the first seed of all variants first.

    Parameters
    ----------
    content : mapping
        The YAML file.
    parameters : mapping
        ``parameters.yml`` of the environment.
    transforms : sequence of mapping
        Augmentation of the environment.
    """
    if unknown := content.keys() - {"seeds", "all", "variants"}:
        raise SystemExit(f"unknown: {', '.join(sorted(unknown))}; needed: seeds, all, variants")
    runs = []
    for name, given in content["variants"].items():
        changes = dict(content.get("all") or {}) | dict(given or {})
        seeds, without = changes.pop("seeds", content.get("seeds", [42])), changes.pop("without", [])
        if absent := set(without) - {transform["name"] for transform in transforms}:
            raise SystemExit(f"{name}: without {', '.join(sorted(absent))}: no such transform in this environment")
        if without:
            changes["augment.transforms"] = [one for one in transforms if one["name"] not in without]
        runs += [(number, Run(name, seed, changed(parameters, changes, seed))) for number, seed in enumerate(seeds)]
    return [run for _, run in sorted(runs, key=lambda pair: pair[0])]


def changed(parameters: Mapping[str, Any], changes: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """Return the parameters with the values of dotted names changed, and the seed of the training."""
    result: dict[str, Any] = json.loads(json.dumps(parameters))
    for name, value in {**changes, "train.seed": seed}.items():
        *path, last = name.split(".")
        group = result
        for part in path:
            group = group.setdefault(part, {})
        group[last] = value
    return result


class Workshop:
    """Folders in which runs are made: the project linked, data and configuration of their own.

    Parameters
    ----------
    output : Path
        Holds all of them.
    data : Path
        Data folder in which `download` has run; only read.
    env : str
        Environment that the variants change.
    """

    def __init__(self, output: Path, data: Path, env: str):
        self.output = output.resolve()
        self._data = data.resolve()
        self._env = env

    def train(self, run: Run) -> Path:
        """Prepare and train, unless that is done; return the folder."""
        folder = self._project(self.output / run.folder, run.parameters, self._prepared(run))
        self._once(folder, "trained", "--pipelines", "augment,train")
        return folder

    def evaluate(self, run: Run, split: str) -> dict[str, Any]:
        """Return the row of a run in the table; computed if it is new."""
        folder = self.train(run)
        scores = folder / f"metrics_{split}.json"
        if not scores.is_file():
            self._kedro(folder, "--pipeline", "evaluate", "--params", f"evaluate.split={split}")
            shutil.copy2(folder / "data/08_reporting/metrics.json", scores)
        (training,) = (folder / "data/06_models").glob("*/training.json")
        minutes = json.loads(training.read_text())["minutes"]
        return {"variant": run.variant, "seed": run.seed, "minutes": minutes, **flat(json.loads(scores.read_text()))}

    def _prepared(self, run: Run) -> Path:
        """Preprocess once for all runs that do it alike."""
        mark = fingerprint(run.parameters.get("preprocess", {}))[:8]
        data = {name: self._data / name for name in ("01_raw", "02_intermediate")}
        folder = self._project(self.output / f"prepared-{mark}", run.parameters, data)
        self._once(folder, "prepared", "--pipeline", "preprocess")
        return folder / "data"

    def _project(self, folder: Path, parameters: Mapping[str, Any], data: Path | Mapping[str, Path]) -> Path:
        """Make a project whose results stay in this folder."""
        names = ("01_raw", "02_intermediate", "03_primary")
        links = data if isinstance(data, Mapping) else {name: data / name for name in names}
        (folder / "conf" / self._env).mkdir(parents=True, exist_ok=True)
        for name in _FOLDERS:
            (folder / name).mkdir(exist_ok=True)
        targets = {folder / name: PROJECT / name for name in _LINKED}
        for link, target in (targets | {folder / "data" / name: path for name, path in links.items()}).items():
            if not link.is_symlink():
                link.symlink_to(target)
            elif link.resolve() != target.resolve():
                raise SystemExit(
                    f"{link}: was made from {link.resolve()}, not from {target}; needed: one source for all runs of a "
                    f"folder. Give another --output."
                )
        for file in (PROJECT / "conf" / self._env).glob("*.yml"):
            if file.name != _PARAMETERS:
                shutil.copy2(file, folder / "conf" / self._env)
        (folder / "conf" / self._env / _PARAMETERS).write_text(yaml.safe_dump(dict(parameters), sort_keys=False))
        return folder

    def _once(self, folder: Path, mark: str, *arguments: str) -> None:
        if not (folder / mark).is_file():
            self._kedro(folder, *arguments)
            (folder / mark).touch()

    def _kedro(self, folder: Path, *arguments: str) -> None:
        command = [sys.executable, "-m", "kedro", "run", "--env", self._env, *arguments]
        with (folder / "log.txt").open("a") as log:
            run = subprocess.run(command, cwd=folder, stdout=log, stderr=log, env=os.environ, check=False)
        if run.returncode:
            raise RuntimeError(f"{folder}: {' '.join(command[2:])} ended with code {run.returncode}; see log.txt there")


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the runs, and write the tables after each; 1 if one failed."""
    options = _parse(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    split = "test" if options.final else "val"
    parameters = yaml.safe_load((PROJECT / "conf" / options.env / _PARAMETERS).read_text())
    base = yaml.safe_load((PROJECT / "conf/base/parameters_augment.yml").read_text())
    transforms = parameters.get("augment", {}).get("transforms", base["augment"]["transforms"])
    runs = plan(yaml.safe_load(options.variants.read_text()), parameters, transforms)
    chosen = [run for run in runs if not options.only or run.variant in options.only]
    workshop = Workshop(options.output, options.data, options.env)
    rows: list[dict[str, Any]] = []
    failed = 0
    for number, run in enumerate(chosen, start=1):
        logger.info("%d of %d: %s, seed %d", number, len(chosen), run.variant, run.seed)
        try:
            rows.append(workshop.evaluate(run, split))
        except RuntimeError as error:
            logger.error("%s", error)
            failed = 1
            continue
        table = pd.DataFrame(rows)
        table.to_csv(options.output / f"runs_{split}.csv", index=False)
        text = f"Split: {split}.\n\n{markdown(mean_and_spread(table, 'variant'))}\n"
        (options.output / f"runs_{split}.md").write_text(text)
        logger.info("AP 50 %.4f, AP mean %.4f, %.1f min", *(rows[-1][key] for key in ("ap_50", "ap_mean", "minutes")))
    if rows:
        print(text)
    return failed


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.accuracy.ablation",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    option = parser.add_argument
    option("variants", type=Path, help="YAML file")
    option("--env", default="bbbc038", help="environment that the variants change")
    option("--data", type=Path, default=Path("data"), help="data folder in which download has run in that environment")
    option("--output", type=Path, default=Path("data/08_reporting/ablation"), help="folder for runs and tables")
    option("--only", nargs="+", metavar="VARIANT", help="only these")
    option("--final", action="store_true", help="score the test split instead of val: once, when all is decided")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
