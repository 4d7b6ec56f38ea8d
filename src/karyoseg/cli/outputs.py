"""Files that commands write: what is there already stays, unless the user says otherwise."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click

#: The option of all commands that write files.
OVERWRITE = click.option("--overwrite", is_flag=True, help="Replace files that are there; never those that are read.")


def require_free(targets: Iterable[Path], *, overwrite: bool, inputs: Iterable[str | Path] = ()) -> None:
    """Refuse to write over files that are there.

    Parameters
    ----------
    targets : iterable of Path
        Files to write.
    overwrite : bool
        Whether they may be there, unless they are read.
    inputs : iterable of str or Path
        What the command reads: paths and URLs; of ``zip://MEMBER::ARCHIVE`` the archive.

    Raises
    ------
    ImageError
        For the first that is one of `inputs`, or is there and may not be.
    """
    from karyoseg.core.io.image_files import ImageError

    read = [Path(str(one).rpartition("::")[2]) for one in inputs]
    for path in targets:
        if not path.exists():
            continue
        # One file has many spellings: relative, through links, in capitals.
        if any(one.exists() and path.samefile(one) for one in read):
            raise ImageError(
                str(path), "read by this command", "another file for what it writes", "Choose another name."
            )
        if not overwrite:
            raise ImageError(
                str(path), "exists already", "a name that is free", "Choose another place, or give --overwrite."
            )


@contextmanager
def writing(target: Path) -> Iterator[Path]:
    """Write a file in the folder that it needs; it has its name when it is whole.

    Parameters
    ----------
    target : Path
        File to write.

    Yields
    ------
    Path
        Temporary name to write under.

    Raises
    ------
    KaryosegError
        If the place cannot be written.
    """
    from karyoseg.core.io.files import replacing
    from karyoseg.datasets.files import write_errors

    with write_errors(str(target)):
        target.parent.mkdir(parents=True, exist_ok=True)
        with replacing(target) as part:
            yield part
