"""How sure a number is, and a limit that it is held to: pure functions."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mainline.verdict import Check, Verdict


@dataclass(frozen=True)
class Interval:
    """An estimate with one-sided 95% bounds; they are NaN where the rows are too few for any."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        if not math.isfinite(self.low):
            return f"{self.value:.3g}"
        return f"{self.value:.3g} ({self.low:.3g} to {self.high:.3g})"

    def to_dict(self) -> dict[str, float]:
        """Value, low and high by name."""
        return {"value": self.value, "low": self.low, "high": self.high}


def leave_out(statistic: Callable[[np.ndarray], float], folds: np.ndarray) -> np.ndarray:
    """`statistic` of all rows, and of all but each fold: shape (1 + G,).

    `statistic` takes a mask (n,) of the rows to use; `folds` (n,) says which fold a row is of.
    """
    masks = [np.ones(len(folds), dtype=bool), *(folds != name for name in np.unique(folds))]
    return np.array([statistic(mask) for mask in masks], dtype=float)


def jackknife(values: np.ndarray, tests: int = 1) -> Interval:
    """The first of `values` (1 + G,) with bounds from the delete-a-group jackknife.

    The others leave one group out each (see `leave_out`; differences of such values work as well).
    The variance is (G - 1) / G times their sum of squares around their mean, with G - 1 degrees of
    freedom (Kott 2001). It asks for 30 evaluations where a bootstrap asks for hundreds, and needs
    no random numbers. Where the largest of `tests` numbers was picked, the bounds are wider by
    Bonferroni.
    """
    from scipy.special import stdtrit

    whole, without = float(values[0]), values[1:][np.isfinite(values[1:])]
    count = len(without)
    if count < 2 or not math.isfinite(whole):
        return Interval(whole, math.nan, math.nan)
    error = math.sqrt((count - 1) / count * float(((without - without.mean()) ** 2).sum()))
    reach = float(stdtrit(count - 1, 1 - 0.05 / tests)) * error
    return Interval(whole, whole - reach, whole + reach)


def at_least(name: str, found: Interval, limit: float | None, what: str, n: int) -> Check:
    """PASS when `found` is surely above `limit`, FAIL when surely not, else INCONCLUSIVE.

    `what` is the sentence without the numbers' verdict. A limit of None shows and decides nothing.
    """
    if limit is None:
        return shown(name, found, what, n)
    if not math.isfinite(found.value):
        return Check(name, Verdict.INCONCLUSIVE, f"{what}, which could not be measured", n=n,
                     limit=limit)  # fmt: skip
    low, high = _bounds(found)
    if low > limit:
        verdict, more = Verdict.PASS, ""
    elif high <= limit:
        verdict, more = Verdict.FAIL, f": it must be more than {limit:.3g}"
    else:
        verdict, more = Verdict.INCONCLUSIVE, f": it is not sure to be more than {limit:.3g}"
    return _check(name, verdict, what + more, found, limit, n)


def at_most(name: str, found: Interval, limit: float | None, what: str, n: int) -> Check:
    """FAIL when `found` is surely above `limit`, INCONCLUSIVE when it seems so, else PASS."""
    if limit is None:
        return shown(name, found, what, n)
    if not math.isfinite(found.value):
        return Check(name, Verdict.INCONCLUSIVE, f"{what}, which could not be measured", n=n,
                     limit=limit)  # fmt: skip
    low, _ = _bounds(found)
    if found.value <= limit:
        verdict, more = Verdict.PASS, ""
    elif low > limit:
        verdict, more = Verdict.FAIL, f": at most {limit:.3g} is allowed"
    else:
        verdict = Verdict.INCONCLUSIVE
        more = f": at most {limit:.3g} is allowed, and these rows leave open whether it is more"
    return _check(name, verdict, what + more, found, limit, n)


def exactly(value: float) -> Interval:
    """A number that was counted, not estimated."""
    return Interval(value, value, value)


def shown(name: str, found: Interval, what: str, n: int) -> Check:
    """A number without a limit: it is shown and decides nothing."""
    return _check(name, Verdict.PASS, f"{what}; no limit is set", found, None, n)


def _bounds(found: Interval) -> tuple[float, float]:
    """Without bounds nothing is sure."""
    if math.isfinite(found.low):
        return found.low, found.high
    return -math.inf, math.inf


def _check(
    name: str, verdict: Verdict, reason: str, found: Interval, limit: float | None, n: int
) -> Check:
    exact = found.low == found.high
    return Check(name, verdict, reason, value=round(found.value, 6), limit=limit, n=n,
                 low=None if exact else round(found.low, 6),
                 high=None if exact else round(found.high, 6))  # fmt: skip
