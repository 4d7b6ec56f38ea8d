"""Bucket checks: against a real store what it can produce, against recorded answers what it cannot."""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import botocore.auth
import fsspec
import pytest
from botocore.client import BaseClient
from botocore.exceptions import ClientError
from botocore.stub import Stubber
from click.testing import CliRunner
from kedro.framework.startup import bootstrap_project
from kedro.pipeline import node, pipeline

from karyoseg.cli import cli
from karyoseg.core.errors import KaryosegError
from karyoseg.core.io import bucket as bucket_module
from karyoseg.core.io.bucket import check_bucket, require_access
from karyoseg.core.io.storage import storage_problem
from karyoseg.params.predict import PredictParams
from karyoseg.storage_hooks import StorageHooks, bucket_from, check_places, s3_options
from object_store import ObjectStore


@pytest.fixture(scope="module")
def checked(object_store: ObjectStore) -> str:
    return object_store.create_bucket("checked")


@pytest.fixture(autouse=True)
def _no_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(fsspec.config.conf, "s3", {})


def test_facts_of_a_bucket(on_s3: ObjectStore, checked: str) -> None:
    report = check_bucket(f"{checked}/nuclei", write=True)
    assert report.facts["bucket"] == "checked"
    assert report.facts["endpoint"] == on_s3.endpoint_url
    assert report.facts["writing"] == "allowed"
    assert report.facts["block public access"] == "not supported by this store"
    assert report.facts["versioning"] == "off"
    on_s3.client().put_bucket_versioning(Bucket="checked", VersioningConfiguration={"Status": "Enabled"})
    assert check_bucket(checked).facts["versioning"] == "Enabled"
    assert on_s3.client().list_object_versions(Bucket="checked").get("Versions", []) == []  # the check leaves nothing
    assert on_s3.client().list_multipart_uploads(Bucket="checked").get("Uploads", []) == []


