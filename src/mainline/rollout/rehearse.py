"""A rehearsal: all stages in one go, against replayed rows, with real Envoy, guard and services."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mainline.rollout import host, rollout, state
from mainline.rollout.steps import Recorded
from mainline.rollout.traffic import Answers, Replay
from mainline.settings import Rollout, load
from mainline.verdict import Check, StepVerdict, Verdict

SHADOW_RATE = 100.0  # requests a second
LONGEST_LEAST = 2.0  # seconds of a stage that are waited for, whatever its min_seconds
Progress = Callable[[str, StepVerdict], None]


def rehearse(
    root: Path,
    version: str,
    artifact: Path,
    digest: str,
    *,
    rows: Sequence[Mapping[str, Any]],
    expected: Answers,
    rate: float | None = None,
    connections: int = 32,
    stage_seconds: float = 600.0,
    on_progress: Progress | None = None,
    target: Path | None = None,
    policy: Rollout | None = None,
    command: Sequence[str] | None = None,
    recorded: Recorded = None,
    golden: int = rollout.GOLDEN,
) -> list[StepVerdict]:
    """Start `version` and take it through all stages under replayed traffic.

    `rows` are held-out rows (feature dictionaries) and `expected` their offline answers by model
    digest, in the same order. `rate` is requests a second (None: as fast as they are answered). A
    stage without a PASS within `stage_seconds` ends the rehearsal with a rollback. `on_progress`
    gets the name and verdict of each step as it ends. The first `golden` rows are asked before any
    traffic.

    Returns the verdicts in order; the last, `rollout-traffic`, is what the client itself saw. Other
    arguments and errors are those of rollout.start.
    """
    found: list[StepVerdict] = []

    def note(verdict: StepVerdict) -> Verdict:
        found.append(verdict)
        if on_progress:
            on_progress(verdict.step, verdict)
        return verdict.verdict

    where = rollout.target_folder(root, target)
    policy = shortened(policy or load(root).rollout)
    begun = rollout.start(
        root, version, artifact, digest, target=where, policy=policy, command=command,
        expected=expected, golden=rows[:golden], recorded=recorded, by="rehearsal",
        supersede=True, rate=rate or SHADOW_RATE,
    )  # fmt: skip
    if note(begun) is not Verdict.PASS or state.read(where).plan_name == "offline":
        return found
    first = not state.read(where).running
    with Replay(host.url(where), rows, expected, rate=rate, connections=connections) as traffic:
        if first:
            time.sleep(0.3)
        else:
            _stages(root, where, note, stage_seconds, traffic)
        totals = traffic.stop()
    rollout.tidy(root, target=where)
    note(seen_by_client(totals.sent, totals.lost, totals.wrong, totals.compared, totals.codes))
    return found


def shortened(policy: Rollout) -> Rollout:
    """`policy` with short least times: replayed rows say the same after a minute as after a day."""
    stages = tuple(
        s.model_copy(update={"min_seconds": min(s.min_seconds, LONGEST_LEAST)})
        for s in policy.stages
    )
    return policy.model_copy(update={"stages": stages})


def _stages(
    root: Path,
    target: Path,
    note: Callable[[StepVerdict], Verdict],
    seconds: float,
    traffic: Replay,
) -> None:
    rate = traffic.rate
    for stage in state.read(target).plan:
        # Nobody waits for the answer to a mirrored request, so nothing but the rate keeps a mirror
        # from overloading the canary.
        traffic.rate = rate if stage.weight else min(rate or SHADOW_RATE, SHADOW_RATE)
        verdict = note(rollout.stage(root, stage.name, seconds, target=target, by="rehearsal"))
        if verdict is Verdict.PASS:
            continue
        if verdict is Verdict.INCONCLUSIVE:
            rollout.abort(root, f"No verdict on {stage.name} in time", target=target)
        return


def seen_by_client(
    sent: int, lost: int, wrong: int, compared: int, codes: Mapping[int, int]
) -> StepVerdict:
    """What the client saw, as a verdict: a lost request is a FAIL of the rollout itself.

    Failed and wrong answers are the price of a canary that was caught: they are shown, and are the
    judge's business.
    """
    failed = sum(n for code, n in codes.items() if code >= 500)
    verdict = Verdict.FAIL if lost else Verdict.PASS if sent else Verdict.INCONCLUSIVE
    return StepVerdict(
        "rollout-traffic",
        (Check("traffic", verdict, f"{sent} requests sent, {lost} lost, {failed} failed, {wrong} "
               f"of {compared} compared answers wrong", value=lost, limit=0, n=sent),),
    )  # fmt: skip
