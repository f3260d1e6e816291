"""How much better one model is than another on the same rows, how sure that is, and the verdict."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from mainline.compare.weighted import Weighted, metric
from mainline.evaluate.metrics import direction
from mainline.verdict import Verdict

REPLICATES = 1000
CHUNK_CELLS = 4_000_000


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


def delong(y: np.ndarray, a: np.ndarray, b: np.ndarray) -> tuple[float, float, float]:
    """AUC of `a`, AUC of `b`, and the standard error of their difference, for `y` (n,) of 0/1.

    DeLong, DeLong and Clarke-Pearson 1988, with mid-ranks in O(n log n) as in Sun and Xu 2014.
    """

    def ranks(s: np.ndarray) -> np.ndarray:
        return pd.Series(s).rank().to_numpy()

    def placements(s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        p, q = s[y == 1], s[y == 0]
        m, n = len(p), len(q)
        both = ranks(np.r_[p, q])
        return (both[:m] - ranks(p)) / n, 1 - (both[m:] - ranks(q)) / m

    (va, wa), (vb, wb) = placements(a), placements(b)
    dv, dw = vb - va, wb - wa
    if len(dv) < 2 or len(dw) < 2:
        return float(va.mean()), float(vb.mean()), float("nan")
    se = np.sqrt(dv.var(ddof=1) / len(dv) + dw.var(ddof=1) / len(dw))
    return float(va.mean()), float(vb.mean()), float(se)


def weights(pair: Pair, replicates: int, seed: int) -> np.ndarray:
    """Bootstrap weights (replicates, n): groups are drawn whole, within strata of the target.

    A stratum is the class of a row, or whether a group holds a positive (whole groups cannot be
    balanced any closer).
    """
    rng = np.random.default_rng(seed)
    groups = np.arange(len(pair.y)) if pair.groups is None else pair.groups
    _, member = np.unique(groups, return_inverse=True)
    count = member.max() + 1
    stratum = np.zeros(count, dtype=int)
    if pair.task != "regression":
        np.maximum.at(stratum, member, pair.y.astype(int))
    drawn = np.zeros((replicates, count), dtype=np.float32)
    for level in np.unique(stratum):
        own = np.flatnonzero(stratum == level)
        for row in drawn:
            row[own] = np.bincount(rng.integers(0, len(own), len(own)), minlength=len(own))
    return drawn[:, member]


def differences(
    pair: Pair, names: list[str], replicates: int = REPLICATES, seed: int = 0
) -> list[Difference]:
    """The paired difference in each metric: DeLong for ROC AUC, else a paired bootstrap."""
    both: dict[str, tuple[Weighted, Weighted]] = {
        n: (metric(n, pair.task, pair.y, pair.base_scores, pair.base_decisions),
            metric(n, pair.task, pair.y, pair.scores, pair.decisions))
        for n in names
    }  # fmt: skip
    ones = np.ones((1, len(pair.y)))
    drawn: dict[str, list[np.ndarray]] = {n: [] for n in names}
    size = max(1, min(replicates, CHUNK_CELLS // max(len(pair.y), 1)))
    for start in range(0, replicates, size):
        w = weights(pair, min(size, replicates - start), seed + start)
        for n, (old, new) in both.items():
            drawn[n].append(new(w) - old(w))
    out = []
    for n, (old, new) in both.items():
        base, candidate = float(old(ones)[0]), float(new(ones)[0])
        sign = direction(n)
        gains = sign * np.concatenate(drawn[n])
        low, high = np.quantile(gains, [0.05, 0.95])
        se = float(gains.std(ddof=1))
        if n == "roc_auc" and pair.groups is None:
            _, _, se = delong(pair.y, pair.base_scores[:, 0], pair.scores[:, 0])
            low, high = (candidate - base) - 1.645 * se, (candidate - base) + 1.645 * se
        out.append(Difference(n, base, candidate, sign * (candidate - base), float(low),
                              float(high), se, len(pair.y), pair.positives))  # fmt: skip
    return out


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
