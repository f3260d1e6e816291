"""Errors and latency of a canary: shares of bad requests, canary against stable. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from mainline import eprocess
from mainline.rollout.access import ArmCounts
from mainline.rollout.facts import Evidence, StageCounts
from mainline.verdict import Check, Verdict

FIRES = math.log(eprocess.FIRES)
ALPHA = 0.01  # of all upper bounds together
TRIES = 20  # how often a bound may be asked; ALPHA is spent evenly over them
GROWTH = 1.25  # a bound is asked again when there are a quarter more canary requests
RELATIVE, FLOOR = 2.0, 0.002  # the canary may fail twice as often as stable, counted from 0.2%
LOOKS = 4  # a burst of slow requests that ends within a second is the machine's


def due(canary_requests: int, last_tried: int, tries: int, minimum: int) -> bool:
    """Whether the upper bounds may be asked now: at most TRIES times, at growing numbers."""
    return (
        tries < TRIES
        and canary_requests >= max(1, minimum)
        and canary_requests >= GROWTH * last_tried
    )


@dataclass(frozen=True)
class Rates:
    """Bad requests: x of n canary and y of m stable ones, and the evidence in them.

    `log_e` is against the canary, over all stages; all else, `log_reverse` and `upper` for it and
    `log_stable` against stable, is of users' requests only: what answers copies well and users
    badly would hide behind the copies.
    """

    x: int
    n: int
    y: int
    m: int
    log_e: float
    log_reverse: float
    log_stable: float
    upper: float

    def check(self, name: str, what: str, budget: float, verdict: Verdict, why: str) -> Check:
        """The check `name` with its numbers."""
        reason = f"{self.x} of {self.n} canary and {self.y} of {self.m} stable requests {what}"
        return Check(
            name, verdict, f"{reason}: {why}", value=self.x / self.n if self.n else None,
            high=self.upper, limit=budget, n=self.n, unit="share",
        )  # fmt: skip

    @property
    def relative(self) -> float:
        """The stable arm's rate."""
        return self.y / self.m if self.m else 0.0


def rates(stages: Sequence[StageCounts], slow: bool) -> Rates:
    """What `stages` say of slow requests, or of failed ones."""
    # The canary's share is in no doubt where users are: mirrored copies are no users.
    users = [s for s in stages if s.weight > 0] or list(stages)
    x, n, y, m = _arrays(users, slow)
    ours, theirs, p = _events(users, slow)
    return Rates(
        sum(x), sum(n), sum(y), sum(m),
        eprocess.log_e_restarted(*_events(stages, slow)),
        eprocess.log_e_reverse(ours, theirs, p),
        eprocess.log_e_restarted(theirs, ours, [1 - v for v in p]),
        upper_bound(sum(x), sum(n), ALPHA / TRIES),
    )  # fmt: skip


def errors(evidence: Evidence, budget: float) -> Check:
    """The share of failed requests: canary against stable, and against the budget."""
    r, now = rates(evidence.stages, slow=False), evidence.stages[-1]

    def check(verdict: Verdict, why: str) -> Check:
        better = "; stable is the bad one" if r.log_stable >= FIRES else ""
        return r.check("errors", "failed", budget, verdict, why + better)

    if r.log_e >= FIRES:
        return check(Verdict.FAIL, f"evidence e = {_e(r.log_e)} against the canary, limit 20")
    if not now.canary.n:
        return check(Verdict.INCONCLUSIVE, "no data")
    if now.weight == 0:
        return check(Verdict.PASS, f"no evidence against the canary (e = {_e(r.log_e)})")
    if not _enough(now):
        return check(Verdict.INCONCLUSIVE, "too few requests of both arms so far")
    if _outage(now, budget):
        return check(Verdict.INCONCLUSIVE, "both arms are over the budget: an outage")
    if r.log_reverse >= FIRES:
        return check(
            Verdict.PASS, f"evidence e = {_e(r.log_reverse)} that the risk is below double"
        )
    inside = r.upper < budget and r.x / r.n <= RELATIVE * max(r.relative, FLOOR)
    if evidence.due and inside:
        return check(Verdict.PASS, f"the upper bound {r.upper:.4f} is inside the budget")
    return check(Verdict.INCONCLUSIVE, f"not decided yet (e = {_e(r.log_e)}, bound {r.upper:.4f})")


