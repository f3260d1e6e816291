"""Metrics under many sets of row weights at once, which is what a bootstrap needs.

`w` has shape (r, n): replicate by row. Every function returns shape (r,). With weights of one
each equals its namesake in `evaluate.metrics`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Weighted = Callable[[np.ndarray], np.ndarray]
EPS = 1e-300


def _ratio(w: np.ndarray, part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return (w @ part.astype(float)) / np.maximum(w @ whole.astype(float), EPS)


def _ranked(w: np.ndarray, y: np.ndarray, s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weights of positives and negatives by distinct score, from high to low: two (r, m)."""
    order = np.argsort(-s, kind="stable")
    ranked, truth = s[order], y[order].astype(float)
    starts = np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1]])
    heavy = w[:, order]
    positive = heavy * truth
    if len(starts) == len(s):
        return positive, heavy - positive
    return (
        np.add.reduceat(positive, starts, axis=1),
        np.add.reduceat(heavy - positive, starts, axis=1),
    )


def average_precision(w: np.ndarray, y: np.ndarray, s: np.ndarray) -> np.ndarray:
    """Average precision: the sum of precision times the step in recall, ties as one step."""
    positive, negative = _ranked(w, y, s)
    hits = positive.cumsum(axis=1)
    called = hits + negative.cumsum(axis=1)
    precision = hits / np.maximum(called, EPS)
    return (precision * positive).sum(axis=1) / np.maximum(hits[:, -1], EPS)


def roc_auc(w: np.ndarray, y: np.ndarray, s: np.ndarray) -> np.ndarray:
    """Area under the ROC curve: the share of pairs in the right order, a tie counts half."""
    positive, negative = _ranked(w, y, s)
    above = positive.cumsum(axis=1) - 0.5 * positive
    pairs = positive.sum(axis=1) * negative.sum(axis=1)
    return (above * negative).sum(axis=1) / np.maximum(pairs, EPS)


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
    return lambda w: (w @ values.astype(float)) / np.maximum(w.sum(axis=1), EPS)


def _balanced_accuracy(y: np.ndarray, d: np.ndarray) -> Weighted:
    classes = np.unique(y)
    return lambda w: np.mean([_ratio(w, (d == c) & (y == c), y == c) for c in classes], axis=0)


def _f1_macro(y: np.ndarray, d: np.ndarray) -> Weighted:
    def f1(w: np.ndarray, c: float) -> np.ndarray:
        both = w @ ((d == c).astype(float) + (y == c).astype(float))
        return 2 * (w @ ((d == c) & (y == c)).astype(float)) / np.maximum(both, EPS)

    classes = np.unique(y)
    return lambda w: np.mean([f1(w, c) for c in classes], axis=0)


def _r2(y: np.ndarray, d: np.ndarray) -> Weighted:
    def value(w: np.ndarray) -> np.ndarray:
        total = np.maximum(w.sum(axis=1), EPS)
        mean = (w @ y) / total
        spread = w @ (y**2) - total * mean**2
        return 1 - (w @ ((y - d) ** 2)) / np.maximum(spread, EPS)

    return value


def _median_error(y: np.ndarray, d: np.ndarray) -> Weighted:
    error = np.abs(y - d)
    order = np.argsort(error, kind="stable")

    def value(w: np.ndarray) -> np.ndarray:
        mass = w[:, order].cumsum(axis=1)
        return error[order][(mass < mass[:, -1:] / 2).sum(axis=1).clip(0, len(error) - 1)]

    return value


def metric(name: str, task: str, y: np.ndarray, s: np.ndarray, d: np.ndarray) -> Weighted:
    """The metric `name` of one model as a function of the weights; KeyError for an unknown one."""
    if task == "binary":
        p, one, zero = s[:, 0], y == 1, y == 0
        made: dict[str, Callable[[], Weighted]] = {
            "average_precision": lambda: lambda w: average_precision(w, y, p),
            "roc_auc": lambda: lambda w: roc_auc(w, y, p),
            "recall": lambda: lambda w: _ratio(w, (d == 1) & one, one),
            "precision": lambda: lambda w: _ratio(w, (d == 1) & one, d == 1),
            "fpr": lambda: lambda w: _ratio(w, (d == 1) & zero, zero),
            "accuracy": lambda: _mean(d == y),
            "log_loss": lambda: _mean(_own_log_loss(y, s)),
            "brier": lambda: _mean((p - y) ** 2),
            "calibration_error": lambda: _calibration(y, p),
            "alert_rate": lambda: _mean(d),
        }
    elif task == "multiclass":
        made = {
            "accuracy": lambda: _mean(d == y),
            "balanced_accuracy": lambda: _balanced_accuracy(y, d),
            "f1_macro": lambda: _f1_macro(y, d),
            "log_loss": lambda: _mean(_own_log_loss(y, s)),
            "calibration_error": lambda: _calibration((d == y).astype(float), s.max(axis=1)),
        }
    else:
        made = {
            "mae": lambda: _mean(np.abs(y - d)),
            "rmse": lambda: lambda w: np.sqrt(_mean((y - d) ** 2)(w)),
            "r2": lambda: _r2(y, d),
            "median_absolute_error": lambda: _median_error(y, d),
            "bias": lambda: _mean(d - y),
        }
    return made[name]()
