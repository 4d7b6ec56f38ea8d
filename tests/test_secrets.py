"""The scan for secrets before each commit: silent on this repository, and it finds what must not be committed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

PROJECT = Path(__file__).parents[1]
HOOK = "detect-secrets"


def scan(paths: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the scan of .pre-commit-config.yaml, with its arguments."""
    config = yaml.safe_load((PROJECT / ".pre-commit-config.yaml").read_text())
    (hook,) = (hook for repo in config["repos"] for hook in repo["hooks"] if hook["id"] == HOOK)
    program = Path(sys.executable).with_name(Path(hook["entry"]).name)
    return subprocess.run([program, *hook["args"], *paths], cwd=folder, capture_output=True, text=True, check=False)


def tracked() -> list[str]:
    """Files that are, or are about to be, committed."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z", "--", ".", ":!requirements/*.txt"]
    run = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    if run.returncode:
        pytest.skip("not a git working tree")
    return [name for name in run.stdout.split("\0") if name and (PROJECT / name).is_file()]


@pytest.mark.slow
def test_no_file_of_the_repository_holds_a_secret() -> None:
    files = tracked()
    assert len(files) > 100
    found = scan(files, PROJECT)
    assert found.returncode == 0, found.stdout


# Made here, so that this file holds no secret itself.
_KEY_ID = "AKIA" + "2E0A8F3B244C9986"
_SECRET = "/".join(["wJalrXUtnFEMI", "K7MDENG", "bPxRfiCYzRmPqTvK3b"])
_DASHES = "-" * 5


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("credentials.yml", f"s3:\n  key: {_KEY_ID}\n"),
        ("secret.yml", f"s3:\n  aws_secret_access_key: {_SECRET}\n"),
        ("settings.py", f'AWS_SECRET_ACCESS_KEY = "{_SECRET}"\n'),
        ("id_rsa", f"{_DASHES}BEGIN RSA PRIVATE" + f" KEY{_DASHES}\nMIIEpAIBAAKCAQEA\n"),
        ("address.yml", "url: https://me:" + "hunter2hunter" + "@host.net/a.zip\n"),
        (".env", f"PASSWORD={_SECRET}\n"),
    ],
)
def test_planted_secrets_are_found(name: str, content: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content)
    found = scan([name], tmp_path)
    assert found.returncode == 1, found.stdout
    assert name in found.stdout


def test_examples_of_documentation_pass(tmp_path: Path) -> None:
    examples = "s3:\n  key: YOUR_KEY_ID\n  secret: YOUR_SECRET\n  url: https://me:pw@example.org/a.zip\n"
    (tmp_path / "page.md").write_text(f"```yaml\n{examples}```\n\nexport AWS_SECRET_ACCESS_KEY=...\n")
    found = scan(["page.md"], tmp_path)
    assert found.returncode == 0, found.stdout
