"""`mainline retrain`: do what the last look at production asked for, and no more.

A pull request's branch and text, an issue, or nothing. Whether is decided by `due`, from numbers;
nothing here merges anything.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from mainline import proposal, settings
from mainline.data import schema
from mainline.errors import NotMeasured
from mainline.files import write_text
from mainline.github import open_issue
from mainline.monitor.monitor import place_of, time_of
from mainline.retrain import branch as branches
from mainline.retrain import hub, new_rows, pull_request

Done = dict[str, Any]


def due(
    kind: str, opens: str | None, as_of: pd.Timestamp, last: pd.Timestamp | None, rest_days: float
) -> str | None:
    """Why nothing is to be done now; None when the trigger is to be followed.

    After a retrain the house rests for `rest_days`, unless quality fell.
    """
    if opens is None:
        return "Nothing asks for a new model"
    if opens == "issue" or kind == "quality" or last is None:
        return None
    since = (as_of - last) / pd.Timedelta(days=1)
    if since < rest_days:
        return f"The last retrain was {since:.0f} days ago; the house rests for {rest_days:g}"
    return None


def run(
    root: Path,
    *,
    as_of: str | pd.Timestamp | None = None,
    open_: bool = False,
    dry_run: bool = False,
    remote: str = "origin",
    base: str = "main",
    environ: Mapping[str, str] = os.environ,
) -> Done:
    """Follow the trigger in reports/monitor.json; returns what was done, with `text` for people.

    Makes or updates the branch `retrain/<model>` (pushed where `remote` exists) and writes the text
    of its pull request to reports/retrain.md; with `open_` it is opened or updated on GitHub. Never
    touches the checkout. Keys: action (none, issue, branch), branch, commit, title, body, url,
    text.
    Raises NotMeasured when monitor has not run, UsageError, DataError, RemoteError, RaceError.
    """
    found = last_look(root)
    options, rules = settings.load(root), schema.load(root)
    day = time_of(as_of or found["as_of"])
    asked, model = found["trigger"], options.model.name
    if asked["opens"] is None:
        return _nothing(asked["reason"])
    if asked["opens"] == "issue":
        return _issue(root, found, open_ and not dry_run, environ)
    place = branches.locate(root, model, remote, base)
    lasts = [branches.last_retrain(root, place, model)]
    if open_:
        lasts.append(hub.last_closed(place.name, environ))
    last = max((x for x in lasts if x is not None), default=None)
    reason = due(asked["kind"], asked["opens"], day, last, options.retrain.cooldown_days)
    if reason:
        return _nothing(reason)
    person = proposal.touched_by_a_person(root, place, branches.TRAILER)
    if person:
        return _nothing(f"{place.name} holds work of a person ({person[:12]}) and is left alone")
    log = place_of(root, environ.get("MAINLINE_LOG") or options.monitor.log)
    beside = place_of(root, environ.get("MAINLINE_LABELS") or options.monitor.labels)
    labels = new_rows.collect(root, rules, day, log, beside)
    new = new_rows.count(root, options, rules, day, found["model"]["trained_until"])
    text = pull_request.pull_request(found, new, len(labels))
    done: Done = {"action": "branch", "branch": place.name, "trigger": asked["kind"],
                  "title": text.title, "body": text.body, "url": None}  # fmt: skip
    if dry_run:
        return {**done, "commit": None, "text": f"Would update {place.name}: {text.title}"}
    made = branches.make(root, place, model, day, text.title, labels)
    moved = proposal.publish(root, place, made)
    commit = made if moved else place.commit
    write_text(root / "reports" / "retrain.md", f"# {text.title}\n\n{text.body}")
    said = f"{place.name} {'was brought' if moved else 'is'} up to date: {text.title}"
    opened = proposal.open_pull_request(place.name, base, text, moved, environ) if open_ else None
    if opened:
        said += f"\n{opened.note}"
    return {**done, "commit": commit, "moved": moved, "url": opened.url if opened else None,
            "text": said}  # fmt: skip


def last_look(root: Path) -> dict[str, Any]:
    """reports/monitor.json; NotMeasured when it is missing or damaged."""
    path = root / "reports" / "monitor.json"
    try:
        found: dict[str, Any] = json.loads(path.read_text("utf-8"))
        if found["schema"] != "monitor/1" or "opens" not in found["trigger"]:
            raise ValueError("another form")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise NotMeasured(
            "There is no look at production to follow", "Run `./mainline monitor` first"
        ) from error
    return found


def _nothing(reason: str) -> Done:
    return {"action": "none", "branch": None, "reason": reason, "text": f"{reason}."}


def _issue(root: Path, found: Mapping[str, Any], open_: bool, environ: Mapping[str, str]) -> Done:
    """The text of an issue; opened, or kept up to date, on GitHub with `open_`."""
    text = pull_request.issue(found)
    write_text(root / "reports" / "retrain.md", f"# {text.title}\n\n{text.body}")
    done: Done = {"action": "issue", "branch": None, "trigger": found["trigger"]["kind"],
                  "title": text.title, "body": text.body, "url": None}  # fmt: skip
    said = f"{text.title}: {found['trigger']['reason']}"
    if open_:
        opened = open_issue(text.title, text.body, environ)
        return {**done, "url": opened.url, "text": f"{said}\n{opened.note}"}
    return {**done, "text": said}
