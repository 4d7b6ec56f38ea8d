"""Where tasks are computed: in this process, or by worker processes of Dask, here or on other machines."""

from __future__ import annotations

import logging
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from joblib import cpu_count

from karyoseg.core.errors import KaryosegError
from karyoseg.core.threads import map_completed, raise_if_stopped

if TYPE_CHECKING:
    from distributed import Client

logger = logging.getLogger(__name__)

_SIDE_BY_SIDE = 2  # blocks in this process: while the network runs for one, the other is read
_PATIENCE = 30  # s to wait for a scheduler
_NEED = "Install it with: python -m pip install distributed dask-jobqueue."


class Workers(Protocol):
    """What computes tasks."""

    def map(self, task: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
        """Apply a task to items, and give the results as they come."""


class ThisProcess:
    """Tasks run here, some side by side."""

    def map(self, task: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
        """Apply a task to items.

        Parameters
        ----------
        task : callable
            Called with each item, in threads.
        items : iterable
            What it is called with.

        Returns
        -------
        iterator
            Results as they come.
        """
        return map_completed(task, items, _SIDE_BY_SIDE)


class DaskWorkers:
    """Tasks run in the workers of a Dask cluster; those of a worker that dies run again in another.

    Parameters
    ----------
    client : distributed.Client
        Connection to the cluster.
    """

    def __init__(self, client: Client):
        self._client = client

    def map(self, task: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
        """Apply a task to items.

        Parameters
        ----------
        task : callable
            Sent to the workers with each item.
        items : iterable
            What it is called with.

        Yields
        ------
        object
            Results as they come.

        Raises
        ------
        KaryosegError
            If the workers of a task died again and again.
        """
        from distributed import KilledWorker, as_completed

        futures = self._client.map(task, list(items), pure=False)
        try:
            for future in as_completed(futures):
                yield future.result()
                future.release()
                raise_if_stopped()
        except KilledWorker as error:
            raise KaryosegError(
                f"The workers that took on one block died {error.allowed_failures + 1} times; needed: workers that "
                f"live long enough. Often memory was short: give them more, or set a smaller predict.blocks.size."
            ) from error
        finally:
            self._client.cancel(futures)


@contextmanager
def open_workers(options: Mapping[str, Any]) -> Iterator[Workers]:
    """Start or join what computes, and stop it in the end if it was started.

    Parameters
    ----------
    options : mapping
        ``name`` of the kind and its options; fields of :mod:`karyoseg.params.cluster`.

    Yields
    ------
    Workers
        What computes.

    Raises
    ------
    KaryosegError
        If Dask is not installed, or the cluster cannot be reached.
    """
    if options["name"] == "none":
        yield ThisProcess()
        return
    with _client(options) as client:
        logger.info("Workers: %s; follow them at %s", options["name"], client.dashboard_link)
        yield DaskWorkers(client)


@contextmanager
def _client(options: Mapping[str, Any]) -> Iterator[Client]:
    try:
        from distributed import Client, LocalCluster
    except ImportError as error:
        raise KaryosegError(f"predict.cluster={options['name']}: Dask is not installed. {_NEED}") from error
    logging.getLogger("distributed").setLevel(logging.WARNING)  # it reports each connection
    if options["name"] == "address":
        try:
            client = Client(options["address"], timeout=_PATIENCE)
        except (OSError, ValueError) as error:
            raise KaryosegError(
                f"predict.cluster: no scheduler answers at {options['address']} ({error}); needed: the address that "
                f"`dask scheduler` prints, such as tcp://host:8786. Start it, or check the network."
            ) from error
        with client:
            yield client
        return
    if options["name"] == "local":
        workers = options["workers"] or max(1, cpu_count() // 2)
        threads = max(1, cpu_count() // workers)
        # One task at a time in each: the network and its post-processing take all threads a worker has.
        cluster: Any = LocalCluster(
            n_workers=workers, threads_per_worker=1, env=share_of_cores(threads), memory_limit=0, dashboard_address=":0"
        )
    else:
        cluster = _slurm(options)
    with cluster, Client(cluster) as client:
        yield client


def _slurm(options: Mapping[str, Any]) -> Any:
    try:
        from dask_jobqueue import SLURMCluster
    except ImportError as error:
        raise KaryosegError(f"predict.cluster=slurm: dask-jobqueue is not installed. {_NEED}") from error
    cluster = SLURMCluster(
        cores=options["cores"],
        processes=1,
        memory=f"{options['memory_gb']} GB",
        worker_extra_args=["--nthreads", "1"],
        queue=options["queue"],
        account=options["account"],
        walltime=options["walltime"],
        job_extra_directives=list(options["directives"]),
        job_script_prologue=[f"export {key}={value}" for key, value in share_of_cores(options["cores"]).items()]
        + list(options["prologue"]),
    )
    try:
        _ask_slurm(cluster.job_script())
    except KaryosegError:
        cluster.close()
        raise
    cluster.scale(jobs=options["workers"])
    return cluster


def _ask_slurm(script: str) -> None:
    """Let Slurm check a job: Dask would wait for ever for one that is refused."""
    with tempfile.NamedTemporaryFile("w", suffix=".sh") as file:
        file.write(script)
        file.flush()
        try:
            command = ["sbatch", "--test-only", file.name]
            asked = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
        except OSError as error:
            raise KaryosegError(
                f"predict.cluster=slurm: sbatch cannot be run ({error}); needed: a machine from which jobs can be "
                f"submitted. Run this on a login node of the cluster."
            ) from error
    answer = " ".join(asked.stderr.split())
    if asked.returncode:
        raise KaryosegError(
            f"predict.cluster=slurm: Slurm refuses such jobs ({answer}); needed: what this cluster has. Change "
            f"predict.cluster.queue, account, cores, memory_gb, walltime or directives."
        )
    logger.info("Slurm accepts the jobs (%s); blocks are computed as soon as one runs (squeue --me)", answer)


def share_of_cores(n: int) -> dict[str, str]:
    """Return the environment that keeps what runs in a worker to its share of the cores.

    Parameters
    ----------
    n : int
        Cores.

    Returns
    -------
    dict of str to str
        Variables.
    """
    names = (
        "LOKY_MAX_CPU_COUNT",
        "OMP_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "MKL_NUM_THREADS",
        "TF_NUM_INTRAOP_THREADS",
    )
    return dict.fromkeys(names, str(n))
