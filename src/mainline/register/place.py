"""Where a version stands: its tag is its own, the remote has the same, its commit belongs to main.

Each function returns one check; nothing here looks at the model.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from mainline import registry
from mainline.data.store import locked_data, locked_model, pointer
from mainline.git import ask_git, git, resolve
from mainline.registry import Version
from mainline.verdict import Check, Verdict

DIGEST = re.compile(r"^sha256:[0-9a-f]{64}$")
DIGESTS = ("Model-Digest", "Data-Digest", "Split-Digest", "Policy-Digest")
# What a registration adds in the child commit of a merge.
ADDED = re.compile(r"^(dvc\.lock|reports/[\w.-]+)$")
REGULAR = "100644"
PATIENCE = 20  # seconds for a remote


def passed(name: str, reason: str) -> Check:
    """A check that holds."""
    return Check(name, Verdict.PASS, reason)


def failed(name: str, reason: str) -> Check:
    """A check that does not."""
    return Check(name, Verdict.FAIL, reason)


def unsure(name: str, reason: str) -> Check:
    """A check that a person has to look at."""
    return Check(name, Verdict.INCONCLUSIVE, reason)


def tag(root: Path, version: Version) -> Check:
    """The tag is annotated, is called what it is found under, and says each thing once."""
    content = git(root, "cat-file", "tag", f"refs/tags/{version.tag}", check=False)
    if not content:
        return failed("tag", f"{version.tag} is no annotated tag, so nothing says what it is")
    head, _, message = content.partition("\n\n")
    fields = dict(line.partition(" ")[::2] for line in head.splitlines())
    if (fields.get("tag"), fields.get("type")) != (version.tag, "commit"):
        return failed("tag", f"{version.tag} is the tag of something else ({fields.get('tag')})")
    if fields.get("object") != version.commit:
        return failed("tag", f"{version.tag} was moved while it was looked at")
    last = registry.BLOCK.sub("", message).strip().rpartition("\n\n")[2]
    said = Counter(line.partition(": ")[0] for line in last.splitlines() if ": " in line)
    twice = next((k for k in registry.TRAILERS if said[k] > 1), None)
    if twice or len(registry.BLOCK.findall(message)) > 1:
        return failed("tag", f"{version.tag} says {twice or 'its signature'} twice")
    bad = next((k for k in DIGESTS if not DIGEST.match(version.trailers.get(k, ""))), None)
    if bad:
        return failed("tag", f"{version.tag} has no {bad} that is a digest")
    return passed("tag", f"{version.tag} is an annotated tag with its digests")


def remote(root: Path, version: Version) -> Check:
    """The remote's tag is this clone's, object for object."""
    if "origin" not in git(root, "remote").split():
        return passed("remote", "This clone has no remote, so there is no other copy to differ")
    ref = f"refs/tags/{version.tag}"
    lines = _listed(root, ref)
    if lines is None:
        return Check("remote", Verdict.ERROR, "The remote could not be asked: try again")
    theirs = next((line.split("\t")[0] for line in lines if line.endswith(f"\t{ref}")), None)
    if theirs is None:
        return unsure("remote", f"{version.tag} is not on the remote: push it, or ask who made it")
    if theirs != git(root, "rev-parse", "--verify", ref):
        return failed("remote", f"{version.tag} was moved: the remote has another one")
    return passed("remote", f"{version.tag} is the one that the remote has")


def _listed(root: Path, ref: str) -> list[str] | None:
    asked = ask_git(root, "ls-remote", "origin", ref, seconds=PATIENCE)
    return asked.stdout.splitlines() if asked.returncode == 0 else None


def history(root: Path, version: Version) -> Check:
    """The commit is on main, or is the child of one there that adds only lock and report."""
    main = resolve(root, "origin/main") or resolve(root, "main")
    if main is None:
        return unsure("history", "There is no main here to look for its commit on")
    if _merged(root, version.commit, main):
        return passed("history", f"{version.commit[:12]} is on main")
    parents = git(root, "rev-list", "--parents", "--max-count=1", version.commit).split()[1:]
    if len(parents) != 1 or not _merged(root, parents[0], main):
        return failed("history", f"{version.commit[:12]} is not on main's history")
    strange = _strange(root, parents[0], version.commit)
    if strange:
        return failed("history", f"{version.commit[:12]} is off main and changes {strange}")
    return passed("history", f"{version.commit[:12]} adds the lock to {parents[0][:12]} of main")


def _merged(root: Path, commit: str, main: str) -> bool:
    return git(root, "merge-base", commit, main, check=False) == commit


def _strange(root: Path, parent: str, commit: str) -> str | None:
    """The first change of `commit` that is no plain file of the lock and the reports."""
    out = git(root, "diff-tree", "-r", "--no-renames", "-z", parent, commit)
    words = out.split("\0")
    for header, name in zip(words[::2], words[1::2], strict=False):
        if not ADDED.match(name) or header.split()[1] != REGULAR:
            return name
    return None


def lock(root: Path, version: Version, models_md5: str | None) -> Check:
    """The lock of the commit names this model, and the data that the commit points to.

    `models_md5` is DVC's digest of the bundle that was found; None where none was.
    """
    text = git(root, "show", f"{version.commit}:dvc.lock", check=False)
    wanted = locked_model(text)
    if wanted is None:
        return failed("lock", f"dvc.lock of {version.commit[:12]} names no model")
    asked = pointer(git(root, "show", f"{version.commit}:data.dvc", check=False))
    used = locked_data(text)
    if asked is not None and used is not None and asked != used:
        return failed("lock", "dvc.lock and data.dvc of that commit name different data")
    if models_md5 is not None and models_md5 != wanted:
        return failed("lock", "dvc.lock of that commit names another model")
    return passed("lock", "dvc.lock of that commit names the model and its data")
