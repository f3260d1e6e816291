"""Plans: chosen by the rate, made of the stages of params.yaml, and how long they take."""

from __future__ import annotations

from typing import Any

import pytest

from mainline.errors import SettingsError
from mainline.rollout import plan
from mainline.settings import Rollout

STAGES = [
    {"name": "shadow", "weight": 0, "requests": 100},
    {"name": "canary-5", "weight": 5, "requests": 300, "min_seconds": 60, "judge": ["errors"]},
    {"name": "promote", "weight": 100, "requests": 0},
]


def policy(**changes: Any) -> Rollout:
    return Rollout.model_validate({"plan": "auto", "stages": STAGES, **changes})


@pytest.mark.parametrize(
    ("name", "stages"),
    [("canary", ["shadow", "canary-5", "promote"]), ("bake", ["shadow", "promote"]),
     ("blue-green", ["promote"]), ("shadow", ["shadow"]), ("offline", ["promote"])],
)  # fmt: skip
def test_each_plan_is_made_of_the_same_stages(name: str, stages: list[str]) -> None:
    """One grammar: a plan takes those of the stages that it needs, with all that they say."""
    found = plan.stages_of(policy(), name)
    assert [s.name for s in found] == stages
    if name == "canary":
        assert (found[1].min_seconds, found[1].judge) == (60, ("errors",))


@pytest.mark.parametrize("name", ["bake", "shadow"])
def test_a_plan_without_the_stage_that_it_needs_is_refused(name: str) -> None:
    """Without a shadow there is nothing to bake, and nothing to observe."""
    with pytest.raises(SettingsError, match="stage of weight 0"):
        plan.stages_of(policy(stages=STAGES[1:]), name)


def test_the_rate_decides_unless_a_plan_is_named() -> None:
    """From canary_rate on a canary, below it bake; unknown is bake."""
    assert plan.choose(policy(), 1.0)[0] == "canary"
    assert plan.choose(policy(), 0.99)[0] == "bake"
    assert plan.choose(policy(), None)[0] == "bake"
    assert plan.choose(policy(canary_rate=0.5), 0.6)[0] == "canary"
    assert plan.choose(policy(plan="blue-green"), 100.0)[0] == "blue-green"


def test_the_expected_time_is_that_of_the_slowest_need() -> None:
    """Requests at the share of the stage, or its least time where that is longer."""
    stages = plan.stages_of(policy(), "canary")
    assert plan.expected_seconds(stages, 10.0) == 10 + 600
    assert plan.expected_seconds(stages, 1000.0) == pytest.approx(0.1 + 60)
    assert plan.expected_seconds(stages, 0.0) == float("inf")
    assert plan.spoken(float("inf")).startswith("for ever")
    assert (plan.spoken(40), plan.spoken(7200)) == ("40 seconds", "2 hours")
    assert (plan.spoken(0.84), plan.spoken(0.1), plan.spoken(0)) == (
        "1 second", "1 second", "0 seconds")  # fmt: skip
