"""The revert pull request of a version that was rolled back: main is to be what runs again.

Its branch is `revert/<model>-<version>`: one commit on top of main that takes back the merge that
made the version, kept up to date until a person commits to it or closes it. Where Git cannot take
it back alone, or the branch cannot be pushed, an issue says what to do by hand.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mainline import inputs, proposal, registry, settings
from mainline.errors import MainlineError
from mainline.git import ask_git, git, require_history, resolve, worktree
from mainline.github import GitHub, Opened, open_issue
from mainline.proposal import Branch, Text
from mainline.registry import Version
from mainline.report.escape import markdown

TRAILER = "Mainline-Revert"
Done = dict[str, Any]


class Conflict(MainlineError):
    """Git cannot take a merge back alone, because main has built on it."""

    status = 20


def run(
    root: Path, name: str, *, reason: str = "", remote: str = "origin", base: str = "main",
    environ: Mapping[str, str] = os.environ,
) -> Done:  # fmt: skip
    """Propose to take back what made the version `name`; returns what was done, with `text`.

    Keys: action (none, branch, issue), branch, commit, url, text. Never touches the checkout.
    Raises UsageError for an unknown version, RaceError (24), RemoteError where GitHub refuses.
    """
    require_history(root)
    version = registry.find(root, settings.load(root).model.name, name)
    place = proposal.locate(root, f"revert/{version.model}-{version.name}", remote, base)
    commits = made_by(root, version, place.base)
    if not commits:
        return _nothing(f"Main at {place.base[:12]} holds nothing of {version.tag} to take back")
    person = proposal.touched_by_a_person(root, place, TRAILER)
    if person:
        return _nothing(f"{place.name} holds work of a person ({person[:12]}) and is left alone")
    if number := _closed(place.name, environ):
        return _nothing(f"Somebody closed #{number}, which takes {version.tag} back")
    try:
        made = make(root, place, version, commits)
        if not git(root, "diff", "--name-only", place.base, made):
            return _nothing(f"Main at {place.base[:12]} holds nothing of {version.tag} any more")
        moved = proposal.publish(root, place, made)
    except (Conflict, proposal.Refused) as error:
        return _issue(version, commits, error, reason, environ)
    text = Text(f"Revert {version.tag}", _body(root, version, commits, reason))
    opened = proposal.open_pull_request(place.name, base, text, moved, environ)
    said = f"{place.name} {'was brought' if moved else 'is'} up to date. {opened.note}"
    return {"action": "branch", "branch": place.name, "url": opened.url, "text": said,
            "commit": made if moved else place.commit}  # fmt: skip


def made_by(root: Path, version: Version, main: str) -> list[str]:
    """The commits of main that made `version` of the one before it, newest first.

    That is its merge; where a merge before it never became a version, that one too. Only what
    changed a training input counts. None where main took them back already, or never had them.
    """
    merge = git(root, "merge-base", version.commit, main, check=False)
    older = [v for v in registry.versions(root, version.model) if v.number < version.number]
    ends = [git(root, "merge-base", v.commit, main, check=False) for v in reversed(older)]
    before = next((e for e in ends if e and e != merge and _on(root, e, merge)), None)
    if not merge or before is None:
        return []
    found = git(root, "rev-list", "--first-parent", f"{before}..{merge}", "--",
                *inputs.TRAINING).splitlines()  # fmt: skip
    later = git(root, "log", "--format=%B", f"{merge}..{main}")
    return [c for c in found if f"This reverts commit {c}" not in later]


def make(root: Path, place: Branch, version: Version, commits: list[str]) -> str:
    """Commit on top of main what takes `commits` back; returns the commit.

    Raises Conflict where main has built on them.
    """
    said = "\n".join(f"This reverts commit {c}." for c in commits)
    message = f"Revert {version.tag}\n\n{said}\n\n{TRAILER}: {version.tag}\n"
    with worktree(root, place.base) as tree:
        for commit in commits:
            option = ("-m", "1") if _merge(root, commit) else ()
            words = (*proposal.IDENTITY, "revert", "--no-commit", *option, commit)
            if ask_git(tree, *words).returncode != 0:
                names = git(tree, "diff", "--name-only", "--diff-filter=U").splitlines()
                where = f" ({', '.join(names[:3])})" if names else ""
                raise Conflict(f"Main has changed what {commit[:12]} changed{where}")
        git(tree, *proposal.IDENTITY, "commit", "--quiet", "--no-verify", "--allow-empty", "-F",
            "-", stdin=message)  # fmt: skip
        made = resolve(tree, "HEAD")
        assert made is not None
        return made


def _on(root: Path, ancestor: str, commit: str) -> bool:
    return ask_git(root, "merge-base", "--is-ancestor", ancestor, commit).returncode == 0


def _merge(root: Path, commit: str) -> bool:
    return len(git(root, "show", "-s", "--format=%P", commit).split()) > 1


def _closed(branch: str, environ: Mapping[str, str]) -> int | None:
    """The pull request of this branch that a person closed without merging it."""
    try:
        github = GitHub.of(environ)
    except MainlineError:
        return None
    owner = github.repository.split("/")[0]
    if github.get_all("pulls", state="open", head=f"{owner}:{branch}"):
        return None
    listed = github.get_all("pulls", state="closed", head=f"{owner}:{branch}")
    return next((int(p["number"]) for p in listed if not p.get("merged_at")), None)


def _nothing(reason: str) -> Done:
    return {"action": "none", "branch": None, "commit": None, "url": None, "text": f"{reason}."}


def _body(root: Path, version: Version, commits: list[str], reason: str) -> str:
    """The text of the pull request; whatever comes from commits or verdicts is escaped."""
    listed = [f"- {c[:12]} {markdown(git(root, 'show', '-s', '--format=%s', c), 120)}"
              for c in commits]  # fmt: skip
    production = registry.at_stage(root, version.model, "prod")
    runs = f"`prod` is {production.name}" if production else "no version stands at `prod`"
    why = f": {markdown(reason, 400)}" if reason else ""
    return "\n".join([
        f"**{version.tag} was rolled back**{why}.", "",
        f"Main still holds it, and what runs is another model: {runs}. This takes back what made "
        "it:", "", *listed, "",
        "Merged, main is again what an earlier version was made from. Nothing is trained then: "
        "that version was healthy in production and is deployed as a revert, without the canary "
        "and under the guard. Until then every comparison is with production.", "",
        "This branch is kept up to date until a person commits to it, and it is never merged by a "
        "machine. Close it where the change is to stay and be mended by another one.", "",
    ])  # fmt: skip


def _issue(
    version: Version, commits: list[str], error: MainlineError, reason: str,
    environ: Mapping[str, str],
) -> Done:  # fmt: skip
    """An issue with the commands, where no branch could be made."""
    branch = f"revert/{version.model}-{version.name}"
    reverts = "\n".join(f"git revert -m 1 {c}  # without -m 1 where it is no merge"
                        for c in commits)  # fmt: skip
    why = f": {markdown(reason, 400)}" if reason else ""
    body = (f"**{version.tag} was rolled back**{why}, and main still holds it.\n\nIt could not be "
            f"taken back by itself: {markdown(error.cause, 400)} By hand:\n\n```sh\n"
            f"git fetch origin\ngit switch --create {branch} origin/main\n{reverts}\n"
            f"git push origin {branch}\n```\n\nand open a pull request from that "
            "branch.\n")  # fmt: skip
    opened: Opened = open_issue(f"Take back {version.tag} by hand", body, environ)
    return {"action": "issue", "branch": None, "commit": None, "url": opened.url,
            "text": f"{error.cause} {opened.note}"}  # fmt: skip
