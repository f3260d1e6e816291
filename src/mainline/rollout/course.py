"""What the record of a rollout (history.jsonl) tells, before it is drawn here or on a page."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mainline.report.numbers import number

ENDS = {
    "promoted": "promoted",
    "rolled-back": "rolled back",
    "aborted": "aborted",
    "observed": "observed",
    "swapped": "swapped",
}
BEGINNINGS = ("started", "first", "swapped")
# The share of the new version after an event that moves traffic, where the event does not say it.
MOVES = {"started": 0.0, "first": 100.0, "swapped": 100.0, "promoted": 100.0, "settled": 100.0,
         "rolled-back": 0.0, "aborted": 0.0, "observed": 0.0}  # fmt: skip
CLIENT = re.compile(
    r"(?P<sent>\d+) requests sent, (?P<lost>\d+) lost, \d+ failed, (?P<wrong>\d+) of"
)
Event = Mapping[str, Any]


@dataclass(frozen=True)
class Stretch:
    """One stage: its seconds since the start, and its weight in per cent."""

    name: str
    start: float
    end: float
    weight: float

    @property
    def label(self) -> str:
        """What is written over it."""
        return f"{self.weight:g}%" if self.weight else self.name


@dataclass(frozen=True)
class Course:
    """A rollout, its times in seconds since it began.

    `end`, `ended` and `reason` are of its first ending: a promotion may be taken back later, which
    is in `changes` (every line of the record that is no look) and `weights` (the new version's
    share in per cent from each of these times on). There are no stretches where it had no stage.
    """

    stretches: tuple[Stretch, ...]
    looks: tuple[tuple[float, Event], ...]
    end: float
    ended: str | None  # promoted, rolled-back, aborted, observed, or None where it broke off
    reason: str
    changes: tuple[tuple[float, Event], ...]

    @property
    def weights(self) -> list[tuple[float, float]]:
        """(seconds, per cent) of each change of the new version's share, in order."""
        out: list[tuple[float, float]] = []
        for at, event in self.changes:
            name = kind(event)
            weight = number(event.get("weight")) if name == "stage" else MOVES.get(name)
            if weight is not None and (not out or out[-1][1] != weight):
                out.append((at, weight))
        return out


def kind(event: Event) -> str:
    """The name of an event; empty where the line has none."""
    found = event.get("event")
    return found if isinstance(found, str) else ""


def course(history: Any, version: str = "") -> Course | None:
    """What `history` (history.jsonl) tells of the last rollout of `version`, or of the last one.

    None where nothing was recorded.
    """
    lines = history if isinstance(history, list) else []
    events = [e for e in lines if isinstance(e, Mapping) and number(e.get("t")) is not None]
    events = _of_version(events, version)
    if not events:
        return None
    zero = float(events[0]["t"])
    timed = [(float(e["t"]) - zero, e) for e in events]
    ending = next((e for e in events if kind(e) in ENDS), None)
    last = float((ending or events[-1])["t"]) - zero
    return Course(
        _stretches(events, zero, last),
        tuple((at, e) for at, e in timed if kind(e) == "look"),
        last,
        kind(ending) if ending else None,
        str((ending or {}).get("reason") or ""),
        tuple((at, e) for at, e in timed if kind(e) != "look"),
    )


def _of_version(events: list[Event], version: str) -> list[Event]:
    begun = [i for i, e in enumerate(events) if kind(e) in BEGINNINGS]
    named = [i for i in begun if version and str(events[i].get("version", "")).endswith(version)]
    if not begun:
        return events
    first = (named or begun)[-1]
    return events[first : next((i for i in begun if i > first), len(events))]


def _stretches(events: Sequence[Event], zero: float, last: float) -> tuple[Stretch, ...]:
    entered = [e for e in events if kind(e) == "stage"]
    out = []
    for i, event in enumerate(entered):
        start = float(event["t"]) - zero
        end = float(entered[i + 1]["t"]) - zero if i + 1 < len(entered) else last
        name = str(event.get("stage") or "?")
        out.append(Stretch(name, start, end, number(event.get("weight")) or 0.0))
    return tuple(out)


def client(found: Any) -> dict[str, int]:
    """What the replaying client counted (`sent`, `lost`, `wrong`), as far as it is known.

    `found` is these numbers, or what `rollout rehearse` printed, which has a sentence with them.
    """
    given = found if isinstance(found, Mapping) else {}
    if isinstance(found, str) and (said := CLIENT.search(found)):
        given = {k: int(v) for k, v in said.groupdict().items()}
    numbers = {k: number(given.get(k)) for k in ("sent", "lost", "wrong")}
    return {k: int(v) for k, v in numbers.items() if v is not None}


def count(look: Event, name: str, arm: str) -> float:
    """`look[name][arm]` (n, errors or slow of stable or canary); 0 where it is not known.

    After a promotion the new version, which is stable then, goes on as the canary.
    """
    if look.get("stage") == "promoted" and name != "total":
        arm = {"stable": "canary", "canary": "stable"}.get(arm, arm)
    counts = look.get(name)
    return (number(counts.get(arm)) or 0.0) if isinstance(counts, Mapping) else 0.0


def total(found: Course, arm: str) -> int:
    """All requests of an arm that were counted, mirrored ones too."""
    totals = [look.get("total") for _, look in found.looks]
    last = next((t for t in reversed(totals) if isinstance(t, Mapping)), {})
    return int(number(last.get(arm)) or 0)


def e_values(found: Course) -> list[tuple[float, float]]:
    """At each look the stronger evidence against the canary: of errors or of latency."""
    out = []
    for at, look in found.looks:
        given = look.get("e")
        values = [number(v) for v in given.values()] if isinstance(given, Mapping) else []
        known = [v for v in values if v is not None]
        if known:
            out.append((at, max(known)))
    return out


def any_bad(found: Course) -> bool:
    """Whether any request of any arm failed or was slow."""
    return any(count(look, name, arm) for _, look in found.looks
               for name in ("errors", "slow") for arm in ("stable", "canary"))  # fmt: skip
