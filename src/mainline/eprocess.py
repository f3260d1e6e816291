"""Evidence that may be looked at as often as one likes: e-processes for Bernoulli streams.

An e-process is a bet against a null hypothesis. Under the null its expectation never exceeds 1,
so by Ville's inequality the chance that it *ever* reaches 1/alpha is at most alpha, however often
one looks (Ramdas, Grünwald, Vovk and Shafer, "Game-theoretic statistics and safe anytime-valid
inference", Statistical Science 2023). All arithmetic is in logarithms.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

FIRES = 20.0  # e >= 20: at most one false alarm in 20 streams, if watched for ever
QUALITY_BETS = (1.25, 1.5, 2.0, 2.5, 3.0, 4.0)
WATCH_BETS = (1.25, 1.5, 2.0, 3.0, 5.0, 10.0, 25.0)  # a promotion may fail altogether
RISK_RATIOS = (1.5, 2.0, 3.0, 5.0, 10.0, 50.0)
STAKE_EVERY = 50  # outcomes
HIGHEST_BET = 0.98  # a bet on certainty would be ruined by a single good outcome


def upper_bound(bad: int, n: int, confidence: float = 0.95) -> float:
    """The Clopper-Pearson upper bound of a rate of which `bad` in `n` were seen; 1 when n is 0.

    Raises ValueError unless 0 <= bad <= n and 0 < confidence < 1.
    """
    if not 0 <= bad <= n or not 0 < confidence < 1:
        raise ValueError(f"no bound for {bad} of {n} at {confidence}")
    if bad == n:
        return 1.0
    from scipy.stats import beta

    return float(beta.ppf(confidence, bad + 1, n - bad))


def quality(
    bad: ArrayLike, bound: float, bets: Sequence[float] = QUALITY_BETS
) -> NDArray[np.float64]:
    """The logarithm of the e-process against "the rate of bad outcomes is at most `bound`".

    `bad` (n,) holds 0 or 1 in the order in which outcomes became known; the answer (n,) is the log
    of the mixed e-value after each. A bet on the rate q > bound multiplies by q / bound at a bad
    outcome and by (1 - q) / (1 - bound) at a good one; the bets at `bets` times the bound (at most
    0.98) are mixed in equal parts. A bound so high that no bet is left stays at 0 throughout.

    The j-th 50 outcomes start with stakes of their own, 1 / ((j + 1) (j + 2)) of the whole (Shin,
    Ramdas and Rinaldo, "E-detectors", 2023): without them a model that was good for months would
    have lost so much of its stake that it took months to be found bad.
    """
    x = np.asarray(bad, dtype=bool).ravel()
    rates = np.unique(np.minimum(np.asarray(bets, dtype=float) * bound, HIGHEST_BET))
    rates = rates[rates > bound]
    if not 0 < bound < 1 or rates.size == 0 or x.size == 0:
        return np.zeros(x.size)
    lost = np.log(rates / bound)
    kept = np.log((1 - rates) / (1 - bound))
    paths = np.where(x[:, None], lost, kept).cumsum(axis=0)
    before = np.vstack([np.zeros(rates.size), paths])[: x.size : STAKE_EVERY]
    j = np.arange(len(before))
    stakes = -np.log((j + 1.0) * (j + 2.0))
    begun = np.logaddexp.accumulate(stakes[:, None] - before, axis=0)
    block = np.arange(x.size) // STAKE_EVERY
    # What is staked later is kept at its worth until then: 1 / (j + 2) of the whole.
    return np.logaddexp(_mean_in_logs(paths + begun[block]), -np.log(block + 2.0))


def first_fired(log_e: ArrayLike, threshold: float = FIRES) -> int | None:
    """The index of the first outcome at which e >= `threshold`; None when it never did."""
    over = np.flatnonzero(np.asarray(log_e, dtype=float) >= math.log(threshold))
    return int(over[0]) if over.size else None


def log_e_ratio(
    canary_errors: ArrayLike,
    stable_errors: ArrayLike,
    canary_share: ArrayLike,
    ratios: Sequence[float] = RISK_RATIOS,
) -> float:
    """The log e-value against "the canary fails no more often than stable", over all looks.

    Arrays (looks,): errors of each arm, and the canary's share p of the requests of that look.
    Given an error, it is the canary's with chance p under the null and rp / (rp + 1 - p) under a
    risk ratio r, whatever the error rate itself does, so an outage of both arms is no evidence.
    The e-values for `ratios` are mixed in equal parts. A look with only one arm says nothing.
    """
    return float(_mean_in_logs(_ratio_paths(canary_errors, stable_errors, canary_share, ratios)))


def log_e_restarted(
    canary_errors: Sequence[float],
    stable_errors: Sequence[float],
    canary_share: Sequence[float],
    ratios: Sequence[float] = RISK_RATIOS,
) -> float:
    """log_e_ratio over stages, begun anew with each: for a canary that was good until then.

    The j-th stage starts with a stake of its own, 1 / ((j + 1) (j + 2)) of the whole, as in
    `quality`; what is staked later is kept at its worth until then. Without it, thousands of good
    mirrored copies would have to be outweighed before errors of users could count.
    """
    if not len(canary_errors) == len(stable_errors) == len(canary_share):
        raise ValueError("stages do not match")
    stages = len(canary_share)
    paths = [0.0] * len(ratios)
    terms = []
    for j in reversed(range(stages)):
        p, x, y = canary_share[j], canary_errors[j], stable_errors[j]
        if 0 < p < 1 and (x or y):
            for k, (worse, better) in enumerate(_steps(p, tuple(ratios))):
                paths[k] += x * worse + y * better
        top = max(paths)
        mean = top + math.log(math.fsum(math.exp(v - top) for v in paths) / len(ratios))
        terms.append(mean - math.log((j + 1) * (j + 2)))
    terms.append(-math.log(stages + 1))
    top = max(terms)
    return top + math.log(math.fsum(math.exp(v - top) for v in terms))


@functools.lru_cache(maxsize=256)
def _steps(p: float, ratios: tuple[float, ...]) -> list[tuple[float, float]]:
    """By what an error of the canary, and one of stable, changes each path; p is its share."""
    lifts = [(r, r * p + 1 - p) for r in ratios]
    return [(math.log(r / lift), -math.log(lift)) for r, lift in lifts]


@dataclass
class Detector:
    """`quality` for counts as they come, in constant space: e against "the rate is <= `bound`".

    `begun` (bets,) are the logarithms of what each bet is worth, `stakes` how many blocks of at
    least STAKE_EVERY outcomes have been begun, `since` how many outcomes the last one has. Within
    one `add` the order of outcomes does not count.
    """

    bound: float
    bets: Sequence[float] = WATCH_BETS
    begun: list[float] = field(default_factory=list)
    stakes: int = 0
    since: int = STAKE_EVERY
    n: int = 0
    bad: int = 0

    def add(self, bad: int, n: int) -> None:
        """Take `n` more outcomes, `bad` of them bad; ValueError unless 0 <= bad <= n."""
        if not 0 <= bad <= n:
            raise ValueError(f"no outcomes: {bad} of {n}")
        rates = self._rates()
        if not n or not rates:
            return
        if self.since >= STAKE_EVERY:
            stake = -math.log((self.stakes + 1) * (self.stakes + 2))
            old = self.begun or [-math.inf] * len(rates)
            self.begun = [_add_in_logs(v, stake) for v in old]
            self.stakes, self.since = self.stakes + 1, 0
        self.begun = [
            v + bad * math.log(q / self.bound) + (n - bad) * math.log((1 - q) / (1 - self.bound))
            for v, q in zip(self.begun, rates, strict=True)
        ]
        self.since += n
        self.n, self.bad = self.n + n, self.bad + bad

    @property
    def log_e(self) -> float:
        """The logarithm of the e-value now; 0 before anything was seen."""
        if not self.begun:
            return 0.0
        top = max(self.begun)
        mean = top + math.log(sum(math.exp(v - top) for v in self.begun) / len(self.begun))
        return _add_in_logs(mean, -math.log(self.stakes + 1))

    def _rates(self) -> list[float]:
        rates = sorted({min(b * self.bound, HIGHEST_BET) for b in self.bets})
        return [q for q in rates if 0 < self.bound < q]


def _add_in_logs(a: float, b: float) -> float:
    low, high = sorted((a, b))
    return high + math.log1p(math.exp(low - high))


def log_e_reverse(
    canary_errors: ArrayLike,
    stable_errors: ArrayLike,
    canary_share: ArrayLike,
    ratio: float = 2.0,
) -> float:
    """The log e-value against "the canary's risk ratio is at least `ratio`": what promotes.

    The likelihood ratio of log_e_ratio for one r, turned round: each error multiplies by p / q when
    it is the canary's and by (1 - p) / (1 - q) otherwise, q = rp / (rp + 1 - p), whose expectation
    is 1 at a true ratio of r and less above it.
    """
    return -float(_ratio_paths(canary_errors, stable_errors, canary_share, [ratio])[0])


def _ratio_paths(
    canary_errors: ArrayLike,
    stable_errors: ArrayLike,
    canary_share: ArrayLike,
    ratios: Sequence[float],
) -> NDArray[np.float64]:
    """Log likelihood ratios (ratios,) of each r against 1, summed over the looks."""
    p = np.atleast_1d(np.asarray(canary_share, dtype=float))
    x, y = (np.atleast_1d(np.asarray(v, dtype=float)) for v in (canary_errors, stable_errors))
    if not x.shape == y.shape == p.shape:
        raise ValueError(f"looks do not match: {x.shape}, {y.shape}, {p.shape}")
    both = (p > 0) & (p < 1)
    x, y, p = x[both], y[both], p[both]
    r = np.asarray(ratios, dtype=float)[:, None]
    q = r * p / (r * p + 1 - p)
    return np.asarray((x * np.log(q / p) + y * np.log((1 - q) / (1 - p))).sum(axis=1))


def _mean_in_logs(paths: NDArray[np.float64]) -> NDArray[np.float64]:
    """log(mean(exp(paths))) over the last axis, without overflow."""
    top = paths.max(axis=-1, keepdims=True)
    mean = np.log(np.exp(paths - top).mean(axis=-1))
    return np.asarray(mean + np.squeeze(top, axis=-1))
