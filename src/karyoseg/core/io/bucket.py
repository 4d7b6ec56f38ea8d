"""Look at an S3 bucket before work depends on it: does it answer, may we write, who else may read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import fsspec
from botocore.exceptions import ClientError

from karyoseg.core.errors import KaryosegError
from karyoseg.core.io.storage import error_code, storage_errors

_CONNECT_SECONDS = 5
_READ_SECONDS = 10
_TRIES = 2
_UNSUPPORTED = "not supported by this store"
_PROBE = ".karyoseg-write-check"
_PUBLIC_GROUPS = ("/groups/global/AllUsers", "/groups/global/AuthenticatedUsers")
#: What a store answers for a setting that was never made.
_UNSET = {
    "ServerSideEncryptionConfigurationNotFoundError",
    "NoSuchPublicAccessBlockConfiguration",
    "NoSuchBucketPolicy",
}
_DENIED = {"AccessDenied", "403"}


@dataclass(frozen=True)
class BucketReport:
    """What is known about a bucket.

    Parameters
    ----------
    url : str
        The address that was asked for.
    facts : dict of str to str
        Endpoint, region, encryption, versioning, public access ... in plain words.
    warnings : list of str
        What the owner of the data should look at.
    """

    url: str
    facts: dict[str, str]
    warnings: list[str]


def is_bucket_url(url: object) -> bool:
    """Tell whether something is the address of an S3 bucket or of something in it.

    Parameters
    ----------
    url : object
        Anything; other things than texts are none.
    """
    return isinstance(url, str) and url.startswith(("s3://", "s3a://"))


def check_bucket(url: str, *, write: bool = False) -> BucketReport:
    """Find out whether a bucket can be used, and how it is protected.

    Parameters
    ----------
    url : str
        ``s3://bucket`` or ``s3://bucket/folder``.
    write : bool
        Also try to write below the folder; nothing is left there.

    Returns
    -------
    BucketReport
        Facts and warnings. What the store does not offer or does not let us see is said there, it is no error.

    Raises
    ------
    KaryosegError
        If the bucket cannot be listed or, with `write`, not be written; with what to do.
    """
    bucket, prefix = require_access(url, write=write)
    client = _client()
    encryption = _ask(lambda: _encryption(client.get_bucket_encryption(Bucket=bucket)), unset="none set")
    block = _ask(lambda: _block(client.get_public_access_block(Bucket=bucket)), unset="off")
    facts = {
        "bucket": bucket,
        "folder": prefix or "(whole bucket)",
        "endpoint": client.meta.endpoint_url,
        "region": _ask(lambda: client.get_bucket_location(Bucket=bucket).get("LocationConstraint") or "us-east-1"),
        "listing": "allowed",
        "writing": "allowed" if write else "not tried (--write)",
        "encryption": encryption,
        "versioning": _ask(lambda: client.get_bucket_versioning(Bucket=bucket).get("Status", "off")),
        "block public access": block,
        "public by policy": _ask(
            lambda: _yes(client.get_bucket_policy_status(Bucket=bucket)["PolicyStatus"]["IsPublic"]), unset="no"
        ),
        "public by ACL": _ask(lambda: _yes(_is_public(client.get_bucket_acl(Bucket=bucket)))),
    }
    warnings = []
    if "yes" in (facts["public by policy"], facts["public by ACL"]):
        warnings.append("Others can read this bucket without credentials: turn on 'Block all public access'.")
    if block.startswith(("off", "partly")):
        warnings.append("'Block all public access' is not on: turn it on, unless the data are meant to be public.")
    if encryption == "none set":
        warnings.append("No encryption is set: set SSE-S3 or SSE-KMS as the bucket's default.")
    return BucketReport(url, facts, warnings)


def require_access(url: str, *, write: bool) -> tuple[str, str]:
    """Make sure that a bucket answers and lets us list and, if wanted, write; two or four requests.

    Parameters
    ----------
    url : str
        ``s3://bucket`` or ``s3://bucket/folder``.
    write : bool
        Also try to write. An upload is begun and given up, so that no object and no version stays behind.

    Returns
    -------
    tuple of str
        Bucket and folder.

    Raises
    ------
    KaryosegError
        With what is wrong and what to do.
    """
    bucket, _, prefix = url.partition("://")[2].partition("/")
    prefix = prefix.rstrip("/")
    if not is_bucket_url(url) or not bucket:
        raise KaryosegError(f"{url}: not the address of a bucket; needed: s3://BUCKET or s3://BUCKET/FOLDER.")
    with storage_errors(f"s3://{bucket}"):
        client = _client()
        client.list_objects_v2(Bucket=bucket, Prefix=prefix, MaxKeys=1)
    if write:
        key = f"{prefix}/{_PROBE}".lstrip("/")
        with storage_errors(f"s3://{bucket}/{key}"):
            upload = client.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"]
            client.abort_multipart_upload(Bucket=bucket, Key=key, UploadId=upload)
    return bucket, prefix


def _client() -> Any:
    """Return a client that uses what the catalog uses: the entry `s3` of the credentials, else the AWS chain."""
    import boto3
    from botocore import UNSIGNED
    from botocore.config import Config

    options: dict[str, Any] = dict(fsspec.config.conf.get("s3", {}))
    session = boto3.Session(
        aws_access_key_id=options.get("key"),
        aws_secret_access_key=options.get("secret"),
        aws_session_token=options.get("token"),
        profile_name=options.get("profile"),
    )
    arguments = {"endpoint_url": options.get("endpoint_url")} | options.get("client_kwargs", {})
    arguments.setdefault("region_name", session.region_name or "us-east-1")  # as s3fs does
    config = Config(**options.get("config_kwargs", {})).merge(
        Config(
            connect_timeout=_CONNECT_SECONDS,
            read_timeout=_READ_SECONDS,
            retries={"total_max_attempts": _TRIES},
            **({"signature_version": UNSIGNED} if options.get("anon") else {}),
        )
    )
    return session.client("s3", config=config, **arguments)


def _ask(question: Callable[[], str], unset: str = "off") -> str:
    try:
        return question()
    except KeyError:  # stores that do not know the question answer another one
        return _UNSUPPORTED
    except ClientError as error:
        code = error_code(error)
        if code in _UNSET:
            return unset
        return f"may not be looked at ({error.operation_name})" if code in _DENIED else _UNSUPPORTED


def _encryption(answer: Any) -> str:
    rules = answer["ServerSideEncryptionConfiguration"]["Rules"]
    return ", ".join(rule["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] for rule in rules) or "none set"


def _block(answer: Any) -> str:
    switches = answer["PublicAccessBlockConfiguration"]
    missing = [name for name, on in switches.items() if not on]
    return f"partly: {', '.join(missing)} off" if missing else "on"


def _is_public(answer: Any) -> bool:
    return any(grant["Grantee"].get("URI", "").endswith(_PUBLIC_GROUPS) for grant in answer["Grants"])


def _yes(value: bool) -> str:
    return "yes" if value else "no"