@pytest.mark.parametrize(
    ("url", "changed", "said"),
    [
        ("s3://no-such-bucket", {}, "s3://no-such-bucket: there is no such bucket"),
        (
            "s3://checked",
            {"AWS_SECRET_ACCESS_KEY": "wrong-secret"},
            "key and secret do not belong together",
        ),
        ("s3://checked", {"AWS_SECRET_ACCESS_KEY": "", "AWS_ACCESS_KEY_ID": ""}, "no credentials; needed"),
        (
            "s3://checked",
            {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"},
            r"no answer from the store \(http://127.0.0.1:9\)",
        ),
        ("s3://checked", {"AWS_ENDPOINT_URL": "http://nowhere.invalid"}, r"no answer .*nowhere\.invalid"),
        ("s3://checked", {"AWS_ENDPOINT_URL": "nonsense"}, "Invalid endpoint"),
        ("s3://checked", {"AWS_PROFILE": "nobody"}, "nobody"),
        ("s3://a", {}, "not a valid bucket name"),
        ("data/models", {}, "not the address of a bucket; needed: s3://BUCKET"),
        ("s3://", {}, "not the address of a bucket"),
    ],
)
def test_each_failure_has_its_sentence(
    on_s3: ObjectStore, checked: str, monkeypatch: pytest.MonkeyPatch, url: str, changed: dict[str, str], said: str
) -> None:
    for name, value in changed.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(KaryosegError, match=said):
        require_access(url, write=False)


def test_public_buckets_are_asked_without_credentials(
    on_s3: ObjectStore, checked: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    with pytest.raises(KaryosegError, match="no credentials"):
        require_access(checked, write=False)
    monkeypatch.setitem(fsspec.config.conf, "s3", s3_options({"anon": True}))
    with pytest.raises(KaryosegError, match="the store answered"):  # Swift has no public buckets
        require_access(checked, write=False)


def test_read_only_users_may_look_but_not_write(
    on_s3: ObjectStore, checked: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in on_s3.env(reader=True).items():
        monkeypatch.setenv(name, value)
    require_access(checked, write=False)
    check_places([checked, "data/local", None], ["data/local"])
    with pytest.raises(KaryosegError, match=r"access denied \(CreateMultipartUpload\)"):
        check_places([checked], [f"{checked}/a/x", f"{checked}/a/y"])


def test_a_wrong_clock_is_said(on_s3: ObjectStore, checked: str, monkeypatch: pytest.MonkeyPatch) -> None:
    now = botocore.auth.get_current_datetime
    monkeypatch.setattr(
        botocore.auth, "get_current_datetime", lambda *a, **k: now(*a, **k) - datetime.timedelta(hours=2)
    )
    with pytest.raises(KaryosegError, match=r"clock of this machine .* differ by more than 15 minutes"):
        require_access(checked, write=False)


@pytest.mark.parametrize(
    ("code", "extra", "said"),
    [
        (
            "AuthorizationHeaderMalformed",
            {"Region": "eu-west-1"},
            "another region than asked.*AWS_DEFAULT_REGION.*eu-west-1",
        ),
        ("PermanentRedirect", {}, "another region than asked.*its region"),
        ("InvalidAccessKeyId", {}, "does not know this access key"),
        ("ExpiredToken", {}, "session has expired"),
        ("AccessDenied", {}, r"access denied \(ListObjectsV2\)"),
        ("404", {}, "no such bucket, or no S3 store"),
        ("SlowDown", {}, "overloaded"),
        ("InsufficientStorage", {}, "store is full"),
        ("Unheard", {"Message": "of it"}, "the store answered Unheard: of it"),
    ],
)
def test_answers_that_only_other_stores_give(code: str, extra: dict[str, str], said: str) -> None:
    error = ClientError({"Error": {"Code": code, **extra}}, "ListObjectsV2")  # type: ignore[typeddict-item]
    assert re.search(said, str(storage_problem("s3://lab", error)))


def test_an_object_that_is_not_there_is_no_failure_of_the_store() -> None:
    assert storage_problem("x", ClientError({"Error": {"Code": "NoSuchKey"}}, "GetObject")) is None
    assert storage_problem("x", ValueError("something else")) is None


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Answers as AWS documents them."""
    client = boto3.client("s3", region_name="eu-west-1", aws_access_key_id="a", aws_secret_access_key="b")
    stub = Stubber(client)
    monkeypatch.setattr(bucket_module, "_client", lambda: client)

    def answer(*answers: tuple[str, dict[str, Any] | str]) -> None:
        for method, given in answers:
            if isinstance(given, str):
                stub.add_client_error(method, given)
            else:
                stub.add_response(method, given)
        stub.activate()

    return answer


ALL_ON = dict.fromkeys(("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"), True)
PUBLIC = {"Grantee": {"Type": "Group", "URI": "http://acs.amazonaws.com/groups/global/AllUsers"}, "Permission": "READ"}
KMS = {"Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms"}}]}


def test_a_well_kept_bucket(recorded: Callable[..., None]) -> None:
    recorded(
        ("list_objects_v2", {}),
        ("get_bucket_encryption", {"ServerSideEncryptionConfiguration": KMS}),
        ("get_public_access_block", {"PublicAccessBlockConfiguration": ALL_ON}),
        ("get_bucket_location", {"LocationConstraint": "eu-west-1"}),
        ("get_bucket_versioning", {"Status": "Enabled"}),
        ("get_bucket_policy_status", "NoSuchBucketPolicy"),
        ("get_bucket_acl", {"Grants": []}),
    )
    report = check_bucket("s3://lab")
    assert report.warnings == []
    assert [report.facts[k] for k in ("encryption", "block public access", "public by policy", "public by ACL")] == [
        "aws:kms", "on", "no", "no"
    ]  # fmt: skip


def test_an_open_bucket_is_warned_of(recorded: Callable[..., None]) -> None:
    recorded(
        ("list_objects_v2", {}),
        ("get_bucket_encryption", "ServerSideEncryptionConfigurationNotFoundError"),
        ("get_public_access_block", {"PublicAccessBlockConfiguration": ALL_ON | {"BlockPublicAcls": False}}),
        ("get_bucket_location", "AccessDenied"),
        ("get_bucket_versioning", {}),
        ("get_bucket_policy_status", {"PolicyStatus": {"IsPublic": True}}),
        ("get_bucket_acl", {"Grants": [PUBLIC]}),
    )
    report = check_bucket("s3://lab")
    assert report.facts["region"] == "may not be looked at (GetBucketLocation)"
    assert report.facts["block public access"] == "partly: BlockPublicAcls off"
    assert len(report.warnings) == 3


def test_a_run_without_the_address_says_how_to_set_it(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bootstrap_project(project)
    monkeypatch.chdir(project)
    monkeypatch.delenv("KARYOSEG_BUCKET", raising=False)
    run = CliRunner().invoke(cli, ["run", "--env", "s3", "--pipeline", "download"])
    assert run.exit_code == 1
    assert "KARYOSEG_BUCKET: not set" in run.output


def test_buckets_in_parameters_are_looked_at_before_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at: list[Any] = []
    monkeypatch.setattr("karyoseg.storage_hooks.check_places", lambda read, written: looked_at.extend(read))
    params = {"predict": PredictParams(input="s3://lab/scans", output="here", model="s3://lab/models/mine")}
    hooks = StorageHooks()
    monkeypatch.setattr(hooks, "_context", SimpleNamespace(config_loader={"catalog": {}}, params=params))
    hooks.before_pipeline_run(pipeline([node(lambda params: params, "params:predict", "same")]))
    assert {"s3://lab/scans", "s3://lab/models/mine"} <= set(looked_at)


def test_the_command(
    on_s3: ObjectStore, checked: str, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    metadata = bootstrap_project(project)
    monkeypatch.chdir(tmp_path)  # anywhere: Kedro finds the project
    run = CliRunner().invoke(cli, ["bucket", "check", checked, "--write"], obj=metadata)
    assert run.exit_code == 0, run.output
    assert "writing" in run.output
    run = CliRunner().invoke(cli, ["bucket", "check", "s3://no-such-bucket"], obj=metadata)
    assert run.exit_code == 1
    assert "there is no such bucket" in run.output


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"aws_access_key_id": "k3y"}, "aws_access_key_id"),
        ({"key": "k3y"}, "`key` and `secret` belong together"),
        ({"key": "k3y", "secret": 7}, "secret: Input should be a valid string"),
        ("k3y", "entry s3"),
        ({"key": "k3y", "secret": "s", "client_kwargs": "k3y"}, "client_kwargs: Input should be a valid dict"),
    ],
)
def test_malformed_credentials_are_named_without_their_values(entry: Any, said: str) -> None:
    with pytest.raises(KaryosegError) as caught:
        s3_options(entry)
    assert said in str(caught.value)
    assert "k3y" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_credentials_become_arguments_of_s3fs() -> None:
    options = s3_options({"key": "k", "secret": "s", "config_kwargs": {"read_timeout": 60}})
    assert options["key"] == "k"
    assert options["config_kwargs"]["read_timeout"] == 60
    assert options["config_kwargs"]["connect_timeout"] == 5
    assert "key" not in s3_options(None)


def test_the_address_of_the_environment_s3(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KARYOSEG_BUCKET", "s3://lab/nuclei/")
    assert bucket_from("KARYOSEG_BUCKET") == "lab/nuclei"
    monkeypatch.delenv("KARYOSEG_BUCKET")
    with pytest.raises(KaryosegError, match="KARYOSEG_BUCKET: not set"):
        bucket_from("KARYOSEG_BUCKET")


#: Rights that operations of the S3 interface need, where the names differ.
RIGHTS = {
    "ListObjectsV2": {"s3:ListBucket"},
    "HeadObject": {"s3:GetObject"},
    "CreateMultipartUpload": {"s3:PutObject"},
    "UploadPart": {"s3:PutObject"},
    "CompleteMultipartUpload": {"s3:PutObject"},
    "CopyObject": {"s3:GetObject", "s3:PutObject"},
    "DeleteObjects": {"s3:DeleteObject"},
}
READS = {"ListObjectsV2", "HeadObject", "GetObject"}
WRITES = READS | RIGHTS.keys() | {"PutObject", "DeleteObject", "AbortMultipartUpload"}


@pytest.mark.parametrize(("role", "operations"), [("reader", READS), ("writer", WRITES)])
def test_the_policies_of_the_documentation_allow_what_is_needed(project: Path, role: str, operations: set[str]) -> None:
    page = (project / "docs/how-to/aws.md").read_text()
    policies = {found["Id"]: found for found in map(json.loads, re.findall(r"```json\n(.*?)```", page, re.DOTALL))}
    allowed = {action for statement in policies[role]["Statement"] for action in statement["Action"]}
    needed = set().union(*(RIGHTS.get(name, {f"s3:{name}"}) for name in operations))
    assert needed <= allowed
    assert not any("*" in action for action in allowed)
    if role == "reader":
        assert not any(action.startswith(("s3:Put", "s3:Delete", "s3:Abort")) for action in allowed)


def test_no_other_operations_are_used(
    on_s3: ObjectStore, checked: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from karyoseg.core.io.remote_folder import download_folder, upload_folder

    used: set[str] = set()
    call = BaseClient._make_api_call

    async def record(self: Any, operation: str, *arguments: Any) -> Any:
        used.add(operation)
        return await aio_call(self, operation, *arguments)

    from aiobotocore.client import AioBaseClient

    aio_call = AioBaseClient._make_api_call
    monkeypatch.setattr(AioBaseClient, "_make_api_call", record)
    monkeypatch.setattr(
        BaseClient, "_make_api_call", lambda self, operation, *a: (used.add(operation), call(self, operation, *a))[1]
    )
    require_access(checked, write=True)
    fs = fsspec.filesystem("s3")
    (tmp_path / "weights").write_bytes(b"w" * 100)
    (tmp_path / "logs").write_bytes(b"l")
    upload_folder(tmp_path, fs, "checked/model")
    (tmp_path / "logs").unlink()
    upload_folder(tmp_path, fs, "checked/model")
    assert {"CreateMultipartUpload", "ListObjectsV2", "PutObject", "CopyObject"} <= used <= WRITES
    assert used & {"DeleteObject", "DeleteObjects"}
    used.clear()
    assert (download_folder(fs, "checked/model") / "weights").stat().st_size == 100
    assert {"ListObjectsV2", "GetObject"} <= used <= READS
