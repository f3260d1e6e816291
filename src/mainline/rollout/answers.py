"""What a canary answers: right row by row, in pairs, and spread as the comparison saw it. Pure."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping

from mainline.rollout.facts import Answers, Recorded, StageCounts
from mainline.rollout.spread import Spread
from mainline.verdict import Check, Verdict

PAIRS = 100
LATE = 5.0  # seconds without a word on live answers, after which it is a hold
UNSCORED, FEW = 0.01, 5  # a share of the live answers, and how many are always forgiven
SHIFT, SIGMAS = 0.01, 4.5  # a paired shift that matters, and one that is no accident
SPREAD = 0.05  # a share of answers that lie or decide otherwise than recorded, and matters
Told = Callable[[Verdict, str, float | None], Check]
ABSURD_SIGMAS, ABSURD_SHARE = 3.0, 0.5  # what no comparison would have let pass


def predictions(a: Answers) -> Check:
    """Served answers against offline ones, and shadow pairs against what the comparison saw."""

    def check(verdict: Verdict, reason: str, value: float | None = None) -> Check:
        return Check("predictions", verdict, reason, value=value, n=a.compared or a.pairs)

    recorded = _recorded(a)
    if a.wrong:
        return check(Verdict.FAIL, f"{a.wrong} of {a.compared} served answers are not the offline "
                     "answer to the same row", a.wrong / max(1, a.compared))  # fmt: skip
    if a.stable_wrong:
        said = f"stable is the bad one: {a.stable_wrong} of its answers are not its offline ones"
        return check(Verdict.INCONCLUSIVE, f"{said}, so it cannot be the measure")
    if a.late > LATE:
        silent = "yet" if math.isinf(a.late) else f"for {a.late:.0f} s"
        return check(Verdict.INCONCLUSIVE, f"no live answer was held against the model {silent}")
    if a.unscored > UNSCORED * (a.compared + a.unscored) + FEW:
        return check(Verdict.INCONCLUSIVE, f"{a.unscored} live answers could not be held against "
                     f"the model, {a.compared} could")  # fmt: skip
    if not a.given and recorded is None:
        return check(Verdict.INCONCLUSIVE, "there are no offline answers to compare with")
    if a.given and a.compared < PAIRS:
        return check(Verdict.INCONCLUSIVE, f"{a.compared} answers compared, {PAIRS} are needed")
    if recorded is not None and a.pairs >= PAIRS:
        shift = a.mean - recorded.mean
        # Held-out rows are a sample too.
        error = recorded.sd * math.sqrt(1 / a.pairs + (1 / recorded.rows if recorded.rows else 0))
        if abs(shift) > SHIFT and abs(shift) > SIGMAS * error:
            return check(Verdict.FAIL, f"the paired difference is {a.mean:.4f} and the comparison "
                         f"recorded {recorded.mean:.4f}", shift)  # fmt: skip
    if a.given:
        return check(Verdict.PASS, f"all {a.compared} compared answers are the offline ones", 0.0)
    if a.pairs < PAIRS:
        return check(Verdict.INCONCLUSIVE, f"{a.pairs} pairs so far, {PAIRS} are needed")
    return check(Verdict.PASS, f"{a.pairs} pairs differ by {a.mean:.4f}, as recorded", a.mean)


def scores(now: StageCounts, a: Answers) -> Check:
    """How the canary's scores and decisions lie, users' requests given to the arms at random.

    A new model may differ from the old one, but live as it did on held-out rows: for each bin and
    each decision the difference between the arms' shares is held against the recorded one. Where
    nothing was recorded, only a constant answer and an absurd shift are seen.
    """

    def check(verdict: Verdict, reason: str, value: float | None = None) -> Check:
        return Check("scores", verdict, reason, value=value, limit=SPREAD, n=a.canary.n or a.scored)

    if a.constant and a.scored >= PAIRS:
        return check(
            Verdict.FAIL, f"all {a.scored} answers of the new version are one and the same score"
        )
    if a.canary.n >= PAIRS and _one(a.canary) and not _one(a.stable):
        return check(Verdict.FAIL, f"all {a.canary.n} answers to users are one and the same score")
    if now.weight == 0:
        # Copies are compared in pairs, which see more.
        enough = a.scored >= PAIRS
        why = "not one and the same" if enough else f"{PAIRS} are needed"
        return check(Verdict.PASS if enough else Verdict.INCONCLUSIVE,
                     f"{a.scored} canary answers so far, {why}")  # fmt: skip
    if now.weight < 100 and min(a.canary.n, a.stable.n) < PAIRS:
        return check(Verdict.INCONCLUSIVE, f"{a.canary.n} canary and {a.stable.n} stable answers "
                     f"to users so far, {PAIRS} of each are needed")  # fmt: skip
    if min(a.canary.n, a.stable.n) < PAIRS:
        enough = a.scored >= PAIRS
        return check(Verdict.PASS if enough else Verdict.INCONCLUSIVE,
                     f"{a.scored} answers, and no stable beside them")  # fmt: skip
    recorded = _recorded(a)
    return _as_recorded(check, a, recorded) if _binned(a, recorded) else _absurd(check, a)


def _one(spread: Spread) -> bool:
    return spread.low == spread.high


def _recorded(a: Answers) -> Recorded | None:
    return a.recorded if isinstance(a.recorded, Recorded) else Recorded.read(a.recorded)


def _binned(a: Answers, recorded: Recorded | None) -> bool:
    return bool(recorded and recorded.rows and recorded.edges and a.canary.bins and a.stable.bins)


def _as_recorded(check: Told, a: Answers, recorded: Recorded | None) -> Check:
    assert recorded is not None
    found = [
        (*_gap(c, s, new, old, a.canary.n, a.stable.n, recorded.rows), f"scores up to {edge:.4g}")
        for edge, c, s, new, old in zip(
            recorded.edges, itertools.accumulate(a.canary.bins),
            itertools.accumulate(a.stable.bins), itertools.accumulate(recorded.new),
            itertools.accumulate(recorded.old), strict=False,
        )
    ]  # fmt: skip
    canary, stable = _counted(a.canary), _counted(a.stable)
    if recorded.decided and min(sum(canary.values()), sum(stable.values())) >= PAIRS:
        for name in sorted({*recorded.decided, *canary, *stable}):
            new, old = recorded.decided.get(name, (0.0, 0.0))
            gap = _gap(canary.get(name, 0), stable.get(name, 0), new, old,
                       sum(canary.values()), sum(stable.values()), recorded.rows)  # fmt: skip
            found.append((*gap, f"decisions {name}"))
    shift, error, what = max(found, key=lambda f: abs(f[0]) - SIGMAS * f[1])
    if abs(shift) > SPREAD and abs(shift) > SIGMAS * error:
        return check(Verdict.FAIL, f"the share of {what} differs from stable's by {shift:+.3f} "
                     "beyond what the comparison recorded", shift)  # fmt: skip
    return check(Verdict.PASS, f"scores and decisions of {a.canary.n} canary and {a.stable.n} "
                 "stable answers differ as recorded", shift)  # fmt: skip


def _gap(
    canary: int, stable: int, new: float, old: float, n: int, m: int, rows: int
) -> tuple[float, float]:
    """How far the live difference of two shares is from the recorded one, and its standard error.

    The shares in the error have one half added to each count, so that no error is 0.
    """
    live, seen = (canary + 0.5) / (n + 1), (stable + 0.5) / (m + 1)
    squared = live * (1 - live) / n + seen * (1 - seen) / m
    for share in (new, old):
        near = (share * rows + 0.5) / (rows + 1)
        squared += near * (1 - near) / rows
    return (canary / n - stable / m) - (new - old), math.sqrt(squared)


def _absurd(check: Told, a: Answers) -> Check:
    shift = a.canary.mean - a.stable.mean
    error = math.sqrt(a.canary.sd**2 / a.canary.n + a.stable.sd**2 / a.stable.n)
    if abs(shift) > max(ABSURD_SIGMAS * a.stable.sd, SIGMAS * error) and not _one(a.stable):
        return check(Verdict.FAIL, f"the mean score is {a.canary.mean:.4g} and stable's "
                     f"{a.stable.mean:.4g}: an absurd shift", shift)  # fmt: skip
    canary, stable = _counted(a.canary), _counted(a.stable)
    n, m = sum(canary.values()), sum(stable.values())
    if min(n, m) >= PAIRS:
        apart = sum(
            abs(canary.get(k, 0) / n - stable.get(k, 0) / m) for k in {*canary, *stable}
        ) / 2  # fmt: skip
        if apart > ABSURD_SHARE:
            return check(Verdict.FAIL, f"{apart:.0%} of the decisions lie otherwise than stable's: "
                         "an absurd shift", apart)  # fmt: skip
    return check(Verdict.PASS, "nothing was recorded of how scores lie; no constant answer and no "
                 "absurd shift", shift)  # fmt: skip


def _counted(spread: Spread) -> Mapping[str, int]:
    return spread.decided or {}
