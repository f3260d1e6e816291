"""Stage by stage: traffic is moved, the guard's verdict is waited for, the last stage promotes."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from mainline.errors import MainlineError, UsageError
from mainline.rollout import transitions
from mainline.rollout.state import Stage, State
from mainline.rollout.steps import Place, change, one, require_about, shown_check, verdict_of
from mainline.rollout.target import Target, opened
from mainline.rollout.who import who
from mainline.settings import load
from mainline.verdict import StepVerdict, Verdict

START = "Start with `./mainline rollout start VERSION`"
# The jobs of deploy.yml ask for these whatever the plan is.
USUAL = ("shadow", "canary-5", "canary-25", "canary-50", "promote")


def stage(
    root: Path,
    name: str,
    timeout: float | None = None,
    *,
    target: Place = None,
    version: str | None = None,
    by: str | None = None,
) -> StepVerdict:
    """Move traffic to the stage `name` and wait for the guard's verdict on it.

    Called again for the stage that traffic is in, it moves nothing and waits on. Without a verdict
    within `timeout` seconds (None: until the stage's hold is over) the answer is INCONCLUSIVE and
    traffic stays where it is; so it is while the rollout is paused. After a FAIL traffic is back at
    stable before this returns. The last stage promotes (one of weight 0 ends the rollout). A stage
    of deploy.yml or of params.yaml that is not in this plan is a PASS that changes nothing.

    Raises UsageError (2) for a stage that is unknown or out of order, and where the rollout is not
    about `version`.
    """
    with opened(target, root) as there, there.alone():
        now = _running(there)
        require_about(now, version)
        names = [s.name for s in now.plan]
        if name not in names:
            return _elsewhere(root, now, name)
        if not now.running:
            return _after(there, now, name)
        if (past := _past(now, name)) is not None:
            return past
        _in_order(now, name)
        if name == names[-1]:
            return _last(there, now, timeout, by or who())
        moved = _move(there, now, name, by or who())
        return moved or _wait(there, name, timeout)


def promote(
    root: Path,
    *,
    timeout: float | None = None,
    target: Place = None,
    version: str | None = None,
    by: str | None = None,
) -> StepVerdict:
    """The last stage: all traffic to the canary, which becomes stable; the old one stays warm.

    A plan of shadow alone has none: that is a PASS, and nothing is promoted.
    """
    with opened(target, root) as there:
        plan = there.read().plan
        last = plan[-1] if plan else None
        name = last.name if last and last.weight else "promote"
        return stage(root, name, timeout, target=there, version=version, by=by)


def _running(there: Target) -> State:
    now = there.read()
    if now.stable is None:
        raise UsageError("Nothing is rolled out", START)
    if now.running:
        there.ensure()
    return now


def _elsewhere(root: Path, now: State, name: str) -> StepVerdict:
    """A stage of another plan passes; a word that is no stage at all is a mistake."""
    try:
        known = [s.name for s in load(root).rollout.stages]
    except MainlineError:
        known = []
    plan = ", ".join(s.name for s in now.plan)
    if name not in (*known, *USUAL):
        raise UsageError(f"{name!r} is no stage of this plan", f"Use {plan}")
    reason = f"{name} is not in this plan ({now.plan_name}: {plan})"
    return one(f"rollout-{name}", "plan", Verdict.PASS, reason)


def _past(now: State, name: str) -> StepVerdict | None:
    """The verdict on a stage that traffic has left for a later one: a job that is run again."""
    names = [s.name for s in now.plan]
    behind = now.stage in names and names.index(name) < names.index(now.stage)
    return verdict_of(now.verdicts[name], now) if behind and name in now.verdicts else None


def _in_order(now: State, name: str) -> None:
    names = [s.name for s in now.plan]
    at = names.index(now.stage) if now.stage in names else -1
    if names.index(name) == at:
        return
    passed = at < 0 or now.verdicts.get(names[at], {}).get("verdict") == "PASS"
    if names.index(name) != at + 1 or not passed:
        turn = names[at + 1] if passed else names[at]
        raise UsageError(f"The stage {name} is out of order", f"It is the turn of {turn}")


def _move(there: Target, now: State, name: str, by: str) -> StepVerdict | None:
    """Move traffic to the stage; a verdict where that did not work, None where it did."""
    if now.stage == name:
        return None
    enter = partial(transitions.entered, started=now.started, name=name)
    new, shown = change(there, "stage", enter, by=by)
    if new.paused:
        return _paused(new, name)
    if new.stage == name and not shown:
        return StepVerdict(f"rollout-{name}", (shown_check(shown, new),))
    return None


def _paused(now: State, name: str) -> StepVerdict:
    note = now.paused or {}
    why = f": {note['reason']}" if note.get("reason") else ""
    return one(f"rollout-{name}", "paused", Verdict.INCONCLUSIVE,
               f"Paused by {note.get('by', 'somebody')}{why}")  # fmt: skip


def _wait(there: Target, name: str, timeout: float | None) -> StepVerdict:
    deadline = None if timeout is None else time.monotonic() + timeout
    pause = 0.05
    while True:
        now = there.read()
        if not now.running:
            there.confirm(now, 5.0)  # the state is written before traffic has followed it
            return _after(there, now, name)
        found = now.verdicts.get(name, {})
        if found.get("verdict") == Verdict.PASS.value:
            return verdict_of(found, now)
        if deadline is not None and time.monotonic() >= deadline:
            return _held(there, name, timeout or 0.0)
        time.sleep(pause)
        pause = min(0.25, pause * 1.1)  # a target far away is not asked twenty times a second


def _held(there: Target, name: str, timeout: float) -> StepVerdict:
    looks = [e for e in there.history() if e.get("event") == "look"]
    seen = looks[-1]["total"]["canary"] if looks else 0
    return one(f"rollout-{name}", "verdict", Verdict.INCONCLUSIVE,
               f"No verdict within {timeout:g} s ({seen} canary requests in all)")  # fmt: skip


def _after(there: Target, now: State, name: str) -> StepVerdict:
    """The verdict on a stage of a rollout that is over."""
    found = now.verdicts.get(name, {})
    good = now.status in ("promoted", "settled", "observed")
    if good and found.get("verdict") == Verdict.PASS.value:
        return verdict_of(found, now)
    if found.get("verdict") == Verdict.FAIL.value:
        return verdict_of(found, now)
    if now.status in ("rolled-back", "aborted"):
        return one(f"rollout-{name}", "rollback", Verdict.FAIL,
                   f"The rollout was ended: {now.reason}")  # fmt: skip
    raise UsageError("No rollout is under way", START)


def _last(there: Target, now: State, timeout: float | None, by: str) -> StepVerdict:
    last = now.plan[-1]
    watched = StepVerdict(f"rollout-{last.name}", ())
    if now.paused and now.stage != last.name:
        return _paused(now, last.name)
    if _watched(last):
        watched = _move(there, now, last.name, by) or _wait(there, last.name, timeout)
        if watched.verdict is not Verdict.PASS:
            return watched
    end: Callable[[State], State | None]
    if last.weight:
        event, end = "promoted", partial(transitions.promoted, started=now.started, watched=watched)
    else:
        event, end = "observed", partial(transitions.observed, started=now.started)
    new, shown = change(there, event, end, by=by)
    if new.paused:
        return _paused(new, last.name)
    if new.status != event:
        return _after(there, new, last.name)
    model: dict[str, Any] = {"model": new.stable.digest if new.stable else None}
    return StepVerdict(watched.step, (*watched.checks, shown_check(shown, new)), model)


def _watched(last: Stage) -> bool:
    """Whether the guard judges the last stage before it is over."""
    return bool(last.requests or last.min_seconds or not last.weight)
