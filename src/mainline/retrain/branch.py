"""The branch `retrain/<model>`: one commit on top of main, made anew until a person adds theirs."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from mainline.compare.base import lend_cache
from mainline.data.store import dvc
from mainline.errors import DataError, RaceError, RemoteError, UsageError
from mainline.files import replacing
from mainline.git import GitError, git, resolve, worktree

TRAILER = "Mainline-Retrain"
AS_OF = "Mainline-As-Of"
IDENTITY = ("-c", "user.name=mainline", "-c", "user.email=mainline@localhost")
IN_TREE_STORE = "demo-store"


@dataclass(frozen=True)
class Branch:
    """Where the branch is and what stands on it. Commits are full ids, None where there is none."""

    name: str
    base: str  # the commit of main that it starts from
    commit: str | None
    remote: str | None  # the name of the remote, where there is one


def locate(root: Path, model: str, remote: str, base: str) -> Branch:
    """Fetch and find main and the branch, on the remote where there is one.

    Raises UsageError when there is no main, or when this checkout lacks commits of it: its data
    would take back what main has.
    """
    name = f"retrain/{model}"
    there = remote if remote in git(root, "remote", check=False).splitlines() else None
    if there:
        git(root, "fetch", "--quiet", "--prune", there, f"+refs/heads/*:refs/remotes/{there}/*")
    prefix = f"refs/remotes/{there}/" if there else "refs/heads/"
    main = resolve(root, prefix + base)
    if main is None:
        raise UsageError(f"There is no branch {base!r}", "Commit to it first, or name another")
    if git(root, "merge-base", main, "HEAD", check=False) != main:
        raise UsageError(f"This checkout is behind {base!r}", f"Run `git pull` on {base}")
    return Branch(name, main, resolve(root, prefix + name), there)


def touched_by_a_person(root: Path, branch: Branch) -> str | None:
    """The first commit on the branch that is not the house's own, or None.

    A merge that only brings main in is nobody's work.
    """
    if branch.commit is None:
        return None
    form = f"%H%x00%P%x00%(trailers:key={TRAILER},valueonly,separator=%x2C)"
    log = git(root, "log", f"--format={form}", f"{branch.base}..{branch.commit}")
    for line in log.splitlines():
        commit, parents, trailer = line.split("\x00")
        if not trailer and len(parents.split()) < 2:
            return commit
    return None


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


def publish(root: Path, branch: Branch, commit: str) -> bool:
    """Move the branch to `commit` here and on the remote; False when it was there in all but name.

    Raises RaceError when somebody moved it meanwhile, RemoteError when the push is refused.
    """
    if branch.commit and _same(root, branch.commit, commit):
        return False
    if git(root, "symbolic-ref", "--quiet", "HEAD", check=False) == f"refs/heads/{branch.name}":
        raise UsageError(f"The branch {branch.name} is checked out here", "Check out main first")
    if branch.remote:
        lease = f"--force-with-lease=refs/heads/{branch.name}:{branch.commit or ''}"
        try:
            git(root, "push", "--quiet", lease, branch.remote, f"{commit}:refs/heads/{branch.name}")
        except GitError as error:
            if "stale info" in error.cause or "rejected" in error.cause:
                raise RaceError(f"{branch.name} moved meanwhile", "Try again") from error
            raise RemoteError(
                f"{branch.name} could not be pushed ({error.cause})",
                "Check the rights of the token",
            ) from error
    git(root, "update-ref", f"refs/heads/{branch.name}", commit)
    return True


def _same(root: Path, one: str, other: str) -> bool:
    """Whether two commits have the same parents and files."""
    form = "--format=%T %P"
    return git(root, "show", "-s", form, one) == git(root, "show", "-s", form, other)
