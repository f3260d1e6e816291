"""Whether a person has accepted what is INCONCLUSIVE: the label `accept-inconclusive`, read live.

It counts only on the pull request of this run, put on by a person who may write, after the
first run for this very commit began. Nothing is believed but GitHub's own answer of now; whatever
goes wrong is "not accepted", with the reason. Without a token (a laptop, another forge) nothing is
accepted.

A job that reads it gives its step `GITHUB_TOKEN` and these permissions, and no others:
`pull-requests: read` (the pull request and its labels), `issues: read` (who put a label on, when)
and `actions: read` (when the first run for the commit began). Who may write is metadata, which
every token may read. On `workflow_dispatch` the input `pr` names the pull request.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from mainline.errors import MainlineError
from mainline.github import GitHub

LABEL = "accept-inconclusive"
WORKFLOW = "train.yml"  # whose job `gate` is the required check
MAY_WRITE = frozenset({"write", "maintain", "admin"})
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


@dataclass(frozen=True)
class Acceptance:
    """Who put the label on, when (UTC, ISO 8601), for which commit of which pull request.

    `label` is the id of GitHub's event, under which its time and author can be looked up.
    """

    who: str
    when: str
    commit: str
    pull: int
    label: int

    def __str__(self) -> str:
        return f"{self.who} put {LABEL!r} on #{self.pull} at {self.when} for {self.commit[:12]}"


@dataclass(frozen=True)
class Asked:
    """What was found: an acceptance, or why there is none (empty where nobody tried)."""

    acceptance: Acceptance | None = None
    why: str = ""


@dataclass(frozen=True)
class Proposed:
    """The pull request as it is now: the commit at its head, where from, its labels."""

    number: int
    commit: str
    branch: str
    repository: str
    labels: frozenset[str]


def read(environ: Mapping[str, str] = os.environ) -> Acceptance | None:
    """The acceptance that holds for this run now, or None."""
    return ask(environ).acceptance


def ask(environ: Mapping[str, str] = os.environ) -> Asked:
    """Look for the acceptance of the pull request that this run is for. Raises nothing."""
    try:
        wanted = of_event(environ)
        if wanted is None:
            return Asked()
        number, commit = wanted
        github = GitHub.of(environ)
        pull = proposed(github.call("GET", f"pulls/{number}"))
        if pull.commit != commit:
            return Asked(why=f"#{number} has moved on from {commit[:12]}")
        if LABEL not in pull.labels:
            return Asked()
        put_on = last_put_on(github.get_all(f"issues/{number}/events"))
        if put_on is None:
            return Asked(why=f"GitHub does not tell who put {LABEL!r} on #{number}")
        who = str(put_on["actor"]["login"])
        permission = github.call("GET", f"collaborators/{quote(who, safe='')}/permission")
        runs = github.get_all(f"actions/workflows/{WORKFLOW}/runs", branch=pull.branch)
        return decide(pull, put_on, str(permission["permission"]), began(runs, pull))
    except MainlineError as error:
        return Asked(why=f"the label could not be read ({error.cause.rstrip('.')})")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        return Asked(why=f"GitHub's answer was not understood ({type(error).__name__})")


def of_event(environ: Mapping[str, str]) -> tuple[int, str] | None:
    """The pull request that this run is for and the commit that it judges, or None.

    A pull_request event names both; on workflow_dispatch the input `pr` names the first, and the
    run's own commit is the second. Raises ValueError, KeyError or TypeError for a broken event.
    """
    name = environ.get("GITHUB_EVENT_NAME", "")
    if name not in ("pull_request", "workflow_dispatch"):
        return None
    try:
        event = json.loads(Path(environ["GITHUB_EVENT_PATH"]).read_text("utf-8"))
    except OSError as error:
        raise ValueError("no event") from error
    if name == "pull_request":
        return int(event["pull_request"]["number"]), str(event["pull_request"]["head"]["sha"])
    number = str((event.get("inputs") or {}).get("pr") or "").strip().removeprefix("#")
    return (int(number), environ["GITHUB_SHA"]) if number else None


def proposed(found: Mapping[str, Any]) -> Proposed:
    """A pull request as GitHub tells it. Raises KeyError or TypeError for a broken answer."""
    head = found["head"]
    return Proposed(
        int(found["number"]), str(head["sha"]), str(head["ref"]),
        str((head.get("repo") or {}).get("full_name") or ""),
        frozenset(str(label["name"]) for label in found["labels"]),
    )  # fmt: skip


def last_put_on(events: Iterable[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The event that put the label on, where nothing took it off afterwards."""
    last = None
    for event in filter(of_label, events):
        last = event if event["event"] == "labeled" else None
    return last


def of_label(event: Mapping[str, Any]) -> bool:
    """Whether the label was put on or taken off."""
    named = (event.get("label") or {}).get("name") == LABEL
    return named and event.get("event") in ("labeled", "unlabeled")


def began(runs: Sequence[Mapping[str, Any]], pull: Proposed) -> str | None:
    """When the first run for the commit at the head began; None where there is none.

    Only runs of this branch since another commit was its head count: a branch that was set back
    to an old commit is judged anew.
    """
    own = [r for r in runs if (r.get("head_repository") or {}).get("full_name") == pull.repository]
    first = None
    for run in sorted(own, key=lambda r: (str(r["created_at"]), int(r["id"])), reverse=True):
        if run["head_sha"] != pull.commit:
            break
        first = str(run["created_at"])
    return first


def decide(pull: Proposed, put_on: Mapping[str, Any], permission: str, start: str | None) -> Asked:
    """The rule: a person who may write, after the first run for the commit at the head began."""
    who, when = str(put_on["actor"]["login"]), str(put_on["created_at"])
    # Bots and apps have other types than User, whatever they may do.
    if put_on["actor"].get("type") != "User":
        return Asked(why=f"{who} put {LABEL!r} on, which is not a person")
    if permission not in MAY_WRITE:
        return Asked(why=f"{who} put {LABEL!r} on and may not write here")
    if start is None:
        return Asked(why=f"GitHub knows no run of {WORKFLOW} for {pull.commit[:12]} yet")
    if not (TIME.fullmatch(when) and TIME.fullmatch(start)):
        return Asked(why="GitHub's times were not understood")
    # Both are of one form, so that text sorts as time does.
    if when <= start:
        return Asked(why=(
            f"the label {LABEL!r} ({when}) is older than the run for {pull.commit[:12]} ({start}): "
            "take it off and put it on again"
        ))  # fmt: skip
    return Asked(Acceptance(who, when, pull.commit, pull.number, int(put_on["id"])))
