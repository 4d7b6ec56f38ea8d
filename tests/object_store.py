"""An S3 store on the loopback interface: OpenStack Swift, one replica, a real server in four processes."""

from __future__ import annotations

import configparser
import getpass
import importlib.util
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

REGION = "us-east-1"
_SERVERS = ("account", "container", "object", "proxy")
_START_SECONDS = 90
_BIN = Path(sys.executable).parent
_MIDDLEWARE = {
    "catch_errors": {},
    "gatekeeper": {},
    "healthcheck": {},
    "memcache": {"memcache_servers": "127.0.0.1:1"},  # no cache: signatures are checked without one
    "listing_formats": {},
    "bulk": {},
    # Small parts, so that tests of multipart uploads need few bytes.
    "s3api": {"location": REGION, "s3_acl": "false", "min_segment_size": 2**20, "max_upload_part_num": 10000},
    "tempauth": {},
    "copy": {},
    "slo": {},
    "dlo": {},
    "versioned_writes": {"allow_versioned_writes": "true", "allow_object_versioning": "true"},
    "symlink": {},
}
# One zone and device, as swift-ring-builder would do in nine commands.
_BUILD_RINGS = """
import sys
from swift.common.ring import RingBuilder
for kind, port in zip(("account", "container", "object"), map(int, sys.argv[1:])):
    rings = RingBuilder(4, 1, 1)
    rings.add_dev(dict(region=1, zone=1, ip="127.0.0.1", port=port, device="disk", weight=1))
    rings.rebalance()
    rings.get_ring().save(f"{kind}.ring.gz")
"""


def missing() -> str | None:
    """Say why no store can run here; None if one can."""
    if not sys.platform.startswith("linux"):
        return "the test object store (OpenStack Swift) runs on Linux only"
    if importlib.util.find_spec("swift") is None:
        return "the test object store needs the package swift: make install-dev"
    return None


