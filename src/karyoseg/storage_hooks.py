"""One set of S3 credentials for the catalog, parameters and commands, whatever the environment.

The entry `s3` of ``conf/local/credentials.yml`` becomes the default of fsspec's file system for ``s3://``. Without the
entry the standard AWS chain applies: AWS_* variables, profiles, instance roles.
"""

from __future__ import annotations

import copy
import os
import posixpath
import re
from collections.abc import Iterable, Mapping
from typing import Any

import fsspec
from kedro.config import MissingConfigException
from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.pipeline import Pipeline
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from karyoseg.core.errors import KaryosegError

_FILE = "conf/local/credentials.yml"
#: A store that is gone is reported after half a minute, not after five; an entry may say otherwise.
_PATIENCE = {"connect_timeout": 5, "read_timeout": 15, "retries": {"total_max_attempts": 3, "mode": "standard"}}


class S3Entry(BaseModel):
    """The entry `s3`: arguments of :class:`s3fs.S3FileSystem`, of which these make sense here.

    Values never appear in error messages.
    """

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    key: str | None = None
    secret: str | None = None
    token: str | None = None
    profile: str | None = None
    anon: bool = False
    endpoint_url: str | None = None
    client_kwargs: dict[str, Any] = {}
    config_kwargs: dict[str, Any] = {}
    s3_additional_kwargs: dict[str, Any] = {}

    @model_validator(mode="after")
    def _both_or_none(self) -> S3Entry:
        if (self.key is None) != (self.secret is None):
            raise ValueError("`key` and `secret` belong together; one of them is missing")
        return self


def s3_options(entry: Any) -> dict[str, Any]:
    """Turn the entry `s3` of the credentials into arguments of s3fs.

    Parameters
    ----------
    entry : dict or None
        The entry; None if there is none.

    Returns
    -------
    dict
        Arguments, patience with stores that do not answer included.

    Raises
    ------
    KaryosegError
        If the entry cannot be used; without its values.
    """
    try:
        given = S3Entry.model_validate(entry or {}).model_dump(exclude_unset=True)
    except ValidationError as error:
        found = "; ".join(
            ": ".join(filter(None, [".".join(map(str, each["loc"])), each["msg"]])) for each in error.errors()
        )
        raise KaryosegError(
            f"{_FILE}, entry s3: {found}; needed: some of {', '.join(S3Entry.model_fields)}. Example: "
            "s3: {key: ..., secret: ..., client_kwargs: {endpoint_url: ..., region_name: ...}}"
        ) from None  # the original shows values
    return given | {"config_kwargs": _PATIENCE | given.get("config_kwargs", {})}


def bucket_from(name: str) -> str:
    """Give configuration files the bucket that an environment variable holds, as ``${bucket:NAME}``.

    Parameters
    ----------
    name : str
        Name of the variable.

    Returns
    -------
    str
        Bucket and folder, without ``s3://``.

    Raises
    ------
    KaryosegError
        If it is not set.
    """
    value = os.environ.get(name, "").removeprefix("s3://").strip("/")
    if not value:
        raise KaryosegError(
            f"{name}: not set; needed: bucket and folder of the environment s3. Run `export {name}=BUCKET/FOLDER` "
            "first, or write the address into conf/s3/globals.yml."
        )
    return value


