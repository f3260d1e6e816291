"""Copies of this repository as it stands, and forks of it, for tests that run them elsewhere."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


def copy_tree(target: Path) -> None:
    """Copy the files of this repository (tracked, or new and not ignored) to `target`."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)


def git(folder: Path, *arguments: str) -> str:
    """Run git in `folder`; returns what it printed."""
    return subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True,
                          text=True).stdout.strip()  # fmt: skip


def commit_all(folder: Path) -> None:
    """Make `folder` a repository with one commit of all that is not ignored."""
    git(folder, "init", "--quiet", "--initial-branch=main")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "First")


def make_template(folder: Path) -> Path:
    """Make `folder` a committed copy of this repository, as version 0.1.0 of the template."""
    copy_tree(folder)
    commit_all(folder)
    # A version of the sample's model on the same commit is no version of the template. Copier asks
    # `git describe`, which prefers the tag that was made later.
    for day, tag in enumerate(("card-fraud@v7.0.0", "v0.1.0"), start=1):
        dated = {**os.environ, "GIT_COMMITTER_DATE": f"2026-01-0{day}T00:00:00Z"}
        words = ["git", "tag", "--annotate", "--message", "A version", tag]
        subprocess.run(words, cwd=folder, check=True, env=dated)
    return folder


def render(template: Path, target: Path, answers: Mapping[str, Any]) -> Path:
    """`copier copy` with these answers, the rest as proposed; returns the new repository."""
    from copier import run_copy

    run_copy(str(template), target, data=dict(answers), defaults=True, quiet=True)
    return target
