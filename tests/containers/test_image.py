"""The image is built for real, and commands run in it as users run them."""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from pathlib import Path

import pytest

from areas import unavailable
from container_engines import CONTAINERS, PROJECT, Engine, call, find_engine
from projects import copy_project

IMAGE = "karyoseg:test"
ANYONE = (12345, 23456) if os.geteuid() == 0 else (os.geteuid(), os.getegid())  # only root can give files away

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    """Engine with the base image at hand: pulled, or made here where no registry can be reached."""
    engine = find_engine(tmp_path_factory.mktemp("engine"))
    base = re.findall(r"^FROM (\S+:\S+)", (PROJECT / "Dockerfile").read_text(), flags=re.MULTILINE)[0]
    if not any(engine(*how, base, check=False).returncode == 0 for how in (("image", "inspect"), ("pull", "--quiet"))):
        if engine.program != "podman" or os.geteuid() != 0 or not shutil.which("mmdebstrap"):
            unavailable("containers", f"{base} cannot be pulled; to make one here takes root, podman and mmdebstrap")
        made = call(CONTAINERS / "local_base.sh", base, env=engine.env, check=False)
        if made.returncode:
            unavailable("containers", f"{base} can be neither pulled nor made here: {made.stderr[-500:]}")
    skip_unless_usable(engine, base, tmp_path_factory.mktemp("probe"))
    return engine


def skip_unless_usable(engine: Engine, base: str, folder: Path) -> None:
    """Tell a machine on which nothing can be built or run from an image of ours that is broken."""
    probe = "RUN apt-get update && pip download --quiet --no-deps --dest /tmp idna"
    (folder / "Dockerfile").write_text(f"FROM {base}\n{probe}\n")
    program = "docker" if engine.program == "docker" else "buildah"
    options = () if program == "docker" else ("--isolation", "chroot")
    arguments = engine.env.get("BUILD_ARGS", "").split()
    built = call(program, "build", *options, *arguments, "--tag", "karyoseg:probe", folder, check=False, env=engine.env)
    if built.returncode:
        unavailable("containers", f"builds reach no packages on this machine: {built.stderr[-500:]}")
    started = engine("run", "--rm", "--network", "none", "karyoseg:probe", "true", check=False)
    if started.returncode:
        unavailable("containers", f"no container can run on this machine: {started.stderr[-500:]}")


@pytest.fixture(scope="module")
def image(engine: Engine) -> str:
    """Image of the target `cpu`, built by the script that users build it with."""
    call(PROJECT / "scripts" / "build_image.sh", "cpu", IMAGE, env=engine.env)
    return IMAGE


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """Checkout of a user who is not the image's."""
    folder = copy_project(PROJECT, tmp_path / "workspace")
    give(folder)
    return folder


def give(folder: Path) -> None:
    for path in [folder, *folder.rglob("*")]:
        os.chown(path, *ANYONE)


def mounted(engine: Engine, workspace: Path) -> tuple[str, ...]:
    return (*engine.as_user(*ANYONE), "--volume", f"{workspace}:/workspace")


def test_image_says_what_it_is(engine: Engine, image: str) -> None:
    config = json.loads(engine("image", "inspect", image).stdout)[0]["Config"]
    env = dict(line.split("=", 1) for line in config["Env"])
    assert config["User"] == "1000"
    assert config["Entrypoint"] == ["tini", "--"]
    assert env["KEDRO_DISABLE_TELEMETRY"] == env["DO_NOT_TRACK"] == env["DVC_NO_ANALYTICS"] == "1"
    assert re.fullmatch(r"[0-9a-f]{40}(-dirty)?", config["Labels"]["org.opencontainers.image.revision"])
    assert [name for name in env if re.search("CERT|SSL|PROXY|INDEX|TOKEN|SECRET|KEY_ID", name)] == []


def test_image_holds_no_compilers_and_no_caches(engine: Engine, image: str) -> None:
    script = "command -v gcc g++ cc make clang uv; find / -xdev -path '*/.cache/*' -type f 2>/dev/null; id -u; exit 0"
    assert engine.run(image, "bash", "-c", script).split() == ["1000"]


def test_shell_git_and_dvc_work(engine: Engine, image: str) -> None:
    shown = engine.run(image, "bash", "-c", "git --version && dvc --version && kedro --version")
    assert re.fullmatch(r"git version [\d.]+\n[\d.]+\nkedro, version [\d.]+\n", shown)


def test_signals_reach_the_command(engine: Engine, image: str) -> None:
    container = engine("run", "--detach", image, "sleep", "60").stdout.strip()
    started = time.monotonic()
    engine("stop", "--time", "30", container)
    assert time.monotonic() - started < 15
    engine("rm", container)


def test_the_image_runs_without_a_workspace_for_any_user(engine: Engine, image: str) -> None:
    command = "kedro run --env test --pipelines download && wc -l < data/02_intermediate/manifest.csv"
    shown = engine.run(image, "bash", "-c", command, options=engine.as_user(*ANYONE))
    assert int(shown.split()[-1]) == 1 + 6 + 3 + 1  # header, generated images for training and test, the real image


def test_mounted_code_is_the_code_that_runs(engine: Engine, image: str, workspace: Path) -> None:
    path = workspace / "src" / "karyoseg" / "__init__.py"
    path.write_text(path.read_text() + '__version__ = "mounted"\n')
    command = "import karyoseg; print(karyoseg.__version__, karyoseg.__file__)"
    shown = engine.run(image, "python", "-c", command, options=mounted(engine, workspace))
    assert shown == "mounted /workspace/src/karyoseg/__init__.py\n"


def test_git_reads_a_workspace_of_someone_else(engine: Engine, image: str, workspace: Path) -> None:
    call("git", "init", "--quiet", workspace)
    shown = engine.run(image, "git", "status", "--short", options=("--volume", f"{workspace}:/workspace"))
    assert "?? src/" in shown


def test_workflow_and_prediction_leave_files_of_the_caller(engine: Engine, image: str, workspace: Path) -> None:
    options = mounted(engine, workspace)
    engine.run(image, "kedro", "run", "--env", "test", options=options)
    images = workspace / "images"
    images.mkdir()
    for path in sorted((workspace / "data" / "02_intermediate" / "images").glob("*.tif"))[:3]:
        shutil.copy(path, images)
    give(images)
    parameters = "predict.input=images,predict.output=results"
    engine.run(image, "kedro", "run", "--env", "test", "--pipeline", "predict", "--params", parameters, options=options)
    assert (workspace / "data" / "08_reporting" / "report.html").stat().st_size > 0
    assert (workspace / "data" / "06_models" / "tiny" / "weights_best.h5").exists()
    assert {path.stem for path in (workspace / "results").glob("*.tif")} == {path.stem for path in images.iterdir()}
    assert (workspace / "results" / "objects.csv").exists()
    assert {(path.stat().st_uid, path.stat().st_gid) for path in workspace.rglob("*")} == {ANYONE}


def test_a_failing_command_fails_the_container(engine: Engine, image: str) -> None:
    assert engine("run", "--rm", image, "kedro", "run", "--pipeline", "nonsense", check=False).returncode != 0
