"""The judge: counts in, a verdict out."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from mainline.rollout.access import ArmCounts
from mainline.rollout.judge import (
    TRIES,
    Answers,
    Evidence,
    Limits,
    StageCounts,
    due,
    judge,
    lower_bound,
    share_p_value,
    upper_bound,
)
from mainline.rollout.spread import Spread
from mainline.verdict import Check, Verdict

LIMITS = Limits(error_budget=0.02, latency_ms=250)
SEEN = Spread(500, 50.0, 10.0, 0.0, 0.9)
RIGHT = Answers(given=True, compared=500, pairs=500, scored=500, canary=SEEN, stable=SEEN)


def arm(n: int, errors: int = 0, slow: int = 0, slow_looks: int = 0) -> ArmCounts:
    return ArmCounts(n, errors, slow, n, slow_looks)


def evidence(canary: ArmCounts, stable: ArmCounts, weight: int = 5, **more: object) -> Evidence:
    stage = StageCounts("s", weight, 300, canary, stable)
    values = {"stages": (stage,), "answers": RIGHT, **more}
    return Evidence(**values)  # type: ignore[arg-type]


def check(found: Evidence, name: str) -> Check:
    return next(c for c in judge(found, LIMITS).checks if c.name == name)


def test_a_clean_canary_passes_at_377_requests_and_not_before() -> None:
    """Without errors the bound at 0.0005 is inside a budget of 2% from 377 requests on."""
    assert judge(evidence(arm(377), arm(7163)), LIMITS).verdict is Verdict.PASS
    assert judge(evidence(arm(376), arm(7163)), LIMITS).verdict is Verdict.INCONCLUSIVE


def test_no_data_is_never_a_pass() -> None:
    """Nothing seen, on any arm or in any log, is a hold."""
    assert judge(evidence(arm(0), arm(0)), LIMITS).verdict is Verdict.INCONCLUSIVE
    assert judge(evidence(arm(400), arm(0)), LIMITS).verdict is Verdict.INCONCLUSIVE
    blind = evidence(arm(400), arm(7600), answers=Answers())
    assert judge(blind, LIMITS).verdict is Verdict.INCONCLUSIVE
    unread = evidence(arm(400), arm(7600), unread=100)
    assert judge(unread, LIMITS).verdict is Verdict.INCONCLUSIVE


def test_errors_of_the_canary_fail_it_and_an_outage_of_both_does_not() -> None:
    """Errors count against the canary by its share of them, not by their number."""
    assert check(evidence(arm(50, 7), arm(950, 10)), "errors").verdict is Verdict.FAIL
    outage = evidence(arm(400, 120), arm(7600, 2280))
    assert check(outage, "errors").verdict is Verdict.INCONCLUSIVE
    assert "outage" in check(outage, "errors").reason


def test_a_look_that_is_not_due_spends_no_alpha() -> None:
    """Between the numbers at which the bound is asked, it gives no PASS."""
    found = evidence(arm(400), arm(7600), due=False)
    assert check(found, "errors").verdict is Verdict.INCONCLUSIVE


def test_bounds_are_asked_a_limited_number_of_times() -> None:
    """At most TRIES times, and only when there is a quarter more to look at."""
    assert due(300, 0, 0, 300)
    assert not due(299, 0, 0, 300)
    assert not due(374, 300, 1, 300)
    assert due(375, 300, 1, 300)
    assert not due(10**6, 300, TRIES, 300)


def test_a_slow_canary_fails_and_one_burst_of_the_machine_does_not() -> None:
    """Slow requests fail a canary when they keep coming, not when they came all at once."""
    lasting = evidence(arm(300, slow=30, slow_looks=20), arm(5700, slow=10))
    assert check(lasting, "latency").verdict is Verdict.FAIL
    burst = evidence(arm(300, slow=30, slow_looks=2), arm(5700, slow=10))
    assert check(burst, "latency").verdict is Verdict.INCONCLUSIVE
    shadow = evidence(arm(120, slow=120, slow_looks=2), arm(120), weight=0)
    assert judge(shadow, LIMITS).verdict is Verdict.INCONCLUSIVE, "it waits whether that lasts"
    inside = evidence(arm(1000, slow=9, slow_looks=9), arm(9300, slow=17))
    assert check(inside, "latency").verdict is Verdict.PASS


@pytest.mark.parametrize(
    ("answers", "verdict"),
    [
        ({"wrong": 1}, Verdict.FAIL),
        ({"stable_wrong": 1}, Verdict.INCONCLUSIVE),
        ({"compared": 99}, Verdict.INCONCLUSIVE),
        ({"recorded": (0.0, 0.05), "mean": 0.2}, Verdict.FAIL),
        ({"recorded": (0.2, 0.05), "mean": 0.2}, Verdict.PASS),
        ({"recorded": (0.0, 0.05), "mean": 0.005}, Verdict.PASS),
        ({"given": False, "recorded": (0.0, 0.05), "pairs": 99}, Verdict.INCONCLUSIVE),
        ({"given": False, "recorded": (0.0, 0.05), "pairs": 100}, Verdict.PASS),
    ],
)
def test_predictions(answers: dict[str, object], verdict: Verdict) -> None:
    """Served answers equal the offline ones, and pairs differ as the comparison recorded."""
    found = dataclasses.replace(RIGHT, **answers)  # type: ignore[arg-type]
    assert check(evidence(arm(400), arm(7600), answers=found), "predictions").verdict is verdict


def test_a_lost_canary_fails_at_once() -> None:
    """A canary that was lost needs no statistics."""
    assert judge(evidence(arm(0), arm(0), lost="gone"), LIMITS).verdict is Verdict.FAIL


def test_a_share_unlike_the_weight_is_a_hold() -> None:
    """At a weight of 5% a tenth of the requests is no accident, and no fault of the canary."""
    assert check(evidence(arm(1000), arm(9000)), "share").verdict is Verdict.INCONCLUSIVE
    assert check(evidence(arm(500), arm(9500)), "share").verdict is Verdict.PASS


def test_bounds_and_shares_agree_with_scipy_stats() -> None:
    """The short cuts around scipy.stats give its numbers."""
    from scipy.stats import beta, binomtest

    assert upper_bound(3, 400, 0.0005) == pytest.approx(beta.ppf(1 - 0.0005, 4, 397))
    assert lower_bound(3, 400, 0.01) == pytest.approx(beta.ppf(0.01, 3, 398))
    assert (upper_bound(0, 0, 0.01), lower_bound(0, 0, 0.01)) == (1.0, 0.0)
    exact = binomtest(60, 1000, 0.05, alternative="greater").pvalue
    assert share_p_value(60, 1000, 0.05) == pytest.approx(2 * exact)


def simulate(rng: np.random.Generator, canary_rate: float, stable_rate: float) -> str:
    """One rollout of 5, 25 and 50 per cent, looked at after each 1,000 requests."""
    done: list[StageCounts] = []
    tries = tried = 0
    for weight, minimum in ((5, 300), (25, 1000), (50, 2000)):
        canary, stable = arm(0), arm(0)
        for _ in range(60):
            n = int(rng.binomial(1000, weight / 100))
            canary.add(arm(n, int(rng.binomial(n, canary_rate))))
            stable.add(arm(1000 - n, int(rng.binomial(1000 - n, stable_rate))))
            now = StageCounts(str(weight), weight, minimum, canary, stable)
            total = canary.n + sum(s.canary.n for s in done)
            ask = canary.n >= minimum and due(total, tried, tries, minimum)
            if ask:
                tries, tried = tries + 1, total
            found = judge(Evidence((*done, now), RIGHT, due=ask), LIMITS).verdict
            if found is Verdict.FAIL:
                return "rolled back"
            if found is Verdict.PASS:
                break
        else:
            return "held"
        done.append(now)
    return "promoted"


def test_error_rates_of_the_policy() -> None:
    """Equal arms are promoted; a doubled error rate is not, and five times is rolled back."""
    rng = np.random.default_rng(5)
    equal = [simulate(rng, 0.01, 0.01) for _ in range(60)]
    doubled = [simulate(rng, 0.02, 0.01) for _ in range(60)]
    worse = [simulate(rng, 0.05, 0.01) for _ in range(60)]
    assert equal.count("promoted") >= 52
    assert doubled.count("promoted") <= 2
    assert worse.count("rolled back") == 60


def test_copies_do_not_hide_what_users_get() -> None:
    """A canary that was quick and right on many copies is judged by what users got."""
    copies = StageCounts("shadow", 0, 100, arm(5000), arm(5000))
    stable = arm(5700, errors=60, slow=5)
    for name, canary in (("latency", arm(300, slow=15)), ("errors", arm(300, errors=6))):
        users = StageCounts("canary-5", 5, 300, canary, stable)
        found = evidence(canary, stable, stages=(copies, users))
        assert check(found, name).verdict is not Verdict.PASS
