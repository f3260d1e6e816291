"""What every command of a rollout needs: a change that is tried again, and small verdicts."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mainline.errors import RaceError, UsageError
from mainline.rollout.state import State
from mainline.rollout.target import Target
from mainline.verdict import Check, StepVerdict, Verdict

Answers = Mapping[str, Sequence[Sequence[float]]]
Place = Target | Path | None
# How the new version differs from stable on the same rows: what spread.recorded gives, (mean, sd),
# or nothing.
Recorded = Mapping[str, Any] | tuple[float, float] | None
TRIES = 8  # the guard writes its verdicts between a command's reading and its writing


def change(
    target: Target, event: str, decide: Callable[[State], State | None], **notes: Any
) -> tuple[State, bool]:
    """Apply what `decide` makes of the state; (the state now, whether traffic follows it).

    `decide` returns None for no change. It is asked again with the newer state where somebody was
    faster; raises RaceError (24) where that goes on.
    """
    for left in reversed(range(TRIES)):
        old = target.read()
        wanted = decide(old)
        if wanted is None:
            return old, True
        try:
            return target.apply(old, wanted, event, notes)
        except RaceError:
            if not left:
                raise
            time.sleep(0.02)
    raise AssertionError("unreachable")


def one(step: str, name: str, verdict: Verdict, reason: str) -> StepVerdict:
    """A verdict of one check."""
    return StepVerdict(step, (Check(name, verdict, reason),))


def shown_check(shown: bool, now: State) -> Check:
    """Whether traffic was seen to follow the state."""
    name = f"generation {now.route}"
    if shown:
        return Check("route", Verdict.PASS, f"Traffic follows {name}", value=now.route)
    return Check("route", Verdict.INCONCLUSIVE, f"Traffic does not follow {name} yet",
                 value=now.route)  # fmt: skip


def verdict_of(document: Mapping[str, Any], now: State) -> StepVerdict:
    """The verdict on a stage that the state keeps."""
    checks = tuple(Check(**{**c, "verdict": Verdict(c["verdict"])}) for c in document["checks"])
    model = now.canary or now.stable
    return StepVerdict(document["step"], checks, {"model": model.digest if model else None})


def another(now: State, version: str | None) -> str | None:
    """One sentence where the last rollout is about another version than `version`, else None."""
    if version is None or _bare(version) == _bare(now.version):
        return None
    return f"The rollout here is of {now.version or 'nothing'}, not of {version}"


def _bare(version: str) -> str:
    """`1.2.0` of v1.2.0 and of model@v1.2.0."""
    return version.rpartition("@")[2].removeprefix("v")


def require_about(now: State, version: str | None) -> None:
    """Raise UsageError (2) where the last rollout is about another version than `version`."""
    if said := another(now, version):
        raise UsageError(said, "Nothing was changed; look at `./mainline rollout status`")