def latency(evidence: Evidence, budget: float, slow_ms: float) -> Check:
    """The share of requests slower than the objective, which has a budget too.

    Slow requests come in bursts: when the machine holds a process for a moment, all that it was
    working on is late, and such requests are no independent witnesses: one look counts for a few of
    them at most (`access.temper`). A FAIL also needs the canary's share surely over the budget,
    more than twice stable's, and slow requests in more than LOOKS looks. Inside the budget a canary
    may be slower than stable.
    """
    r, now = rates(evidence.stages, slow=True), evidence.stages[-1]
    bad, total, stable_bad, stable_total = map(sum, _arrays(evidence.stages, slow=True))

    def check(verdict: Verdict, why: str) -> Check:
        return r.check("latency", f"took more than {slow_ms:g} ms", budget, verdict, why)

    if not total:
        return check(Verdict.INCONCLUSIVE, "no data")
    stable = stable_bad / stable_total if stable_total else 0.0
    over = lower_bound(int(bad), int(total), ALPHA) > budget and bad / total > RELATIVE * stable
    over = over or (lower_bound(r.x, r.n, ALPHA) > budget and r.x / r.n > RELATIVE * r.relative)
    if r.log_e >= FIRES and over:
        lasts = sum(s.canary.slow_looks for s in evidence.stages) > LOOKS
        why = f"evidence e = {_e(r.log_e)} against the canary, limit 20"
        return check(Verdict.FAIL if lasts else Verdict.INCONCLUSIVE, why)
    if now.weight == 0 and not over:
        return check(Verdict.PASS, f"not surely over the budget (e = {_e(r.log_e)})")
    if now.weight == 0:
        return check(Verdict.INCONCLUSIVE, f"over the budget, a burst or more (e = {_e(r.log_e)})")
    if not _enough(now):
        return check(Verdict.INCONCLUSIVE, "too few requests of both arms so far")
    # Users only: a canary that is quick on copies and slow for users would hide behind the copies.
    seen = max(_slow_share([now]), _slow_share([s for s in evidence.stages if s.weight > 0]))
    if seen <= budget:
        return check(Verdict.PASS, f"the share {seen:.4f} is inside the budget")
    if r.log_reverse >= FIRES:
        return check(Verdict.PASS, f"evidence e = {_e(r.log_reverse)} that it is below double")
    return check(Verdict.INCONCLUSIVE, f"over the budget, e = {_e(r.log_e)} against the canary")


def watched(name: str, what: str, bad: int, n: int, log_e: float, budget: float) -> Check:
    """A promotion has no stable beside it: the share `bad` of `n` against the budget alone."""
    reason = f"{bad} of {n} requests {what}"
    value = bad / n if n else None
    if log_e >= FIRES:
        why = f"evidence e = {_e(log_e)} that it is over the budget, limit 20"
        return Check(name, Verdict.FAIL, f"{reason}: {why}", value, limit=budget, n=n, unit="share")
    verdict = Verdict.PASS if n else Verdict.INCONCLUSIVE
    why = f"no evidence that it is over the budget (e = {_e(log_e)})" if n else "no data"
    return Check(name, verdict, f"{reason}: {why}", value, limit=budget, n=n, unit="share")


def _slow_share(stages: Sequence[StageCounts]) -> float:
    """The share of slow answers of the canary in `stages`; 1 where none was timed."""
    timed = sum(s.canary.timed for s in stages)
    return sum(s.canary.slow for s in stages) / timed if timed else 1.0


def _outage(now: StageCounts, budget: float) -> bool:
    """Whether both arms are surely over the budget: then they do not tell the models apart."""
    return all(lower_bound(a.errors, a.n, ALPHA) > budget for a in (now.canary, now.stable))


def _enough(now: StageCounts) -> bool:
    """Whether both arms answered users enough in this very stage; at 100% there is but one."""
    return now.canary.n >= max(1, now.requests) and (now.weight == 100 or now.stable.n > 0)


def _arrays(
    stages: Sequence[StageCounts], slow: bool
) -> tuple[list[int], list[int], list[int], list[int]]:
    """Bad ones and all, of the canary and of stable, by stage."""

    def pick(arm: ArmCounts) -> tuple[int, int]:
        return (arm.slow, arm.timed) if slow else (arm.errors, arm.n)

    canary = [pick(s.canary) for s in stages]
    stable = [pick(s.stable) for s in stages]
    return (
        [c[0] for c in canary],
        [c[1] for c in canary],
        [s[0] for s in stable],
        [s[1] for s in stable],
    )


def _events(
    stages: Sequence[StageCounts], slow: bool
) -> tuple[list[float], list[float], list[float]]:
    """What counts as evidence, of the canary and of stable, and the canary's share, by stage."""

    def pick(arm: ArmCounts) -> float:
        return arm.witnesses if slow else arm.errors

    return ([pick(s.canary) for s in stages], [pick(s.stable) for s in stages],
            [s.share for s in stages])  # fmt: skip


def upper_bound(bad: int, n: int, alpha: float) -> float:
    """One-sided Clopper-Pearson upper bound at level 1 - `alpha`; 1 when n is 0."""
    if bad >= n:
        return 1.0
    from scipy.special import betaincinv

    return float(betaincinv(bad + 1, n - bad, 1 - alpha))


def lower_bound(bad: int, n: int, alpha: float) -> float:
    """One-sided Clopper-Pearson lower bound at level 1 - `alpha`; 0 when nothing was bad."""
    if bad == 0:
        return 0.0
    from scipy.special import betaincinv

    return float(betaincinv(bad, n - bad + 1, alpha))


def _e(log_e: float) -> str:
    return f"{math.exp(min(log_e, 50)):.3g}"
