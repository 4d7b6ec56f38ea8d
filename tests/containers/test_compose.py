"""docker-compose.yml is valid, and its services are bound, mounted and owned as the documentation says."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from areas import unavailable
from container_engines import PROJECT, call

SERVICES = {"notebook", "s3", "segmentation", "segmentation-gpu", "viz"}
OURS = SERVICES - {"s3"}
EXAMPLE = re.findall(r"^#?([A-Z_]+)=(.*)$", (PROJECT / ".env.example").read_text(), flags=re.MULTILINE)

Services = Callable[..., dict[str, dict[str, Any]]]


def compose() -> list[str]:
    """Return a program that checks compose files strictly (podman-compose does not), or skip."""
    if shutil.which("docker") and call("docker", "compose", "version", check=False).returncode == 0:
        return ["docker", "compose", "--profile", "*"]
    if not shutil.which("docker-compose"):
        unavailable("compose", "neither `docker compose` nor docker-compose is installed")
    return ["docker-compose"]


@pytest.fixture
def services(tmp_path: Path) -> Services:
    """Services as compose understands them, with some variables set; a .env of the checkout is not read."""
    shutil.copy(PROJECT / "docker-compose.yml", tmp_path)
    taken = {name for name, _ in EXAMPLE}

    def resolve(**variables: str) -> dict[str, dict[str, Any]]:
        env = {name: value for name, value in os.environ.items() if name not in taken} | variables
        return yaml.safe_load(call(*compose(), "config", cwd=tmp_path, env=env).stdout)["services"]

    return resolve


def written() -> dict[str, dict[str, Any]]:
    """Services as they are written, merge keys resolved."""
    return yaml.safe_load((PROJECT / "docker-compose.yml").read_text())["services"]


def test_compose_accepts_the_file(services: Services) -> None:
    assert set(services()) == SERVICES


def test_compose_would_notice_a_typo(services: Services, tmp_path: Path) -> None:
    path = tmp_path / "docker-compose.yml"
    path.write_text(path.read_text().replace("healthcheck:", "healthchek:"))
    with pytest.raises(AssertionError, match="healthchek"):
        services()


def test_files_belong_to_the_caller(services: Services) -> None:
    for name, service in services(UID="1234", GID="567").items():
        assert name not in OURS or service["user"] == "1234:567"


def test_the_checkout_is_the_workspace() -> None:
    assert all(written()[name]["volumes"] == [".:/workspace"] for name in OURS)


def test_ports_are_open_to_this_machine_only() -> None:
    ports = {name: service["ports"] for name, service in written().items() if "ports" in service}
    assert ports == {
        "notebook": ["127.0.0.1:8888:8888"],
        "s3": ["127.0.0.1:8333:8333"],
        "viz": ["127.0.0.1:4141:4141"],
    }


def test_services_build_targets_that_exist() -> None:
    targets = set(re.findall(r"^FROM \S+ AS (\S+)$", (PROJECT / "Dockerfile").read_text(), flags=re.MULTILINE))
    for name in OURS:
        target = written()[name]["build"]["target"]
        assert target in targets
        assert written()[name]["image"] == f"karyoseg:{target}"


def test_images_of_others_are_pinned() -> None:
    assert re.fullmatch(r"chrislusf/seaweedfs:\d+\.\d+", written()["s3"]["image"])


def test_only_segmentation_starts_by_itself() -> None:
    assert {name for name, service in written().items() if not service.get("profiles")} == {"segmentation"}


def test_a_gpu_is_reserved_and_can_be_chosen(services: Services) -> None:
    def devices(**variables: str) -> list[dict[str, Any]]:
        return services(**variables)["segmentation-gpu"]["deploy"]["resources"]["reservations"]["devices"]

    assert devices() == [{"capabilities": ["gpu"], "device_ids": ["0"], "driver": "nvidia"}]
    assert devices(KARYOSEG_GPU="2")[0]["device_ids"] == ["2"]


def test_secrets_are_passed_on_and_not_written_down(services: Services) -> None:
    for name in OURS:
        environment = written()[name]["environment"]
        assert {key for key, value in environment.items() if value is not None} == {"KARYOSEG_CACHE"}
    given = services(AWS_ACCESS_KEY_ID="key", KARYOSEG_BUCKET="bucket")
    for name in OURS:
        assert given[name]["environment"]["AWS_ACCESS_KEY_ID"] == "key"
        assert given[name]["environment"]["KARYOSEG_BUCKET"] == "bucket"
        assert "" not in given[name]["environment"].values()  # the AWS libraries refuse empty values


def test_the_store_is_never_open_to_everyone(services: Services) -> None:
    environment = services()["s3"]["environment"]
    assert environment["AWS_ACCESS_KEY_ID"]
    assert environment["AWS_SECRET_ACCESS_KEY"]


def test_the_example_of_settings_names_what_compose_reads() -> None:
    text = (PROJECT / "docker-compose.yml").read_text()
    passed_on = {key for name in OURS for key, value in written()[name]["environment"].items() if value is None}
    read = set(re.findall(r"\$\{(\w+)", text)) | passed_on
    assert {name for name, _ in EXAMPLE} == read
    assert {name for name, value in EXAMPLE if value} == {"UID", "GID", "KARYOSEG_GPU"}
