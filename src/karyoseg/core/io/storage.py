"""What object stores answer when something is wrong, in plain sentences."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from botocore import exceptions as boto

from karyoseg.core.errors import KaryosegError, Problem, causes

_WHERE = "entry `s3` of conf/local/credentials.yml, or the variables AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
_REGION = (
    "the bucket lies in another region than asked",
    "its region",
    "Set AWS_DEFAULT_REGION, or client_kwargs.region_name",
)
_BUSY = (
    "the store is overloaded or failing",
    "a store that answers",
    "Run again later: it continues where it stopped.",
)
_DENIED = (
    "access denied",
    "the right to do this",
    "Ask the owner of the bucket for it; docs/how-to/aws.md lists the rights that are needed.",
)
_EXPIRED = ("the session has expired or its token is wrong", "a valid session token", "Log in again.")
#: Error code -> what was found, what is needed, what to do.
_CODES = {
    "NoSuchBucket": ("there is no such bucket", "an existing bucket", "Check its name, or create it."),
    "404": ("no such bucket, or no S3 store", "an existing bucket", "Check the name of the bucket, and the endpoint."),
    "InvalidBucketName": ("not a valid bucket name", "s3://BUCKET/FOLDER", "Check the address."),
    "InvalidAccessKeyId": ("the store does not know this access key", "a valid key", f"Check the {_WHERE}."),
    "SignatureDoesNotMatch": ("key and secret do not belong together", "a pair that does", f"Check the {_WHERE}."),
    **dict.fromkeys(("AccessDenied", "AllAccessDisabled", "AccountProblem"), _DENIED),
    "403": ("access denied", "valid credentials that allow this", f"Check the {_WHERE}, and their rights."),
    **dict.fromkeys(("ExpiredToken", "InvalidToken", "TokenRefreshRequired"), _EXPIRED),
    "RequestTimeTooSkewed": (
        "the clock of this machine and that of the store differ by more than 15 minutes",
        "the right time",
        "Set the clock, for example by NTP.",
    ),
    **dict.fromkeys(
        ("AuthorizationHeaderMalformed", "PermanentRedirect", "IllegalLocationConstraintException", "301", "307"),
        _REGION,
    ),
    **dict.fromkeys(("SlowDown", "ServiceUnavailable", "InternalError", "500", "502", "503", "504"), _BUSY),
    **dict.fromkeys(
        ("QuotaExceeded", "InsufficientStorage", "507"),
        ("the store is full", "free space", "Delete what is not needed, or ask for more space."),
    ),
}
_UNREACHABLE = (boto.ConnectionError, boto.HTTPClientError, boto.ConnectionClosedError)
#: An object that is not there is no failure of the store: whoever looks for it knows what to say.
_NO_OBJECT = ("NoSuchKey", "404")
_LOOKS_FOR_OBJECT = ("GetObject", "HeadObject", "CopyObject")


class StorageError(KaryosegError):
    """The store or the way to it fails, not a single file."""


def storage_problem(where: str, error: BaseException | None) -> Problem | None:
    """Say in plain words what an object store, or the way to it, has against us.

    Parameters
    ----------
    where : str
        What was to be read or written.
    error : BaseException or None
        What botocore or s3fs raised; its causes are looked at too.

    Returns
    -------
    Problem or None
        None for errors that have nothing to do with the store, and for an object that is not there.
    """
    for cause in causes(error):
        if isinstance(cause, boto.ClientError):
            return _answered(where, cause)
        if isinstance(cause, boto.NoCredentialsError | boto.PartialCredentialsError):
            found = "no credentials" if isinstance(cause, boto.NoCredentialsError) else "half of the credentials"
            return Problem(where, found, "access key and secret key", f"Set both in the {_WHERE}.")
        if isinstance(cause, _UNREACHABLE):
            return Problem(
                where,
                f"no answer from the store ({_endpoint(cause)})",
                "a store that can be reached",
                "Check that it runs, the network, and the endpoint: client_kwargs.endpoint_url or AWS_ENDPOINT_URL.",
            )
        invalid = isinstance(cause, ValueError) and str(cause).startswith("Invalid endpoint")
        if invalid or isinstance(cause, boto.BotoCoreError):  # profile not found, invalid region, name of a bucket ...
            return Problem(where, _one_line(cause), "settings that S3 accepts", f"Check the address and the {_WHERE}.")
    return None


@contextmanager
def storage_errors(where: str) -> Iterator[None]:
    """Turn what an object store has against us into a :class:`StorageError`; other errors pass unchanged.

    Parameters
    ----------
    where : str
        What is read or written.

    Raises
    ------
    StorageError
        If the store or the way to it failed.
    """
    try:
        yield
    except KaryosegError:
        raise
    except Exception as error:
        problem = storage_problem(where, error)
        if problem is None:
            raise
        raise StorageError(str(problem)) from error


def _answered(where: str, error: boto.ClientError) -> Problem | None:
    code, answer = error_code(error), error.response
    if code in _NO_OBJECT and error.operation_name in _LOOKS_FOR_OBJECT:
        return None
    if code not in _CODES:
        said = answer.get("Error", {}).get("Message") or _one_line(error)
        return Problem(where, f"the store answered {code}: {said}", "a request it accepts", "Check address and rights.")
    found, needed, advice = _CODES[code]
    if (found, needed) == _REGION[:2]:
        headers = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
        region = answer.get("Error", {}).get("Region") or headers.get("x-amz-bucket-region")
        advice += f", to {region}." if region else " in the entry `s3` of conf/local/credentials.yml, to it."
    if code in _DENIED_CODES:
        found += f" ({error.operation_name})"
    return Problem(where, found, needed, advice)


_DENIED_CODES = {code for code, texts in _CODES.items() if texts is _DENIED}


def error_code(error: boto.ClientError) -> str:
    """Return the code of what a store answered, such as ``NoSuchBucket``.

    Parameters
    ----------
    error : ClientError
        From botocore.

    Returns
    -------
    str
        Code, or the HTTP status where the answer has no text.
    """
    return str(error.response.get("Error", {}).get("Code", ""))


def _endpoint(error: BaseException) -> str:
    url = str(getattr(error, "kwargs", {}).get("endpoint_url", ""))
    return "/".join(url.split("/")[:3]) or _one_line(error)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
