"""The metrics of the three tasks, held against scikit-learn's."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn import metrics as sk

from mainline.evaluate.metrics import TASKS, direction, measure
from mainline.settings import METRICS

RNG = np.random.default_rng(1)
N = 400


def binary() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Truth, scores with ties, decisions."""
    y = RNG.integers(0, 2, N)
    p = np.round(np.clip(0.3 * y + 0.7 * RNG.random(N), 0, 1), 2)
    return y, p[:, None], (p >= 0.6).astype(int)


def multiclass() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Four classes, one of which is never decided."""
    y = RNG.integers(0, 4, N)
    p = RNG.dirichlet([1, 1, 1, 0.05], N) + 0.5 * np.eye(4)[y] * RNG.random((N, 1))
    p /= p.sum(axis=1, keepdims=True)
    return y, p, p.argmax(axis=1)


def regression() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Values and predictions."""
    y = RNG.normal(10, 3, N)
    s = y + RNG.normal(0.5, 1, N)
    return y, s[:, None], s


BINARY = {
    "average_precision": lambda y, s, d: sk.average_precision_score(y, s[:, 0]),
    "roc_auc": lambda y, s, d: sk.roc_auc_score(y, s[:, 0]),
    "recall": lambda y, s, d: sk.recall_score(y, d),
    "precision": lambda y, s, d: sk.precision_score(y, d),
    "fpr": lambda y, s, d: sk.confusion_matrix(y, d, normalize="true")[0, 1],
    "accuracy": lambda y, s, d: sk.accuracy_score(y, d),
    "log_loss": lambda y, s, d: sk.log_loss(y, np.clip(s[:, 0], 1e-15, 1 - 1e-15)),
    "brier": lambda y, s, d: sk.brier_score_loss(y, s[:, 0]),
    "alert_rate": lambda y, s, d: d.mean(),
}
MULTICLASS = {
    "accuracy": lambda y, s, d: sk.accuracy_score(y, d),
    "balanced_accuracy": lambda y, s, d: sk.balanced_accuracy_score(y, d),
    "f1_macro": lambda y, s, d: sk.f1_score(y, d, average="macro", labels=np.unique(y)),
    "log_loss": lambda y, s, d: sk.log_loss(y, s),
}
REGRESSION = {
    "mae": lambda y, s, d: sk.mean_absolute_error(y, d),
    "rmse": lambda y, s, d: sk.root_mean_squared_error(y, d),
    "r2": lambda y, s, d: sk.r2_score(y, d),
    "median_absolute_error": lambda y, s, d: sk.median_absolute_error(y, d),
    "bias": lambda y, s, d: np.mean(d - y),
}
CASES = [
    ("binary", binary(), BINARY),
    ("multiclass", multiclass(), MULTICLASS),
    ("regression", regression(), REGRESSION),
]


@pytest.mark.parametrize(("task", "data", "theirs"), CASES, ids=[c[0] for c in CASES])
def test_each_metric_is_scikit_learns(task: str, data: tuple, theirs: dict) -> None:
    """To the last digits, with ties and with a class that is never decided."""
    found = measure(task, list(theirs), *data)
    for name, expected in theirs.items():
        assert found[name] == pytest.approx(float(expected(*data)), rel=1e-9), name


def test_the_settings_know_the_same_metrics() -> None:
    """A name that params.yaml may hold can be measured, and the other way round."""
    assert {task: set(names) for task, names in METRICS.items()} == {
        task: set(table) for task, table in TASKS.items()
    }


def test_of_what_is_undefined_there_is_no_number() -> None:
    """One class only, or no rows: NaN, never a zero that looks like a measurement."""
    one = np.zeros(5, dtype=int)
    scores = np.linspace(0, 1, 5)[:, None]
    found = measure("binary", ["roc_auc", "recall", "accuracy"], one, scores, one)
    assert math.isnan(found["roc_auc"])
    assert math.isnan(found["recall"])
    assert found["accuracy"] == 1.0
    empty = measure("binary", ["accuracy"], one[:0], scores[:0], one[:0])
    assert math.isnan(empty["accuracy"])


def test_calibration_is_zero_for_the_truth_and_large_for_boasting() -> None:
    """Shares that are said and observed; ten bins of equal size."""
    y = np.tile([0, 1], 500)
    half, sure = np.full((1000, 1), 0.5), np.full((1000, 1), 0.99)
    for scores, expected in ((half, 0.0), (sure, 0.49)):
        found = measure("binary", ["calibration_error"], y, scores, y)["calibration_error"]
        assert found == pytest.approx(expected, abs=1e-9)


def test_less_is_better_where_it_is() -> None:
    """Errors and rates of false alarms go down."""
    assert {n: direction(n) for n in ("mae", "fpr", "roc_auc", "r2")} == {
        "mae": -1, "fpr": -1, "roc_auc": 1, "r2": 1,
    }  # fmt: skip
