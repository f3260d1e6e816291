"""From what the guard counted to what the judge reads, and to the numbers kept of each look."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from mainline import eprocess
from mainline.rollout.access import ArmCounts
from mainline.rollout.facts import Answers, Evidence, Joined, Limits, Recorded, StageCounts
from mainline.rollout.join import Sides
from mainline.rollout.predictions import Seen, Watch
from mainline.rollout.rates import due
from mainline.rollout.spread import Spread
from mainline.rollout.state import State, seconds_in


def gather(
    state: State,
    routes: Mapping[str, str],
    counts: Mapping[str, Mapping[str, ArmCounts]],
    watch: Watch,
    lost: str | None,
    unread: int,
) -> Evidence:
    """All that was counted from the first stage of `state`'s plan to the current one."""
    stages = []
    for stage in state.plan:
        arms = counts.get(routes.get(stage.name, ""), {})
        if stage.name == state.stage or arms:
            stages.append(
                StageCounts(stage.name, stage.weight, stage.requests,
                            arms.get("canary", ArmCounts()), arms.get("stable", ArmCounts()),
                            stage.min_seconds, stage.judge)
            )  # fmt: skip
        if stage.name == state.stage:
            break
    generation = routes.get(str(state.stage), "")
    said, logs = answers(state, watch, generation), joined(watch, {*routes.values()}, generation)
    return Evidence(tuple(stages), said, lost, False, unread + watch.unread,
                    seconds_in(state), logs)  # fmt: skip


def joined(watch: Watch, generations: Collection[str], now: str) -> Joined | None:
    """How both logs agree on these generations (`gen-7`), and on the one that is live `now`."""
    if watch.join is None:
        return None
    sides = watch.join.sides()
    both, here = Sides(), Sides()
    for key, found in sides.items():
        generation = key.rpartition("/")[0]
        if generation in generations:
            both.add(found)
        if generation == now:
            here.add(found)
    return Joined(both.asked, both.unlogged, both.found + both.unseen, both.unseen,
                  here.asked, here.found)  # fmt: skip


def answers(state: State, watch: Watch, generation: str) -> Answers:
    """What the prediction log says of the canary of `state`.

    Scores and decisions of users are of this `generation` alone: arms that were asked at other
    times had other users.
    """
    canary = watch.seen.get(state.canary.digest if state.canary else "", Seen())
    stable = watch.seen.get(state.stable.digest if state.stable else "", Seen())
    live = watch.live
    return Answers(
        given=bool(state.canary and state.canary.digest in watch.expected) or live is not None,
        compared=canary.compared + (live.compared if live else 0),
        wrong=canary.wrong + (live.wrong if live else 0),
        late=live.late if live else 0.0,
        unscored=live.unread if live else 0,
        stable_wrong=stable.wrong,
        pairs=watch.pairs.n,
        mean=watch.pairs.mean,
        recorded=Recorded.read(state.limits.get("recorded")),
        scored=canary.n,
        constant=canary.n > 0 and canary.low == canary.high and stable.low != stable.high,
        canary=watch.spreads.get(f"{generation}/canary", Spread()),
        stable=watch.spreads.get(f"{generation}/stable", Spread()),
    )


def limits(state: State) -> Limits:
    """The judge's limits, as they were when the rollout began."""
    return Limits(float(state.limits["error_budget"]), float(state.limits["latency_ms"]))


def sums(found: Evidence) -> tuple[dict[str, Any], ...]:
    """The counts of each stage, as rollout.json keeps them in `looks`."""
    return tuple(
        {"stage": s.stage, "weight": s.weight, "canary": asdict(s.canary),
         "stable": asdict(s.stable)}
        for s in found.stages
    )  # fmt: skip


def numbers(found: Evidence) -> dict[str, Any]:
    """e-values and totals of one look, for the record."""
    share = [s.share for s in found.stages]

    def e_value(name: str) -> float:
        if name in found.watched:  # a promotion has no arm beside it, and evidence of its own
            return round(math.exp(min(50.0, found.watched[name])), 4)
        counted = "witnesses" if name == "slow" else name
        canary = [getattr(s.canary, counted) for s in found.stages]
        stable = [getattr(s.stable, counted) for s in found.stages]
        return round(math.exp(min(50.0, eprocess.log_e_restarted(canary, stable, share))), 4)

    return {
        "e": {"errors": e_value("errors"), "latency": e_value("slow")},
        "total": {"canary": sum(s.canary.n for s in found.stages),
                  "stable": sum(s.stable.n for s in found.stages)},
        "answers": {"compared": found.answers.compared, "wrong": found.answers.wrong,
                    "pairs": found.answers.pairs},
    }  # fmt: skip


@dataclass
class Spending:
    """How often the upper bounds were asked in a rollout, and at how many canary requests last."""

    tries: int = 0
    tried: int = 0

    def ask(self, found: Evidence, passed: bool = False) -> Evidence:
        """`found`, with whether this look may spend alpha: a stage that has `passed` never does."""
        now = found.stages[-1]
        total = sum(s.canary.n for s in found.stages if s.weight)
        asks = (
            now.weight > 0
            and not passed
            and now.canary.n >= now.requests
            and due(total, self.tried, self.tries, now.requests)
        )
        if asks:
            self.tries, self.tried = self.tries + 1, total
        return replace(found, due=asks)
