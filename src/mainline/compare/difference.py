"""How much better one model is than another on the same rows, how sure that is, and the verdict."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mainline.compare.weighted import metrics
from mainline.evaluate.metrics import direction
from mainline.verdict import Verdict

REPLICATES = 1000
Z95 = 1.6448536269514722
CHUNK_CELLS = 2_000_000
# Near to zero is best, from either side: the distance is judged.
SIGNED = frozenset({"bias"})
FEW = 5


@dataclass(frozen=True)
class Difference:
    """Candidate less base in one metric; `gain`, `low`, `high` are signed so that more is better.

    `low` and `high` are one-sided 95% bounds of the gain; `se` its standard error.
    """

    name: str
    base: float
    candidate: float
    gain: float
    low: float
    high: float
    se: float
    n: int
    positives: int | None = None


@dataclass(frozen=True)
class Pair:
    """Two models on the same n rows: `y` (n,), scores (n, k), decisions (n,), group ids (n,)."""

    task: str
    y: np.ndarray
    base_scores: np.ndarray
    base_decisions: np.ndarray
    scores: np.ndarray
    decisions: np.ndarray
    groups: np.ndarray | None = None

    def rows(self, keep: np.ndarray) -> Pair:
        """The pair on the rows where `keep` (n,) is true."""
        return Pair(
            self.task, self.y[keep], self.base_scores[keep], self.base_decisions[keep],
            self.scores[keep], self.decisions[keep],
            None if self.groups is None else self.groups[keep],
        )  # fmt: skip

    @property
    def same(self) -> bool:
        """Whether both give the same scores and decisions on every row."""
        return np.array_equal(self.base_scores, self.scores) and np.array_equal(
            self.base_decisions, self.decisions
        )

    @property
    def positives(self) -> int | None:
        """Positive rows of a binary task."""
        return int((self.y == 1).sum()) if self.task == "binary" else None


def delong(
    y: np.ndarray, a: np.ndarray, b: np.ndarray, groups: np.ndarray | None = None
) -> tuple[float, float, float]:
    """AUC of `a`, AUC of `b`, and the standard error of their difference, for `y` (n,) of 0/1.

    DeLong, DeLong and Clarke-Pearson 1988, by sorting and searching in O(n log n); with `groups`
    (n,) of dependent rows the components are summed within each (Obuchowski 1997).
    """
    one = y == 1
    m, n = int(one.sum()), int((~one).sum())

    def placements(s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        p, q = np.sort(s[one]), np.sort(s[~one])
        below, above = (
            0.5 * (np.searchsorted(rest, own, "left") + np.searchsorted(rest, own, "right"))
            for rest, own in ((q, s[one]), (p, s[~one]))
        )
        return below / n, 1 - above / m

    (va, wa), (vb, wb) = placements(a), placements(b)
    dv, dw = vb - va, wb - wa
    se = float("nan")
    if groups is not None:
        share = np.empty(len(y))
        share[one], share[~one] = (dv - dv.mean()) / m, (dw - dw.mean()) / n
        sums = np.bincount(np.unique(groups, return_inverse=True)[1], share)
        if len(sums) > 1:
            se = float(np.sqrt((sums**2).sum() * len(sums) / (len(sums) - 1)))
    elif min(m, n) > 1:
        se = float(np.sqrt(dv.var(ddof=1) / m + dw.var(ddof=1) / n))
    return float(va.mean()), float(vb.mean()), se


def strata(pair: Pair) -> tuple[np.ndarray, list[np.ndarray]]:
    """The unit (n,) of each row, numbered from 0, and the units of each stratum.

    A unit is a row, or a group whole. A stratum is the class of a row, or the highest class in a
    group (whole groups cannot be balanced any closer), unless that leaves a few groups alone.
    """
    groups = np.arange(len(pair.y)) if pair.groups is None else pair.groups
    names, member = np.unique(groups, return_inverse=True)
    level = np.zeros(len(names), dtype=int)
    if pair.task != "regression":
        np.maximum.at(level, member, pair.y.astype(int))
    found = [np.flatnonzero(level == value) for value in np.unique(level)]
    if pair.groups is not None and min(map(len, found)) < FEW:
        found = [np.arange(len(names))]
    return member, found


def weights(pair: Pair, replicates: int, rng: np.random.Generator) -> np.ndarray:
    """Bootstrap weights (replicates, n): units are drawn whole, within strata of the target."""
    member, found = strata(pair)
    drawn = np.empty((replicates, int(member.max()) + 1))
    for row in drawn:
        for own in found:
            row[own] = np.bincount(rng.integers(0, len(own), len(own)), minlength=len(own))
    return drawn if pair.groups is None else drawn[:, member]


def differences(
    pair: Pair, names: list[str], replicates: int = REPLICATES, seed: int = 0
) -> list[Difference]:
    """The paired difference in each metric: DeLong for ROC AUC, else a paired bootstrap.

    All metrics of both models see the same draws, a few at a time, so that memory stays small.
    """
    sides = [metrics(names, pair.task, pair.y, pair.base_scores, pair.base_decisions),
             metrics(names, pair.task, pair.y, pair.scores, pair.decisions)]  # fmt: skip

    def gains(w: np.ndarray) -> np.ndarray:
        return np.array([_gain(n, sides[0][n](w), sides[1][n](w)) for n in names])

    ones = np.ones((1, len(pair.y)))
    whole = gains(ones)[:, 0]
    rng, reach = np.random.default_rng(seed), stretch(pair)
    size = max(1, CHUNK_CELLS // max(len(pair.y), 1))
    drawn: list[np.ndarray] = []
    if any(n != "roc_auc" for n in names):
        drawn = [gains(weights(pair, min(size, replicates - start), rng))
                 for start in range(0, replicates, size)]  # fmt: skip
    out = []
    for row, name in enumerate(names):
        if name == "roc_auc":
            se = delong(pair.y, pair.base_scores[:, 0], pair.scores[:, 0], pair.groups)[2]
            low, high = whole[row] - Z95 * se * reach, whole[row] + Z95 * se * reach
        else:
            found = np.concatenate([chunk[row] for chunk in drawn])
            low, high = whole[row] + reach * (np.quantile(found, [0.05, 0.95]) - whole[row])
            se = float(found.std(ddof=1)) * reach
        base, candidate = (float(side[name](ones)[0]) for side in sides)
        out.append(Difference(name, base, candidate, float(whole[row]), float(low), float(high),
                              float(se), len(pair.y), pair.positives))  # fmt: skip
    return out


def _gain(name: str, base: np.ndarray, candidate: np.ndarray) -> np.ndarray:
    if name in SIGNED:
        base, candidate = np.abs(base), np.abs(candidate)
    return direction(name) * (candidate - base)


def stretch(pair: Pair) -> float:
    """How much wider bounds are drawn where few units vary: Student's t over the normal quantile.

    A bootstrap over G units is narrow by sqrt((G - 1) / G). G are the groups, or the rows of the
    rarer class. NaN where there is one unit only: nothing is known then.
    """
    from scipy.special import stdtrit

    if pair.groups is not None:
        count = len(np.unique(pair.groups))
    else:
        rarest = pair.positives if pair.positives is not None else len(pair.y)
        count = min(rarest, len(pair.y) - rarest) if pair.task == "binary" else rarest
    if count < 2:
        return float("nan")
    return float(stdtrit(count - 1, 0.95) / Z95 * np.sqrt(count / (count - 1)))


def decide(found: Difference, delta: float, require_improvement: bool = False) -> Verdict:
    """PASS, FAIL or INCONCLUSIVE by the rule of non-inferiority.

    PASS: the lower bound of the gain is above -delta (above 0 where an improvement is required).
    FAIL: the upper bound is below 0 and the gain itself below -delta / 2.
    """
    if not np.isfinite([found.gain, found.low, found.high]).all():
        return Verdict.ERROR
    if found.low > (0.0 if require_improvement else -delta):
        return Verdict.PASS
    if found.high < 0 and found.gain < -delta / 2:
        return Verdict.FAIL
    return Verdict.INCONCLUSIVE


def guard(found: Difference, limit: float) -> Verdict:
    """A guardrail: FAIL when the loss is surely beyond `limit`, INCONCLUSIVE when it seems so.

    The alert rate may neither rise nor fall by more than the limit.
    """
    loss, least = -found.gain, -found.high
    if found.name == "alert_rate":
        loss = abs(found.gain)
        least = max(-found.high, found.low)
    if not np.isfinite(loss):
        return Verdict.ERROR
    if least > limit:
        return Verdict.FAIL
    return Verdict.INCONCLUSIVE if loss > limit else Verdict.PASS


def detectable(found: Difference) -> float:
    """The smallest true loss that these rows show four times in five at one-sided 5%."""
    return 2.486 * found.se


def holm(p_values: list[float], alpha: float = 0.05) -> list[bool]:
    """Which hypotheses Holm's step-down procedure rejects (Holm 1979)."""
    order = np.argsort(p_values)
    rejected = [False] * len(p_values)
    for step, index in enumerate(order):
        if p_values[index] > alpha / (len(p_values) - step):
            break
        rejected[int(index)] = True
    return rejected
