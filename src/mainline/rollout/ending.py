"""How a rollout ends or waits: abort, rollback, pause, resume, settle, and what is left over."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from mainline.errors import NotMeasured, UsageError
from mainline.rollout import ready, transitions
from mainline.rollout.envoy import EnvoyError
from mainline.rollout.state import Arm, State, warm_left
from mainline.rollout.steps import Place, another, change, one, require_about
from mainline.rollout.target import Ask, Target, opened
from mainline.rollout.who import who
from mainline.verdict import Check, StepVerdict, Verdict

READY_SECONDS = 90.0
MATURITY = "maturity"  # of labels: before that, time does not settle
Labels = Callable[[State], StepVerdict | None]


def abort(
    root: Path,
    reason: str = "Aborted by hand",
    *,
    target: Place = None,
    version: str | None = None,
    by: str | None = None,
) -> dict[str, Any]:
    """Send all traffic to stable now; returns what `status` does, and `text`. May be called again.

    Takes no part in the order of commands: it works while a `stage` waits. A rollout of another
    version than `version`, or none at all, is left alone. Raises UsageError (2) where a person asks
    it of a promotion; a job that names its `version` is told so, and changes nothing.
    """
    with opened(target, root) as there:
        seen = [there.read()]

        def back(now: State) -> State | None:
            # Asked of what is there now: another version's rollout may have begun meanwhile.
            seen.append(now)
            other = another(now, version)
            return None if other else transitions.rolled_back(now, "aborted", reason)

        new, shown = change(there, "aborted", back, by=by or who())
        if said := another(new, version):
            return {**there.observe(), "text": f"{said}: nothing was changed"}
        if new.provisional:
            return {**there.observe(), "text": _promoted_already(new, version)}
        if not any(now.running for now in seen):
            return {**there.observe(), "text": "No rollout was under way: nothing was changed"}
        followed = "traffic follows" if shown else "traffic does not follow yet, and will"
        stable = new.stable.version if new.stable else "stable"
        text = f"{new.version} is aborted, all traffic goes to {stable} ({followed})"
        return {**there.observe(), "text": text}


def _promoted_already(now: State, version: str | None) -> str:
    """What a job is told of a promotion; UsageError for a person, who wants it back."""
    assert now.previous is not None
    said, old = f"{now.version} is promoted already", now.previous.version
    if version is None:
        raise UsageError(said, f"Run `./mainline rollback`: its traffic goes back to {old}")
    return f"{said}: nothing was changed; `./mainline rollback` takes it back to {old}"


def rollback(
    root: Path,
    *,
    target: Place = None,
    by: str | None = None,
    reason: str = "Rolled back by hand",
) -> dict[str, Any]:
    """After a promotion: all traffic to the model before it, which is still warm.

    During a rollout it is an abort. Raises NotMeasured (12) where there is no earlier model, or it
    does not start any more.
    """
    with opened(target, root) as there:
        if there.read().running:
            return abort(root, reason, target=there, by=by)
        shown = take_back(there, reason, by or who())
        if shown is None:
            raise NotMeasured("No earlier model is there", "Start a rollout of the version wanted")
        if not shown:
            raise EnvoyError(
                "Traffic does not follow the rollback yet", "Run `./mainline rollout status`"
            )
        return there.observe()


def take_back(there: Target, reason: str, by: str) -> bool | None:
    """All traffic to the version before; whether it followed, None where there is none to go to.

    One that is not warm any more is started again from its artifact, and gets no traffic before it
    is ready and answers for its own model.
    """
    before = there.read()
    if before.previous is None or not _warm(there, before.previous):
        return None
    back = partial(transitions.taken_back, reason=reason)
    new, shown = change(there, "rolled-back", back, by=by)
    return shown if new.generation != before.generation else None


def _warm(there: Target, arm: Arm) -> bool:
    if there.ask(arm, [Ask("/readyz")])[0][0] == 200:
        return True
    there.launch(arm.version, arm.digest, Path(arm.artifact))
    checks = ready.checks_of(there, arm, None, (), READY_SECONDS)
    return all(c.verdict is Verdict.PASS for c in checks)


def pause(
    root: Path, reason: str = "", *, target: Place = None, by: str | None = None
) -> dict[str, Any]:
    """Nobody moves a stage on until `resume`; the guard judges, and rolls back, all the same.

    The time for which the stage may be held counts anew from now, and is not stopped.
    """
    name = by or who()
    with opened(target, root) as there:
        step = partial(transitions.paused, by=name, reason=reason)
        now, _ = change(there, "paused", step, by=name, why=reason)
        if not now.running:
            raise UsageError("No rollout is under way", "There is nothing to pause")
        assert now.paused is not None
        until = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(now.hold_until))
        text = f"{now.version} is paused by {now.paused['by']}; at {until} it is rolled back"
        return {**there.observe(), "text": text}


def resume(root: Path, *, target: Place = None, by: str | None = None) -> dict[str, Any]:
    """Stages may be moved on again."""
    with opened(target, root) as there:
        now, _ = change(there, "resumed", transitions.resumed, by=by or who())
        if not now.running:
            raise UsageError("No rollout is under way", "There is nothing to resume")
        return {**there.observe(), "text": f"{now.version} goes on"}


def settle(
    root: Path,
    *,
    target: Place = None,
    version: str | None = None,
    by: str | None = None,
    labels: Labels | None = None,
) -> StepVerdict:
    """Whether a promotion holds: PASS ends its guarded time, FAIL takes it back, else it goes on.

    It holds when its warm time is over, labels are due, and what `labels` says (a verdict on those
    that came since, None where no place of labels is set) is not a FAIL. The old version is stopped
    then. Raises UsageError (2) where nothing was promoted, or another version than `version`.
    """
    with opened(target, root) as there, there.alone():
        now = there.read()
        require_about(now, version)
        if now.status == "settled":
            there.retire()
            return one("rollout-settle", "settled", Verdict.PASS, f"{now.version} is settled")
        if now.status in ("rolled-back", "aborted"):
            reason = f"{now.version} was taken back: {now.reason}"
            return one("rollout-settle", "settled", Verdict.FAIL, reason)
        if now.status == "observed":
            reason = f"{now.version} was only observed: there is nothing to settle"
            return one("rollout-settle", "settled", Verdict.PASS, reason)
        if now.status != "promoted":
            raise UsageError("No promotion is to be settled", "Promote a version first")
        # By the host's own clock. A host whose house is older than this does not say.
        left = float(there.observe().get("warm_left", warm_left(now)))
        checks = _settling(now, left, labels)
        verdict = StepVerdict("rollout-settle", tuple(checks))
        return _settled(there, now, verdict, by or who())


def _settling(now: State, left: float, labels: Labels | None) -> list[Check]:
    """The checks of a promotion of which `left` seconds of guarded time are left."""
    if left > 0:
        checks = [Check("warm", Verdict.INCONCLUSIVE,
                        f"The old version is kept warm for {left:.0f} s more", value=left,
                        unit="s")]  # fmt: skip
    else:
        checks = [Check("warm", Verdict.PASS, "The guarded time is over")]
    judged = labels(now) if labels else None
    if judged is None:
        said = "No place of labels is set, so time alone settles"
        return [*checks, Check("labels", Verdict.PASS, said)]
    over = left <= 0
    for check in judged.checks:
        # Labels that have not come once they are due are no reason to keep it open for ever.
        held = check.verdict is Verdict.FAIL or not over or check.name == MATURITY
        verdict = check.verdict if held else Verdict.PASS
        checks.append(Check(check.name, verdict, check.reason, check.value, check.low, check.high,
                            check.limit, check.n, check.unit, check.scope))  # fmt: skip
    return checks


def _settled(there: Target, now: State, verdict: StepVerdict, by: str) -> StepVerdict:
    if verdict.verdict is Verdict.FAIL:
        reason = next(c.reason for c in verdict.checks if c.verdict is Verdict.FAIL)
        shown = take_back(there, reason, by)
        said = {
            True: "traffic is back at the old version",
            False: "traffic goes back to the old version",
            None: "there is no older version to go back to",
        }[shown]
        back = Check("rollback", Verdict.FAIL, said)
        return StepVerdict(verdict.step, (*verdict.checks, back))
    if verdict.verdict is Verdict.PASS:
        new, _ = change(there, "settled", _same(now, transitions.settled), by=by)
        if new.status == "settled":
            there.retire()
    return verdict


def _same(seen: State, step: Callable[[State], State | None]) -> Callable[[State], State | None]:
    """`step`, unless another rollout or a rollback came in between."""
    return lambda now: step(now) if now.started == seen.started else None


def tidy(root: Path, *, target: Place = None) -> None:
    """Stop the services of versions that are over: a canary that was rolled back. May be repeated.

    The model before the last promotion stays warm until it is settled or the next rollout starts.
    """
    with opened(target, root) as there:
        now = there.read()
        if not now.running and now.canary:
            change(there, "tidied", partial(transitions.tidied, keep_previous=True))
            there.retire()
