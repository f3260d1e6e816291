"""What readers of workflows say about ours: nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import tools

ROOT = Path(__file__).resolve().parents[3]
GITHUB = ROOT / ".github"
WORKFLOWS = sorted(map(str, (GITHUB / "workflows").glob("*.yml")))
ACTIONS = sorted(map(str, (GITHUB / "actions").glob("*/action.yml")))


def silent(command: list[str]) -> None:
    """Run `command`, which is to find nothing."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


def beside(program: str) -> str:
    """A program of the environment that runs these tests."""
    return str(Path(sys.executable).with_name(program))


def test_zizmor_finds_nothing() -> None:
    """zizmor as a pedant, offline, finds no weakness."""
    silent([beside("zizmor"), "--offline", "--persona", "pedantic", "--quiet", str(GITHUB)])


def test_actionlint_finds_nothing() -> None:
    """actionlint finds no mistake, in expressions neither."""
    silent([str(tools.actionlint()), "-shellcheck=", "-pyflakes=", *WORKFLOWS])


@pytest.mark.parametrize(
    ("schema", "files"),
    [("vendor.github-workflows", WORKFLOWS), ("vendor.github-actions", ACTIONS)],
)
def test_each_file_follows_its_schema(schema: str, files: list[str]) -> None:
    """Workflows and actions follow the schemas that GitHub's editors use."""
    assert files
    silent([beside("check-jsonschema"), "--builtin-schema", schema, *files])
