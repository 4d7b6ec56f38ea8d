"""Programs that build and run container images: docker where its daemon answers, else buildah and podman."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from areas import unavailable

PROJECT = Path(__file__).parents[1]
CONTAINERS = PROJECT / "tests" / "containers"
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")


def call(
    *command: str | Path, check: bool = True, cwd: Path | None = None, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a program; with `check`, a failure fails the test and shows the end of the output."""
    run = subprocess.run([str(word) for word in command], cwd=cwd, env=env, capture_output=True, text=True, check=False)
    if check and run.returncode:
        words = " ".join(str(word) for word in command)
        raise AssertionError(f"{words} ended with {run.returncode}:\n{run.stdout[-4000:]}\n{run.stderr[-4000:]}")
    return run


@dataclass(frozen=True)
class Engine:
    """What runs images (docker or podman), and what `scripts/build_image.sh` needs on this machine."""

    program: str
    env: dict[str, str] = field(default_factory=lambda: dict(os.environ))

    def __call__(self, *arguments: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
        return call(self.program, *arguments, check=check, env=self.env)

    def run(self, image: str, *command: str, options: tuple[str, ...] = (), check: bool = True) -> str:
        """Run a command in a new container, without network, and return what it printed."""
        return self("run", "--rm", "--network", "none", *options, image, *command, check=check).stdout

    def as_user(self, uid: int, gid: int) -> tuple[str, ...]:
        """Options that make files in mounted folders belong to the user."""
        rootless = self.program == "podman" and os.geteuid() != 0
        return ("--user", f"{uid}:{gid}", *(("--userns=keep-id",) if rootless else ()))


def find_engine(folder: Path) -> Engine:
    """Return the engine of this machine, or skip; `folder` takes configuration files."""
    if shutil.which("docker") and call("docker", "info", check=False).returncode == 0:
        return Engine("docker")
    missing = [program for program in ("buildah", "podman", "runc") if not shutil.which(program)]
    if missing:
        unavailable(
            "containers", f"no docker daemon answers and {', '.join(missing)} not installed: images cannot be built"
        )
    return Engine("podman", os.environ | {"CONTAINERS_CONF": str(CONTAINERS / "containers.conf")} | build_args(folder))


def build_args(folder: Path) -> dict[str, str]:
    """Lend the build the network and the certificates of this machine, which may stand behind a proxy."""
    arguments = "--network host"
    if CERTIFICATES.exists():
        (folder / "pip.conf").write_text(f"[global]\ncert = {CERTIFICATES}\n")
        lent = {
            CERTIFICATES.parent: CERTIFICATES.parent,
            Path("/usr/local/share/ca-certificates"): Path("/usr/local/share/ca-certificates"),  # links lead there
            folder / "pip.conf": Path("/etc/pip.conf"),
        }
        arguments += "".join(f" --volume {here}:{there}:ro" for here, there in lent.items() if here.exists())
    return {"BUILD_ARGS": arguments}
