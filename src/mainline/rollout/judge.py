"""The canary's judge: counts in, a verdict with its numbers out. Pure; no data is never a PASS."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from mainline import eprocess
from mainline.rollout.access import ArmCounts
from mainline.verdict import Check, StepVerdict, Verdict

FIRES = math.log(eprocess.FIRES)
ALPHA = 0.01  # of all upper bounds together
TRIES = 20  # how often a bound may be asked; ALPHA is spent evenly over them
GROWTH = 1.1  # a bound is asked again when there are a tenth more canary requests
SHARE_ALPHA = 1e-4
RELATIVE, FLOOR = 2.0, 0.002  # the canary may fail twice as often as stable, counted from 0.2%
LOOKS = 4  # a burst of slow requests that ends within a second is the machine's
PAIRS = 100
SHIFT, SIGMAS = 0.01, 4.5  # a paired shift that matters, and one that is no accident


@dataclass(frozen=True)
class StageCounts:
    """All that was counted in one stage. Weight in per cent; 0 is a shadow stage (a mirror)."""

    stage: str
    weight: int
    requests: int
    canary: ArmCounts
    stable: ArmCounts

    @property
    def share(self) -> float:
        """The canary's share of the requests: in a shadow stage each request goes to both."""
        return 0.5 if self.weight == 0 else self.weight / 100


@dataclass(frozen=True)
class Answers:
    """What the prediction log says. `compared` and `wrong` are answers held against offline ones.

    `recorded` is the paired difference (mean, sd) that the comparison measured offline, or None.
    """

    given: bool = False
    compared: int = 0
    wrong: int = 0
    stable_wrong: int = 0
    pairs: int = 0
    mean: float = 0.0
    recorded: tuple[float, float] | None = None
    scored: int = 0
    constant: bool = False


@dataclass(frozen=True)
class Evidence:
    """Everything a verdict rests on: the stages so far, the last being the one judged.

    `lost` says how the canary was lost (None: it is there); `due` whether this look may spend a
    part of ALPHA on the upper bounds; `unread` how many log lines could not be read.
    """

    stages: Sequence[StageCounts]
    answers: Answers = field(default_factory=Answers)
    lost: str | None = None
    due: bool = True
    unread: int = 0


@dataclass(frozen=True)
class Limits:
    """From the section `rollout` of params.yaml."""

    error_budget: float
    latency_ms: float


def judge(evidence: Evidence, limits: Limits) -> StepVerdict:
    """The verdict on the last stage of `evidence`; INCONCLUSIVE is a hold."""
    now = evidence.stages[-1]
    checks = [
        _alive(evidence),
        _requests(now, evidence.answers),
        _errors(evidence, limits.error_budget),
        _latency(evidence, limits.error_budget, limits.latency_ms),
        _predictions(evidence, now),
        _log(evidence),
    ]
    if 0 < now.weight < 100:
        checks.append(_share(now))
    return StepVerdict(f"rollout-{now.stage}", tuple(checks))


def due(canary_requests: int, last_tried: int, tries: int, minimum: int) -> bool:
    """Whether the upper bounds may be asked now: at most TRIES times, at growing numbers."""
    return (
        tries < TRIES
        and canary_requests >= max(1, minimum)
        and canary_requests >= GROWTH * last_tried
    )


def _alive(evidence: Evidence) -> Check:
    if evidence.lost:
        return Check("canary", Verdict.FAIL, f"The canary was lost: {evidence.lost}")
    return Check("canary", Verdict.PASS, "The canary is there and healthy")


def _requests(now: StageCounts, answers: Answers) -> Check:
    n = min(now.canary.n, answers.pairs) if now.weight == 0 else now.canary.n
    what = "mirrored pairs" if now.weight == 0 else "canary requests"
    limit = max(1, now.requests)
    enough = n >= limit
    return Check(
        "requests", Verdict.PASS if enough else Verdict.INCONCLUSIVE,
        f"{n} {what}, {limit} are needed", value=n, limit=limit, n=n,
    )  # fmt: skip


@dataclass(frozen=True)
class _Rates:
    """Bad requests over all stages: x of n canary and y of m stable ones."""

    x: int
    n: int
    y: int
    m: int
    log_e: float
    log_reverse: float
    upper: float

    def check(self, name: str, what: str, budget: float, verdict: Verdict, why: str) -> Check:
        reason = f"{self.x} of {self.n} canary and {self.y} of {self.m} stable requests {what}"
        return Check(
            name, verdict, f"{reason}: {why}", value=self.x / self.n if self.n else None,
            high=self.upper, limit=budget, n=self.n, unit="share",
        )  # fmt: skip

    @property
    def relative(self) -> float:
        """The stable arm's rate."""
        return self.y / self.m if self.m else 0.0


