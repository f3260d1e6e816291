"""Git, by argument lists and never by shell strings."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from mainline.errors import MainlineError, RemoteError, UsageError


class GitError(MainlineError):
    """A Git command failed; the cause carries what Git said."""

    status = 21


def git(
    root: Path, *arguments: str, check: bool = True, stdin: str | None = None,
    env: Mapping[str, str] | None = None,
) -> str:  # fmt: skip
    """Run `git ARGUMENTS` in `root`; returns its standard output less the last line ends.

    Raises GitError with what Git calls fatal, or its last line, when it fails and `check` is set.
    """
    done = ask_git(root, *arguments, stdin=stdin, env=env)
    if check and done.returncode != 0:
        lines = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()
        # Below it Git advises, in several lines.
        said = next((x for x in lines if x.startswith("fatal: ")), lines[-1])
        command = next((a for a in arguments if not a.startswith("-") and "=" not in a), "")
        raise GitError(f"git {command} failed: {said}")
    return done.stdout.rstrip("\n")


def ask_git(
    root: Path, *arguments: str, stdin: str | None = None, env: Mapping[str, str] | None = None,
    seconds: float | None = None,
) -> subprocess.CompletedProcess[str]:  # fmt: skip
    """Run `git ARGUMENTS` in `root`; returns how it ended and all that it said.

    After `seconds`, where they are given, it is stopped and counts as failed.
    """
    if shutil.which("git") is None:
        raise UsageError("Git was not found", "Install Git and try again")
    # A hook or a credential prompt must never hang a pipeline.
    variables = {**os.environ, "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C.UTF-8", **(env or {})}
    words = ["git", "-c", "core.quotepath=off", *arguments]
    try:
        return subprocess.run(
            words, cwd=root, input=stdin, capture_output=True, text=True, encoding="utf-8",
            errors="replace", env=variables, check=False, timeout=seconds,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(words, 124, "", f"no answer in {seconds:g} s")


def is_repository(root: Path) -> bool:
    """Whether `root` is inside a Git work tree."""
    return git(root, "rev-parse", "--is-inside-work-tree", check=False) == "true"


def head(root: Path) -> str | None:
    """The full commit id of HEAD; None before the first commit or outside a repository."""
    return git(root, "rev-parse", "--verify", "--quiet", "HEAD^{commit}", check=False) or None


def resolve(root: Path, ref: str) -> str | None:
    """The full commit id behind `ref`, or None."""
    return (
        git(root, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}",
            check=False) or None
    )  # fmt: skip


def is_shallow(root: Path) -> bool:
    """Whether history was cut off by `clone --depth`."""
    return git(root, "rev-parse", "--is-shallow-repository", check=False) == "true"


def require_repository(root: Path) -> None:
    """Raise UsageError unless `root` is inside a Git work tree."""
    if not is_repository(root):
        raise UsageError(
            "This folder is not a Git repository", "Run `git init` and commit, or clone it"
        )


def require_history(root: Path) -> None:
    """Raise unless `root` is a repository with a commit and its whole history."""
    require_repository(root)
    if head(root) is None:
        raise UsageError("This repository has no commit yet", "Commit first")
    if is_shallow(root):
        raise RemoteError("This clone is shallow", "Run `git fetch --unshallow --tags`")


def dirty(root: Path, *paths: str) -> list[str]:
    """Paths with uncommitted changes (untracked ones too), limited to `paths` if any."""
    # With -z names come as they are; without it those with blanks come in quotes.
    out = git(root, "status", "--porcelain", "-z", "--no-renames", "--untracked-files=all", "--",
              *paths, check=False)  # fmt: skip
    return [entry[3:] for entry in out.split("\0") if entry]


def on_main(root: Path) -> bool:
    """Whether HEAD has been merged: it is on the remote's main, or on main where no remote has one.

    Without any branch of that name everything counts as merged.
    """
    main = resolve(root, "origin/main") or resolve(root, "main")
    commit = head(root)
    if main is None or commit is None:
        return True
    return git(root, "merge-base", commit, main, check=False) == commit


@contextlib.contextmanager
def worktree(root: Path, ref: str) -> Iterator[Path]:
    """A throw-away worktree of `root` at `ref`, gone afterwards whatever happened."""
    folder = Path(tempfile.mkdtemp(prefix="mainline-worktree-"))
    path = folder / "tree"
    try:
        git(root, "worktree", "add", "--detach", "--force", str(path), ref)
        yield path
    finally:
        git(root, "worktree", "remove", "--force", str(path), check=False)
        shutil.rmtree(folder, ignore_errors=True)
        git(root, "worktree", "prune", check=False)
