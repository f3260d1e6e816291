"""Who approved a job of this run, as GitHub says it: for the record of the rollout."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from mainline.errors import MainlineError
from mainline.github import GitHub
from mainline.rollout.target import Target

EVENT = "approved"


def approvals(environ: Mapping[str, str] = os.environ) -> list[dict[str, str]]:
    """`run`, `environment`, `by` and `comment` of each approval of the run; empty where unknown.

    Only where GITHUB_TOKEN and GITHUB_RUN_ID are set. A GitHub that does not answer stops no stage.
    """
    run = environ.get("GITHUB_RUN_ID", "")
    if not run.isdigit() or not environ.get("GITHUB_TOKEN"):
        return []
    try:
        said = GitHub.of(environ).call("GET", f"actions/runs/{run}/approvals")
    except MainlineError:
        return []
    return [entry for review in said if isinstance(review, dict)
            for entry in _of(review, run)] if isinstance(said, list) else []  # fmt: skip


def _of(review: Mapping[str, Any], run: str) -> list[dict[str, str]]:
    if review.get("state") != EVENT:
        return []
    user, places = review.get("user"), review.get("environments")
    by = str(user.get("login", "")) if isinstance(user, dict) else ""
    names = [str(p.get("name", "")) for p in places or [] if isinstance(p, dict)]
    comment = str(review.get("comment") or "")
    return [{"run": run, "environment": n, "by": by, "comment": comment} for n in names]


def note(there: Target, environ: Mapping[str, str] = os.environ) -> None:
    """Put each approval of this run into the record, once."""
    found = approvals(environ)
    if not found:
        return
    known = [e for e in there.history() if e.get("event") == EVENT]
    for entry in found:
        if not any(all(e.get(k) == v for k, v in entry.items()) for e in known):
            there.record(EVENT, **entry)
