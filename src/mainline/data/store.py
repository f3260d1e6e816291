"""DVC, called as a command: it owns `data/` and remembers models."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from mainline.errors import RemoteError, UsageError
from mainline.git import is_repository


def dvc(root: Path, *arguments: str) -> str:
    """Run `dvc ARGUMENTS` in `root`; returns its output.

    Raises RemoteError with what DVC said when it fails, UsageError outside a DVC project.
    """
    if not is_repository(root) or not (root / ".dvc" / "config").exists():
        raise UsageError(
            "This folder is not a DVC project in a Git repository",
            "Run it at the root of a clone (`git init`, `dvc init` where there is none)",
        )
    done = subprocess.run(
        [sys.executable, "-m", "dvc", *arguments], cwd=root, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        said = (lines or done.stderr.strip().splitlines() or ["no message"])[0]
        raise RemoteError(
            f"dvc {arguments[0]} failed: {said.removeprefix('ERROR: ')}",
            "See `dvc remote list` and the section `store` of params.yaml",
        )
    return done.stdout


def pull(root: Path) -> dict[str, str]:
    """Fetch the data that `data.dvc` points to.

    Raises UsageError when there is no pointer, RemoteError when the store does not have it.
    """
    if not (root / "data.dvc").exists():
        raise UsageError("There is no data.dvc here", "Add rows with `./mainline data add FILE`")
    dvc(root, "pull", "--quiet", "data.dvc")
    return {"text": "data/ is what data.dvc points to"}
