"""Files that commands write: what is there already stays, unless the user says otherwise."""

from __future__ import annotations

from collections.abc import Iterable
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
