"""The guard: beside Envoy, looks four times a second, judges, and rolls back by itself.

`python -m mainline.rollout.guard FOLDER`. What it counted is in guard.json after each look, which
is also its sign of life: a look that fails does not renew the lease.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
import traceback
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mainline.errors import MainlineError
from mainline.files import short
from mainline.rollout import actions, envoy, host, parity
from mainline.rollout.access import ArmCounts, Look, Tail, count, percentile, temper
from mainline.rollout.facts import Recorded
from mainline.rollout.join import Join
from mainline.rollout.life import Life
from mainline.rollout.pace import Pace
from mainline.rollout.predictions import Timing, Watch, load_expected
from mainline.rollout.route import cluster_name
from mainline.rollout.state import State, boot_id, read, record, seconds_in
from mainline.verdict import StepVerdict, Verdict

if TYPE_CHECKING:
    from mainline.rollout.promoted import Promotion

RUNNING_SECONDS, IDLE_SECONDS = 0.25, 0.5
CHECK_SECONDS = 1.0  # how often Envoy is asked which generation it shows
QUIET_SECONDS = 5.0  # a look that found nothing new is recorded this seldom
LONG_SECONDS = 600.0  # and so is each look of a stage that lasts
COLD_SECONDS = 5.0  # a service that has just got its first request may answer late
ROTATE_BYTES = 64 << 20


class Guard:
    """What the guard knows of the rollout that it watches."""

    def __init__(self, target: Path) -> None:
        self.target = target
        self.boot = boot_id()
        self.started: int | None = None
        self.routes: dict[str, str] = {}
        self.counts: dict[str, dict[str, ArmCounts]] = {}
        self.tries, self.tried, self.unread = 0, 0, 0
        self.mirrored: dict[str, int] | None = None
        self.excused: dict[str, int] = {}
        self.life = Life(target)
        self.access = Tail(target / "access.jsonl")
        self.watch = self._new_watch({})
        self.checked = self.recorded = 0.0
        self.told: tuple[Any, ...] = ()
        self.untold = Look()
        self.promotion: Promotion | None = None
        kept = actions.read_progress(target)
        self.pace = Pace(kept.get("rate"))
        now = read(target)
        self._resume(kept, now)
        if self.started is None:
            # What was asked and logged before belongs to counts that are gone.
            self.access.skip()
            # A guard that finds a rollout under way without its own counts came with the machine.
            # One that was here when it began saw its services ready, however soon traffic came.
            if now.running or now.provisional:
                self.life.wait()

    def _new_watch(self, limits: Any) -> Watch:
        folder = Path(os.environ.get("MAINLINE_LOG") or self.target / "predictions")
        expected = load_expected(self.target / "expected.json")
        recorded = Recorded.read(limits.get("recorded"))
        edges = recorded.edges if recorded else ()
        slow_ms = float(limits.get("latency_ms", 250.0))
        return Watch(folder, expected, slow_ms, edges, join=Join())

    def _resume(self, kept: dict[str, Any], state: State) -> None:
        # Counts of another boot began with another log of Envoy's counters: count again.
        if kept.get("boot_id") != self.boot or kept.get("started") != state.started:
            return
        with contextlib.suppress(KeyError, TypeError, ValueError):
            self.watch = self._new_watch(state.limits)
            self.watch.resume(kept["watch"])
            self.counts = {
                g: {a: ArmCounts(**c) for a, c in arms.items()}
                for g, arms in kept["counts"].items()
            }
            self.routes = kept["routes"]
            self.tries, self.tried, self.unread = kept["tries"], kept["tried"], kept["unread"]
            self.life = Life(self.target, **kept["life"])
            self.mirrored, self.excused = kept["mirrored"], kept["excused"]
            self.access = Tail(self.target / "access.jsonl", *kept["access"])
            self.started = state.started
            if state.provisional:
                from mainline.rollout import promoted

                self.promotion = promoted.resumed(kept.get("promotion"), state)

    def sign(self) -> None:
        """Renew the lease, and keep what was counted."""
        actions.write_progress(
            self.target,
            {
                "pid": os.getpid(), "at": time.monotonic(), "boot_id": self.boot,
                "started": self.started, "routes": self.routes, "tries": self.tries,
                "tried": self.tried, "unread": self.unread, "life": self.life.to_dict(),
                "mirrored": self.mirrored, "excused": self.excused,
                "access": [self.access.inode, self.access.offset],
                "counts": {g: {a: asdict(c) for a, c in arms.items()}
                           for g, arms in self.counts.items()},
                "watch": self.watch.to_dict(), "rate": self.pace.rate(),
                "promotion": self.promotion.to_dict() if self.promotion else None,
            },
        )  # fmt: skip

    def look(self) -> float:
        """One look; returns the seconds until the next."""
        state = read(self.target)
        # A plan without stages may be promoted between two looks.
        if (state.running or state.provisional) and state.started != self.started:
            self._begin(state)
        address = f"127.0.0.1:{state.canary.port}" if state.canary else None
        named = short(state.canary.digest) if state.canary else None
        looks = count(self.access.lines(), address, self.watch.slow_ms, self.watch.join, named)
        self.pace.add(sum(c.n for found in looks.values() for c in found.arms.values()))
        if returning := self.life.returning(state):
            # What fails while services come back with the machine says nothing of any model.
            looks = {}
        self._check_route(state)
        self._keep_parity(state)
        self._rotate()
        if state.provisional:
            self._follow_up(state, looks)
            return RUNNING_SECONDS
        self.promotion = None
        if not state.running or state.stage is None:
            if state.running and state.canary:
                self.life.lost(state, state.canary)  # which process it is, before traffic comes
            return IDLE_SECONDS
        self._count(state, looks)
        if returning:
            self.counts = {}
        self._decide(state, looks.get(f"gen-{state.route}", Look()))
        return RUNNING_SECONDS

    def _follow_up(self, state: State, looks: dict[str, Look]) -> None:
        """Watch a promotion, and go back to the old version while that is warm."""
        from mainline.rollout import evidence as gathered
        from mainline.rollout import promoted
        from mainline.rollout.judge import promotion

        if self.promotion is None or self.promotion.route != state.route:
            self.promotion, self.unread, self.watch.unread = promoted.begin(state), 0, 0
        assert state.stable is not None and state.previous is not None
        look = looks.get(f"gen-{state.route}", Look())
        self.promotion.add(look.arms["stable"])
        self.unread += looks[""].unread if "" in looks else 0
        self.watch.update()
        lost, fallback = self.life.lost(state, state.stable), self.life.is_there(state.previous)
        found = promoted.gather(state, self.promotion, self.watch, lost, fallback, self.unread)
        verdict = promotion(found, promoted.judged_by(state, self.promotion))
        self._record(state, look, verdict, gathered.numbers(found))
        if verdict.verdict is Verdict.FAIL:
            reason = next(c.reason for c in verdict.checks if c.verdict is Verdict.FAIL)
            actions.take_back(self.target, state, reason)
            self.life.end_leak(state)

    def _keep_parity(self, state: State) -> None:
        """See the program that holds live answers against the model running, and hear it."""
        arm = parity.wanted(self.target, state, self.watch.expected)
        self.watch.live = parity.read(self.target, arm.digest, state.started) if arm else None
        if self.watch.live is None or not self.watch.live.known:
            with contextlib.suppress(OSError, MainlineError):
                parity.keep(self.target, arm)

    def _begin(self, state: State) -> None:
        """Start counting anew for another rollout."""
        self.started, self.routes, self.counts = state.started, {}, {}
        self.tries, self.tried, self.unread = 0, 0, 0
        self.mirrored = self.promotion = None
        self.excused, self.untold = {}, Look()
        self.life.begin()
        self.watch = self._new_watch(state.limits)
        self.watch.skip()

    def _count(self, state: State, looks: dict[str, Look]) -> None:
        self.routes[str(state.stage)] = f"gen-{state.route}"
        self.unread += looks[""].unread if "" in looks else 0
        for generation, found in looks.items():
            if generation:
                arms = self.counts.setdefault(generation, _nothing())
                for arm, counts in found.arms.items():
                    if state.weight == 0:  # copies and users are timed on the service's clock
                        counts = ArmCounts(counts.n, counts.errors)
                    arms[arm].add(_warmed(counts) if self._cold(state) else counts)
        self.watch.update()
        if state.weight == 0:
            self._count_mirrored(state)

    def _count_mirrored(self, state: State) -> None:
        """Mirrored requests are in no access log: Envoy's own counts, and the service's clock."""
        assert state.canary is not None
        generation = f"gen-{state.route}"
        arms = self.counts.setdefault(generation, _nothing())
        found = envoy.health(host.ports(self.target)["admin"]).get(
            cluster_name(state.canary.digest)
        )
        if found is not None:
            now = {"n": found.total, "errors": max(found.errors, found.timeouts)}
            # The canary's cluster is new in each rollout, so its counts begin at 0.
            before = self.mirrored or dict.fromkeys(now, 0)
            for name in ("n", "errors"):
                # Counters that fell began again with a new Envoy.
                rise = now[name] - before[name] if now[name] >= before[name] else now[name]
                setattr(arms["canary"], name, getattr(arms["canary"], name) + rise)
            self.mirrored = now
        fresh = {}
        for arm, logged in (("canary", "shadow"), ("stable", "stable")):
            timing = self.watch.timings.get(f"{generation}/{logged}", Timing())
            if self._cold(state):
                self.excused[arm] = timing.slow
            excused, so_far = self.excused.get(arm, 0), arms[arm]
            slow = timing.slow - excused - so_far.slow
            timed = timing.n - excused - so_far.timed
            fresh[arm] = ArmCounts(slow=slow, timed=timed, slow_looks=int(slow > 0))
        temper(fresh)
        for arm, counts in fresh.items():
            arms[arm].add(counts)

    def _cold(self, state: State) -> bool:
        """Whether the canary has only just got its first requests: slow answers are excused."""
        return state.stage == state.plan[0].name and seconds_in(state) < COLD_SECONDS

    def _decide(self, state: State, look: Look) -> None:
        # numpy and scipy take half a second to import, which the first sign of life does not have.
        from mainline.rollout import evidence as gathered
        from mainline.rollout.judge import judge

        assert state.canary is not None
        lost = self.life.lost(state, state.canary)
        found = gathered.gather(state, self.routes, self.counts, self.watch, lost, self.unread)
        kept = state.verdicts.get(str(state.stage), {}).get("verdict")
        spending = gathered.Spending(self.tries, self.tried)
        # A stage that has passed and waits for a person spends no more alpha.
        found = spending.ask(found, kept == Verdict.PASS.value)
        self.tries, self.tried = spending.tries, spending.tried
        verdict = judge(found, gathered.limits(state))
        self._record(state, look, verdict, gathered.numbers(found))
        if verdict.verdict is Verdict.FAIL or (verdict.verdict is Verdict.PASS and kept != "PASS"):
            actions.give_verdict(self.target, state, verdict, gathered.sums(found))
        elif state.held_too_long():
            reason = f"Nobody moved the stage {state.stage} on in time"
            if held := [c.reason for c in verdict.checks if c.verdict is not Verdict.PASS]:
                reason += ": " + "; ".join(held)
            actions.roll_back(self.target, reason, "guard", wait=1.0, held=True)

    def _record(
        self, state: State, look: Look, verdict: StepVerdict, numbers: dict[str, Any]
    ) -> None:
        look = _together(self.untold, look)
        n = {a: c.n for a, c in look.arms.items()}
        now = time.monotonic()
        told = (state.generation, verdict.verdict)
        quiet = not any(n.values()) or not state.running or seconds_in(state) > LONG_SECONDS
        if told == self.told and quiet and now - self.recorded < QUIET_SECONDS:
            self.untold = look
            return
        self.told, self.recorded, self.untold = told, now, Look()
        record(
            self.target, "look", stage=state.stage if state.running else "promoted",
            weight=state.weight if state.running else 100,
            generation=state.route, verdict=verdict.verdict.value, n=n,
            errors={a: c.errors for a, c in look.arms.items()},
            slow={a: c.slow for a, c in look.arms.items()},
            p50={a: percentile(v, 0.5) for a, v in look.ms.items()},
            p99={a: percentile(v, 0.99) for a, v in look.ms.items()},
            diverted=look.diverted, **numbers,
        )  # fmt: skip

    def _check_route(self, state: State) -> None:
        """Bring up an Envoy that shows another generation than the state on disk, or would.

        A file that was written over in place is not read before Envoy starts again.
        """
        served = state.stable and state.stable.port
        if not served or time.monotonic() - self.checked < CHECK_SECONDS:
            return
        self.checked = time.monotonic()
        with contextlib.suppress(OSError, ValueError):
            written = envoy.written(self.target, state)
            if not written or not envoy.shows(host.ports(self.target), state.route):
                actions.reconcile(self.target)

    def _rotate(self) -> None:
        path = self.target / "access.jsonl"
        with contextlib.suppress(OSError, MainlineError):
            if path.exists() and path.stat().st_size <= ROTATE_BYTES:
                return
            if path.exists():
                path.replace(path.with_name("access.1.jsonl"))
            # Also one that somebody moved or deleted: Envoy would go on writing to what is no more.
            envoy.ask(host.ports(self.target)["admin"], "/reopen_logs", "POST")


def _warmed(counts: ArmCounts) -> ArmCounts:
    """`counts` of a cold service: its slow answers are not timed."""
    return ArmCounts(counts.n, counts.errors, 0, counts.timed - counts.slow)


def _together(first: Look, second: Look) -> Look:
    """Two looks as one; the counts of both stay as they are."""
    whole = Look(diverted=first.diverted + second.diverted)
    for arm in whole.arms:
        for look in (first, second):
            whole.arms[arm].add(look.arms[arm])
            whole.ms[arm] += look.ms[arm]
    return whole


def _nothing() -> dict[str, ArmCounts]:
    return {"stable": ArmCounts(), "canary": ArmCounts()}


def main(target: Path) -> None:
    """Look for ever. A look that raises, whatever it is, is reported, and is no sign of life."""
    guard = Guard(target)
    ready = False
    while True:
        pause = RUNNING_SECONDS
        try:
            began = time.monotonic()
            pause = guard.look() - (time.monotonic() - began)
            guard.sign()
            if not ready:
                # While nothing waits for it: on a busy machine it takes seconds of the lease.
                from mainline.rollout import evidence, judge, promoted  # noqa: F401

                ready = True
        except Exception:
            traceback.print_exc()
            # What was counted since the last sign is counted again.
            with contextlib.suppress(Exception):
                guard = Guard(target)
        time.sleep(max(0.02, pause))


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
