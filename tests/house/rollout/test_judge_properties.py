"""What holds for every verdict of the judge, and how often it errs on simulated rollouts."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mainline.rollout.access import ArmCounts
from mainline.rollout.judge import Answers, Evidence, Joined, Limits, StageCounts, judge, promotion
from mainline.rollout.spread import Spread
from mainline.verdict import ORDER, Verdict

sys.path.insert(0, str(Path(__file__).parents[3] / "benchmarks" / "judge"))

from simulate import Case, bake, peeking, rollout

LIMITS = Limits(error_budget=0.02, latency_ms=250)
SEEN = Spread(500, 50.0, 10.0, 0.0, 0.9)
RIGHT = Answers(given=True, compared=500, pairs=500, scored=500, canary=SEEN, stable=SEEN)
WEIGHTS = (0, 5, 25, 50, 100)


@st.composite
def arms(draw: st.DrawFn) -> ArmCounts:
    """Counts of one arm that may have been seen: from nothing to a lot, mostly few bad ones."""
    n = draw(st.one_of(st.integers(0, 20), st.integers(0, 20_000)))
    few = st.integers(0, min(n, 40))
    errors, slow = (draw(st.one_of(few, st.integers(0, n))) for _ in range(2))
    return ArmCounts(n, errors, slow, n, draw(st.integers(0, 10)))


@st.composite
def evidences(draw: st.DrawFn) -> Evidence:
    """Any evidence of up to five stages in order."""
    stages = tuple(
        StageCounts(f"s{weight}", weight, draw(st.sampled_from([0, 100, 1000])),
                    draw(arms()), draw(arms()), draw(st.sampled_from([0.0, 10.0])))
        for weight in WEIGHTS[: draw(st.integers(1, len(WEIGHTS)))]
    )  # fmt: skip
    logs = st.builds(Joined, *[st.integers(0, 300)] * 6)
    return Evidence(
        stages, draw(st.sampled_from([RIGHT, Answers()])), due=draw(st.booleans()),
        lost=draw(st.sampled_from([None, None, "gone"])), unread=draw(st.integers(0, 50)),
        elapsed=draw(st.floats(0, 100)), joined=draw(st.one_of(st.none(), logs)),
    )  # fmt: skip


def severity(found: Evidence) -> int:
    return ORDER.index(judge(found, LIMITS).verdict)


def with_arm(found: Evidence, at: int, arm: str, **counts: int) -> Evidence:
    """`found` with some counts of one arm of one stage changed."""
    stage = found.stages[at]
    changed = dataclasses.replace(getattr(stage, arm), **counts)
    stages = list(found.stages)
    stages[at] = dataclasses.replace(stage, **{arm: changed})
    return dataclasses.replace(found, stages=stages)


@settings(max_examples=300, deadline=None)
@given(evidences(), st.data())
def test_more_errors_of_the_canary_never_make_a_verdict_better(
    found: Evidence, data: st.DataObject
) -> None:
    """Whatever was seen: with more of the canary's requests failed or slow nothing gets better."""
    at = data.draw(st.integers(0, len(found.stages) - 1))
    canary = found.stages[at].canary
    errors = data.draw(st.integers(canary.errors, canary.n))
    slow = data.draw(st.integers(canary.slow, canary.n))
    assert severity(with_arm(found, at, "canary", errors=errors)) >= severity(found)
    assert severity(with_arm(found, at, "canary", slow=slow)) >= severity(found)


@settings(max_examples=200, deadline=None)
@given(evidences(), st.data())
def test_more_errors_of_stable_never_fail_the_canary(found: Evidence, data: st.DataObject) -> None:
    """A stable that fails may hold a canary up, as an outage does, and never condemns it."""
    at = data.draw(st.integers(0, len(found.stages) - 1))
    stable = found.stages[at].stable
    errors = data.draw(st.integers(stable.errors, stable.n))
    if severity(found) < ORDER.index(Verdict.FAIL):
        worse = with_arm(found, at, "stable", errors=errors)
        assert severity(worse) < ORDER.index(Verdict.FAIL)


@settings(max_examples=200, deadline=None)
@given(evidences(), st.sampled_from(["requests", "stable", "answers", "log"]))
def test_without_data_nothing_ever_passes(found: Evidence, missing: str) -> None:
    """No request, no stable beside it, no answers or no readable log: whatever else there is."""
    last = len(found.stages) - 1
    nothing = {"n": 0, "errors": 0, "slow": 0, "timed": 0}
    if missing == "requests":
        found = with_arm(found, last, "canary", **nothing)
    elif missing == "stable" and 0 < found.stages[last].weight < 100:
        found = with_arm(found, last, "stable", **nothing)
    elif missing == "answers":
        found = dataclasses.replace(found, answers=Answers())
    else:
        total = sum(s.canary.n + s.stable.n for s in found.stages)
        found = dataclasses.replace(found, unread=total // 500 + 10)
    assert judge(found, LIMITS).verdict is not Verdict.PASS


@settings(max_examples=100, deadline=None)
@given(evidences(), st.floats(0, 20), st.booleans())
def test_a_promotion_gets_no_better_with_evidence_against_it(
    found: Evidence, log_e: float, fallback: bool
) -> None:
    """More evidence against a promotion is never good news, and without requests none passes."""
    calm = dataclasses.replace(found, watched={"errors": 0.0}, fallback=fallback)
    worse = dataclasses.replace(calm, watched={"errors": log_e})
    one, other = (ORDER.index(promotion(f, LIMITS).verdict) for f in (calm, worse))
    assert other >= one
    if not found.stages[-1].canary.n:
        assert promotion(calm, LIMITS).verdict is not Verdict.PASS


def results(case: Case, seeds: int) -> list[str]:
    return [rollout(case, seed).result for seed in range(seeds)]


def test_simulated_rollouts_end_as_they_should() -> None:
    """Equal arms are promoted, doubled errors never, five times is rolled back, and no data holds.

    benchmarks/judge/measure.py does the same with a thousand of each.
    """
    equal = results(Case("equal", 0.01, 0.01), 40)
    assert equal.count("promoted") >= 36
    assert equal.count("rolled back") <= 2
    assert results(Case("doubled", 0.01, 0.02), 40).count("promoted") == 0
    assert set(results(Case("worse", 0.01, 0.05), 20)) == {"rolled back"}
    assert set(results(Case("nobody", 0.01, 0.01, traffic=False), 2)) == {"held"}
    assert "promoted" not in results(Case("late", 0.01, 0.01, log="late"), 3)
    assert "promoted" not in results(Case("torn", 0.01, 0.01, log="torn"), 3)


def test_users_who_always_fail_are_not_the_canarys_fault() -> None:
    """Requests go to the arms one by one, so who asks most decides nothing about the arms."""
    found = results(Case("skewed", 0.002, 0.002, users=True), 40)
    assert found.count("promoted") >= 34
    assert found.count("rolled back") <= 2


def test_a_z_test_that_peeks_would_go_back_all_the_time() -> None:
    """The judge is there because the obvious test, asked at each look, condemns equal arms."""
    found = [peeking(Case("equal", 0.01, 0.01), seed).result for seed in range(60)]
    assert found.count("rolled back") >= 12


@pytest.mark.parametrize(("rate", "taken"), [(0.01, 0), (0.06, 10)])
def test_a_promotion_is_watched(rate: float, taken: int) -> None:
    """Three times the budget is always taken back, half of it never."""
    found = [bake(Case("", 0.01, rate), seed, step=50).result for seed in range(10)]
    assert found.count("taken back") == taken
