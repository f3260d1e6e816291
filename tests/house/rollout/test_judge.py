"""The judge: counts in, a verdict out."""

from __future__ import annotations

import dataclasses
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from mainline import eprocess
from mainline.rollout import answers, join, rates
from mainline.rollout import judge as judging
from mainline.rollout.access import ArmCounts
from mainline.rollout.judge import (
    TRIES,
    Answers,
    Evidence,
    Joined,
    Limits,
    Recorded,
    StageCounts,
    due,
    judge,
    lower_bound,
    promotion,
    share_p_value,
    upper_bound,
)
from mainline.rollout.spread import Spread, recorded
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


def test_each_check_alone_holds_without_its_data() -> None:
    """None relies on another to see that too little is there: a stage may ask for one alone."""
    held = Verdict.INCONCLUSIVE
    for name in ("errors", "latency"):
        assert check(evidence(arm(0), arm(7600)), name).verdict is held, "nothing of the canary"
        assert check(evidence(arm(400), arm(0)), name).verdict is held, "nothing of stable"
        assert check(evidence(arm(200), arm(3800, 400)), name).verdict is held, "too few"
    assert check(evidence(arm(299), arm(7600)), "requests").verdict is held
    few = dataclasses.replace(RIGHT, pairs=299)
    copies = evidence(arm(400), arm(400), weight=0, answers=few)
    assert check(copies, "requests").verdict is held, "copies that nobody compared"


def test_inside_the_budget_a_canary_may_not_fail_far_more_often_than_stable() -> None:
    """Five errors in a thousand are inside 2%, and more than twice what stable has."""
    found = evidence(arm(1200, 6), arm(1200, 1), weight=50)
    assert check(found, "errors").verdict is Verdict.INCONCLUSIVE
    assert check(evidence(arm(1200, 4), arm(1200, 1), weight=50), "errors").verdict is Verdict.PASS


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


def test_bursts_of_a_busy_machine_do_not_condemn_a_canary() -> None:
    """60 late of 2,159 against 84 of 11,498, in ten bursts: a good version on a machine held up."""
    seen = [ArmCounts(2159, 0, 60, 2159, 10), ArmCounts(11498, 0, 84, 11498, 10)]
    assert check(evidence(*seen, weight=25), "latency").verdict is Verdict.FAIL
    tempered = [replace(a, discount=a.slow * (1 - 50 / 144)) for a in seen]
    assert check(evidence(*tempered, weight=25), "latency").verdict is Verdict.INCONCLUSIVE


def test_copies_that_came_late_in_one_burst_are_a_hold() -> None:
    """Weak evidence of a share over the budget is no PASS of the shadow: the next looks tell."""
    burst = ArmCounts(100, 0, 25, 100, 1, discount=20)
    found = evidence(burst, arm(100), weight=0)
    assert check(found, "latency").verdict is Verdict.INCONCLUSIVE


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
        ({"given": False, "recorded": None}, Verdict.INCONCLUSIVE),
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


def test_copies_do_not_hide_what_users_get() -> None:
    """A canary that was quick and right on many copies is judged by what users got."""
    copies = StageCounts("shadow", 0, 100, arm(5000), arm(5000))
    stable = arm(5700, errors=60, slow=5)
    for name, canary in (("latency", arm(300, slow=15)), ("errors", arm(300, errors=6))):
        users = StageCounts("canary-5", 5, 300, canary, stable)
        found = evidence(canary, stable, stages=(copies, users))
        assert check(found, name).verdict is not Verdict.PASS
    slower = StageCounts("canary-5", 5, 300, arm(300, slow=9), arm(5700, slow=100))
    found = evidence(arm(0), arm(0), stages=(copies, slower))
    assert check(found, "latency").verdict is Verdict.INCONCLUSIVE


def test_equal_errors_of_many_copies_promote_nobody() -> None:
    """What was equally bad on both sides of a mirror says nothing of what users get."""
    copies = StageCounts("shadow", 0, 100, arm(5000, 50), arm(5000, 50))
    users = StageCounts("canary-5", 5, 300, arm(300, 5), arm(5700, 57))
    found = evidence(arm(0), arm(0), stages=(copies, users))
    assert check(found, "errors").verdict is Verdict.INCONCLUSIVE


def test_a_canary_that_was_good_for_long_is_caught_as_soon_as_it_fails() -> None:
    """Thousands of good copies do not have to be outweighed: each stage begins anew."""
    copies = StageCounts("shadow", 0, 100, arm(20_000, 200), arm(20_000, 200))
    users = StageCounts("canary-5", 5, 300, arm(60, 6), arm(1140, 11))
    found = evidence(arm(0), arm(0), stages=(copies, users))
    assert check(found, "errors").verdict is Verdict.FAIL


