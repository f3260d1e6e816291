"""What the guard counts of a promotion: the new version has all traffic, the old one is warm.

Errors and slow answers are held to the budget, or to twice what the old version had in the rollout
where that is more: a service whose clients are often refused is no reason to go back.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from mainline.eprocess import Detector
from mainline.rollout.access import ArmCounts
from mainline.rollout.answers import PAIRS
from mainline.rollout.evidence import answers, joined, limits
from mainline.rollout.facts import Evidence, Limits, StageCounts
from mainline.rollout.predictions import Seen, Watch
from mainline.rollout.spread import Spread
from mainline.rollout.state import State, seconds_in

NAME = "promoted"
RELATIVE = 2.0
KNOWN = 100  # requests of the old version from which its own rate is believed
LOOKS = 4  # a burst of slow answers that ends within a second is the machine's


@dataclass
class Promotion:
    """Counts since the route `route`, on which the promoted version has all traffic."""

    route: int
    errors: Detector
    slow: Detector
    counts: ArmCounts = field(default_factory=ArmCounts)

    def add(self, found: ArmCounts) -> None:
        """Take the counts of one look."""
        self.counts.add(found)
        self.errors.add(min(found.errors, found.n), found.n)
        self.slow.add(min(found.slow, found.timed), found.timed)

    def watched(self) -> dict[str, float]:
        """The logarithms of the e-values, by the names that judge.promotion knows."""
        lasts = self.counts.slow_looks > LOOKS
        return {"errors": self.errors.log_e, "slow": self.slow.log_e if lasts else 0.0}

    def to_dict(self) -> dict[str, Any]:
        """What a restarted guard needs to go on."""
        return asdict(self)


def begin(state: State) -> Promotion:
    """Start to count the promotion of `state`."""
    budget = limits(state).error_budget
    return Promotion(state.route, Detector(_bound(state, "errors", "n", budget)),
                     Detector(_bound(state, "slow", "timed", budget)))  # fmt: skip


def resumed(document: Mapping[str, Any] | None, state: State) -> Promotion | None:
    """Go on from what to_dict gave of the same route; None where that is another or none."""
    if not document or document.get("route") != state.route:
        return None
    return Promotion(state.route, Detector(**document["errors"]), Detector(**document["slow"]),
                     ArmCounts(**document["counts"]))  # fmt: skip


def _bound(state: State, bad: str, of: str, budget: float) -> float:
    """The share of bad requests that is no evidence: the budget, or twice the old version's own."""
    stable = [look["stable"] for look in state.looks]
    n = sum(s[of] for s in stable)
    share = sum(s[bad] for s in stable) / n if n >= KNOWN else 0.0
    return min(0.9, max(budget, RELATIVE * share))


def gather(
    state: State, seen: Promotion, watch: Watch, lost: str | None, fallback: bool, unread: int
) -> Evidence:
    """What the judge reads of a promotion; the new version stands where a canary would."""
    generation = f"gen-{state.route}"
    as_canary = replace(state, canary=state.stable, stable=state.previous)
    users = watch.spreads.get(f"{generation}/stable", Spread())
    # Before the promotion it was compared: wrong answers are those since, and to replayed rows.
    said = replace(answers(as_canary, watch, generation), canary=users, stable=Spread(),
                   scored=users.n, constant=_constant(state, watch, users))  # fmt: skip
    stage = StageCounts(NAME, 100, 0, seen.counts, ArmCounts())
    return Evidence((stage,), said, lost, False, unread, seconds_in(state),
                    joined(watch, {generation}, generation), seen.watched(), fallback)  # fmt: skip


def judged_by(state: State, seen: Promotion) -> Limits:
    """The limits of the rollout with the bound that the detector of errors has."""
    return Limits(seen.errors.bound, limits(state).latency_ms)


def _constant(state: State, watch: Watch, users: Spread) -> bool:
    """Whether all answers since the promotion are one score, to questions that differ."""
    old = watch.seen.get(state.previous.digest if state.previous else "", Seen())
    if users.n < PAIRS or users.low != users.high or (old.n and old.low == old.high):
        return False
    from mainline.rollout.follow import last_records

    digest = state.stable.digest if state.stable else ""
    return _differ(r.get("features") for r in last_records(watch.folder, digest, PAIRS))


def _differ(values: Iterable[Any]) -> bool:
    first, *others = [*values] or [None]
    return any(v != first for v in others)
