"""The branch `retrain/<model>`: one commit on top of main, made anew until a person adds theirs."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd

from mainline import proposal
from mainline.compare.base import lend_cache
from mainline.data.store import dvc
from mainline.errors import DataError, UsageError
from mainline.files import replacing
from mainline.git import git, resolve, worktree
from mainline.proposal import IDENTITY, Branch

TRAILER = "Mainline-Retrain"
AS_OF = "Mainline-As-Of"
IN_TREE_STORE = "demo-store"


def locate(root: Path, model: str, remote: str, base: str) -> Branch:
    """Fetch and find main and the branch, on the remote where there is one.

    Raises UsageError when there is no main, or when this checkout lacks commits of it: its data
    would take back what main has.
    """
    found = proposal.locate(root, f"retrain/{model}", remote, base)
    if git(root, "merge-base", found.base, "HEAD", check=False) != found.base:
        raise UsageError(f"This checkout is behind {base!r}", f"Run `git pull` on {base}")
    return found


def last_retrain(root: Path, branch: Branch, model: str) -> pd.Timestamp | None:
    """The day as of which the newest retrain on main was made, or None."""
    form = (
        f"%(trailers:key={TRAILER},valueonly,separator=%x2C)%x00%(trailers:key={AS_OF},valueonly)"
    )
    log = git(root, "log", f"--grep=^{TRAILER}: {model}$", f"--format={form}%x01", branch.base)
    days = []
    for record in log.split("\x01"):
        who, _, day = record.strip().partition("\x00")
        if who == model and day.strip():
            days.append(pd.Timestamp(day.strip()))
    return max(days, default=None)


def make(
    root: Path, branch: Branch, model: str, as_of: pd.Timestamp, subject: str, labels: pd.DataFrame
) -> str:
    """Commit the data of this checkout, and `labels`, on top of main; returns the commit.

    All of it happens in a throw-away worktree. Raises DataError without data, RemoteError when the
    store cannot be written.
    """
    if not (root / "data").is_dir():
        raise DataError("There is no data/ here", "Run `./mainline data pull`")
    with worktree(root, branch.base) as tree:
        lend_cache(root, tree)
        shutil.rmtree(tree / "data", ignore_errors=True)
        shutil.copytree(root / "data", tree / "data")
        if len(labels):
            path = tree / "data" / "labels" / f"retrain-{as_of:%Y-%m-%d}.parquet"
            with replacing(path) as temporary:
                labels.to_parquet(temporary, index=False, compression="zstd")
        dvc(tree, "add", "--quiet", "data")
        dvc(tree, "push", "--quiet", "data.dvc")
        git(tree, "add", "--", "data.dvc")
        if (tree / IN_TREE_STORE).is_dir():
            git(tree, "add", "--", IN_TREE_STORE)
        message = f"{subject}\n\n{TRAILER}: {model}\n{AS_OF}: {as_of:%Y-%m-%d}\n"
        # Where main has the data already, the commit is what asks for a model trained on it.
        git(tree, *IDENTITY, "commit", "--quiet", "--no-verify", "--allow-empty", "-F", "-",
            stdin=message)  # fmt: skip
        commit = resolve(tree, "HEAD")
        assert commit is not None
        return commit
