"""The life of a version: promoted, rolled back, archived, rejected, and the record of it all.

Each is one more tag, never a moved or deleted one, and each says the same when it is run again:
what is so already is not done twice, by whomever and from however many clones.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mainline import registry, settings
from mainline.errors import RaceError, UsageError
from mainline.git import require_history
from mainline.github import write_output
from mainline.register import message, tags, verify
from mainline.register.tags import View, Wanted
from mainline.register.trust import NotTrusted
from mainline.registry import Move, Version

Document = dict[str, Any]


def assign(
    root: Path, version: str, stage: str, *, push: bool = False, reason: str = ""
) -> Document:  # fmt: skip
    """Put `version` at `stage`; where it stands already nothing changes.

    Raises UsageError for an unknown stage or version, NotTrusted (10) for a version that must not
    come to prod, RaceError (24) when others were faster again and again.
    """
    if stage in registry.AWAY:
        return put_away(root, version, stage, push=push, reason=reason)
    if stage not in registry.STAGES:
        raise UsageError(f"There is no stage {stage!r}", f"Stages: {', '.join(registry.STAGES)}")

    def decide(seen: View) -> Wanted | Document:
        wanted = _find(seen, version)
        now = at(seen.moves, stage)
        if now and now.version.tag == wanted.tag and not _away(seen, wanted):
            return _done(wanted, stage, "", f"{wanted.tag} is at {stage} already")
        if stage == "prod":
            _require(root, seen, wanted)
        return _move(seen, wanted, stage, reason, {"Before": now.version.name if now else "none"})

    return _settle(root, decide, push=push)


def put_away(
    root: Path, version: str, stage: str, *, push: bool = False, reason: str = ""
) -> Document:  # fmt: skip
    """Mark `version` as `archived` or `rejected`: it is not started, and no rollback chooses it.

    Raises UsageError for what stands at prod; like `assign` otherwise.
    """

    def decide(seen: View) -> Wanted | Document:
        wanted = _find(seen, version)
        now = at(seen.moves, "prod")
        if now and now.version.tag == wanted.tag:
            raise UsageError(
                f"{wanted.tag} is at prod", "Promote another version or roll back first"
            )
        if _away(seen, wanted) == stage:
            return _done(wanted, stage, "", f"{wanted.tag} is {stage} already")
        return _move(seen, wanted, stage, reason, {})

    return _settle(root, decide, push=push)


def rollback(
    root: Path, version: str | None = None, *, push: bool = False, reason: str = ""
) -> Document:  # fmt: skip
    """Put the version before, or the one that is named, back at prod.

    What was rolled back stands in the tag, so that the same command run twice, or by two people,
    goes back once; `from` in what is returned, and an output of the workflow's step, is the version
    that was rolled back. Raises UsageError where there is nothing to go back to, RaceError (24)
    where prod has moved to another version while this was decided.
    """
    first: list[Version] = []

    def decide(seen: View) -> Wanted | Document:
        now = at(seen.moves, "prod")
        if now is None:
            raise UsageError("No version stands at prod", "Use `./mainline promote VERSION`")
        if version is None and now.back_from:
            return _back(now.back_from, _done(now.version, "prod", "", (
                f"{now.version.tag} is at prod already, rolled back from {now.back_from} at "
                f"{utc(now.when)}; name a version to go further back"
            )))  # fmt: skip
        wanted = _find(seen, version) if version else before(seen.moves)
        if wanted.tag == now.version.tag:
            return _back(now.back_from, _done(wanted, "prod", "", (
                f"{wanted.tag} is at prod already"
            )))  # fmt: skip
        if away := _away(seen, wanted):
            raise UsageError(f"{wanted.tag} is {away}", "Choose another version, or promote it")
        first.append(now.version)
        if first[0].tag != now.version.tag:
            raise RaceError(
                f"{now.version.tag} came to prod while {first[0].tag} was to be rolled back",
                "Look at `./mainline history` and decide again",
            )
        _require(root, seen, wanted)
        said = {"Before": now.version.name, "Rolled-Back-From": now.version.name}
        made = _move(seen, wanted, "prod", reason, said)
        return replace(made, document=_back(now.version.name, made.document))

    done = _settle(root, decide, push=push)
    write_output({"version": done["version"], "from": done["from"]}, os.environ)
    return done


def _back(name: str, document: Document) -> Document:
    """What a rollback says, with the `name` of the version that was rolled back."""
    return {**document, "from": name}


def before(moves: list[Move]) -> Version:
    """The version that stood at prod before the one that does, less those that were put away.

    Raises UsageError where there is none.
    """
    stood = [m.version for m in moves if m.stage == "prod"]
    gone = registry.put_away(moves)
    for version in reversed(stood[:-1]):
        if version.tag != stood[-1].tag and version.name not in gone:
            return version
    raise UsageError(
        f"Before {stood[-1].tag} no version stood at prod that could be rolled back to",
        "Name one: `./mainline rollback VERSION`",
    )


def at(moves: list[Move], stage: str) -> Move | None:
    """The newest assignment to `stage`."""
    return next((m for m in reversed(moves) if m.stage == stage), None)


def history(root: Path) -> Document:
    """All registrations and assignments in order of time: who, when and why."""
    require_history(root)
    model = settings.load(root).model.name
    known, moved = registry.versions(root, model), registry.moves(root, model)
    events = [_registered(v) for v in known] + [_moved(m) for m in moved]
    # Times are of one form and zone, so text sorts as time does; in one second a version is
    # registered before it is assigned, and moves go by their number.
    events.sort(key=lambda e: (e["when"], e["count"]))
    lines = [_line(e) for e in events] or [f"Nothing of {model!r} is registered here."]
    return {"model": model, "history": events, "text": "\n".join(lines)}


def _registered(version: Version) -> Document:
    return {"when": utc(version.when), "event": "registered", "version": version.name,
            "stage": None, "count": 0, "by": version.by, "reason": version.reason,
            "back_from": None, "tag": version.tag, "commit": version.commit,
            "digest": version.digest, "pull_request": version.trailers.get("Pull-Request"),
            "accepted_by": version.trailers.get("Accepted-By"),
            "signed_by": version.trailers.get("Signed-By", "none")}  # fmt: skip


def _moved(move: Move) -> Document:
    event = "rolled back" if move.back_from else (
        move.stage if move.stage in registry.AWAY else "promoted")  # fmt: skip
    return {"when": utc(move.when), "event": event, "version": move.version.name,
            "stage": move.stage, "count": move.count, "by": move.by, "reason": move.reason,
            "back_from": move.back_from or None, "tag": move.tag,
            "commit": move.version.commit, "digest": move.version.digest}  # fmt: skip


def _line(event: Document) -> str:
    what = {
        "registered": "registered",
        "promoted": f"to {event['stage']}",
        "rolled back": f"to {event['stage']}, back from {event['back_from']}",
        "archived": "archived",
        "rejected": "rejected",
    }[event["event"]]
    why = f": {event['reason']}" if event["reason"] else ""
    return f"{event['when']}  {event['version']:<9} {what}, by {event['by'] or 'unknown'}{why}"


def utc(when: str) -> str:
    """An ISO 8601 time in UTC to the second, such as 2026-01-31T12:00:00Z; "" where it is none."""
    try:
        return datetime.fromisoformat(when).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except ValueError:
        return ""


def _find(seen: View, asked: str) -> Version:
    if not any(registry.versions_in(seen.model, seen.tags)):
        mine = registry.versions_in(seen.model, seen.only_here)
        if mine:
            raise UsageError("No version is on origin yet", "Run `./mainline register --push`")
    return registry.find_in(seen.versions, seen.model, asked)


def _require(root: Path, seen: View, version: Version) -> None:
    """Raise NotTrusted unless `version` may stand at prod, by main as origin has it where asked."""
    try:
        verify.require(root, version)
    except NotTrusted:
        if not seen.origin:
            raise
        tags.fetch_main(root)  # its merge may be newer than this clone
        verify.require(root, version)


def _away(seen: View, version: Version) -> str:
    """`archived` or `rejected` where `version` is that, else empty."""
    return registry.put_away(seen.moves).get(version.name, "")


def _move(
    seen: View, version: Version, stage: str, reason: str, said: dict[str, str]
) -> Wanted:  # fmt: skip
    """The next assignment of the model, by GTO's count."""
    tag = f"{seen.model}#{stage}#{seen.next_count}"
    trailers = {"Version": version.name, **said, "Run": message.run_address()}
    text = message.write(f"{version.tag} to {stage}", reason, trailers)
    done = _done(version, stage, tag, f"{version.tag} is at {stage} now ({tag})")
    # What was only ever assigned here would hide what origin says.
    stale = tuple(t.name for t in seen.only_here if "#" in t.name)
    return Wanted(tag, version.commit, text, done, stale)


def _done(version: Version, stage: str, tag: str, text: str) -> Document:
    return {"version": version.name, "stage": stage, "tag": tag, "changed": bool(tag),
            "text": text}  # fmt: skip


def _settle(root: Path, decide: Callable[[View], Wanted | Document], *, push: bool) -> Document:
    require_history(root)
    return tags.settle(root, settings.load(root).model.name, decide, push=push)
