"""How sure a difference is, and which verdict follows."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from mainline.compare import difference
from mainline.compare.difference import (
    Difference,
    Pair,
    decide,
    delong,
    detectable,
    differences,
    guard,
    holm,
    strata,
    stretch,
    weights,
)
from mainline.verdict import Verdict

PASS, INCONCLUSIVE, FAIL, ERROR = Verdict


def pair(n: int = 2000, worse: float = 0.0, seed: int = 0, groups: int = 0) -> Pair:
    """Two correlated scores of one truth; the candidate's carries `worse` more noise."""
    rng = np.random.default_rng(seed)
    y = (rng.random(n) < 0.15).astype(int)
    shared = 1.2 * y + rng.normal(0, 0.8, n)
    base = shared + rng.normal(0, 0.4, n)
    new = shared + rng.normal(0, 0.4 + worse, n)
    own = rng.integers(0, groups, n) if groups else None
    return Pair("binary", y, base[:, None], (base > 1).astype(int), new[:, None],
                (new > 1).astype(int), own)  # fmt: skip


def found(gain: float, low: float, high: float, name: str = "roc_auc") -> Difference:
    return Difference(name, 0.8, 0.8 + gain, gain, low, high, 0.01, 1000, 100)


@pytest.mark.parametrize(
    ("gain", "low", "high", "verdict"),
    [
        (0.0, -0.009, 0.009, PASS),
        (-0.005, -0.0099, 0.001, PASS),
        (0.02, 0.01, 0.03, PASS),
        (0.0, -0.011, 0.011, INCONCLUSIVE),
        (-0.004, -0.012, -0.001, INCONCLUSIVE),
        (-0.02, -0.05, 0.01, INCONCLUSIVE),
        (-0.006, -0.012, -0.001, FAIL),
        (-0.05, -0.06, -0.04, FAIL),
        (math.nan, -0.1, 0.1, ERROR),
        (0.0, -math.inf, 0.1, ERROR),
        (0.0, -0.01, 0.01, INCONCLUSIVE),
    ],
)
def test_the_rule_of_non_inferiority(
    gain: float, low: float, high: float, verdict: Verdict
) -> None:
    """With delta .01: a low bound above it passes; surely worse by more than half of it fails."""
    assert decide(found(gain, low, high), 0.01) is verdict


@pytest.mark.parametrize(("low", "verdict"), [(0.001, PASS), (0.0, INCONCLUSIVE)])
def test_an_improvement_can_be_required(low: float, verdict: Verdict) -> None:
    """Then the lower bound must be above zero."""
    assert decide(found(0.01, low, 0.02), 0.01, require_improvement=True) is verdict


@pytest.mark.parametrize(
    ("name", "gain", "low", "high", "verdict"),
    [
        ("brier", -0.01, -0.015, 0.0, PASS),
        ("brier", -0.03, -0.05, -0.01, INCONCLUSIVE),
        ("brier", -0.05, -0.07, -0.03, FAIL),
        ("brier", 0.9, 0.8, 1.0, PASS),
        ("brier", math.nan, 0.8, 1.0, ERROR),
        ("alert_rate", 0.05, 0.03, 0.07, FAIL),
        ("alert_rate", -0.05, -0.07, -0.03, FAIL),
        ("alert_rate", 0.03, 0.01, 0.05, INCONCLUSIVE),
        ("alert_rate", 0.01, 0.0, 0.02, PASS),
    ],
)
def test_a_guardrail_of_two_hundredths(
    name: str, gain: float, low: float, high: float, verdict: Verdict
) -> None:
    """A gain is no loss, but of the alert rate: that may neither rise nor fall."""
    assert guard(found(gain, low, high, name), 0.02) is verdict


