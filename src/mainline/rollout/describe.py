"""What `rollout status` and `rollout history` tell people."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from mainline.files import short
from mainline.rollout.plan import spoken

Document = Mapping[str, Any]
# Events of the record that people did or that moved traffic, as a sentence begins.
TOLD = {
    "first": "takes all traffic: the first version here",
    "started": "is started beside stable",
    "unchanged": "has the model that is stable already",
    "swapped": "counts as stable; nothing is served",
    "refused": "is refused",
    "promoted": "is promoted: all traffic",
    "settled": "is settled",
    "rolled-back": "is rolled back",
    "aborted": "is aborted",
    "observed": "was observed: its shadow passed",
    "paused": "is paused",
    "resumed": "goes on",
}
SILENT = ("tidied", "verdict")


def status_text(found: Document) -> str:
    """The rollout in a few lines."""
    if found.get("stable") is None and not found.get("version"):
        return f"Nothing was ever rolled out at {found['target']}"
    lines = [f"target    {found['target']}" + ("" if found["up"] else ", where nothing runs")]
    lines.append(f"rollout   {found['version'] or '?'}: {found['status']}{_where(found)}")
    if found.get("reason"):
        lines.append(f"reason    {found['reason']}")
    if paused := found.get("paused"):
        why = f": {paused['reason']}" if paused.get("reason") else ""
        lines.append(f"paused    by {paused['by']} at {utc(paused['at'])}{why}")
    for name in ("stable", "canary", "previous"):
        if arm := found.get(name):
            said = "warm" if name == "previous" else name
            lines.append(f"{said:<9} {arm['version']} {short(arm['digest'])}")
    if found["up"]:
        follows = "follows" if found["envoy"] else "does NOT follow"
        guard = "guarded" if found["guarded"] else "NOT guarded"
        rate = found.get("rate")
        pace = "unknown" if rate is None else f"{rate:.3g} a second"
        lines.append(f"traffic   {found['url']} {follows} the state, {guard}; requests: {pace}")
    return "\n".join(lines)


def _where(found: Document) -> str:
    if found["status"] == "running":
        names = " > ".join(s["name"] for s in found["plan"])
        stage = f"stage {found['stage']} at {found['weight']}%" if found["stage"] else "no stage"
        until = found.get("hold_until")
        left = f", held until {utc(until)} at most" if until else ""
        return f", {stage} of {found['plan_name']} ({names}){left}"
    if found["status"] == "promoted" and found.get("warm_until"):
        warm = float(found.get("warm_left") or 0.0)
        return f", provisional for {spoken(warm)}" if warm > 0 else ", to be settled"
    return ""


def history_text(events: Sequence[Document]) -> str:
    """A line for each thing that was done; the looks of a stage are one line."""
    lines: list[str] = []
    looks: list[Document] = []
    version = "?"
    for event in events:
        if event.get("event") == "look":
            if looks and looks[-1].get("stage") != event.get("stage"):
                lines.append(_looks(looks))
                looks = []
            looks.append(event)
            continue
        version = str(event.get("version") or version)
        if event.get("event") in SILENT:
            continue
        if looks:
            lines.append(_looks(looks))
            looks = []
        lines.append(_line(event, version))
    return "\n".join([*lines, *([_looks(looks)] if looks else [])]) or "Nothing was recorded."


def _line(event: Document, version: str) -> str:
    name = str(event.get("event"))
    if name == "approved":
        note = f": {event['comment']}" if event.get("comment") else ""
        what = f"{event.get('environment')} is approved{note}"
    elif name == "stage":
        what = f"{version} is in {event.get('stage')} at {event.get('weight')}%"
    else:
        # What ended it is in every later line too; who did it and why belongs to this one.
        ended = name in ("rolled-back", "aborted", "refused")
        why = event.get("why") or (event.get("reason") if ended else "") or event.get("plan")
        what = f"{version} {TOLD.get(name, name)}" + (f": {why}" if why else "")
    by = f", by {event['by']}" if event.get("by") else ""
    return f"{utc(event.get('t'))}  {what}{by}"


def _looks(looks: Sequence[Document]) -> str:
    """The looks of one stage in one line: how many, what they counted, how they ended."""

    def total(name: str) -> str:
        return " and ".join(
            f"{sum(int(e.get(name, {}).get(arm) or 0) for e in looks)} {arm}"
            for arm in ("canary", "stable")
        )

    last = looks[-1]
    e = last.get("e", {})
    numbers = f"{total('n')} requests, failed: {total('errors')}, slow: {total('slow')}"
    evidence = f"e(errors) {e.get('errors', '?')}, e(latency) {e.get('latency', '?')}"
    return (f"{utc(last.get('t'))}    {len(looks)} looks at {last.get('stage')}: {numbers}; "
            f"{evidence}; last: {last.get('verdict')}")  # fmt: skip


def utc(seconds: Any) -> str:
    """A time in UTC to the second."""
    if not isinstance(seconds, int | float):
        return "?" * 20
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
