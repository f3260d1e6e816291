"""The README: short, true, and its commands run."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text("utf-8")
WORDS = sorted(set(re.findall(r"\./mainline ([a-z]+)", README)))


def test_it_is_short() -> None:
    """The README is at most 150 lines."""
    assert len(README.splitlines()) <= 150


def test_the_rows_come_before_the_steps_that_read_them() -> None:
    """A fresh clone has no rows: what brings them is named before the first step of the table."""
    assert README.index("`./mainline data pull`") < README.index("| step | command |")


def test_links_lead_somewhere() -> None:
    """Every relative link of README and docs names a file of the repository."""
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        text = re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.DOTALL)
        for link in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", text):
            assert (page.parent / link).exists(), f"{page.name} links to {link}"


def test_the_tree_names_what_is_there() -> None:
    """Every path at the start of a line of the README's tree exists."""
    tree = re.search(r"```\n(params\.yaml.*?)```", README, flags=re.DOTALL)
    assert tree
    for line in tree[1].splitlines():
        folder = ROOT / "src" / "mainline" if line.startswith("    ") else ROOT
        for name in re.split(r"\s{2,}", line.strip())[0].split():
            assert (folder / name).exists(), name


@pytest.mark.parametrize("word", WORDS)
def test_its_commands_exist(word: str) -> None:
    """Every command that the README names is one of the house, and explains itself."""
    done = subprocess.run(
        [sys.executable, "-m", "mainline", word, "--help"], cwd=ROOT, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Usage" in done.stdout