def test_a_stage_is_judged_on_what_it_asks_for() -> None:
    """Besides life, requests, time and log, which always count; without a list all of it does."""

    def names(judge_: tuple[str, ...] | None, weight: int = 5) -> list[str]:
        stage = StageCounts("s", weight, 300, arm(400), arm(7600), 60.0, judge_)
        return [c.name for c in judge(Evidence((stage,), RIGHT), LIMITS).checks]

    always = ["canary", "requests", "time"]
    assert names(()) == [*always, "log"]
    assert names(("scores", "errors")) == [*always, "errors", "scores", "log"]
    rest = ["errors", "latency", "predictions", "scores"]
    assert names(None) == [*always, *rest, "share", "log"]
    assert names(None, weight=0) == [*always, *rest, "log"]


def test_a_pass_before_its_time_is_a_hold() -> None:
    """What lasts for less than min_seconds has not passed; what fails does so at once."""
    stage = StageCounts("s", 5, 300, arm(400), arm(7600), min_seconds=60.0)
    early = Evidence((stage,), RIGHT, elapsed=59.0)
    assert judge(early, LIMITS).verdict is Verdict.INCONCLUSIVE
    assert judge(dataclasses.replace(early, elapsed=60.0), LIMITS).verdict is Verdict.PASS
    bad = dataclasses.replace(stage, canary=arm(400, 100))
    assert judge(Evidence((bad,), RIGHT, elapsed=1.0), LIMITS).verdict is Verdict.FAIL


def test_a_stable_that_is_the_bad_one_is_said_so() -> None:
    """A canary beside a stable that fails passes on its own, and the reason names the other."""
    found = check(evidence(arm(400), arm(7600, 760)), "errors")
    assert found.verdict is Verdict.PASS
    assert "stable is the bad one" in found.reason
    equal = check(evidence(arm(400, 4), arm(7600, 76)), "errors")
    assert "the bad one" not in equal.reason


def spread(low: int, high: int, yes: int = 0, no: int = 0) -> Spread:
    """`low` scores of .2 and `high` ones of .8, and decisions."""
    found = Spread()
    for score, count in ((0.2, low), (0.8, high)):
        for _ in range(count):
            found.add(score, None, [0.5])
    found.decided = {"1": yes, "0": no}
    return found


KNOWN = Recorded(0.0, 0.1, 2000, [0.5], [0.6, 0.4], [0.8, 0.2], {"1": [0.1, 0.1], "0": [0.9, 0.9]})


@pytest.mark.parametrize(
    ("canary", "stable", "known", "verdict"),
    [
        (spread(600, 400), spread(8000, 2000), KNOWN, Verdict.PASS),
        (spread(630, 370), spread(8000, 2000), KNOWN, Verdict.PASS),
        (spread(800, 200), spread(8000, 2000), KNOWN, Verdict.FAIL),
        (spread(400, 600), spread(8000, 2000), KNOWN, Verdict.FAIL),
        (spread(60, 60), spread(8000, 2000), KNOWN, Verdict.PASS),
        (spread(600, 400, 110, 890), spread(8000, 2000, 1000, 9000), KNOWN, Verdict.PASS),
        (spread(600, 400, 400, 600), spread(8000, 2000, 1000, 9000), KNOWN, Verdict.FAIL),
        (spread(60, 39), spread(8000, 2000), KNOWN, Verdict.INCONCLUSIVE),
        (spread(600, 400), spread(60, 39), KNOWN, Verdict.INCONCLUSIVE),
        (spread(0, 1000), spread(8000, 2000), KNOWN, Verdict.FAIL),
        (spread(0, 1000), spread(8000, 2000), None, Verdict.FAIL),
        (spread(0, 1000), spread(0, 2000), None, Verdict.PASS),
        (spread(400, 600), spread(8000, 2000), None, Verdict.PASS),
        (spread(400, 600, 900, 100), spread(8000, 2000, 100, 900), None, Verdict.FAIL),
        (spread(100, 900), spread(10_000, 40), (0.0, 0.1), Verdict.FAIL),
    ],
)
def test_scores(canary: Spread, stable: Spread, known: Recorded | None, verdict: Verdict) -> None:
    """A model may answer otherwise than the old one, but not otherwise than it did offline."""
    found = dataclasses.replace(RIGHT, canary=canary, stable=stable, recorded=known)
    assert check(evidence(arm(400), arm(7600), answers=found), "scores").verdict is verdict


def test_one_question_asked_again_and_again_is_no_shift() -> None:
    """Both versions answer one row each in its way: without a spread nothing is many sigmas."""
    both = []
    for score in (0.03919, 0.03911):
        found = Spread()
        for _ in range(3000):
            found.add(score)
        both.append(found)
    assert both[1].sd > 0, "the last bits of the sums"
    found = dataclasses.replace(RIGHT, canary=both[0], stable=both[1], recorded=None)
    assert check(evidence(arm(400), arm(7600), answers=found), "scores").verdict is Verdict.PASS