class StorageHooks:
    """Hand out the credentials, and look at the places of a run before its first node."""

    def __init__(self) -> None:
        self._context: KedroContext | None = None

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Make the credentials of ``conf/local`` known to the catalog of every environment, and to fsspec."""
        self._context = context
        local = copy.copy(context.config_loader)
        local.env = "local"
        credentials = _credentials(local) | _credentials(context.config_loader)
        context.config_loader["credentials"] = credentials
        fsspec.config.conf["s3"] = s3_options(credentials.get("s3"))

    @hook_impl(tryfirst=True)  # before a record says that the run has begun
    def before_pipeline_run(self, pipeline: Pipeline) -> None:
        """Refuse a run whose places do not fit, do not answer or cannot be written, now rather than after hours."""
        if self._context is None:
            return
        entries = self._context.config_loader["catalog"]
        places = {name: entry.get("filepath", entry.get("path")) for name, entry in entries.items() if name[0] != "_"}
        if "predictions" in pipeline.all_outputs():
            check_output(str(places["predictions"]), self._context.params["predict"].output)
        if "params:evaluate" in pipeline.inputs():
            check_model(entries["model"].get("load_from"), self._context.params["evaluate"].model)
        written = [places.get(name) for name in pipeline.all_outputs()]
        read = [places.get(name) for name in pipeline.inputs()]
        for name in pipeline.inputs():
            if name.startswith("params:"):
                params = self._context.params.get(name.removeprefix("params:"))
                read += _texts(params.model_dump() if isinstance(params, BaseModel) else params)
        check_places(read, written)
        if "params:train" in pipeline.inputs():
            check_init(self._context.params["train"].init.model_dump())


def check_output(written: str, wanted: str) -> None:
    """Make sure that predictions go where the parameter says: the catalog does not read parameter files.

    Parameters
    ----------
    written : str
        Folder of the catalog.
    wanted : str
        The parameter ``predict.output``.

    Raises
    ------
    KaryosegError
        If they differ.
    """
    if written != wanted:
        raise KaryosegError(
            f"predict.output: found {wanted} in the parameters, but results would go to {written}; needed: one folder "
            f"for both. Give it with --params predict.output={wanted}, or for good in conf/local/globals.yml: "
            f"`predict_output: {wanted}`. Parameter files and `_predict_output` in a catalog do not move results."
        )


def check_model(opened: str | None, wanted: str | None) -> None:
    """Make sure that the model to evaluate is the one of the parameter: the catalog does not read parameter files.

    Parameters
    ----------
    opened : str or None
        What the catalog opens; None for the trained model.
    wanted : str or None
        The parameter ``evaluate.model``.

    Raises
    ------
    KaryosegError
        If they differ.
    """
    if opened != wanted:
        raise KaryosegError(
            f"evaluate.model: found {wanted} in the parameters, but the catalog opens {opened or 'the trained model'}; "
            f"needed: one model for both. Give it with --params evaluate.model={wanted}; parameter files do not choose "
            f"it."
        )


def check_init(init: Mapping[str, Any]) -> None:
    """Make sure that the model that training starts from is there: images are prepared for long before it is opened.

    Parameters
    ----------
    init : mapping
        The parameter ``train.init``. Published models are not looked for: their names are known to exist.

    Raises
    ------
    KaryosegError
        If there is no such model, or it is damaged.
    """
    if init["name"] != "model":
        return
    from karyoseg.models import model_folder
    from karyoseg.models.stardist.folder import ModelFolder

    try:
        ModelFolder.load(model_folder(init["path"]))
    except KaryosegError as error:
        raise KaryosegError(f"train.init.path: {error}") from error


def check_places(read: Iterable[Any], written: Iterable[Any]) -> None:
    """Make sure that buckets answer and, where something will be written, can be written; once per bucket.

    Parameters
    ----------
    read, written : iterable
        Paths and URLs; those that do not begin with ``s3://`` are left out.

    Raises
    ------
    KaryosegError
        With what is wrong and what to do.
    """
    from karyoseg.core.io.bucket import is_bucket_url, require_access

    folders: dict[str, dict[bool, list[str]]] = {}
    for write, places in ((False, read), (True, written)):
        for url in filter(is_bucket_url, places):
            path = re.split(r"[*?\[]", url.partition("://")[2])[0]  # of a pattern, what comes before it
            folders.setdefault(path.partition("/")[0], {}).setdefault(write, []).append(path)
    for paths in folders.values():
        write = True in paths
        require_access(f"s3://{posixpath.commonpath(paths[write])}", write=write)


def _credentials(loader: Any) -> dict[str, Any]:
    try:
        return dict(loader["credentials"])
    except MissingConfigException:
        return {}


def _texts(value: Any) -> list[str]:
    """Return all texts in nested parameters."""
    if isinstance(value, dict | list):
        return [text for each in (value.values() if isinstance(value, dict) else value) for text in _texts(each)]
    return [value] if isinstance(value, str) else []
