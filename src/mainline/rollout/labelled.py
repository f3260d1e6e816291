"""The judge of matured labels: mean losses of two models in, a verdict out. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from mainline.compare.difference import Difference, holm
from mainline.compare.judge import LEAST, check
from mainline.compare.slices import WIDER
from mainline.verdict import Check, StepVerdict, Verdict

STEP = "rollout-labels"
SURE = 0.01  # the chance of a false FAIL at one look; there are many looks
LOG_LOSS = 0.1  # a loss of probabilities may rise by this share of itself at least


@dataclass(frozen=True)
class Mean:
    """The mean of `n` losses of `units` independent units, and its standard error."""

    n: int = 0
    units: int = 0
    mean: float = 0.0
    se: float = float("nan")

    @staticmethod
    def of(values: np.ndarray, units: np.ndarray) -> Mean:
        """From losses (n,) and the unit (n,) of each; a loss that is NaN is left out.

        The error is that of sums by unit (Liang and Zeger 1986), so that what depends on each
        other within an entity is not taken for more than it is.
        """
        known = ~np.isnan(values)
        values, units = values[known], units[known]
        n = len(values)
        if not n:
            return Mean()
        mean = float(values.mean())
        member = np.unique(units, return_inverse=True)[1]
        sums = np.bincount(member, values - mean)
        count = len(sums)
        if count < 2:
            return Mean(n, count, mean)
        return Mean(n, count, mean, float(np.sqrt((sums**2).sum() * count / (count - 1))) / n)

    @property
    def enough(self) -> bool:
        """Whether there are so many that something is decided on them."""
        return min(self.n, self.units) >= LEAST


@dataclass(frozen=True)
class Measured:
    """One loss (wrong, log_loss or absolute_error; less is better) in one scope.

    `paired` is of new less old on the same requests, `before` of old on them; `arms` are (new, old)
    of each generation that gave requests to the arms at random. `delta` is what may be lost, as a
    share of the old loss where it is `relative`.
    """

    name: str
    scope: str
    delta: float
    relative: bool
    paired: Mean
    before: Mean
    arms: Sequence[tuple[Mean, Mean]]


@dataclass(frozen=True)
class Counts:
    """Requests `due` are old enough for a label, `matured` ones have it."""

    due: int
    matured: int
    measured: Sequence[Measured]


def judge_labels(counts: Counts) -> StepVerdict:
    """FAIL where the new version surely lost more than it may, PASS where it surely did not.

    PASS by the one-sided 95% bound, as in the comparison. A FAIL takes a version back, and the
    question is asked again with each label that comes: it needs a loss beyond the tolerance with
    99%. Slices have twice the tolerance and Holm's correction, and can only FAIL.
    """
    said = f"{counts.matured} of {counts.due} requests that are old enough have their label"
    enough = counts.matured >= LEAST
    verdict = Verdict.PASS if enough else Verdict.INCONCLUSIVE
    checks = [Check("labels", verdict, said, value=counts.matured, limit=LEAST, n=counts.due)]
    for one in (m for m in counts.measured if m.scope == "all"):
        found = difference(one)
        if found is None:
            reason = f"{one.name}: too few labelled requests of both versions so far"
            checks.append(Check(one.name, Verdict.INCONCLUSIVE, reason))
        else:
            limit = allowed(one, found)
            checks.append(check(found, decide(found, limit), limit, "all"))
    return StepVerdict(STEP, (*checks, *_slices(counts.measured)))


def decide(found: Difference, limit: float) -> Verdict:
    """FAIL, PASS or INCONCLUSIVE by what the gain surely is, against a loss of `limit`."""
    if not np.isfinite([found.gain, found.low, found.high]).all():
        return Verdict.INCONCLUSIVE
    if found.gain + NormalDist().inv_cdf(1 - SURE) * found.se < -limit:
        return Verdict.FAIL
    return Verdict.PASS if found.low > -limit else Verdict.INCONCLUSIVE


def allowed(one: Measured, found: Difference) -> float:
    """How much of this loss may be lost; `gate.delta` in its own unit."""
    if one.relative:
        return one.delta * abs(found.base)
    if one.name == "log_loss":
        return max(one.delta, LOG_LOSS * abs(found.base))
    return one.delta


def difference(one: Measured) -> Difference | None:
    """Pairs and arms together: the gain (old less new, more is better) with its 95% bounds.

    Generations are weighted by n m / (n + m) (Cochran 1954), which does not hang on what was
    answered; pairs and arms by what each is sure of. None where both have too few rows.
    """
    parts = []
    if one.paired.enough:
        se = max(one.paired.se, _least(one.name, one.paired.n, paired=True))
        parts.append((-one.paired.mean, se, one.before.mean, one.paired.n, one.paired.units))
    arms = [(new, old) for new, old in one.arms if new.enough and old.enough]
    if arms:
        weights = np.array([new.n * old.n / (new.n + old.n) for new, old in arms])
        weights = weights / weights.sum()
        errors = [
            _least(one.name, m.n) if m.se < _least(one.name, m.n) else m.se
            for pair in arms
            for m in pair
        ]
        squares = np.square(errors).reshape(-1, 2).sum(axis=1)
        gain = float(weights @ [old.mean - new.mean for new, old in arms])
        base = float(weights @ [old.mean for _, old in arms])
        parts.append((gain, float(np.sqrt(np.square(weights) @ squares)), base,
                      sum(new.n + old.n for new, old in arms),
                      min(min(new.units, old.units) for new, old in arms)))  # fmt: skip
    return _together(one.name, parts) if parts else None


def _together(name: str, parts: Sequence[tuple[float, float, float, int, int]]) -> Difference:
    from scipy.special import stdtrit

    gains, errors, bases, n, units = map(np.array, zip(*parts, strict=True))
    sure = 1 / np.maximum(np.square(errors), 1e-300)
    gain, base = float(gains @ sure / sure.sum()), float(bases @ sure / sure.sum())
    se = float(1 / np.sqrt(sure.sum()))
    reach = float(stdtrit(max(1, units.min() - 1), 0.95)) * se
    return Difference(name, base, base - gain, gain, gain - reach, gain + reach, se, int(n.sum()))


def _least(name: str, n: int, paired: bool = False) -> float:
    """The least standard error of a share: no wrong answer among a few is not never.

    Half a wrong answer more in each cell (Agresti and Min 2005), or two more of each kind (Agresti
    and Coull 1998).
    """
    if name != "wrong":
        return 0.0
    if paired:
        return 1 / (n + 2)
    share = 2 / (n + 4)
    return float(np.sqrt(share * (1 - share) / (n + 4)))


def _slices(measured: Sequence[Measured]) -> list[Check]:
    found = [(m, d) for m in measured if m.scope != "all" and (d := difference(m)) is not None]
    known = [(m, d, WIDER * allowed(m, d)) for m, d in found if np.isfinite(d.se)]
    p_values = [NormalDist().cdf((d.gain + limit) / max(d.se, 1e-12)) for _, d, limit in known]
    worse = holm(p_values, SURE)
    checks = [check(d, Verdict.FAIL, limit, m.scope, "slice ")
              for (m, d, limit), failed in zip(known, worse, strict=True) if failed]  # fmt: skip
    if known and not checks:
        scopes = len({m.scope for m, _, _ in known})
        reason = f"None of {scopes} slices surely lost more than twice what may be lost"
        checks.append(Check("slices", Verdict.PASS, reason, n=scopes))
    return checks