def test_one_and_the_same_score_of_all_copies_fails() -> None:
    """A constant answer is caught in the shadow stage, and too few answers are a hold."""
    for more, verdict in (
        ({"constant": True}, Verdict.FAIL),
        ({"constant": True, "scored": 99}, Verdict.INCONCLUSIVE),
        ({"scored": 99}, Verdict.INCONCLUSIVE),
        ({}, Verdict.PASS),
    ):
        found = dataclasses.replace(RIGHT, canary=Spread(), stable=Spread(), **more)
        shadow = evidence(arm(400), arm(400), weight=0, answers=found)
        assert check(shadow, "scores").verdict is verdict, more


def test_what_the_comparison_recorded_is_kept_in_either_form() -> None:
    """Two numbers, or all that spread.recorded gives: JSON and back again."""
    assert Recorded.read(None) is None
    assert Recorded.read([0.1, 0.2]) == Recorded(0.1, 0.2)
    new, old = [i / 100 for i in range(100)], [i / 200 for i in range(100)]
    kept = recorded(new, old, ([int(v > 0.5) for v in new], [0] * 100))
    found = Recorded.read(json.loads(json.dumps(kept)))
    assert found is not None
    assert (found.rows, found.mean) == (100, pytest.approx(0.2475))
    assert found.decided == {"0": [0.51, 1.0], "1": [0.49, 0.0]}
    assert len(found.new) == len(found.old) == len(found.edges) + 1
    assert sum(found.new) == pytest.approx(1.0)
    assert not {*found.edges} & {*new, *old}, "the last bits of a score would decide its bin"
    assert Recorded.read(recorded([0.5] * 3, [0.5] * 3)) == Recorded(0, 0, 3, [], [], [], {})


@pytest.mark.parametrize(
    ("more", "word"),
    [
        ({"unread": 100}, "could not be read"),
        ({"joined": Joined(8000, 200, 8000, 0)}, "200 of 8000 answered requests"),
        ({"joined": Joined(8000, 0, 8000, 200)}, "200 of 8000 predictions"),
        ({"joined": Joined(8000, 0, 7000, 0, 1000, 400)}, "600 of the 1000 requests"),
        ({"joined": Joined(8000, 4, 8000, 4, 1000, 900)}, None),
        ({"unread": 3}, None),
    ],
)
def test_a_log_that_lost_something_is_a_hold(more: dict[str, object], word: str | None) -> None:
    """Missing, late, torn: the number is said, and nothing passes on what is left."""
    found = check(evidence(arm(400), arm(7600), **more), "log")
    assert found.verdict is (Verdict.INCONCLUSIVE if word else Verdict.PASS)
    assert (word or "can be read") in found.reason


def promoted(canary: ArmCounts, **more: object) -> Evidence:
    stage = StageCounts("promoted", 100, 0, canary, arm(0))
    return Evidence((stage,), dataclasses.replace(RIGHT, stable=Spread()), **more)  # type: ignore[arg-type]


def test_a_promotion_is_taken_back_for_more_than_the_budget() -> None:
    """Errors and slow answers beyond the budget, a lost service, or labels that contradict it."""

    def verdict(found: Evidence) -> Verdict:
        return promotion(found, LIMITS).verdict

    sick = Check("labels", Verdict.FAIL, "recall fell")
    assert verdict(promoted(arm(1000, 5))) is Verdict.PASS
    assert verdict(promoted(arm(0))) is Verdict.INCONCLUSIVE
    for more in ({"watched": {"errors": 3.0}}, {"watched": {"slow": 3.0}}, {"lost": "gone"},
                 {"labels": (sick,)}):  # fmt: skip
        assert verdict(promoted(arm(1000, 90), **more)) is Verdict.FAIL, more
        alone = promotion(promoted(arm(1000, 90), **more, fallback=False), LIMITS)
        assert alone.verdict is Verdict.INCONCLUSIVE, "there is nothing to go back to"
        assert "outage" in alone.checks[0].reason
    wrong = dataclasses.replace(RIGHT, wrong=1)
    assert verdict(dataclasses.replace(promoted(arm(1000)), answers=wrong)) is Verdict.FAIL


def test_the_page_of_the_judge_says_what_the_judge_does() -> None:
    """docs/judge.md has each check, and each constant at the value that the code has."""
    page = (Path(__file__).parents[3] / "docs" / "judge.md").read_text("utf-8")
    rows = re.findall(r"^\| `([A-Z_]+)` \| ([\d.]+) \| (\w+) \|$", page, flags=re.MULTILINE)
    assert len(rows) >= 16
    places = {"eprocess": eprocess, "rates": rates, "answers": answers, "judge": judging,
              "join": join}  # fmt: skip
    for name, value, place in rows:
        assert getattr(places[place], name) == float(value), name
    stage = StageCounts("s", 5, 300, arm(400), arm(7600), 60.0)
    for found in judge(Evidence((stage,), RIGHT), LIMITS).checks:
        assert f"\n| {found.name} |" in page
