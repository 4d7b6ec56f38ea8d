"""What DVC and git say when they fail, as one message with advice."""

from __future__ import annotations

import logging
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from karyoseg.core.errors import KaryosegError
from karyoseg.core.io.storage import storage_problem

_ADVICE = (
    "Check address, keys and rights: DVC takes them from .dvc/config.local, AWS variables or an AWS profile, see "
    "docs/how-to/version-models.md. Then run the same command again: it continues."
)


@contextmanager
def dvc_errors(where: str) -> Iterator[None]:
    """Turn what DVC raises and logs into one message.

    Parameters
    ----------
    where : str
        What is read or written.

    Raises
    ------
    KaryosegError
        If DVC fails.
    """
    from dvc.exceptions import DvcException
    from dvc_data.index import DataIndexDirError

    logged = _Collector()
    loggers = [logging.getLogger(name) for name in ("dvc", "dvc_data", "dvc_objects")]
    for each in loggers:
        each.addHandler(logged)
        each.propagate = False
    try:
        yield
    except KaryosegError:
        raise
    except Exception as error:
        problems = (storage_problem(where, each) for each in (error, *logged.errors))
        problem = next(filter(None, problems), None)
        if problem is not None:
            raise KaryosegError(f"{where}: {problem.found}; needed: {problem.needed}. {_ADVICE}") from error
        if isinstance(error, DvcException | DataIndexDirError | OSError):
            raise KaryosegError(f"{where}: {_explained(error)}") from error
        raise
    finally:
        for each in loggers:
            each.removeHandler(logged)
            each.propagate = True


def git_says(error: FileNotFoundError | subprocess.CalledProcessError) -> str:
    """Give the message of a git command that failed.

    Parameters
    ----------
    error : FileNotFoundError or CalledProcessError
        What starting git raised.
    """
    if isinstance(error, FileNotFoundError):
        return "git is not installed"
    return " ".join(error.stderr.strip().splitlines()[:3]).removeprefix("fatal: ")


class _Collector(logging.Handler):
    """Keep the exceptions that DVC logs: those of single files are not raised."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.errors: list[BaseException] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info and record.exc_info[1]:
            self.errors.append(record.exc_info[1])


def _explained(error: Exception) -> str:
    from dvc.config import RemoteConfigError
    from dvc.exceptions import CheckoutError, NotDvcRepoError
    from dvc_data.index import DataIndexDirError

    said = " ".join(str(error).split())
    if isinstance(error, NotDvcRepoError):
        return "holds no .dvc folder; needed: a project with DVC. Run `dvc init`."
    if isinstance(error, RemoteConfigError):
        return f"{said}; needed: a remote. See docs/how-to/version-models.md, or name one with --remote."
    if "unsaved files" in said or "without a confirmation" in said:
        return "holds a model that no version keeps; needed: a saved one. Push it, move it away, or give --force."
    if isinstance(error, CheckoutError | DataIndexDirError):
        return f"{said}; needed: all files in the remote. Ask who released the model to push it again."
    return f"DVC says: {said}; needed: a remote that takes and gives files. Mend that and run the same command again."
