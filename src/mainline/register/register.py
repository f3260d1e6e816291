"""`mainline register`: an approved commit becomes a version, an annotated tag and nothing else.

Nobody pushes to main: where `dvc.lock` on main is in step the tag stands on that commit, otherwise
on a child of it, off the branch, that adds only `dvc.lock` and the report files.
"""

from __future__ import annotations

import logging
import os
import tempfile
from pathlib import Path
from typing import Any

from mainline import console, inputs, registry, settings
from mainline.data.store import locked_data, pointer
from mainline.errors import MainlineError, NotMeasured, RaceError, UsageError
from mainline.files import digest_tree, short
from mainline.git import dirty, git, head, on_main, require_history
from mainline.register.version import following
from mainline.registry import Version
from mainline.report import gate
from mainline.verdict import StepVerdict, Verdict, read_verdict

KEPT = ("dvc.lock", "reports/report.md", "reports/metrics.json", "reports/comparison.json")


class NotApproved(MainlineError):
    """The gate did not pass, so nothing is registered; the status is that of its verdict."""

    def __init__(self, verdict: Verdict, reason: str) -> None:
        super().__init__(f"The gate says {verdict.value}: {reason}", "Nothing was registered")
        self.status = verdict.status


def run(root: Path, *, push: bool = False) -> dict[str, Any]:
    """Register the commit that is checked out, when its gate passes and it is on main.

    Running it again changes nothing. Raises NotApproved (10, 11, 12), UsageError for uncommitted
    changes or a commit off main, RaceError (24) when somebody registered the number first.
    """
    require_history(root)
    options = settings.load(root)
    commit = _commit_on_main(root)
    approved = gate.run(root)
    if approved.verdict is not Verdict.PASS:
        first = next(c for c in approved.checks if c.verdict is approved.verdict)
        raise NotApproved(approved.verdict, first.reason)
    digest = digest_tree(root / "models")
    if approved.inputs.get("model") != digest:
        raise NotApproved(Verdict.ERROR, "the model in models/ is not the one that was judged")
    _same_data(root, commit)
    known = registry.versions(root, options.model.name)
    same = next((v for v in reversed(known) if v.digest == digest), None)
    if same is not None:
        _output(same, created=False)
        text = f"The model {short(digest)} is {same.name} already; no new version"
        return {"version": same.name, "tag": same.tag, "created": False, "text": text}
    name = following(root, known[-1] if known else None, commit)
    target = _with_lock(root, commit, f"Keep the lock and the report of {name}")
    version = _tag(root, options.model.name, name, target, _message(root, approved, digest))
    if push:
        push_tag(root, version.tag)
    _output(version, created=True)
    text = f"{version.tag} registered: model {short(digest)} on {target[:12]}"
    return {
        "version": version.name,
        "tag": version.tag,
        "created": True,
        "commit": target,
        "text": text,
    }


def _commit_on_main(root: Path) -> str:
    changed = [f for f in dirty(root, *inputs.TRAINING, *inputs.POLICY) if "__pycache__" not in f]
    if changed:
        raise UsageError(f"{changed[0]} is not committed", "Commit it and run the pipeline again")
    commit = head(root)
    assert commit is not None
    if not on_main(root):
        raise UsageError(f"The commit {commit[:12]} is not on main", "Merge its pull request first")
    return commit


def _same_data(root: Path, commit: str) -> None:
    """Raise unless the model was trained on the data that `data.dvc` of `commit` points to."""
    asked = pointer(git(root, "show", f"{commit}:data.dvc", check=False))
    lock = root / "dvc.lock"
    used = locked_data(lock.read_text("utf-8")) if lock.exists() else None
    if asked is not None and used is not None and asked != used:
        raise UsageError(
            "The model was trained on other data than data.dvc of this commit points to",
            "Run `./mainline data pull` and the pipeline again, or commit the new data.dvc",
        )


def _with_lock(root: Path, commit: str, subject: str) -> str:
    """`commit` itself where its dvc.lock is in step, else a child that adds lock and report."""
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
        return git(
            root, *_identity(root), "commit-tree", tree, "-p", commit, "-m", subject, env=index
        )


def _identity(root: Path) -> list[str]:
    if git(root, "config", "user.email", check=False):
        return []
    return ["-c", "user.name=mainline", "-c", "user.email=mainline@localhost"]


