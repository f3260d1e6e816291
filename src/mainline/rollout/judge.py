"""The canary's judge: counts in, a verdict with its numbers out. Pure; no data is never a PASS.

docs/judge.md says what is judged, by which formula, and how often it errs.
"""

from __future__ import annotations

from mainline.rollout import answers, rates
from mainline.rollout.answers import PAIRS
from mainline.rollout.facts import (
    Answers,
    Evidence,
    Joined,
    Limits,
    Recorded,
    StageCounts,
)
from mainline.rollout.rates import ALPHA, TRIES, due, lower_bound, upper_bound
from mainline.verdict import Check, StepVerdict, Verdict

SHARE_ALPHA = 1e-4
UNREAD, UNJOINED, FEW = 0.001, 0.01, 5  # shares of lines, and how many are always forgiven
UNFOUND = 0.5  # share of a stage's requests whose records may still be under way
PROMOTED = "promoted"

__all__ = [
    "ALPHA", "PAIRS", "TRIES", "Answers", "Evidence", "Joined", "Limits", "Recorded", "StageCounts",
    "due", "judge", "lower_bound", "promotion", "share_p_value", "upper_bound",
]  # fmt: skip


def judge(evidence: Evidence, limits: Limits) -> StepVerdict:
    """The verdict on the last stage of `evidence`; INCONCLUSIVE is a hold.

    The canary's life, its requests, its time and the log are always judged, all else where the
    stage asks for it. A share of the requests is only there between 0 and 100 per cent.
    """
    now = evidence.stages[-1]
    asked = {
        "errors": lambda: rates.errors(evidence, limits.error_budget),
        "latency": lambda: rates.latency(evidence, limits.error_budget, limits.latency_ms),
        "predictions": lambda: answers.predictions(evidence.answers),
        "scores": lambda: answers.scores(now, evidence.answers),
        "share": lambda: _share(now),
    }
    if not 0 < now.weight < 100:
        del asked["share"]
    checks = [_alive(evidence), _requests(now, evidence.answers)]
    if now.min_seconds > 0:
        checks.append(_time(now, evidence.elapsed))
    checks += [check() for name, check in asked.items() if now.judge is None or name in now.judge]
    return StepVerdict(f"rollout-{now.stage}", (*checks, _log(evidence)))


def promotion(evidence: Evidence, limits: Limits) -> StepVerdict:
    """The verdict on a version that has all traffic, the old one warm: FAIL takes it back.

    There is no stable beside it, so errors and latency are held to the budget alone. Where the old
    version fails too, going back to it is no help: that is an outage, and a hold.
    """
    now = evidence.stages[-1]
    watched = [
        ("errors", "failed", now.canary.errors, now.canary.n),
        ("slow", f"took more than {limits.latency_ms:g} ms", now.canary.slow, now.canary.timed),
    ]
    checks = [_alive(evidence)]
    for name, what, bad, n in watched:
        check = "latency" if name == "slow" else name
        log_e = evidence.watched.get(name, 0.0)
        checks.append(rates.watched(check, what, bad, n, log_e, limits.error_budget))
    checks.append(answers.predictions(evidence.answers) if evidence.answers.wrong else
                  answers.scores(now, evidence.answers))  # fmt: skip
    checks += [*evidence.labels, _log(evidence)]
    if not evidence.fallback and any(c.verdict is Verdict.FAIL for c in checks):
        said = "The old version does not answer either: an outage, and nothing to go back to"
        held = [_held(c) if c.verdict is Verdict.FAIL else c for c in checks]
        checks = [Check("outage", Verdict.INCONCLUSIVE, said), *held]
    return StepVerdict(f"rollout-{PROMOTED}", tuple(checks))


def _held(check: Check) -> Check:
    from dataclasses import replace

    return replace(check, verdict=Verdict.INCONCLUSIVE)


def _alive(evidence: Evidence) -> Check:
    if evidence.lost:
        return Check("canary", Verdict.FAIL, f"The new version was lost: {evidence.lost}")
    return Check("canary", Verdict.PASS, "The new version is there and healthy")


def _requests(now: StageCounts, found: Answers) -> Check:
    n = min(now.canary.n, found.pairs) if now.weight == 0 else now.canary.n
    what = "mirrored pairs" if now.weight == 0 else "canary requests"
    limit = max(1, now.requests)
    enough = n >= limit
    return Check(
        "requests", Verdict.PASS if enough else Verdict.INCONCLUSIVE,
        f"{n} {what}, {limit} are needed", value=n, limit=limit, n=n,
    )  # fmt: skip


def _time(now: StageCounts, elapsed: float) -> Check:
    over = elapsed >= now.min_seconds
    return Check(
        "time", Verdict.PASS if over else Verdict.INCONCLUSIVE,
        f"{min(elapsed, now.min_seconds):.0f} of at least {now.min_seconds:g} seconds have passed",
        value=elapsed, limit=now.min_seconds, unit="s",
    )  # fmt: skip


def _log(evidence: Evidence) -> Check:
    """Whether both logs are whole: lines that can be read, and each request in either of them."""
    total = sum(s.canary.n + s.stable.n for s in evidence.stages)

    def check(verdict: Verdict, reason: str, value: int) -> Check:
        return Check("log", verdict, reason, value=value, n=total)

    if evidence.unread > UNREAD * total + 1:
        return check(Verdict.INCONCLUSIVE, f"{evidence.unread} lines of the log could not be read",
                     evidence.unread)  # fmt: skip
    if (found := _joined(evidence.joined or Joined())) is not None:
        return check(Verdict.INCONCLUSIVE, *found)
    both = evidence.joined.logged - evidence.joined.unseen if evidence.joined else 0
    said = f", and {both} requests are in both" if both else ""
    return check(Verdict.PASS, f"The log can be read{said}", evidence.unread)


def _joined(joined: Joined) -> tuple[str, int] | None:
    """What is amiss between the two logs, and of how many requests."""
    if joined.unlogged > UNJOINED * joined.answered + FEW:
        return (f"{joined.unlogged} of {joined.answered} answered requests are not in the "
                "prediction log: it is late, or lost some", joined.unlogged)  # fmt: skip
    if joined.unseen > UNJOINED * joined.logged + FEW:
        return (f"{joined.unseen} of {joined.logged} predictions are not in the access log: it is "
                "late, or lost some", joined.unseen)  # fmt: skip
    missing = joined.here - joined.found
    # A log that stopped is seen before the grace is over.
    if joined.here >= PAIRS and missing > UNFOUND * joined.here:
        return (f"{missing} of the {joined.here} requests of this stage are not in the prediction "
                "log yet", missing)  # fmt: skip
    return None


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
