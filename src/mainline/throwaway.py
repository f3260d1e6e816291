"""Throw-away repositories made of what is committed, gone again whatever happens."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from mainline.git import git


def found(source: Path, target: Path, who: str) -> None:
    """Make `target` a repository with the files of HEAD of `source`, none of them committed yet.

    The commits of `source` are not taken along: it may be shallow, detached or full of tags.
    """
    target.mkdir(parents=True)
    index = {"GIT_INDEX_FILE": f"{target}.index"}
    git(source, "read-tree", "HEAD", env=index)
    git(source, "checkout-index", "--all", f"--prefix={target}{os.sep}", env=index)
    git(target, "init", "--quiet", "--initial-branch=main")
    configure(target, who)


def configure(clone: Path, who: str) -> None:
    """Commit as `mainline <who>`, whatever the settings of the person whose machine it is."""
    for key, value in (
        ("user.name", f"mainline {who}"), ("user.email", f"{who}@localhost"),
        ("commit.gpgsign", "false"), ("tag.gpgsign", "false"), ("core.hooksPath", os.devnull),
        ("core.autocrlf", "false"), ("gc.auto", "0"),
    ):  # fmt: skip
        git(clone, "config", key, value)


@contextmanager
def cleaned(folder: Path, stop: Callable[[], object], keep: bool = False) -> Iterator[None]:
    """Call `stop` and remove `folder` in the end, unless to `keep` it; SIGTERM is a Control-C."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        # A second Control-C must not stop the cleaning up.
        heard = signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        try:
            stop()
        finally:
            if not keep:
                shutil.rmtree(folder, ignore_errors=True)
            signal.signal(signal.SIGTERM, before)
            signal.signal(signal.SIGINT, heard)