@pytest.mark.parametrize(
    ("p_values", "rejected"),
    [
        ([], []),
        ([0.04], [True]),
        ([0.04, 0.04], [False, False]),
        ([0.001, 0.04, 0.02], [True, True, True]),
        ([0.001, 0.04, 0.03], [True, False, False]),
        ([0.02, 0.9, 0.9], [False, False, False]),
    ],
)
def test_holm(p_values: list[float], rejected: list[bool]) -> None:
    """Step-down: the smallest against alpha / m, the next against alpha / (m - 1)."""
    assert holm(p_values) == rejected


def test_delong_gives_the_areas_and_about_the_bootstraps_spread() -> None:
    """The areas to the last digit; the standard error within a tenth of 1,000 bootstraps."""
    two = pair(worse=0.5)
    a, b, se = delong(two.y, two.base_scores[:, 0], two.scores[:, 0])
    assert a == pytest.approx(roc_auc_score(two.y, two.base_scores[:, 0]), abs=1e-12)
    assert b == pytest.approx(roc_auc_score(two.y, two.scores[:, 0]), abs=1e-12)
    grouped = Pair(two.task, two.y, two.base_scores, two.base_decisions, two.scores,
                   two.decisions, np.arange(len(two.y)))  # fmt: skip
    (boot,) = differences(grouped, ["roc_auc"])
    assert se == pytest.approx(boot.se, rel=0.1)
    assert math.isnan(delong(np.array([1, 0, 0]), np.arange(3.0), np.arange(3.0))[2])


def test_ties_count_half_in_delong() -> None:
    """Constant scores have an area of one half."""
    y = np.array([0, 1] * 20)
    assert delong(y, np.zeros(40), np.ones(40))[:2] == (0.5, 0.5)


def test_whole_groups_are_drawn() -> None:
    """All rows of one entity have one weight, and strata keep their sizes."""
    two = pair(600, groups=50)
    drawn = weights(two, 20, np.random.default_rng(1))
    for group in range(50):
        rows = drawn[:, two.groups == group]
        assert (rows == rows[:, :1]).all()
    plain = weights(pair(600), 20, np.random.default_rng(1))
    assert (plain[:, pair(600).y == 1].sum(axis=1) == pair(600).y.sum()).all()


def test_the_same_seed_gives_the_same_interval() -> None:
    """A verdict is not a matter of luck."""
    assert differences(pair(), ["average_precision"]) == differences(pair(), ["average_precision"])


def test_gain_is_signed_so_that_more_is_better() -> None:
    """A lower Brier score is a gain."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 500)
    good, bad = 0.25 + 0.5 * y[:, None], np.full((500, 1), 0.5)
    (one,) = differences(Pair("binary", y, bad, y, good, y), ["brier"])
    assert one.gain > 0
    assert one.low > 0
    assert detectable(one) >= 0


@pytest.mark.parametrize(("worse", "verdict"), [(0.0, PASS), (1.2, FAIL)])
def test_equal_models_pass_and_much_worse_ones_fail(worse: float, verdict: Verdict) -> None:
    """Over ten draws, with a delta that fits the table."""
    verdicts = [decide(differences(pair(4000, worse, seed), ["roc_auc"], 50)[0], 0.03)
                for seed in range(10)]  # fmt: skip
    assert verdicts.count(verdict) >= 9


@pytest.mark.parametrize("size", [1, 3])
def test_groups_make_delong_as_wide_as_their_bootstrap(size: int) -> None:
    """Rows that are repeated within a group are counted once (Obuchowski 1997)."""
    one = pair(1500, 0.5, seed=2)
    again = one.rows(np.tile(np.arange(1500), size))
    groups = np.tile(np.arange(1500), size)
    _, _, alone = delong(one.y, one.base_scores[:, 0], one.scores[:, 0])
    _, _, grouped = delong(again.y, again.base_scores[:, 0], again.scores[:, 0], groups)
    assert grouped == pytest.approx(alone, rel=0.02)
    both = Pair("binary", again.y, again.base_scores, again.base_decisions, again.scores,
                again.decisions, groups)  # fmt: skip
    assert differences(both, ["roc_auc"])[0].se == pytest.approx(alone, rel=0.03)


def test_the_size_of_a_chunk_changes_no_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draws follow one another, however many are held at once."""
    before = differences(pair(300, 0.2), ["average_precision", "brier"], 60)
    monkeypatch.setattr(difference, "CHUNK_CELLS", 700)
    after = differences(pair(300, 0.2), ["average_precision", "brier"], 60)
    for one, other in zip(before, after, strict=True):
        assert (one.low, one.high) == pytest.approx((other.low, other.high), abs=1e-12)