def _rates(stages: Sequence[StageCounts], slow: bool) -> _Rates:
    bad, total, stable_bad, stable_total, share = _arrays(stages, slow)
    return _Rates(
        sum(bad), sum(total), sum(stable_bad), sum(stable_total),
        eprocess.log_e_ratio(bad, stable_bad, share),
        eprocess.log_e_reverse(bad, stable_bad, share),
        upper_bound(sum(bad), sum(total), ALPHA / TRIES),
    )  # fmt: skip


def _errors(evidence: Evidence, budget: float) -> Check:
    """The share of failed requests: canary against stable, and against the budget."""
    r, now = _rates(evidence.stages, slow=False), evidence.stages[-1]

    def check(verdict: Verdict, why: str) -> Check:
        return r.check("errors", "failed", budget, verdict, why)

    if r.log_e >= FIRES:
        return check(Verdict.FAIL, f"evidence e = {_e(r.log_e)} against the canary, limit 20")
    if not r.n:
        return check(Verdict.INCONCLUSIVE, "no data")
    if now.weight == 0:
        return check(Verdict.PASS, f"no evidence against the canary (e = {_e(r.log_e)})")
    if not _enough(now, r.m):
        return check(Verdict.INCONCLUSIVE, "too few requests of both arms so far")
    if _outage(now, budget):
        return check(Verdict.INCONCLUSIVE, "both arms are over the budget: an outage")
    if r.log_reverse >= FIRES:
        return check(
            Verdict.PASS, f"evidence e = {_e(r.log_reverse)} that the risk is below double"
        )
    # Users only: what answers copies well and users badly would hide behind the copies.
    r = _rates([s for s in evidence.stages if s.weight > 0], slow=False)
    inside = r.upper < budget and r.x / r.n <= RELATIVE * max(r.relative, FLOOR)
    if evidence.due and inside:
        return check(Verdict.PASS, f"the upper bound {r.upper:.4f} is inside the budget")
    return check(Verdict.INCONCLUSIVE, f"not decided yet (e = {_e(r.log_e)}, bound {r.upper:.4f})")


def _latency(evidence: Evidence, budget: float, slow_ms: float) -> Check:
    """The share of requests slower than the objective, which has a budget too.

    Slow requests come in bursts: when the machine holds a process for a moment, all that it was
    working on is late, and such requests are no independent witnesses. So a FAIL also needs the
    canary's share surely over the budget, more than twice stable's, and slow requests in more than
    LOOKS looks. Inside the budget a canary may be slower than stable.
    """
    r, now = _rates(evidence.stages, slow=True), evidence.stages[-1]

    def check(verdict: Verdict, why: str) -> Check:
        return r.check("latency", f"took more than {slow_ms:g} ms", budget, verdict, why)

    if not r.n:
        return check(Verdict.INCONCLUSIVE, "no data")
    rate = r.x / r.n
    over = lower_bound(r.x, r.n, ALPHA) > budget and rate > RELATIVE * r.relative
    if r.log_e >= FIRES and over:
        lasts = sum(s.canary.slow_looks for s in evidence.stages) > LOOKS
        why = f"evidence e = {_e(r.log_e)} against the canary, limit 20"
        return check(Verdict.FAIL if lasts else Verdict.INCONCLUSIVE, why)
    if now.weight == 0:
        return check(Verdict.PASS, f"not surely over the budget (e = {_e(r.log_e)})")
    if not _enough(now, r.m):
        return check(Verdict.INCONCLUSIVE, "too few requests of both arms so far")
    # Users only: a canary that is quick on copies and slow for users would hide behind the copies.
    seen = max(_slow_share([now]), _slow_share([s for s in evidence.stages if s.weight > 0]))
    if seen <= budget:
        return check(Verdict.PASS, f"the share {seen:.4f} is inside the budget")
    if r.log_reverse >= FIRES:
        return check(Verdict.PASS, f"evidence e = {_e(r.log_reverse)} that it is below double")
    return check(Verdict.INCONCLUSIVE, f"over the budget, e = {_e(r.log_e)} against the canary")


def _slow_share(stages: Sequence[StageCounts]) -> float:
    """The share of slow answers of the canary in `stages`; 1 where none was timed."""
    timed = sum(s.canary.timed for s in stages)
    return sum(s.canary.slow for s in stages) / timed if timed else 1.0