class ObjectStore:
    """Start and stop a store whose data lie in a folder and outlive a stop.

    The user `access_key` may do everything, `reader_key` may read everything and write nothing.

    Parameters
    ----------
    folder : Path
        Empty folder for data, settings and logs, on a file system with extended attributes.
    """

    access_key = "lab:writer"
    secret_key = "write-all-you-like"  # pragma: allowlist secret
    reader_key = "lab:reader"
    reader_secret = "look-do-not-touch"  # pragma: allowlist secret

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._ports = dict(zip(_SERVERS, _free_ports(len(_SERVERS)), strict=True))
        self.endpoint_url = f"http://127.0.0.1:{self._ports['proxy']}"
        self._write_settings()

    def __enter__(self) -> ObjectStore:
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    def env(self, *, reader: bool = False) -> dict[str, str]:
        """Variables of the standard AWS chain that lead here and nowhere else."""
        return {
            "AWS_ACCESS_KEY_ID": self.reader_key if reader else self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.reader_secret if reader else self.secret_key,
            "AWS_ENDPOINT_URL": self.endpoint_url,
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        }

    def client(self, *, reader: bool = False) -> Any:
        """Return a boto3 client of the store."""
        import boto3

        env = self.env(reader=reader)
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint_url,
            region_name=REGION,
            aws_access_key_id=env["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=env["AWS_SECRET_ACCESS_KEY"],
        )

    def create_bucket(self, name: str) -> str:
        """Create a bucket and return its URL."""
        self.client().create_bucket(Bucket=name)
        return f"s3://{name}"

    def keys(self, bucket: str, prefix: str = "") -> dict[str, int]:
        """Return the size of each object below a prefix."""
        pages = self.client().get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        return {entry["Key"]: entry["Size"] for page in pages for entry in page.get("Contents", [])}

    def start(self) -> None:
        """Start the servers on the same ports and data as before, and wait until they answer."""
        env = {**os.environ, "SWIFT_DIR": str(self._folder)}
        for name in _SERVERS:
            with self._log(name).open("ab") as log:
                command = [_BIN / f"swift-{name}-server", self._folder / f"{name}-server.conf", "-v"]
                self._processes[name] = subprocess.Popen(command, env=env, stdout=log, stderr=log)
        deadline = time.monotonic() + _START_SECONDS
        while not self._is_up():
            dead = [name for name, process in self._processes.items() if process.poll() is not None]
            if dead or time.monotonic() > deadline:
                self.stop()
                raise RuntimeError(f"the object store did not start ({dead or 'no answer'}):\n{self._last_log_lines()}")
            time.sleep(0.1)

    def stop(self) -> None:
        """Stop the servers; the data stay."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Stop the servers as a power cut does; the data that reached the disk stay."""
        self._end(signal.SIGKILL)

    def _end(self, how: signal.Signals) -> None:
        for process in self._processes.values():
            process.send_signal(how)
        for process in self._processes.values():
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._processes.clear()

    def _is_up(self) -> bool:
        try:
            for port in self._ports.values():
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthcheck", timeout=2):
                    pass
        except OSError:
            return False
        return True

    def _log(self, name: str) -> Path:
        return self._folder / f"{name}.log"

    def _last_log_lines(self) -> str:
        lines = []
        for name in _SERVERS:
            if self._log(name).exists():
                text = self._log(name).read_text("utf-8", errors="replace")
                lines += [f"--- {name}", *text.splitlines()[-15:]]
        return "\n".join(lines)

    def _write_settings(self) -> None:
        (self._folder / "node" / "disk").mkdir(parents=True)
        _write_ini(
            self._folder / "swift.conf",
            {
                "swift-hash": {"swift_hash_path_prefix": "karyoseg", "swift_hash_path_suffix": "tests"},
                "storage-policy:0": {"name": "single", "default": "yes"},
            },
        )
        common = {
            "bind_ip": "127.0.0.1",
            "workers": 0,
            "user": getpass.getuser(),
            "swift_dir": self._folder,
            "log_address": self._folder / "no-syslog",
        }
        for name, port in self._ports.items():
            write = self._write_proxy if name == "proxy" else self._write_storage
            write(name, {**common, "bind_port": port})
        ports = [str(self._ports[name]) for name in _SERVERS if name != "proxy"]
        subprocess.run([sys.executable, "-c", _BUILD_RINGS, *ports], cwd=self._folder, check=True)

    def _write_storage(self, name: str, default: dict[str, Any]) -> None:
        disk = {
            "devices": self._folder / "node",
            "mount_check": "false",
            "disable_fallocate": "true",
            "fallocate_reserve": 0,
            "recon_cache_path": self._folder,
        }
        self._write_server(name, default | disk, f"{name}-server", name, {"healthcheck": {}})

    def _write_proxy(self, name: str, default: dict[str, Any]) -> None:
        users = {
            f"user_{self.access_key.replace(':', '_')}": f"{self.secret_key} .admin",
            f"user_{self.reader_key.replace(':', '_')}": f"{self.reader_secret} .reseller_reader",
        }
        self._write_server(name, default, "proxy-server", "proxy", _MIDDLEWARE | {"tempauth": users})

    def _write_server(
        self, name: str, default: dict[str, Any], app: str, egg: str, filters: dict[str, dict[str, Any]]
    ) -> None:
        sections = {
            "DEFAULT": default,
            "pipeline:main": {"pipeline": " ".join([*filters, app])},
            f"app:{app}": {"use": f"egg:swift#{egg}", "account_autocreate": "true"},
        }
        sections |= {f"filter:{each}": {"use": f"egg:swift#{each}", **options} for each, options in filters.items()}
        _write_ini(self._folder / f"{name}-server.conf", sections)


def _write_ini(path: Path, sections: dict[str, dict[str, Any]]) -> None:
    parser = configparser.RawConfigParser()
    parser.read_dict(sections)
    with path.open("w") as stream:
        parser.write(stream)


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports
