"""Changes of what is served. Each takes the lock, swaps the state, then brings Envoy to it.

The state is the intent and is on disk first: whoever finds Envoy behind it (the guard looks four
times a second) brings it up again, so a change that is killed half-way is finished by the next.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from mainline.errors import DataError
from mainline.files import write_json
from mainline.rollout import envoy, host
from mainline.rollout.state import State, locked, read, record, swap
from mainline.rollout.transitions import rolled_back, taken_back
from mainline.verdict import StepVerdict, Verdict

LEASE_SECONDS = 3.0
BACK = ("rolled-back", "aborted")


def change(
    target: Path,
    event: str,
    decide: Callable[[State], State | None],
    wait: float = 15.0,
    **notes: Any,
) -> tuple[State, bool]:
    """Apply `decide` to the state under the lock; (the state now, whether Envoy shows it).

    `decide` returns the wanted state, or None for no change. When weights or clusters differ the
    route gets a new generation, which Envoy validates before anything is written, except on the
    way back to one model: a rollback must not hang on a check. Nor on a full disk: it may use what
    was kept in reserve. Raises RaceError (24) when the lock is not free within `wait` seconds.
    """
    try:
        return _changed(target, event, decide, wait, notes)
    except (OSError, DataError):
        if event not in BACK or not host.use_reserve(target):
            raise
        new, shown = _changed(target, event, decide, wait, notes)
        # The first attempt may have got as far as the state, and no further.
        return new, shown and reconcile(target)


def _changed(
    target: Path,
    event: str,
    decide: Callable[[State], State | None],
    wait: float,
    notes: Mapping[str, Any],
) -> tuple[State, bool]:
    with locked(target, wait=wait):
        old = read(target)
        wanted = decide(old)
        if wanted is None:
            return old, True
        moved = _serves(wanted) != _serves(old)
        if moved:
            wanted = replace(wanted, route=old.generation + 1)
            if wanted.running:
                envoy.validate(*envoy.compiled(wanted))
        new = swap(target, old, wanted)
        try:
            _recorded(target, event, generation=new.generation, stage=new.stage or old.stage,
                      weight=new.weight, status=new.status, reason=new.reason, **notes)  # fmt: skip
        finally:
            served = moved and new.stable is not None and new.stable.port
            shown = envoy.apply(target, host.ports(target), new) if served else True
        return new, shown


def _recorded(target: Path, event: str, **values: Any) -> None:
    """Append to the record; on a full disk the way back is in it, too.

    The state is written by then, so a second `_changed` would find nothing to change, or to record.
    """
    try:
        record(target, event, **values)
    except OSError:
        if event not in BACK or not host.use_reserve(target):
            raise
        record(target, event, **values)


def _serves(state: State) -> tuple[Any, ...]:
    live = state.running and state.stage is not None
    served = [a if a and a.port else None for a in (state.stable, state.canary, state.previous)]
    return (*served, live, state.weight if live else 0)


def reconcile(target: Path) -> bool:
    """Bring Envoy to the state on disk when it shows another; True when it shows it now."""
    # Both waits together are shorter than the guard's lease.
    with locked(target, wait=0.5):
        state = read(target)
        if not state.stable or not state.stable.port:
            return True
        return envoy.apply(target, host.ports(target), state, wait=1.5)


def roll_back(
    target: Path,
    reason: str,
    by: str,
    status: str = "rolled-back",
    wait: float = 15.0,
    **notes: Any,
) -> tuple[State, bool]:
    """Send all traffic to stable now. Idempotent; `by` is guard, watcher or a person.

    `notes` go to the record, such as `held=True` where no fault was found.
    """
    return change(target, status, lambda s: rolled_back(s, status, reason), wait, by=by, **notes)


def give_verdict(
    target: Path, state: State, verdict: StepVerdict, looks: tuple[Mapping[str, Any], ...]
) -> None:
    """Keep the verdict on the stage of `state`; a FAIL rolls back in the same change."""

    def decide(now: State) -> State | None:
        # A verdict on a stage that is over is about nothing.
        if not now.running or now.stage != state.stage or now.route != state.route:
            return None
        verdicts = {**now.verdicts, str(now.stage): verdict.to_dict()}
        kept = replace(now, verdicts=verdicts, looks=looks)
        if verdict.verdict is not Verdict.FAIL:
            return kept
        reason = next(c.reason for c in verdict.checks if c.verdict is Verdict.FAIL)
        return rolled_back(kept, "rolled-back", reason)

    failed = verdict.verdict is Verdict.FAIL
    change(target, "rolled-back" if failed else "verdict", decide, 1.0, by="guard",
           verdict=verdict.verdict.value)  # fmt: skip


def take_back(target: Path, state: State, reason: str) -> None:
    """After a promotion: all traffic to the old, warm version, unless `state` is over."""

    def decide(now: State) -> State | None:
        return taken_back(now, reason) if now.started == state.started else None

    change(target, "rolled-back", decide, 1.0, by="guard")


def write_progress(target: Path, document: Mapping[str, Any]) -> None:
    """The guard's lease and counts, renamed into place without a sync: a lost one is recounted."""
    path = target / "guard.json"
    temporary = target / ".tmp-guard.json"
    temporary.write_text(json.dumps(document), "utf-8")
    temporary.replace(path)


def read_progress(target: Path) -> dict[str, Any]:
    """What write_progress wrote last; empty where there is nothing to be read."""
    try:
        found = json.loads((target / "guard.json").read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def lease_left(progress: Mapping[str, Any], boot: str, now: float | None = None) -> float:
    """Seconds for which the guard's last sign of life is good; negative when it is over.

    On the monotonic clock of this boot; a lease of another boot is over.
    """
    if progress.get("boot_id") != boot or not isinstance(progress.get("at"), int | float):
        return -1.0
    return float(progress["at"]) + LEASE_SECONDS - (time.monotonic() if now is None else now)


def keep_expected(target: Path, expected: Mapping[str, Any] | None) -> None:
    """Write the offline answers that the guard holds served ones against."""
    path = target / "expected.json"
    if expected is None:
        path.unlink(missing_ok=True)
    else:
        write_json(path, dict(expected))
