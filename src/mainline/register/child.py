"""The commit that a version stands on: main's own, or a child of it that keeps lock and reports."""

from __future__ import annotations

import tempfile
from pathlib import Path

from mainline.errors import NotMeasured
from mainline.git import git

KEPT = ("dvc.lock", "reports/report.md", "reports/metrics.json", "reports/comparison.json",
        "reports/sbom.cdx.json", "reports/model_card.md", "reports/model_card.html")  # fmt: skip
IDENTITY = ("-c", "user.name=mainline", "-c", "user.email=mainline@localhost")


def with_lock(root: Path, commit: str, subject: str) -> str:
    """`commit` itself where its dvc.lock is in step, else a child that adds lock and reports.

    The child is off the branch; nobody pushes to main. Raises NotMeasured without a dvc.lock.
    """
    here = (root / "dvc.lock").read_text("utf-8") if (root / "dvc.lock").exists() else None
    if here is None:
        raise NotMeasured("There is no dvc.lock", "Run `./mainline pipeline` first")
    # A carriage return or a last line end makes no other lock.
    if git(root, "show", f"{commit}:dvc.lock", check=False).split() == here.split():
        return commit
    when = git(root, "show", "-s", "--format=%cI", commit)
    with tempfile.TemporaryDirectory() as folder:
        # An index of its own: the user's index and files are not touched.
        index = {"GIT_INDEX_FILE": str(Path(folder) / "index"),
                 "GIT_AUTHOR_DATE": when, "GIT_COMMITTER_DATE": when}  # fmt: skip
        git(root, "read-tree", commit, env=index)
        kept = [p for p in KEPT if (root / p).is_file()]
        git(root, "add", "--force", "--", *kept, env=index)
        tree = git(root, "write-tree", env=index)
        own = () if git(root, "config", "user.email", check=False) else IDENTITY
        return git(root, *own, "commit-tree", tree, "-p", commit, "-m", subject, env=index)


def only_keeps(root: Path, commit: str, later: str) -> bool:
    """Whether `later` is `commit`, or differs from it in nothing but the lock and reports."""
    if commit == later:
        return True
    changed = git(root, "diff", "--name-only", "--no-renames", commit, later).splitlines()
    return all(name == "dvc.lock" or name.startswith("reports/") for name in changed)