def _outage(now: StageCounts, budget: float) -> bool:
    """Whether both arms are surely over the budget: then they do not tell the models apart."""
    return all(lower_bound(a.errors, a.n, ALPHA) > budget for a in (now.canary, now.stable))


def _enough(now: StageCounts, stable_total: int) -> bool:
    return now.canary.n >= max(1, now.requests) and (now.weight == 100 or stable_total > 0)


def _arrays(
    stages: Sequence[StageCounts], slow: bool
) -> tuple[list[int], list[int], list[int], list[int], list[float]]:
    def pick(arm: ArmCounts) -> tuple[int, int]:
        return (arm.slow, arm.timed) if slow else (arm.errors, arm.n)

    canary = [pick(s.canary) for s in stages]
    stable = [pick(s.stable) for s in stages]
    return (
        [c[0] for c in canary], [c[1] for c in canary],
        [s[0] for s in stable], [s[1] for s in stable],
        [s.share for s in stages],
    )  # fmt: skip


def _predictions(evidence: Evidence, now: StageCounts) -> Check:
    a = evidence.answers

    def check(verdict: Verdict, reason: str, value: float | None = None) -> Check:
        return Check("predictions", verdict, reason, value=value, n=a.compared or a.pairs)

    if a.wrong:
        return check(Verdict.FAIL, f"{a.wrong} of {a.compared} served answers are not the offline "
                     "answer to the same row", a.wrong / max(1, a.compared))  # fmt: skip
    if a.constant and a.scored >= PAIRS:
        return check(Verdict.FAIL, f"all {a.scored} canary answers are one and the same score")
    if a.stable_wrong:
        return check(Verdict.INCONCLUSIVE, f"{a.stable_wrong} answers of stable are not its own "
                     "offline answers: it cannot be the measure")  # fmt: skip
    if not a.given and a.recorded is None:
        return check(Verdict.INCONCLUSIVE, "there are no offline answers to compare with")
    if a.given and a.compared < PAIRS:
        return check(Verdict.INCONCLUSIVE, f"{a.compared} answers compared, {PAIRS} are needed")
    if a.recorded is not None and a.pairs >= PAIRS:
        mean, sd = a.recorded
        shift = a.mean - mean
        if abs(shift) > SHIFT and abs(shift) > SIGMAS * sd / math.sqrt(a.pairs):
            return check(Verdict.FAIL, f"the paired difference is {a.mean:.4f} and the comparison "
                         f"recorded {mean:.4f}", shift)  # fmt: skip
    if a.given:
        return check(Verdict.PASS, f"all {a.compared} compared answers are the offline ones", 0.0)
    if a.pairs < PAIRS:
        return check(Verdict.INCONCLUSIVE, f"{a.pairs} pairs so far, {PAIRS} are needed")
    return check(Verdict.PASS, f"{a.pairs} pairs differ by {a.mean:.4f}, as recorded", a.mean)


def _log(evidence: Evidence) -> Check:
    total = sum(s.canary.n + s.stable.n for s in evidence.stages)
    if evidence.unread > 0.001 * total + 1:
        return Check("log", Verdict.INCONCLUSIVE,
                     f"{evidence.unread} lines of the log could not be read", n=total)  # fmt: skip
    return Check("log", Verdict.PASS, "The log can be read", value=evidence.unread, n=total)


def _share(now: StageCounts) -> Check:
    """Whether the canary got the share that its weight promises (exact binomial, two sides)."""
    k, n = now.canary.n, now.canary.n + now.stable.n
    p = share_p_value(k, n, now.share)
    odd = p < SHARE_ALPHA
    return Check(
        "share", Verdict.INCONCLUSIVE if odd else Verdict.PASS,
        f"{k} of {n} requests went to the canary at a weight of {now.weight}% (p = {p:.2g})",
        value=k / n if n else None, limit=now.share, n=n, unit="share",
    )  # fmt: skip


def share_p_value(k: int, n: int, share: float) -> float:
    """Two-sided binomial p-value of `k` in `n` at `share`: twice the smaller tail; 1 of nothing."""
    if n == 0:
        return 1.0
    # scipy.stats takes a second to import, which the guard does not have.
    from scipy.special import bdtr, bdtrc

    low = float(bdtr(k, n, share))
    high = float(bdtrc(k - 1, n, share)) if k else 1.0
    return min(1.0, 2 * min(low, high))


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
