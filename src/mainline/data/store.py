"""DVC, called as a command: it owns `data/` and remembers models."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import yaml

from mainline.errors import DataError, RemoteError, UsageError
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


def require_pulled(root: Path) -> None:
    """Raise DataError unless `data/` is what `data.dvc` points to (or there is no pointer yet).

    The pointer is about to be made anew from the folder: what is not there would be lost from it.
    """
    if (root / "data.dvc").exists() and json.loads(dvc(root, "status", "--json", "data.dvc")):
        raise DataError(
            "data/ is not what data.dvc points to",
            "Run `./mainline data pull` first, or `dvc add data` to keep what is in data/",
        )


def pointer(text: str) -> str | None:
    """The digest (md5) in the text of a `data.dvc`; None where there is none."""
    try:
        return str(yaml.safe_load(text)["outs"][0]["md5"])
    except (yaml.YAMLError, KeyError, IndexError, TypeError):
        return None


def locked_data(lock: str) -> str | None:
    """The digest (md5) of `data` that the stage `train` in the text of a `dvc.lock` was run on."""
    try:
        deps = yaml.safe_load(lock)["stages"]["train"]["deps"]
        return next((str(d["md5"]) for d in deps if d["path"] == "data"), None)
    except (yaml.YAMLError, KeyError, TypeError):
        return None


def locked_model(lock: str) -> str | None:
    """The digest (md5) of `models` in the text of a dvc.lock; None where it names none."""
    try:
        outs = yaml.safe_load(lock)["stages"]["train"]["outs"]
        return next((str(o["md5"]) for o in outs if o["path"] == "models"), None)
    except (yaml.YAMLError, KeyError, TypeError):
        return None
