"""Parameters of what computes: this process, or workers."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from karyoseg.params.base import Params


class NoCluster(Params):
    """This process, on all cores."""

    name: Literal["none"] = "none"
    """Everything in one process."""


class LocalCluster(Params):
    """Worker processes on this machine."""

    name: Literal["local"]
    """Dask workers here."""
    workers: int | None = Field(default=None, ge=1)
    """Processes, which share the cores; null starts one for every two cores."""


class AddressedCluster(Params):
    """Workers of a Dask scheduler that runs."""

    name: Literal["address"]
    """Workers of a scheduler."""
    address: str
    """Of the scheduler, such as `tcp://node1:8786`."""


class SlurmCluster(Params):
    """Workers as jobs of Slurm; submitted at the first large image, cancelled at the end."""

    name: Literal["slurm"]
    """Jobs of Slurm."""
    workers: int = Field(default=4, ge=1)
    """Jobs, one worker in each."""
    cores: int = Field(default=8, ge=1)
    """Of each job."""
    memory_gb: float = Field(default=16, gt=0)
    """Of each job [GB]."""
    walltime: str = "04:00:00"
    """Longest time of a job [h:min:s]; what is not finished by then is computed by another."""
    queue: str | None = None
    """Partition; null takes the default."""
    account: str | None = None
    """Account that is charged."""
    directives: list[str] = Field(default_factory=list)
    """More options of sbatch, such as `--gres=gpu:1`."""
    prologue: list[str] = Field(default_factory=list)
    """Shell commands that a job starts with, such as `source /shared/karyoseg/.venv/bin/activate`."""


def _from_text(value: Any) -> Any:
    """Let a text stand for a kind without options, or for the address of a scheduler."""
    if isinstance(value, str):
        return {"name": "address", "address": value} if "://" in value else {"name": value}
    return value


Cluster = Annotated[
    Annotated[NoCluster | LocalCluster | AddressedCluster | SlurmCluster, Field(discriminator="name")],
    BeforeValidator(_from_text),
]
