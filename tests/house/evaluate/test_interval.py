"""Bounds of a measured number, and the verdict against a limit."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mainline.evaluate.interval import Interval, at_least, at_most, exactly, jackknife, leave_out
from mainline.verdict import Verdict

PASS, UNSURE, FAIL = Verdict.PASS, Verdict.INCONCLUSIVE, Verdict.FAIL


def test_the_bounds_of_a_mean_hold_what_they_promise() -> None:
    """Over 400 samples the lower bound is above the truth in about 5% of them."""
    above, widths = 0, []
    for seed in range(400):
        values = np.random.default_rng(seed).normal(0, 1, 300)
        found = jackknife(leave_out(lambda keep, v=values: v[keep].mean(), np.arange(300) % 30))
        above += found.low > 0
        widths.append(found.value - found.low)
    assert 6 <= above <= 36
    assert np.mean(widths) == pytest.approx(1.70 / math.sqrt(300), rel=0.05)


def test_rows_that_belong_together_widen_the_bounds() -> None:
    """Ten copies of each row say no more than one: folds that keep them together know it."""
    values = np.repeat(np.random.default_rng(0).normal(0, 1, 60), 10)
    together, apart = np.repeat(np.arange(60), 10) % 30, np.arange(600) % 30
    widths = [
        f.high - f.low
        for f in (jackknife(leave_out(lambda keep: values[keep].mean(), x))
                  for x in (together, apart))
    ]  # fmt: skip
    assert widths[0] > 1.5 * widths[1]


def test_the_largest_of_many_gets_wider_bounds() -> None:
    """Bonferroni: picked among six pairs."""
    values = np.random.default_rng(0).normal(0, 1, 31)
    one, six = jackknife(values), jackknife(values, tests=6)
    assert six.low < one.low < one.value == six.value


@pytest.mark.parametrize("values", [[1.0], [1.0, 2.0], [math.nan, 1, 2], [1, math.nan, math.nan]])
def test_too_little_gives_no_bounds(values: list[float]) -> None:
    """And without bounds nothing is sure."""
    assert math.isnan(jackknife(np.array(values)).low)


@pytest.mark.parametrize(
    ("found", "limit", "least", "most"),
    [(Interval(0.3, 0.2, 0.4), 0.1, PASS, FAIL), (Interval(0.3, 0.2, 0.4), 0.5, FAIL, PASS),
     (Interval(0.3, 0.2, 0.4), 0.25, UNSURE, UNSURE), (exactly(0.0), 0.0, FAIL, PASS),
     (Interval(0.3, math.nan, math.nan), 0.1, UNSURE, UNSURE),
     (Interval(math.nan, math.nan, math.nan), 0.1, UNSURE, UNSURE),
     (Interval(0.3, 0.2, 0.4), None, PASS, PASS)],
)  # fmt: skip
def test_a_limit_is_judged_with_the_bounds(
    found: Interval, limit: float | None, least: Verdict, most: Verdict
) -> None:
    """Surely kept, surely broken, or left open; no limit decides nothing."""
    assert at_least("x", found, limit, "It", 9).verdict is least
    assert at_most("x", found, limit, "It", 9).verdict is most
