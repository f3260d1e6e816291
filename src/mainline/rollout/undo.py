"""After a rollback Git says what runs, and why that is not main's newest.

The tag prod goes back where it had moved, the version is rejected where it was its own fault, and
what made it is proposed to be taken back. All of it may be repeated.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mainline import registry, settings
from mainline.git import require_history
from mainline.register import lifecycle, tags
from mainline.registry import Version
from mainline.rollout import revert
from mainline.rollout.deploy import Ending, ending
from mainline.rollout.target import target_of

Document = dict[str, Any]


def needed(environ: Mapping[str, str]) -> dict[str, Document]:
    """What the jobs before said: name -> {result, outputs}, from MAINLINE_NEEDS (JSON)."""
    try:
        found = json.loads(environ.get("MAINLINE_NEEDS") or "{}")
    except ValueError:
        return {}
    jobs = found if isinstance(found, dict) else {}
    return {str(k): v for k, v in jobs.items() if isinstance(v, dict)}


def verdict_of(job: Mapping[str, Any]) -> str:
    """The verdict that a job gave; empty where it gave none."""
    outputs = job.get("outputs")
    return str(outputs.get("verdict") or "") if isinstance(outputs, dict) else ""


def fault(end: Ending | None, needs: Mapping[str, Document]) -> str | None:
    """Why the version is to be rejected; None where it is not its fault.

    Where there is a target its record tells (`end`), else the rehearsal's verdict.
    """
    if end is not None:
        return end.reason if end.blames else None
    if verdict_of(needs.get("rehearse", {})) == "FAIL":
        return "its rehearsal said FAIL"
    return None


def run(root: Path, name: str, environ: Mapping[str, str] = os.environ) -> Document:
    """Write to Git what follows from the rollback of the version `name`; returns what was done.

    Raises UsageError for an unknown version, RemoteError where origin or GitHub refuses.
    """
    require_history(root)
    version = registry.find(root, settings.load(root).model.name, name)
    address, end, done = environ.get("MAINLINE_TARGET", "").strip(), None, []
    if address:
        with target_of(root, address) as there:
            now, end = there.read(), ending(there.history(), version.name)
        if end is not None and end.kind == "rolled-back" and now.stable:
            done.append(_prod_back(root, version, now.stable.version, end.reason))
    reason = fault(end, needed(environ))
    if reason is None:
        done.append(f"{version.tag} is not to blame, so it is not rejected")
        return _document(version, done, rejected=False)
    prod = registry.at_stage(root, version.model, "prod")
    # It was only rehearsed, or there is nothing to go back to.
    if prod is not None and prod.tag == version.tag:
        done.append(f"{version.tag} stands at prod, so it is not rejected: {reason}")
        return _document(version, done, rejected=False)
    done.append(
        lifecycle.put_away(root, version.name, "rejected", push=True, reason=reason)["text"]
    )
    proposed = revert.run(root, version.name, reason=reason, environ=environ)
    return {**_document(version, [*done, proposed["text"]], rejected=True), "url": proposed["url"]}


def _document(version: Version, done: list[str], *, rejected: bool) -> Document:
    return {"version": version.name, "rejected": rejected, "text": "\n".join(filter(None, done))}


def _prod_back(root: Path, version: Version, stable: str, reason: str) -> str:
    """Let prod be what has the traffic, where it still is the version that was rolled back."""
    prod = lifecycle.at(tags.look(root, version.model, push=True).moves, "prod")
    if prod is None or prod.version.name != version.name or stable == version.name:
        return ""
    return str(lifecycle.rollback(root, stable, push=True, reason=reason)["text"])
