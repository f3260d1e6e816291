"""The metrics of each task, by name. One table: a task is an entry, a metric is a line."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

Metric = Callable[[np.ndarray, np.ndarray, np.ndarray], float]

# Metrics of which less is better; of all others more is.
LOWER_IS_BETTER = frozenset(
    {"fpr", "log_loss", "brier", "calibration_error", "alert_rate", "mae", "rmse",
     "median_absolute_error", "bias"}
)  # fmt: skip
NEEDS_BOTH = frozenset({"average_precision", "roc_auc", "log_loss", "recall", "precision", "fpr"})


def direction(name: str) -> int:
    """+1 where more is better, -1 where less is."""
    return -1 if name in LOWER_IS_BETTER else 1


def _share(part: np.ndarray, whole: np.ndarray) -> float:
    return float(part.sum() / whole.sum()) if whole.sum() else float("nan")


def calibration_error(y: np.ndarray, p: np.ndarray, bins: int = 10) -> float:
    """Expected calibration error over `bins` equally filled bins of `p` (n,) (Naeini 2015)."""
    order = np.argsort(p, kind="stable")
    gaps = [
        len(chunk) * abs(float(y[chunk].mean()) - float(p[chunk].mean()))
        for chunk in np.array_split(order, bins)
        if len(chunk)
    ]
    return float(sum(gaps) / max(len(y), 1))


def _steps(y: np.ndarray, s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positives found and rows called, from the highest distinct score down; equal ones at once."""
    order = np.argsort(-s, kind="stable")
    last = np.flatnonzero(np.append(np.diff(s[order]) != 0, True))
    return np.cumsum(y[order])[last].astype(float), last + 1.0


def _average_precision(y: np.ndarray, s: np.ndarray, d: np.ndarray) -> float:
    """The sum of precision times the step in recall."""
    hits, called = _steps(y, s[:, 0])
    return float((hits / called * np.diff(hits, prepend=0.0)).sum() / hits[-1])


def _roc_auc(y: np.ndarray, s: np.ndarray, d: np.ndarray) -> float:
    """The share of pairs of a positive and a negative in the right order; a tie counts half."""
    hits, called = _steps(y, s[:, 0])
    below = hits - 0.5 * np.diff(hits, prepend=0.0)
    misses = np.diff(called - hits, prepend=0.0)
    return float((below * misses).sum() / (hits[-1] * (called[-1] - hits[-1])))


def _log_loss(y: np.ndarray, s: np.ndarray, d: np.ndarray) -> float:
    own = s[np.arange(len(y)), y] if s.shape[1] > 1 else np.where(y == 1, s[:, 0], 1 - s[:, 0])
    return float(-np.log(np.clip(own, 1e-15, 1)).mean())


def _recalls(y: np.ndarray, d: np.ndarray) -> np.ndarray:
    return np.array([(d[y == c] == c).mean() for c in np.unique(y)])


def _f1_macro(y: np.ndarray, s: np.ndarray, d: np.ndarray) -> float:
    found = []
    for c in np.unique(y):
        hit, called, real = ((d == c) & (y == c)).sum(), (d == c).sum(), (y == c).sum()
        found.append(2 * hit / max(called + real, 1))
    return float(np.mean(found))


def _top_calibration(y: np.ndarray, s: np.ndarray, d: np.ndarray) -> float:
    return calibration_error((d == y).astype(float), s.max(axis=1))


BINARY: dict[str, Metric] = {
    "average_precision": _average_precision,
    "roc_auc": _roc_auc,
    "recall": lambda y, s, d: _share((d == 1) & (y == 1), y == 1),
    "precision": lambda y, s, d: _share((d == 1) & (y == 1), d == 1),
    "fpr": lambda y, s, d: _share((d == 1) & (y == 0), y == 0),
    "accuracy": lambda y, s, d: float((d == y).mean()),
    "log_loss": _log_loss,
    "brier": lambda y, s, d: float(((s[:, 0] - y) ** 2).mean()),
    "calibration_error": lambda y, s, d: calibration_error(y, s[:, 0]),
    "alert_rate": lambda y, s, d: float(d.mean()),
}
MULTICLASS: dict[str, Metric] = {
    "accuracy": lambda y, s, d: float((d == y).mean()),
    "balanced_accuracy": lambda y, s, d: float(_recalls(y, d).mean()),
    "f1_macro": _f1_macro,
    "log_loss": _log_loss,
    "calibration_error": _top_calibration,
}
REGRESSION: dict[str, Metric] = {
    "mae": lambda y, s, d: float(np.abs(y - d).mean()),
    "rmse": lambda y, s, d: float(np.sqrt(((y - d) ** 2).mean())),
    "r2": lambda y, s, d: float(
        1 - ((y - d) ** 2).sum() / max(((y - y.mean()) ** 2).sum(), 1e-300)
    ),
    "median_absolute_error": lambda y, s, d: float(np.median(np.abs(y - d))),
    "bias": lambda y, s, d: float((d - y).mean()),
}
TASKS = {"binary": BINARY, "multiclass": MULTICLASS, "regression": REGRESSION}


def measure(
    task: str, names: Sequence[str], y: np.ndarray, scores: np.ndarray, decisions: np.ndarray
) -> dict[str, float]:
    """Each named metric on `y` (n,), `scores` (n, k) and `decisions` (n,); NaN where undefined.

    Ranking metrics of a binary task are undefined when only one class is there.
    """
    table = TASKS[task]
    one_class = task == "binary" and len(np.unique(y)) < 2
    out = {}
    for name in names:
        undefined = len(y) == 0 or (one_class and name in NEEDS_BOTH)
        out[name] = float("nan") if undefined else table[name](y, scores, decisions)
    return out
