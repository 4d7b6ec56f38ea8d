"""MkDocs hook: cross-references of docstrings, written as Sphinx roles, become links."""

from __future__ import annotations

import re
from typing import Any

_ROLE = re.compile(r":(?:class|func|meth|mod|attr|data):\s*<code>(~?)([\w.]+)</code>")


def on_page_content(html: str, **_: Any) -> str:
    """Turn ``:func:`name``` into a link if the page of the name is known, else into code.

    Parameters
    ----------
    html : str
        A page without its frame.
    **_ : object
        What else MkDocs gives.

    Returns
    -------
    str
        The page with ``<autoref>`` elements, which the autorefs plugin resolves.
    """

    def link(found: re.Match[str]) -> str:
        short, name = found.groups()
        shown = name.rsplit(".", 1)[-1] if short else name
        return f'<autoref optional identifier="{name}"><code>{shown}</code></autoref>'

    return _ROLE.sub(link, html)
