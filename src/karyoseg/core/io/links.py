"""Local folders in which links stand for what they lead to."""

from __future__ import annotations

import os
from pathlib import PurePosixPath
from typing import Any

from fsspec.implementations.local import LocalFileSystem


class LinkingFileSystem(LocalFileSystem):
    """Local files in which a link is what it leads to, at any depth of a pattern.

    fsspec lists links as neither files nor folders. One that leads nowhere counts as a file here, so that reading it
    says what is wrong with it; one that leads to a folder it lies in counts as neither, so that searches end.
    """

    def info(self, path: Any, **kwargs: Any) -> dict[str, Any]:
        """Describe a file or folder; see :meth:`fsspec.AbstractFileSystem.info`.

        Parameters
        ----------
        path : str or DirEntry
            What to describe; entries of a listing are followed like paths.
        **kwargs : object
            Of fsspec.

        Returns
        -------
        dict
            Name, type, size and more.
        """
        found: dict[str, Any] = super().info(path, **kwargs)
        if not (found["islink"] and isinstance(path, os.DirEntry)):
            return found
        try:
            target: dict[str, Any] = super().info(found["name"])
        except OSError:
            return found | {"type": "file"}
        return found if target["type"] == "directory" and _is_circular(found["name"]) else target


def _is_circular(link: str) -> bool:
    """Tell whether a link leads to one of the folders that were entered on the way to it."""
    target = os.path.realpath(link)
    return any(os.path.realpath(folder) == target for folder in PurePosixPath(link).parents)
