"""The plans of a rollout: which stages, chosen by the rate of requests, and how long they take."""

from __future__ import annotations

from collections.abc import Sequence

from mainline.errors import SettingsError
from mainline.rollout.state import Stage
from mainline.settings import Rollout

PLANS = ("canary", "bake", "blue-green", "shadow", "offline")


def choose(policy: Rollout, rate: float | None) -> tuple[str, str]:
    """The plan's name and one sentence why; `rate` is requests a second, None where unknown."""
    if policy.plan != "auto":
        return policy.plan, f"rollout.plan is {policy.plan}"
    if rate is None:
        return "bake", "nobody knows yet how many requests come"
    said = f"{rate:.2g} requests" if rate < 10 else f"{rate:,.0f} requests"
    said += " a second were seen"
    if rate >= policy.canary_rate:
        return "canary", f"{said}, at least {policy.canary_rate:g}"
    return "bake", f"{said}, fewer than {policy.canary_rate:g}"


def stages_of(policy: Rollout, name: str) -> tuple[Stage, ...]:
    """The stages of the plan `name`.

    Raises SettingsError (22) where params.yaml lacks the stages that this plan needs.
    """
    every = tuple(
        Stage(s.name, s.weight, s.requests, s.min_seconds, s.max_seconds, s.judge)
        for s in policy.stages
    )
    if not every:
        raise SettingsError("rollout.stages is empty", "Write at least the stage of weight 100")
    chosen = {
        "canary": every,
        "bake": tuple(s for s in every if s.weight in (0, 100)),
        "blue-green": every[-1:],
        "shadow": tuple(s for s in every if s.weight == 0),
        "offline": every[-1:],
    }[name]
    if not chosen or (name == "bake" and chosen[0].weight):
        raise SettingsError(
            f"The plan {name} needs a stage of weight 0", "Add one to rollout.stages"
        )
    return chosen


def seconds_of(stage: Stage, rate: float) -> float:
    """Seconds until `stage` has its requests at `rate` requests a second; inf where none come."""
    share = 1.0 if stage.weight == 0 else stage.weight / 100
    needed = stage.requests / (rate * share) if rate > 0 else float("inf" if stage.requests else 0)
    return max(stage.min_seconds, needed)


def expected_seconds(stages: Sequence[Stage], rate: float) -> float:
    """Seconds that a good version needs for all `stages` at `rate` requests a second."""
    return sum(seconds_of(s, rate) for s in stages)


def spoken(seconds: float) -> str:
    """A time for people: `1 second`, `40 seconds`, `3 hours`; `for ever` where nothing comes."""
    if seconds == float("inf"):
        return "for ever (no requests come)"
    for size, unit in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    # What takes any time at all is not said to take none.
    whole = max(round(seconds), 1 if seconds > 0 else 0)
    return "1 second" if whole == 1 else f"{whole} seconds"