@pytest.mark.parametrize(
    ("old", "new", "better"),
    [(0.5, -0.1, True), (-0.1, 0.5, False), (0.3, 0.1, True), (-0.3, -0.5, False)],
)
def test_a_bias_is_judged_by_its_distance_from_zero(old: float, new: float, better: bool) -> None:
    """From either side; the values themselves keep their sign."""
    y = np.random.default_rng(0).normal(0, 1, 500)
    two = Pair("regression", y, (y + old)[:, None], y + old, (y + new)[:, None], y + new)
    (found,) = differences(two, ["bias"], 20)
    assert (found.gain > 0) == better
    assert found.gain == pytest.approx(abs(old) - abs(new))
    assert (found.base, found.candidate) == pytest.approx((old, new))
    assert (found.low, found.high) == pytest.approx((found.gain, found.gain))


def test_bounds_widen_where_few_groups_vary() -> None:
    """Student's t for the number of groups; one group alone tells nothing, and that is an ERROR."""
    two = pair(400, 0.3)

    def grouped(count: int) -> Pair:
        return Pair(two.task, two.y, two.base_scores, two.base_decisions, two.scores,
                    two.decisions, np.arange(400) % count)  # fmt: skip

    assert stretch(grouped(5)) == pytest.approx(2.1318 / 1.6449 * math.sqrt(5 / 4), rel=1e-3)
    assert stretch(grouped(400)) < 1.01
    for name in ("roc_auc", "average_precision", "brier"):
        (found,) = differences(grouped(1), [name], 20)
        assert decide(found, 0.5) is ERROR


def test_few_groups_of_a_class_are_drawn_with_the_others() -> None:
    """A stratum of two groups would hardly vary."""
    two = pair(600, groups=50)
    y = np.isin(two.groups, [3, 7]).astype(int)
    alone = Pair("binary", y, two.base_scores, two.base_decisions, two.scores, two.decisions,
                 two.groups)  # fmt: skip
    assert [len(s) for s in strata(alone)[1]] == [50]


@pytest.mark.parametrize("groups", [0, 60])
def test_bounds_hold_as_often_as_they_say(groups: int) -> None:
    """Over 150 tables the lower bound is below the truth about 95 times of 100.

    The truth is 0, since both models are equally good.
    """
    held = {"average_precision": 0, "roc_auc": 0}
    for seed in range(150):
        for found in differences(pair(600, 0.0, seed, groups), list(held), 100):
            held[found.name] += found.low < 0
    assert all(0.89 <= count / 150 <= 0.99 for count in held.values()), held


def test_blocks_of_time_that_move_together_need_the_blocks_bootstrap() -> None:
    """Errors that a week shares: by rows the bound is far too sure, by blocks it is not."""
    rng = np.random.default_rng(0)
    wrong = {"rows": 0, "blocks": 0}
    week = np.repeat(np.arange(30), 40)
    for _ in range(60):
        y = rng.normal(0, 1, len(week))
        base, new = (y + rng.normal(0, 1, 30)[week] + rng.normal(0, 0.2, len(week))
                     for _ in range(2))  # fmt: skip
        two = Pair("regression", y, base[:, None], base, new[:, None], new)
        for name, groups in (("rows", None), ("blocks", week)):
            used = Pair(two.task, y, two.base_scores, base, two.scores, new, groups)
            wrong[name] += differences(used, ["mae"], 100)[0].low > 0
    assert wrong["blocks"] <= 7
    assert wrong["rows"] >= 15
