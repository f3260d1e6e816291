"""The start of a rollout: a plan, a service beside the stable one, and its first answers."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from mainline.errors import RaceError, SettingsError
from mainline.rollout import plan as plans
from mainline.rollout import ready, transitions
from mainline.rollout.local import trial
from mainline.rollout.replay import replay_logged
from mainline.rollout.state import Arm, Stage, State
from mainline.rollout.steps import Answers, Place, Recorded, change, one, shown_check
from mainline.rollout.target import Target, opened
from mainline.rollout.who import who
from mainline.settings import Rollout, load
from mainline.verdict import Check, StepVerdict, Verdict

STEP = "rollout-start"
GIVE_WAY = 30.0  # seconds in which a command of a superseded version ends its wait


@dataclass(frozen=True)
class Wanted:
    """What is to be rolled out, and what is known of its answers."""

    version: str
    artifact: Path
    digest: str
    command: Sequence[str] | None
    expected: Answers | None
    golden: Sequence[Mapping[str, Any]]
    answers: Sequence[Sequence[float]] | None
    recorded: Recorded
    ready_seconds: float
    by: str


def start(
    root: Path,
    version: str,
    artifact: Path,
    digest: str,
    *,
    target: Place = None,
    policy: Rollout | None = None,
    command: Sequence[str] | None = None,
    expected: Answers | None = None,
    golden: Sequence[Mapping[str, Any]] = (),
    answers: Sequence[Sequence[float]] | None = None,
    recorded: Recorded = None,
    supersede: bool = False,
    ready_seconds: float = 90.0,
    by: str | None = None,
    rate: float | None = None,
    plan: tuple[str, str] | None = None,
    say: Callable[[str], None] | None = None,
) -> StepVerdict:
    """Start the service of `version` beside the stable one, and check it before it gets traffic.

    `artifact` is what the service loads (a Bento), `digest` its model digest in full. `command`
    overrides how it is started (an argument list; `{port}` is filled in). `expected` are offline
    answers by model digest (of the canary, and of stable where known), one list of scores a
    replayed row; `golden` rows are asked directly before any traffic, and `answers` are the offline
    answers to them (those of `expected` where not given: its first rows). `recorded` is how it
    differs from stable on held-out rows (`spread.recorded`). `supersede` aborts a rollout of
    another version first. `rate` is requests a second where it is known better than the target
    knows it; `plan` a plan's name and why, where neither settings nor rate decide. `say` gets the
    plan in one sentence before anything moves, and nothing where no service is to be started.

    The first version of all has no stable to be compared with: ready and right, it takes all
    traffic. Returns the verdict of step `rollout-start`; a version that does not get ready FAILs
    and is stopped, traffic untouched. Raises PlatformError (23), SettingsError (22), RaceError
    (24), UsageError (2).
    """
    policy = policy or load(root).rollout
    known = answers if answers is not None else (expected or {}).get(digest)
    wanted = Wanted(version, artifact, digest, command, expected, golden, known, recorded,
                    ready_seconds, by or who())  # fmt: skip
    with opened(target, root) as there, _turn(there, wanted, supersede):
        seen = there.observe()
        name, why = plan or plans.choose(policy, rate if rate is not None else seen["rate"])
        stages = plans.stages_of(policy, name)
        planned = _planned(name, why, stages, rate if rate is not None else seen["rate"])
        if name != "offline" and _served(there.read()) is None:
            planned = Check("plan", Verdict.PASS, "Nothing is served here: the first version takes "
                            "all traffic once it is ready and answers right")  # fmt: skip
        if name == "offline":
            _announce(say, planned)
            return _swap(there, wanted, policy, stages, planned, bool(seen["up"]))
        there.ensure()
        if (done := _known(there, wanted)) is not None:
            return done
        now = there.read()
        _require_room(now, supersede)
        if not _is_stable(now, wanted):
            _announce(say, planned)
        _make_room(there, wanted)
        if (done := _known(there, wanted)) is not None:  # stable, merged again during a rollout
            return done
        return _launch(there, wanted, policy, stages, name, planned)


def _announce(say: Callable[[str], None] | None, planned: Check) -> None:
    if say:
        say(planned.reason)


def _planned(name: str, why: str, stages: Sequence[Stage], rate: float | None) -> Check:
    took = plans.expected_seconds(stages, rate or 0.0)
    if not took:
        long = "a good version needs no time but its start"
    elif took < float("inf"):
        long = f"a good version needs about {plans.spoken(took)}"
    elif rate is None:
        long = "how long that takes nobody can say before requests come"
    else:
        long = "as long as no requests come it waits"
    names = ", ".join(s.name for s in stages)
    finite = took if took < float("inf") else None
    return Check("plan", Verdict.PASS, f"The plan is {name} ({names}), since {why}; {long}",
                 value=finite, unit="s")  # fmt: skip


def _known(there: Target, wanted: Wanted) -> StepVerdict | None:
    """The verdict on a version that is started or stable already; None for any other."""
    now = there.read()
    if now.running and now.canary and now.canary.digest == wanted.digest:
        # Settings may have changed since; it goes on by the plan that it was started with.
        said = f"{wanted.version} was started before, by the plan {now.plan_name}"
        return one(STEP, "started", Verdict.PASS, said)
    if now.running or not _is_stable(now, wanted):
        return None
    change(there, "unchanged", lambda s: transitions.same_model(s, wanted.version), by=wanted.by,
           version=wanted.version)  # fmt: skip
    return one(STEP, "started", Verdict.PASS, f"{wanted.version} is stable already")


def _is_stable(now: State, wanted: Wanted) -> bool:
    """Whether the model that is wanted serves as stable."""
    return bool(now.stable and now.stable.port and now.stable.digest == wanted.digest)


@contextlib.contextmanager
def _turn(there: Target, wanted: Wanted, supersede: bool) -> Iterator[None]:
    """The target for this command alone.

    Where a command of the version that is to be superseded waits there, its rollout is ended, and
    so is its wait. Raises RaceError (24) where the target does not get free.
    """
    with contextlib.ExitStack() as held:
        deadline = time.monotonic() + GIVE_WAY
        while True:
            try:
                held.enter_context(there.alone())
                break
            except RaceError:
                now = there.read()
                if not supersede or time.monotonic() >= deadline or (
                    now.running and now.version == wanted.version
                ):  # fmt: skip
                    raise
                _supersede(there, wanted)
                time.sleep(0.1)
        yield


def _supersede(there: Target, wanted: Wanted) -> None:
    """Send traffic back from the rollout of another version."""
    reason = f"Superseded by {wanted.version}"

    def back(now: State) -> State | None:
        mine = now.version == wanted.version
        return None if mine else transitions.rolled_back(now, "aborted", reason)

    change(there, "aborted", back, by=wanted.by)


def _require_room(now: State, supersede: bool) -> None:
    """Raise RaceError (24) where another version is rolled out that is not to be superseded."""
    if now.running and not supersede:
        raise RaceError(
            f"{now.version} is being rolled out",
            "Wait for it, use `--supersede`, or run `./mainline rollout abort`",
        )


def _make_room(there: Target, wanted: Wanted) -> None:
    """Send traffic back from a rollout that this one supersedes, and stop what is over."""
    if there.read().running:
        _supersede(there, wanted)
    change(there, "tidied", transitions.tidied)
    there.retire()


def _launch(
    there: Target, wanted: Wanted, policy: Rollout, stages: Sequence[Stage], name: str,
    planned: Check,
) -> StepVerdict:  # fmt: skip
    arm = there.launch(wanted.version, wanted.digest, wanted.artifact, wanted.command)
    checks = [planned, *ready.checks_of(there, arm, wanted.answers, wanted.golden,
                                        wanted.ready_seconds)]  # fmt: skip
    if all(c.verdict is Verdict.PASS for c in checks) and wanted.digest not in (
        wanted.expected or ()
    ):
        # In a rehearsal each answer is held against the offline one anyway.
        replayed = replay_logged(there, arm, _served(there.read()), wanted.artifact)
        checks += [replayed] if replayed else []
    if any(c.verdict is not Verdict.PASS for c in checks):
        there.retire()
        return _refused(there, wanted, checks)
    there.expect(wanted.expected)
    limits = {"error_budget": policy.error_budget, "latency_ms": policy.latency_ms,
              "recorded": wanted.recorded, "warm_seconds": policy.warm_seconds,
              "memory_mb": policy.memory_mb}  # fmt: skip
    first = not _served(there.read())
    begin = partial(transitions.begun, arm=arm, plan=stages, name=name, limits=limits,
                    hold_seconds=policy.hold_seconds)  # fmt: skip
    new, shown = change(there, "first" if first else "started", begin, by=wanted.by,
                        version=wanted.version, digest=wanted.digest,
                        plan=planned.reason)  # fmt: skip
    checks.append(shown_check(shown, new))
    return StepVerdict(STEP, tuple(checks), {"model": wanted.digest})


def _served(now: State) -> Arm | None:
    return now.stable if now.stable and now.stable.port else None


def _refused(there: Target, wanted: Wanted, checks: Sequence[Check]) -> StepVerdict:
    reason = next(c.reason for c in checks if c.verdict is not Verdict.PASS)
    there.record("refused", version=wanted.version, reason=reason, by=wanted.by)
    return StepVerdict(STEP, tuple(checks), {"model": wanted.digest})


def _swap(
    there: Target, wanted: Wanted, policy: Rollout, stages: Sequence[Stage], planned: Check,
    up: bool,
) -> StepVerdict:  # fmt: skip
    """Nothing stays served: the version is started here, asked, stopped, and becomes stable."""
    now = there.read()
    if up and _served(now):
        raise SettingsError(
            f"The plan offline serves nothing, and {there.address} serves {now.version}",
            "Choose another rollout.plan, or run `./mainline rollout down` first",
        )
    with trial(wanted.version, wanted.digest, wanted.artifact, wanted.command) as (place, arm):
        checks = [planned, *ready.checks_of(place, arm, wanted.answers, wanted.golden,
                                            wanted.ready_seconds)]  # fmt: skip
    if any(c.verdict is not Verdict.PASS for c in checks):
        return _refused(there, wanted, checks)
    kept = Arm(wanted.version, wanted.digest, 0, "", str(wanted.artifact))
    change(there, "swapped", lambda s: transitions.swapped(s, kept, stages, policy.hold_seconds),
           by=wanted.by, version=wanted.version, digest=wanted.digest)  # fmt: skip
    return StepVerdict(STEP, tuple(checks), {"model": wanted.digest})
