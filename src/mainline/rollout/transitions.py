"""From one state of a rollout to the next. Pure but for the clock; None is no change."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from mainline.rollout.state import RUNNING, Arm, Stage, State, begun_now, held, held_anew
from mainline.verdict import Check, StepVerdict, Verdict


def begun(
    now: State,
    arm: Arm,
    plan: Sequence[Stage],
    name: str,
    limits: Mapping[str, Any],
    hold_seconds: float,
) -> State:
    """`arm` beside stable, without traffic yet. Where nothing is served it takes all of it."""
    fresh = State(generation=now.generation, stable=now.stable, plan=tuple(plan), plan_name=name,
                  limits=limits, hold_seconds=hold_seconds, started=now.generation + 1,
                  version=arm.version)  # fmt: skip
    if now.stable is None or not now.stable.port:
        return _over(fresh, arm, "promoted", "The first version has nothing to be compared with")
    return held(replace(fresh, status=RUNNING, canary=arm))


def swapped(now: State, arm: Arm, plan: Sequence[Stage], hold_seconds: float) -> State:
    """`arm` is what counts as stable, and nothing of it is served."""
    fresh = State(generation=now.generation, plan=tuple(plan), plan_name="offline",
                  hold_seconds=hold_seconds, started=now.generation + 1,
                  version=arm.version)  # fmt: skip
    return _over(fresh, arm, "settled", "It answered its golden rows, and is served nowhere")


def same_model(now: State, version: str) -> State | None:
    """`version` has the model that is stable already: the last rollout is about it now."""
    if now.stable is None or now.version == version:
        return None
    fresh = replace(now, version=version, started=now.generation + 1, canary=None, previous=None,
                    paused=None)  # fmt: skip
    arm = replace(now.stable, version=version)
    return _over(fresh, arm, "settled", "Its model is stable already")


def _over(fresh: State, arm: Arm, status: str, reason: str) -> State:
    """A rollout without stages to wait for: its plan is the last stage, and that has passed."""
    last = fresh.plan[-1:]
    verdicts = {s.name: _passed(s.name, reason).to_dict() for s in last}
    over = replace(fresh, status=status, reason="", stable=arm, plan=last, verdicts=verdicts,
                   stage=last[0].name if last else None, weight=0)  # fmt: skip
    return _warm(over, 0.0)


def _warm(state: State, seconds: float) -> State:
    """A promotion that begins now, and is guarded for so many seconds."""
    begun = begun_now(state)
    return replace(begun, warm_until=(begun.entered or 0.0) + seconds)


def _passed(stage: str, reason: str) -> StepVerdict:
    return StepVerdict(f"rollout-{stage}", (Check("promoted", Verdict.PASS, reason),))


def entered(now: State, started: int, name: str) -> State | None:
    """Traffic in the stage `name`, held from now; None where that rollout is over or paused."""
    if not now.running or now.started != started or now.paused:
        return None
    stage = next(s for s in now.plan if s.name == name)
    return held(replace(now, stage=name, weight=stage.weight))


def promoted(now: State, started: int, watched: StepVerdict) -> State | None:
    """The canary is stable, the old one stays warm as `previous`; provisional until settled."""
    if not now.running or now.started != started or now.paused:
        return None
    last = now.plan[-1].name
    passed = Check("promoted", Verdict.PASS, "All stages before passed")
    kept = StepVerdict(f"rollout-{last}", (*watched.checks, passed)).to_dict()
    over = replace(now, status="promoted", reason="", stage=last, stable=now.canary, canary=None,
                   previous=now.stable, weight=0, hold_until=None, hold_monotonic=None,
                   verdicts={**now.verdicts, last: kept})  # fmt: skip
    return _warm(over, float(now.limits.get("warm_seconds", 0.0)))


def observed(now: State, started: int) -> State | None:
    """A plan of shadow alone is over: what it saw is known, and nothing else changes."""
    if not now.running or now.started != started or now.paused:
        return None
    return replace(now, status="observed", reason="Its shadow passed", weight=0, hold_until=None,
                   hold_monotonic=None)  # fmt: skip


def rolled_back(state: State, status: str, reason: str) -> State | None:
    """The state after a rollback to stable: one way, whoever asks. None when none is running."""
    if not state.running:
        return None
    return replace(state, status=status, reason=reason, weight=0, paused=None, hold_until=None,
                   hold_monotonic=None)  # fmt: skip


def taken_back(state: State, reason: str) -> State | None:
    """After a promotion: all traffic to the version before it. None where none is warm."""
    if state.status not in ("promoted", "settled") or state.previous is None:
        return None
    return replace(state, status="rolled-back", reason=reason, stable=state.previous,
                   previous=None, canary=state.stable, warm_until=None)  # fmt: skip


def paused(state: State, by: str, reason: str) -> State | None:
    """Nobody moves a stage on, but the guard judges; its hold is counted from now."""
    if not state.running or state.paused:
        return None
    note = {"by": by, "at": time.time(), "reason": reason}
    return held_anew(replace(state, paused=note))


def resumed(state: State) -> State | None:
    """Stages may be moved on again; the hold is counted from now."""
    return held_anew(replace(state, paused=None)) if state.running and state.paused else None


def settled(state: State) -> State | None:
    """A promotion holds: the old version need not be warm any more."""
    if state.status != "promoted":
        return None
    return replace(state, status="settled", previous=None, warm_until=None)


def tidied(state: State, keep_previous: bool = False) -> State | None:
    """Versions that are over, taken out of what is served."""
    previous = state.previous if keep_previous else None
    if state.running or (state.canary is None and state.previous == previous):
        return None
    return replace(state, canary=None, previous=previous)
