"""What must not reach logs, records and reports: passwords, signatures, tokens."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_HIDDEN = "***"
_SENSITIVE = r"[\w.-]*(?:password|passwd|secret|token|credential|api_?key|access_?key)[\w.-]*"
_ASSIGNED = re.compile(rf"\b({_SENSITIVE}\s*[=:]\s*)[^\s,;]+", flags=re.IGNORECASE)
_IS_SENSITIVE = re.compile(_SENSITIVE, flags=re.IGNORECASE)
_URL = re.compile(r"\b[A-Za-z][\w+.-]*://[^\s'\"]+")
#: Between the links of a chain such as zip://MEMBER::URL, and not within the number of a host such as [::1].
_CHAINED = re.compile(r"::(?=[A-Za-z][\w+.-]*://)")
#: What follows is no host: a name of which an @ is a part.
_WITHOUT_HOST = ("zip", "tar", "file", "local", "memory", "abfs", "abfss")


def public_url(url: str) -> str:
    """Strip what must not be written to logs and files: user, password and query (signatures, tokens).

    Names of files stay as they are, so that two files can be told apart: only http knows queries.

    Parameters
    ----------
    url : str
        Any URL or path, or a chain of them.

    Returns
    -------
    str
        The part that may be shown.

    Examples
    --------
    >>> public_url("https://me:secret@example.org/a.zip?signature=1")
    'https://example.org/a.zip'
    >>> public_url("zip://field#1.tif::https://me:secret@example.org/a.zip")
    'zip://field#1.tif::https://example.org/a.zip'
    """
    return "::".join(_public_link(link) for link in _CHAINED.split(url))


def _public_link(url: str) -> str:
    protocol, separator, rest = url.partition("://")
    if not separator or protocol.lower() in _WITHOUT_HOST:
        return url
    if protocol.lower() in ("http", "https"):
        rest = re.split("[?#]", rest, maxsplit=1)[0]
    host, slash, path = rest.partition("/")
    return f"{protocol}://{host.rpartition('@')[2]}{slash}{path}"


def without_secrets(value: Any) -> Any:
    """Hide what must not be written down: passwords and signatures in URLs, values with the name of a secret.

    Parameters
    ----------
    value : object
        Text, or nested dicts and sequences.

    Returns
    -------
    object
        The same, to be written as JSON; models of parameters become dicts, what JSON does not know becomes text.

    Examples
    --------
    >>> without_secrets({"url": "https://me:pw@example.org/a.zip?sig=1", "token": "abc", "n": 3})
    {'url': 'https://example.org/a.zip', 'token': '***', 'n': 3}
    """
    if hasattr(value, "model_dump"):
        value = value.model_dump(mode="json")
    if isinstance(value, Mapping):
        return {
            str(key): _HIDDEN if item is not None and _IS_SENSITIVE.fullmatch(str(key)) else without_secrets(item)
            for key, item in value.items()
        }
    if isinstance(value, (list, tuple, set)):
        return [without_secrets(item) for item in value]
    if value is None or isinstance(value, (bool, int, float)):
        return value
    text = _URL.sub(lambda match: public_url(match.group()), str(value))
    return _ASSIGNED.sub(rf"\g<1>{_HIDDEN}", text)
