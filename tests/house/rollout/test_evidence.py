"""From what the guard counted to what the judge reads."""

from __future__ import annotations

import dataclasses
import json
import time
from pathlib import Path

import pytest

from mainline.rollout import evidence
from mainline.rollout.access import ArmCounts
from mainline.rollout.facts import Evidence, StageCounts
from mainline.rollout.join import GRACE, Join
from mainline.rollout.predictions import Watch
from mainline.rollout.spread import recorded
from mainline.rollout.state import Arm, Stage, State, held

OLD, NEW = Arm("a", "sha256:" + "a" * 64, 1, "a"), Arm("b", "sha256:" + "b" * 64, 2, "b")
PLAN = (Stage("shadow", 0, 100), Stage("canary-5", 5, 300, 60.0, None, ("errors",)),
        Stage("canary-50", 50, 1000))  # fmt: skip
ROUTES = {"shadow": "gen-2", "canary-5": "gen-4", "canary-50": "gen-6"}


def state(stage: str = "canary-5", **limits: object) -> State:
    known = {"error_budget": 0.02, "latency_ms": 250, **limits}
    return held(State(status="running", stable=OLD, canary=NEW, plan=PLAN, stage=stage, route=4,
                      hold_seconds=600, limits=known))  # fmt: skip


def line(arm: str, score: float, generation: str, request: str, decision: int = 0) -> bytes:
    digest = OLD.digest if arm == "stable" else NEW.digest
    return json.dumps({
        "request_id": request, "row": 0, "arm": arm, "digest": digest, "scores": [score], "ms": 3,
        "generation": generation, "status": 200, "decision": decision,
    }).encode()  # fmt: skip


def watch(tmp_path: Path) -> Watch:
    return Watch(tmp_path, {}, 250, [0.5], join=Join())


def gathered(found: State, seen: Watch) -> Evidence:
    counts = {"gen-2": {"canary": ArmCounts(100)}, "gen-4": {"stable": ArmCounts(7)}}
    return evidence.gather(found, ROUTES, counts, seen, None, 3)


def test_stages_up_to_the_current_one_are_gathered_with_what_they_ask_for(tmp_path: Path) -> None:
    """A later stage says nothing yet; an earlier one that had no traffic is left out."""
    found = gathered(state(), watch(tmp_path))
    assert [s.stage for s in found.stages] == ["shadow", "canary-5"]
    now = found.stages[-1]
    assert (now.requests, now.min_seconds, now.judge) == (300, 60.0, ("errors",))
    assert (now.canary.n, now.stable.n, found.unread) == (0, 7, 3)
    assert [s.stage for s in gathered(state("canary-50"), watch(tmp_path)).stages][-1] == (
        "canary-50"
    )


def test_time_in_a_stage_is_that_of_a_clock_that_does_not_jump(tmp_path: Path) -> None:
    """A clock that is set makes no stage older."""
    jumped = dataclasses.replace(state(), entered=time.time() - 86400)
    assert gathered(jumped, watch(tmp_path)).elapsed < 60


def test_scores_of_users_are_those_of_this_stage_alone(tmp_path: Path) -> None:
    """Users of another stage are others, and copies are no users."""
    seen = watch(tmp_path)
    seen.take([
        line("stable", 0.1, "gen-2", "w"), line("shadow", 0.9, "gen-2", "w"),
        line("stable", 0.2, "gen-4", "x"), line("canary", 0.6, "gen-4", "y", 1),
        line("canary", 0.7, "gen-4", "z", 1),
    ])  # fmt: skip
    found = gathered(state(), seen).answers
    assert (found.stable.n, found.stable.bins, found.stable.decided) == (1, [1, 0], {"0": 1})
    assert (found.canary.n, found.canary.bins, found.canary.decided) == (2, [0, 2], {"1": 2})
    assert (found.pairs, found.scored) == (1, 3)


@pytest.mark.parametrize("kept", [[0.1, 0.2], recorded([0.1, 0.4], [0.2, 0.1])])
def test_what_was_recorded_is_read_in_either_form(tmp_path: Path, kept: object) -> None:
    """Two numbers of an older rollout, or the whole document."""
    found = gathered(state(recorded=kept), watch(tmp_path)).answers.recorded
    assert found is not None and found.mean == pytest.approx(0.1)


def test_both_logs_are_held_against_each_other(tmp_path: Path) -> None:
    """What one log has and the other lacks is counted, of this rollout's generations alone."""
    seen, before = watch(tmp_path), time.monotonic() - GRACE - 1
    assert seen.join is not None
    for name, key in (("x", "gen-4/canary"), ("y", "gen-4/stable"), ("z", "gen-2/stable")):
        seen.join.request(key, name, True, before)
    seen.join.request("gen-1/stable", "old", True, before)
    seen.take([line("canary", 0.6, "gen-4", "x")])
    seen.join.record("gen-4/stable", "nobody asked", before)
    found = gathered(state(), seen).joined
    assert found is not None
    assert (found.answered, found.unlogged, found.logged, found.unseen) == (3, 2, 2, 1)
    assert (found.here, found.found) == (2, 1)
    again = watch(tmp_path)
    again.resume(json.loads(json.dumps(seen.to_dict())))
    assert gathered(state(), again).joined == found


def test_bounds_are_spent_on_users_requests_alone() -> None:
    """Copies do not bring the next question nearer, and a stage that has passed asks none."""

    def seen(copies: int, users: int) -> Evidence:
        return Evidence((
            StageCounts("shadow", 0, 100, ArmCounts(copies), ArmCounts(copies)),
            StageCounts("canary-5", 5, 300, ArmCounts(users), ArmCounts(users * 19)),
        ))  # fmt: skip

    spending = evidence.Spending()
    assert not spending.ask(seen(10_000, 299)).due
    assert spending.ask(seen(10_000, 300)).due
    assert not spending.ask(seen(50_000, 301)).due
    assert not spending.ask(seen(50_000, 900), passed=True).due
    assert (spending.tries, spending.tried) == (1, 300)
    assert spending.ask(seen(50_000, 375)).due
    assert not spending.ask(Evidence(seen(400, 0).stages[:1])).due
    begun = StageCounts("canary-25", 25, 1000, ArmCounts(999), ArmCounts(3000))
    assert not spending.ask(Evidence((*seen(400, 5000).stages, begun))).due, "too few of its own"
