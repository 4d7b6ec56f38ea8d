"""Files and folders on this disk that are whole or not there, whenever the process ends."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

logger = logging.getLogger(__name__)


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Let no other process make the same file or folder meanwhile; wait for one that does.

    Parameters
    ----------
    path : Path
        What is made, in a folder that exists. The lock is the hidden file ``.<name>.lock`` beside it, and ends with the
        process. In a folder that cannot be written or locked there is none.

    Examples
    --------
    >>> import tempfile
    >>> model = Path(tempfile.mkdtemp()) / "model"
    >>> with alone(model):
    ...     if not model.exists():
    ...         model.mkdir()
    """
    lock = FileLock(path.with_name(f".{path.name}.lock"))
    try:
        try:
            lock.acquire(blocking=False)
        except Timeout:
            logger.info("%s: another process is making it; waiting for that", path)
            lock.acquire()
    except (OSError, NotImplementedError) as error:
        logger.debug("%s: no lock (%s)", path, error)
    try:
        yield
    finally:
        if lock.is_locked:
            with suppress(OSError):  # before the release: then it is still ours, and who waits for it looks again
                Path(lock.lock_file).unlink()
            lock.release()


@contextmanager
def replacing(path: Path, part: str = "{}.part") -> Iterator[Path]:
    """Write a file under a temporary name; it gets its name, in place of an earlier one, when it is whole.

    Parameters
    ----------
    path : Path
        The file, in a folder that exists.
    part : str
        Temporary name, ``{}`` stands for that of the file: for writers that look at the suffix, or processes that may
        write the same file at the same time.

    Yields
    ------
    Path
        Where to write. Deleted if the writing fails.

    Examples
    --------
    >>> import tempfile
    >>> report = Path(tempfile.mkdtemp()) / "report.txt"
    >>> with replacing(report) as part:
    ...     _ = part.write_text("all good")
    >>> report.read_text()
    'all good'
    """
    temporary = path.with_name(part.format(path.name))
    try:
        yield temporary
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):  # which would hide why the writing failed
            temporary.unlink()
        raise


def replace_text(path: Path, text: str) -> None:
    """Give a text file new content, whole or not at all.

    Parameters
    ----------
    path : Path
        The file.
    text : str
        All of it, written as UTF-8.
    """
    with replacing(path) as part:
        part.write_text(text, encoding="utf-8")


def replace_folder(path: Path, new: Path) -> None:
    """Put a folder in place of an earlier one, which is deleted after that.

    Parameters
    ----------
    path : Path
        The folder to replace; it need not exist.
    new : Path
        The folder that takes its place, on the same disk.
    """
    old = path.with_name(f"{path.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if path.exists():
        path.replace(old)
    new.replace(path)
    shutil.rmtree(old, ignore_errors=True)
