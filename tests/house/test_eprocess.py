"""The e-processes keep their promise under the null and see what they are meant to see."""

import json
import math
from dataclasses import asdict

import numpy as np
import pytest

from mainline import eprocess


def fired(rng, n_reference, true, now, length):
    """One life of a model: reference rates seen, then a stream at rate `now`; when it fired."""
    bound = eprocess.upper_bound(rng.binomial(n_reference, true), n_reference)
    return eprocess.first_fired(eprocess.quality(rng.random(length) < now, bound))


def test_upper_bound_is_clopper_pearson():
    """Known values: the rule of three for none seen, 1 for all seen and for nothing seen."""
    assert eprocess.upper_bound(0, 100) == pytest.approx(1 - 0.05 ** (1 / 100))
    assert eprocess.upper_bound(5, 5) == 1.0
    assert eprocess.upper_bound(0, 0) == 1.0
    with pytest.raises(ValueError, match="no bound"):
        eprocess.upper_bound(3, 2)


def test_quality_equals_the_formula_written_out():
    """The vectorised mixture is the plain sum over starts of the products of bets."""
    rng = np.random.default_rng(5)
    bad, bound, bets = rng.random(120) < 0.4, 0.2, (1.5, 3.0)
    total = 1.0
    for j, start in enumerate((0, 50, 100)):
        stake = 1 / ((j + 1) * (j + 2))
        products = [
            math.prod(q / bound if b else (1 - q) / (1 - bound) for b in bad[start:])
            for q in (bound * bet for bet in bets)
        ]
        total += stake * (np.mean(products) - 1)
    assert math.exp(eprocess.quality(bad, bound, bets)[-1]) == pytest.approx(total)


def test_quality_seldom_fires_in_a_year_at_constant_quality():
    """A year of 2,400 positives at the reference's own recall: far fewer than 5% of years."""
    rng = np.random.default_rng(0)
    years = [fired(rng, 300, 0.22, 0.22, 2400) is not None for _ in range(400)]
    assert np.mean(years) <= 0.03


def test_quality_sees_a_fall_of_recall_within_some_dozen_positives():
    """Recall .78 to .52 fires after a median of about 30 positives, and always."""
    rng = np.random.default_rng(1)
    after = [fired(rng, 300, 0.22, 0.48, 2400) for _ in range(300)]
    assert None not in after
    assert 20 <= np.median(after) <= 45


def test_quality_sees_a_fall_after_a_long_good_time():
    """A model that was good for 600 positives is found bad within a hundred or so more."""
    rng = np.random.default_rng(6)
    after = []
    for _ in range(200):
        bound = eprocess.upper_bound(rng.binomial(300, 0.22), 300)
        stream = rng.random(1400) < np.where(np.arange(1400) < 600, 0.22, 0.48)
        at = eprocess.first_fired(eprocess.quality(stream, bound))
        after.append(-1 if at is None else at - 600)
    assert np.mean(np.array(after) < 0) <= 0.05
    assert np.median(after) <= 110


@pytest.mark.parametrize("bound", [0.0, 0.98, 1.0])
def test_quality_with_no_bet_left_says_nothing(bound):
    """A bound that leaves no room for a bet never fires and never divides by zero."""
    assert (eprocess.quality(np.ones(50), bound) == 0).all()


def test_empty_streams_are_no_evidence():
    """No outcome, no look, or looks with one arm only: e stays 1."""
    assert eprocess.quality([], 0.2).shape == (0,)
    assert eprocess.first_fired([]) is None
    assert eprocess.log_e_ratio([], [], []) == 0.0
    assert eprocess.log_e_ratio([9, 0], [0, 9], [1.0, 0.0]) == 0.0
    assert eprocess.log_e_reverse([9], [0], [1.0]) == 0.0


def test_long_streams_do_not_overflow():
    """A hundred thousand errors give a finite logarithm."""
    assert np.isfinite(eprocess.log_e_ratio([100_000], [0], [0.05]))
    assert np.isfinite(eprocess.quality(np.ones(100_000), 0.01)[-1])


def looks(rng, canary, stable, share, n_looks=30, requests=1000):
    """Errors of both arms and the canary's share at each look."""
    to_canary = rng.binomial(requests, share, n_looks)
    return (
        rng.binomial(to_canary, canary),
        rng.binomial(requests - to_canary, stable),
        to_canary / requests,
    )


def ever(function, threshold, x, y, p):
    """Whether the e-value reached `threshold` at any of the looks."""
    reached = (function(x[:k], y[:k], p[:k]) for k in range(1, len(x) + 1))
    return any(log_e >= math.log(threshold) for log_e in reached)


def test_two_arms_seldom_fire_when_equal_even_in_an_outage_of_both():
    """Equal arms, a third of the looks with 30% errors in both: at most 5% ever reach 20."""
    rng = np.random.default_rng(2)
    rate = np.where(np.arange(30) % 3 == 0, 0.3, 0.01)
    alarms = [ever(eprocess.log_e_ratio, 20, *looks(rng, rate, rate, 0.05)) for _ in range(300)]
    assert np.mean(alarms) <= 0.05


