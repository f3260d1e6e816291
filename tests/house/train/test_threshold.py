"""The threshold rules, held against trying every threshold."""

from __future__ import annotations

import numpy as np
import pytest

from mainline.errors import DataError
from mainline.settings import Threshold
from mainline.train.threshold import choose


def rates(y: np.ndarray, scores: np.ndarray, t: float) -> tuple[float, float, float]:
    """Recall, precision and false positive rate at threshold `t`."""
    called = scores >= t
    hit = int((called & (y == 1)).sum())
    return (
        hit / (y == 1).sum(),
        hit / max(called.sum(), 1),
        int((called & (y == 0)).sum()) / (y == 0).sum(),
    )


def rule(name: str, value: float | None = None) -> Threshold:
    return Threshold(rule=name, value=value)  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", range(20))
def test_each_rule_is_the_best_of_all_thresholds(seed: int) -> None:
    """No other threshold at a score meets the rule and is better, ties included."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, 60)
    y[:2] = 0, 1
    scores = np.round(0.3 * y + rng.random(60), 1 + seed % 3)
    found = {name: rates(y, scores, choose(y, scores, rule(name, value)))
             for name, value in (("max_fpr", 0.2), ("min_recall", 0.7), ("min_precision", 0.6),
                                 ("max_f1", None))}  # fmt: skip
    every = [rates(y, scores, t) for t in np.unique(scores)]
    assert found["max_fpr"][2] <= 0.2
    assert found["max_fpr"][0] == max((r for r, _, f in every if f <= 0.2), default=0)
    assert found["min_recall"][0] >= 0.7
    assert found["min_recall"][2] == min(f for r, _, f in every if r >= 0.7)
    fine = [r for r, p, _ in every if p >= 0.6]
    if fine:
        assert found["min_precision"][1] >= 0.6
        assert found["min_precision"][0] == max(fine)
    f1 = [2 * r * p / max(r + p, 1e-12) for r, p, _ in every]
    r, p, _ = found["max_f1"]
    assert 2 * r * p / max(r + p, 1e-12) == pytest.approx(max(f1))


def test_no_threshold_may_allow_an_alert() -> None:
    """Where even the highest score is a false alarm too many, nothing is called positive."""
    y, scores = np.array([0, 0, 1]), np.array([0.9, 0.8, 0.1])
    t = choose(y, scores, rule("max_fpr", 0.1))
    assert not (scores >= t).any()


def test_fixed_is_taken_as_it_is_and_one_class_is_told() -> None:
    """A fixed threshold needs no rows; the other rules need both classes."""
    one = np.zeros(5, dtype=int)
    assert choose(one, np.ones(5), rule("fixed", 0.3)) == 0.3
    with pytest.raises(DataError, match="one class only"):
        choose(one, np.ones(5), rule("max_f1"))