def _message(root: Path, approved: StepVerdict, digest: str) -> str:
    """The tag's message: what was approved, on what, by whom, as trailers."""
    try:
        compared = read_verdict(root / "reports" / "verdicts" / "compare.json")
        reason = compared.checks[-1].reason
    except NotMeasured:
        reason = ""
    trailers = {
        "Model-Digest": digest,
        "Data-Digest": approved.inputs.get("data"),
        "Split-Digest": approved.inputs.get("split"),
        "Policy-Digest": approved.inputs.get("policy"),
        "Base": approved.inputs.get("base") or "none",
        "Verdict": approved.verdict.value,
        "Accepted-By": os.environ.get("MAINLINE_ACCEPTED_BY") or "none",
        "Pull-Request": os.environ.get("MAINLINE_PULL_REQUEST") or "none",
        "Run": _run_address(),
    }
    lines = [f"{key}: {value}" for key, value in trailers.items()]
    return "\n".join(["Registered by the gate", "", reason, "", *lines])


def _run_address() -> str:
    parts = [
        os.environ.get(k, "") for k in ("GITHUB_SERVER_URL", "GITHUB_REPOSITORY", "GITHUB_RUN_ID")
    ]
    return f"{parts[0]}/{parts[1]}/actions/runs/{parts[2]}" if all(parts) else "local"


def _tag(root: Path, model: str, name: str, commit: str, message: str) -> Version:
    """Make the tag with GTO; RaceError when another process was faster."""
    import gto.api
    from gto.exceptions import GTOException

    with _quiet():
        try:
            gto.api.register(str(root), model, commit, version=name, message=message,
                             author="mainline", author_email="mainline@localhost")  # fmt: skip
        except GTOException as error:
            raise RaceError(
                f"{model}@{name} could not be registered ({error})", "Try again"
            ) from error
    return registry.find(root, model, name)


class _quiet:
    """GTO and its Git library log what is not for a reader of this command."""

    def __enter__(self) -> None:
        logging.disable(logging.WARNING)

    def __exit__(self, *_: object) -> None:
        logging.disable(logging.NOTSET)


def push_tag(root: Path, tag: str) -> None:
    """Push one tag to origin; a race that was lost removes the stale local tag (status 24)."""
    try:
        git(root, "push", "--quiet", "origin", f"refs/tags/{tag}")
    except MainlineError as error:
        theirs = git(root, "ls-remote", "origin", f"refs/tags/{tag}", check=False).split("\t")[0]
        if theirs and theirs != git(root, "rev-parse", f"refs/tags/{tag}"):
            git(root, "tag", "--delete", tag)
            raise RaceError(
                f"{tag} was pushed by somebody else first", "Fetch and try again"
            ) from error
        raise


def assign(root: Path, version: str, stage: str, *, push: bool = False) -> dict[str, Any]:
    """Put `version` at `stage`; doing it twice changes nothing.

    Raises UsageError for an unknown stage or version, RaceError (24) when another process moved
    the stage at the same moment.
    """
    import gto.api
    from gto.exceptions import GTOException

    if stage not in registry.STAGES:
        raise UsageError(f"There is no stage {stage!r}", f"Stages: {', '.join(registry.STAGES)}")
    model = settings.load(root).model.name
    wanted = registry.find(root, model, version)
    now = registry.at_stage(root, model, stage)
    if now is not None and now.tag == wanted.tag:
        return {"version": wanted.name, "stage": stage, "changed": False,
                "text": f"{wanted.tag} is at {stage} already"}  # fmt: skip
    with _quiet():
        try:
            # force: GTO refuses to go back to an earlier version without it.
            gto.api.assign(str(root), model, stage, version=wanted.name, force=True,
                           message=f"{wanted.tag} to {stage}", skip_registration=True,
                           author="mainline", author_email="mainline@localhost")  # fmt: skip
        except GTOException as error:
            raise RaceError(f"{wanted.tag} could not be assigned ({error})", "Try again") from error
    count = len(registry.assignments(root, model, stage))
    tag = _newest_assignment(root, model, stage)
    if push:
        push_tag(root, tag)
    return {"version": wanted.name, "stage": stage, "tag": tag, "changed": True, "count": count,
            "text": f"{wanted.tag} is at {stage} now ({tag})"}  # fmt: skip


def _newest_assignment(root: Path, model: str, stage: str) -> str:
    names = [n for n, _, _ in registry.tags(root, f"{model}#{stage}#*")]
    return max(names, key=lambda n: int(n.rpartition("#")[2]))


def _output(version: Version, *, created: bool) -> None:
    """Tell the workflow: the version is empty where nothing new was registered."""
    path = os.environ.get("GITHUB_OUTPUT")
    if path:
        with Path(path).open("a", encoding="utf-8") as out:
            out.write(f"version={version.name if created else ''}\n")
            out.write(f"tag={version.tag if created else ''}\n")
    elif created:
        console.progress(f"register: {version.tag}")
