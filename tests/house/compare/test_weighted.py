"""Metrics under weights equal the plain ones: with ones, and with rows repeated."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from mainline.compare.weighted import metrics
from mainline.evaluate.metrics import TASKS, measure

N = 300
# Its bins are drawn once over all rows, so that repeated rows do not move them.
OWN_BINS = "calibration_error"


def made(task: str, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Truth, scores with ties, decisions."""
    rng = np.random.default_rng(seed)
    if task == "regression":
        y = rng.normal(0, 2, N)
        s = y + rng.normal(0, 1, N)
        return y, s[:, None], s
    k = 2 if task == "binary" else 3
    y = rng.integers(0, k, N)
    p = np.round(0.4 * np.eye(k)[y] + rng.dirichlet(np.ones(k), N), 1) + 0.05
    p /= p.sum(axis=1, keepdims=True)
    if task == "binary":
        return y, p[:, 1:], (p[:, 1] >= 0.5).astype(int)
    return y, p, p.argmax(axis=1)


NAMES = [(task, name) for task, table in TASKS.items() for name in table]


@pytest.mark.parametrize(("task", "name"), NAMES)
@pytest.mark.parametrize("seed", [0, 1])
def test_ones_give_the_plain_metric(task: str, name: str, seed: int) -> None:
    """Each weighted metric is its namesake in `evaluate.metrics`."""
    y, s, d = made(task, seed)
    found = metrics([name], task, y, s, d)[name](np.ones((1, N)))
    # The median of an even number of errors lies between two of them.
    tolerance = 0.02 if name == "median_absolute_error" else 1e-9
    assert found[0] == pytest.approx(measure(task, [name], y, s, d)[name], abs=tolerance)


@pytest.mark.parametrize(("task", "name"), [n for n in NAMES if n[1] != OWN_BINS])
def test_whole_weights_are_repeated_rows(task: str, name: str) -> None:
    """A row with weight 3 is that row three times, one with weight 0 is not there."""
    y, s, d = made(task, 3)
    weights = np.random.default_rng(4).integers(0, 4, (5, N))
    found = metrics([name], task, y, s, d)[name](weights.astype(float))
    tolerance = 0.02 if name == "median_absolute_error" else 1e-9
    for row, value in zip(weights, found, strict=True):
        again = np.repeat(np.arange(N), row)
        expected = measure(task, [name], y[again], s[again], d[again])[name]
        assert value == pytest.approx(expected, abs=tolerance)


@pytest.mark.parametrize("seed", range(20))
def test_ranking_metrics_are_those_of_scikit_learn_under_any_weights(seed: int) -> None:
    """Random scores with and without ties, random shares of positives, fractional weights."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(5, 400))
    y = np.r_[0, 1, (rng.random(n - 2) < rng.uniform(0.02, 0.98)).astype(int)]
    s = rng.normal(y, 1, n)
    if seed % 2:
        s = np.round(s, int(rng.integers(0, 2)))
    weights = rng.integers(0, 3, (4, n)) * rng.random((4, n))
    weights[:, :2] = 1
    peers = {"average_precision": average_precision_score, "roc_auc": roc_auc_score}
    found = metrics(list(peers), "binary", y, s[:, None], (s > 0.5).astype(int))
    for name, peer in peers.items():
        expected = [peer(y, s, sample_weight=row) for row in weights]
        assert found[name](weights) == pytest.approx(expected, abs=1e-9), name


def test_an_unknown_metric_is_an_error() -> None:
    """Never a metric of another name."""
    with pytest.raises(KeyError):
        metrics(["f2"], "binary", *made("binary", 0))