def test_two_arms_always_see_a_canary_five_times_worse():
    """1% against 5% at a share of 5% is found within 30,000 requests."""
    rng = np.random.default_rng(3)
    assert all(ever(eprocess.log_e_ratio, 20, *looks(rng, 0.05, 0.01, 0.05)) for _ in range(100))


def test_reverse_promotes_the_equal_and_not_the_twice_as_bad():
    """Against "at least twice the risk": equal arms reach 20, arms at the ratio seldom do."""
    rng = np.random.default_rng(4)
    equal = [ever(eprocess.log_e_reverse, 20, *looks(rng, 0.01, 0.01, 0.5)) for _ in range(200)]
    twice = [ever(eprocess.log_e_reverse, 20, *looks(rng, 0.02, 0.01, 0.5)) for _ in range(200)]
    assert np.mean(equal) >= 0.9
    assert np.mean(twice) <= 0.06


def test_looks_of_unequal_length_are_refused():
    """A missing look is an error of the caller, not evidence."""
    with pytest.raises(ValueError, match="looks do not match"):
        eprocess.log_e_ratio([1, 2], [1], [0.5, 0.5])


def test_a_detector_fed_one_by_one_is_quality():
    """Counts as they come, in constant space, give what the whole stream gives."""
    bad = np.random.default_rng(6).random(430) < 0.3
    watch = eprocess.Detector(0.2, eprocess.QUALITY_BETS)
    found = []
    for outcome in bad:
        watch.add(int(outcome), 1)
        found.append(watch.log_e)
    assert np.allclose(found, eprocess.quality(bad, 0.2), atol=1e-9)
    assert (watch.n, watch.bad) == (430, bad.sum())


def test_a_detector_goes_on_from_what_was_kept_of_it():
    """Its fields are numbers and lists, so that a restarted guard has lost nothing."""
    watch = eprocess.Detector(0.02)
    watch.add(3, 120)
    again = eprocess.Detector(**json.loads(json.dumps(asdict(watch))))
    for one in (watch, again):
        one.add(2, 40)
    assert (again.log_e, again.stakes, again.n) == (watch.log_e, watch.stakes, 160)


def test_a_detector_seldom_fires_at_its_bound_and_soon_beyond_it():
    """At the bound itself at most 5% ever reach 20; at three times it, all within 1,000."""
    rng = np.random.default_rng(7)

    def fired(rate, looks):
        watch = eprocess.Detector(0.02)
        for errors in rng.binomial(10, rate, looks):
            watch.add(int(errors), 10)
            if watch.log_e >= math.log(20):
                return True
        return False

    assert np.mean([fired(0.02, 200) for _ in range(200)]) <= 0.06
    assert all(fired(0.06, 150) for _ in range(30))
    with pytest.raises(ValueError, match="no outcomes"):
        eprocess.Detector(0.02).add(2, 1)
    assert not eprocess.Detector(0.98).bad


def test_stages_begun_anew_are_an_e_process_too():
    """Equal arms seldom fire; one that turns bad late is seen long before the sum would see it."""
    rng = np.random.default_rng(8)

    def ever_restarted(rate_late):
        x, y, share = [0, 0, 0], [0, 0, 0], [0.5, 0.05, 0.25]
        for j, p in enumerate(share):
            for _ in range(20):
                n = int(rng.binomial(500, p))
                x[j] += int(rng.binomial(n, rate_late if j == 2 else 0.02))
                y[j] += int(rng.binomial(500 - n, 0.02))
                if eprocess.log_e_restarted(x[: j + 1], y[: j + 1], share[: j + 1]) >= math.log(20):
                    return True
        return False

    assert np.mean([ever_restarted(0.02) for _ in range(150)]) <= 0.05
    assert np.mean([ever_restarted(0.06) for _ in range(50)]) >= 0.95
    with pytest.raises(ValueError, match="do not match"):
        eprocess.log_e_restarted([1], [1, 2], [0.5])
    late = ([500, 8], [500, 10], [0.5, 0.05])
    assert eprocess.log_e_restarted(*late) > math.log(20) > eprocess.log_e_ratio(*late)


def test_the_mean_of_restarts_is_the_sum_of_stakes():
    """By hand: 1/2 on the whole, 1/6 on the second stage, 1/3 not staked yet."""
    x, y, p = [3, 2], [1, 4], [0.5, 0.25]
    whole = math.exp(eprocess.log_e_ratio(x, y, p))
    second = math.exp(eprocess.log_e_ratio(x[1:], y[1:], p[1:]))
    assert math.exp(eprocess.log_e_restarted(x, y, p)) == pytest.approx(
        whole / 2 + second / 6 + 1 / 3
    )
