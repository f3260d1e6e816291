"""Metrics under many sets of row weights at once, which is what a bootstrap needs.

`w` has shape (r, n): replicate by row. Every function returns shape (r,). With weights of one
each equals its namesake in `evaluate.metrics`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import numpy as np

Weighted = Callable[[np.ndarray], np.ndarray]
EPS = 1e-300


def _ratio(part: np.ndarray, whole: np.ndarray) -> Weighted:
    both = np.column_stack([part, whole]).astype(float)

    def value(w: np.ndarray) -> np.ndarray:
        sums = w @ both
        return sums[:, 0] / np.maximum(sums[:, 1], EPS)

    return value


class Ranking:
    """Where the positives stand among the negatives by the score of one model, found once.

    Of the weights of n rows, average precision and the area under the ROC curve need only those
    of the positives, and the sum over the negatives between one score of a positive and the next.
    """

    def __init__(self, y: np.ndarray, s: np.ndarray) -> None:
        one = y == 1
        levels, own = np.unique(-s[one], return_inverse=True)
        self.levels = len(levels)
        self.bins = np.empty(len(y), dtype=np.intp)
        # Better than level k and worse than the one before: 2 k. Tied with level k: 2 k + 1.
        self.bins[~one] = sum(np.searchsorted(levels, -s[~one], side) for side in ("left", "right"))
        self.bins[one] = 2 * self.levels + 1 + own
        self._last: tuple[np.ndarray, tuple[np.ndarray, ...]] | None = None

    def counts(self, w: np.ndarray) -> tuple[np.ndarray, ...]:
        """Weights by distinct score of a positive, best first, each (r, levels).

        Of the positives with it, of the negatives above it, of the negatives tied with it; and
        the weight of all negatives (r,). Both metrics ask for the same `w` (r, n) one after the
        other, so the last answer is kept.
        """
        if self._last is None or self._last[0] is not w:
            size = 3 * self.levels + 1
            summed = np.array([np.bincount(self.bins, row, size) for row in w]).reshape(-1, size)
            positive, negative = summed[:, 2 * self.levels + 1 :], summed[:, : 2 * self.levels + 1]
            upto = negative.cumsum(axis=1)
            above, tied = upto[:, 0:-1:2], negative[:, 1::2]
            self._last = w, (positive, above, tied, upto[:, -1])
        return self._last[1]

    def average_precision(self, w: np.ndarray) -> np.ndarray:
        """Average precision: the sum of precision times the step in recall, ties as one step."""
        positive, above, tied, _ = self.counts(w)
        hits = positive.cumsum(axis=1)
        precision = hits / np.maximum(hits + above + tied, EPS)
        return (precision * positive).sum(axis=1) / np.maximum(positive.sum(axis=1), EPS)

    def roc_auc(self, w: np.ndarray) -> np.ndarray:
        """Area under the ROC curve: the share of pairs in the right order, a tie counts half."""
        positive, above, tied, negative = self.counts(w)
        wrong = (positive * (above + 0.5 * tied)).sum(axis=1)
        return 1 - wrong / np.maximum(positive.sum(axis=1) * negative, EPS)


def _calibration(y: np.ndarray, p: np.ndarray, bins: int = 10) -> Weighted:
    member = np.zeros((len(p), bins))
    for number, chunk in enumerate(np.array_split(np.argsort(p, kind="stable"), bins)):
        member[chunk, number] = 1.0
    gap = member * (y - p)[:, None]
    return lambda w: np.abs(w @ gap).sum(axis=1) / np.maximum(w.sum(axis=1), EPS)


def _own_log_loss(y: np.ndarray, s: np.ndarray) -> np.ndarray:
    own = (
        s[np.arange(len(y)), y.astype(int)]
        if s.shape[1] > 1
        else np.where(y == 1, s[:, 0], 1 - s[:, 0])
    )
    return -np.log(np.clip(own, 1e-15, 1))


def _mean(values: np.ndarray) -> Weighted:
    return _ratio(values, np.ones(len(values)))


def _balanced_accuracy(y: np.ndarray, d: np.ndarray) -> Weighted:
    recalls = [_ratio((d == c) & (y == c), y == c) for c in np.unique(y)]
    return lambda w: np.mean([recall(w) for recall in recalls], axis=0)


def _f1_macro(y: np.ndarray, d: np.ndarray) -> Weighted:
    # F1 is hits over the mean of what was called and what is there.
    scores = [_ratio((d == c) & (y == c), 0.5 * (d == c) + 0.5 * (y == c)) for c in np.unique(y)]
    return lambda w: np.mean([f1(w) for f1 in scores], axis=0)


def _r2(y: np.ndarray, d: np.ndarray) -> Weighted:
    # R2 does not change with the origin, and near it the squares lose no digits.
    own = y - y.mean()
    columns = np.column_stack([np.ones(len(y)), own, own**2, (y - d) ** 2])

    def value(w: np.ndarray) -> np.ndarray:
        total, first, second, error = (w @ columns).T
        spread = second - first**2 / np.maximum(total, EPS)
        return 1 - error / np.maximum(spread, EPS)

    return value


def _median_error(y: np.ndarray, d: np.ndarray) -> Weighted:
    error = np.abs(y - d)
    order = np.argsort(error, kind="stable")

    def value(w: np.ndarray) -> np.ndarray:
        mass = w[:, order].cumsum(axis=1)
        return error[order][(mass < mass[:, -1:] / 2).sum(axis=1).clip(0, len(error) - 1)]

    return value


def metrics(
    names: Sequence[str], task: str, y: np.ndarray, s: np.ndarray, d: np.ndarray
) -> dict[str, Weighted]:
    """Each named metric of one model as a function of the weights; KeyError for an unknown one.

    `y` (n,), scores `s` (n, k) and decisions `d` (n,) as in `evaluate.metrics`.
    """
    made = {"binary": _binary, "multiclass": _multiclass, "regression": _regression}[task](y, s, d)
    return {name: made[name]() for name in names}


Made = dict[str, Callable[[], Weighted]]


def _binary(y: np.ndarray, s: np.ndarray, d: np.ndarray) -> Made:
    p, one, called = s[:, 0], y == 1, d == 1
    ranking = functools.cache(lambda: Ranking(y, p))
    return {
        "average_precision": lambda: ranking().average_precision,
        "roc_auc": lambda: ranking().roc_auc,
        "recall": lambda: _ratio(called & one, one),
        "precision": lambda: _ratio(called & one, called),
        "fpr": lambda: _ratio(called & ~one, ~one),
        "accuracy": lambda: _mean(d == y),
        "log_loss": lambda: _mean(_own_log_loss(y, s)),
        "brier": lambda: _mean((p - y) ** 2),
        "calibration_error": lambda: _calibration(y, p),
        "alert_rate": lambda: _mean(d),
    }


def _multiclass(y: np.ndarray, s: np.ndarray, d: np.ndarray) -> Made:
    return {
        "accuracy": lambda: _mean(d == y),
        "balanced_accuracy": lambda: _balanced_accuracy(y, d),
        "f1_macro": lambda: _f1_macro(y, d),
        "log_loss": lambda: _mean(_own_log_loss(y, s)),
        "calibration_error": lambda: _calibration((d == y).astype(float), s.max(axis=1)),
    }


def _regression(y: np.ndarray, s: np.ndarray, d: np.ndarray) -> Made:
    squared = _mean((y - d) ** 2)
    return {
        "mae": lambda: _mean(np.abs(y - d)),
        "rmse": lambda: lambda w: np.sqrt(squared(w)),
        "r2": lambda: _r2(y, d),
        "median_absolute_error": lambda: _median_error(y, d),
        "bias": lambda: _mean(d - y),
    }
