"""What goes between a command and the agent on the host: one JSON document a line, each way.

    to the agent    {"call": "confirm", "with": {"wait": 5.0}}   {"call": "ping"} (no answer)
    from it first   {"mainline": "agent/1", "house": "0123456789ab"}
    then            {"value": ...}   or   {"error": {"class", "cause", "remedy", "status"}}

Values are what JSON holds; a State and an Arm are their documents.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from mainline import errors
from mainline.errors import MainlineError
from mainline.rollout.envoy import EnvoyError
from mainline.rollout.host import HostError
from mainline.rollout.state import Arm, State, from_dict, to_dict
from mainline.rollout.target import Ask, Target, TargetError

PROTOCOL = "agent/1"
SILENCE_SECONDS = 30.0  # after which an agent that hears nothing ends
KNOWN: dict[str, type[MainlineError]] = {
    kind.__name__: kind
    for kind in (
        errors.UsageError, errors.NotMeasured, errors.DataError, errors.RemoteError,
        errors.SettingsError, errors.PlatformError, errors.RaceError, TargetError, HostError,
        EnvoyError,
    )
}  # fmt: skip
Perform = Callable[[Target, Mapping[str, Any]], Any]


def line(document: Mapping[str, Any]) -> bytes:
    """A document as one line of UTF-8."""
    return json.dumps(document, ensure_ascii=False, allow_nan=False).encode("utf-8") + b"\n"


def parse(content: bytes) -> dict[str, Any] | None:
    """The document of a line; None for anything else, such as what a login shell prints."""
    try:
        found = json.loads(content)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def error_document(error: BaseException) -> dict[str, Any]:
    """What goes over the wire of an error; one that is a bug keeps its name and text."""
    if isinstance(error, MainlineError):
        return {"class": type(error).__name__, "cause": error.cause, "remedy": error.remedy,
                "status": error.status}  # fmt: skip
    said = f"{type(error).__name__}: {error}"
    return {"class": "TargetError", "cause": f"The agent on the host failed ({said})",
            "remedy": "Look into `./mainline host logs`", "status": TargetError.status}  # fmt: skip


def error_of(document: Mapping[str, Any]) -> MainlineError:
    """The error that the agent met: its class where it is known here, always status and text."""
    kind = KNOWN.get(str(document.get("class")), MainlineError)
    if document.get("class") == "NotTrusted":
        # With it come the settings, whose import takes longer than all else of an agent's start.
        from mainline.register.trust import NotTrusted as kind
    found = kind(str(document.get("cause", "no reason")), str(document.get("remedy", "")))
    found.status = int(document.get("status", kind.status))
    return found


def arm_document(arm: Arm | None) -> dict[str, Any] | None:
    """An arm as JSON."""
    return asdict(arm) if arm else None


def _apply(target: Target, given: Mapping[str, Any]) -> Any:
    new, shown = target.apply(
        from_dict(given["old"]), from_dict(given["wanted"]), given["event"], given["notes"]
    )
    return [to_dict(new), shown]


def _launch(target: Target, given: Mapping[str, Any]) -> Any:
    from pathlib import Path

    arm = target.launch(
        given["version"], given["digest"], Path(given["artifact"]), given["command"]
    )
    return arm_document(arm)


def _ask(target: Target, given: Mapping[str, Any]) -> Any:
    return target.ask(Arm(**given["arm"]), [Ask(**q) for q in given["questions"]])


def _state(given: Mapping[str, Any]) -> State:
    return from_dict(given["state"])


# How the agent performs each call of `Target` but the lock, which is its own.
CALLS: dict[str, Perform] = {
    "ensure": lambda target, given: target.ensure(),
    "read": lambda target, given: to_dict(target.read()),
    "apply": _apply,
    "observe": lambda target, given: target.observe(),
    "confirm": lambda target, given: target.confirm(_state(given), given["wait"]),
    "launch": _launch,
    "ask": _ask,
    "ended": lambda target, given: target.ended(Arm(**given["arm"])),
    "retire": lambda target, given: target.retire(*[Arm(**a) for a in given["keep"]]),
    "expect": lambda target, given: target.expect(given["answers"]),
    "replay": lambda target, given: target.replay(
        Arm(**given["arm"]), Arm(**given["stable"]), given["rows"]
    ),
    "labels": lambda target, given: target.labels(),
    "record": lambda target, given: target.record(given["event"], **given["notes"]),
    "history": lambda target, given: target.history(),
    "down": lambda target, given: target.down(),
}
