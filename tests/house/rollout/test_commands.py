"""The commands of a rollout on a target in memory: plans, order, pauses, crashes, refusals."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rollout.fake_target import Died, FakeTarget

from mainline import cli
from mainline.errors import RaceError, SettingsError, UsageError
from mainline.rollout import rollout, transitions
from mainline.rollout.state import State
from mainline.settings import Rollout
from mainline.verdict import Check, StepVerdict, Verdict

ROOT = Path("/nonexistent")
STAGES = [
    {"name": "shadow", "weight": 0, "requests": 100},
    {"name": "canary-5", "weight": 5, "requests": 300},
    {"name": "promote", "weight": 100, "requests": 0},
]
PASS, FAIL, HOLD = Verdict.PASS, Verdict.FAIL, Verdict.INCONCLUSIVE


def policy(**changes: Any) -> Rollout:
    return Rollout.model_validate({"plan": "canary", "stages": STAGES, **changes})


def digest(name: str) -> str:
    return "sha256:" + name[-1] * 64


def start(there: FakeTarget, name: str, **more: Any) -> StepVerdict:
    more.setdefault("policy", policy())
    return rollout.start(ROOT, name, Path("bento"), digest(name), target=there, by="ann", **more)


def stage(there: FakeTarget, name: str, **more: Any) -> StepVerdict:
    return rollout.stage(ROOT, name, 0.0, target=there, by="bob", **more)


def served(there: FakeTarget) -> str:
    """The version that has all traffic, or its weight beside stable."""
    now = there.state
    assert now.stable is not None
    return now.stable.version if not now.running else f"{now.stable.version}+{now.weight}"


@pytest.fixture
def there() -> FakeTarget:
    """v1 is stable."""
    found = FakeTarget()
    assert start(found, "v1").verdict is PASS
    return found


def check(found: StepVerdict, name: str) -> Check:
    return next(c for c in found.checks if c.name == name)


def passed(there: FakeTarget, *names: str) -> None:
    for name in names:
        assert stage(there, name).verdict is HOLD
        there.judged("PASS")
        assert stage(there, name).verdict is PASS


# ---- plans ---------------------------------------------------------------------------------------


def test_the_first_version_takes_all_traffic_and_every_job_of_its_rollout_is_green() -> None:
    """Without a stable there is nothing to be compared with; later jobs find nothing to do."""
    there = FakeTarget()
    assert start(there, "v1", golden=[{"x": 1}], answers=[[1.0]]).verdict is PASS
    assert served(there) == "v1" and there.state.status == "promoted"
    for name in ("shadow", "canary-25", "promote"):
        assert stage(there, name, version="v1").verdict is PASS
    assert rollout.settle(ROOT, target=there, version="v1").verdict is PASS
    assert there.state.status == "settled"


def test_a_wrong_golden_row_keeps_a_version_from_all_traffic() -> None:
    """The first version too is asked rows whose answers are known; it is stopped when wrong."""
    there = FakeTarget()
    refused = start(there, "v1", golden=[{"x": 1}], answers=[[2.0]])
    assert check(refused, "golden").verdict is FAIL
    assert there.state.stable is None and not there.services


@pytest.mark.parametrize(
    ("rate", "name", "why"),
    [(None, "bake", "nobody knows"), (0.4, "bake", "fewer than 1"), (5.0, "canary", "at least 1")],
)
def test_the_plan_is_chosen_by_the_rate_of_requests(
    there: FakeTarget, rate: float | None, name: str, why: str
) -> None:
    """The rate that the target saw decides, and the plan says why and how long it takes."""
    there.rate = rate
    said: list[str] = []

    def say(text: str) -> None:
        assert not there.state.running, "it was said too late"
        said.append(text)

    found = check(start(there, "v2", policy=policy(plan="auto"), say=say), "plan")
    assert there.state.plan_name == name
    assert why in found.reason and [found.reason] == said
    if rate == 5.0:
        assert found.value == 100 / 5 + 300 / (5 * 0.05)
    assert ("nobody can say" in found.reason) == (rate is None)


def test_a_plan_that_needs_requests_needs_time(there: FakeTarget) -> None:
    """100 pairs at 119 a second take about a second; only a plan that needs nothing takes none."""
    there.rate = 119.0
    shadow = check(start(there, "v2", policy=policy(plan="shadow")), "plan").reason
    assert shadow.endswith("a good version needs about 1 second")
    rollout.abort(ROOT, target=there)
    at_once = check(start(there, "v3", policy=policy(plan="blue-green")), "plan").reason
    assert at_once.endswith("a good version needs no time but its start")


def test_a_plan_is_announced_only_where_something_is_started(there: FakeTarget) -> None:
    """Started before by other settings, stable already, in another's way: nothing is said."""
    said: list[str] = []
    start(there, "v2", policy=policy(plan="canary"), say=said.append)
    assert len(said) == 1
    again = start(there, "v2", policy=policy(plan="blue-green"), say=said.append)
    assert again.checks[0].reason == "v2 was started before, by the plan canary"
    with pytest.raises(RaceError, match="v2 is being rolled out"):
        start(there, "v3", say=said.append)
    stable = start(there, "v1", supersede=True, say=said.append)
    assert stable.checks[0].reason == "v1 is stable already"
    assert start(there, "v1", say=said.append).verdict is PASS
    assert len(said) == 1, said


def test_bake_leaves_out_what_needs_traffic(there: FakeTarget) -> None:
    """Shadow pairs, then all traffic with the old version warm; other stages are not its own."""
    start(there, "v2", policy=policy(plan="bake"))
    passed(there, "shadow")
    skipped = stage(there, "canary-5")
    assert skipped.verdict is PASS and "not in this plan" in skipped.checks[0].reason
    assert stage(there, "promote").verdict is PASS
    assert served(there) == "v2" and there.state.provisional


def test_blue_green_goes_from_nothing_to_all(there: FakeTarget) -> None:
    """One stage, and the old side is warm."""
    start(there, "v2", policy=policy(plan="blue-green"))
    assert served(there) == "v1+0"
    assert rollout.promote(ROOT, target=there).verdict is PASS
    assert served(there) == "v2"
    assert there.state.previous is not None and there.state.previous.version == "v1"


def test_a_shadow_alone_is_observed_and_changes_nothing(there: FakeTarget) -> None:
    """Its end is `observed`; there is nothing to promote, and stable stays."""
    start(there, "v2", policy=policy(plan="shadow"))
    assert stage(there, "shadow").verdict is HOLD
    there.judged("PASS")
    assert stage(there, "shadow").verdict is PASS
    assert (there.state.status, served(there)) == ("observed", "v1")
    assert stage(there, "shadow").verdict is PASS, "the same again"
    assert rollout.promote(ROOT, target=there).verdict is PASS
    assert served(there) == "v1"


def test_a_plan_that_does_not_add_up_is_refused_before_anything_moves(there: FakeTarget) -> None:
    """A shadow plan without a shadow stage, and no stages at all."""
    before = there.state
    for bad in (policy(plan="shadow", stages=STAGES[1:]), policy(stages=[])):
        with pytest.raises(SettingsError):
            start(there, "v2", policy=bad)
    assert there.state == before and len(there.services) == 1


def test_offline_is_refused_where_something_is_served(there: FakeTarget) -> None:
    """What answers clients cannot become something that is served nowhere."""
    with pytest.raises(SettingsError, match="serves nothing"):
        start(there, "v2", policy=policy(plan="offline"))
    assert served(there) == "v1"


# ---- order, versions, pauses ---------------------------------------------------------------------


def test_stages_go_in_order_and_only_after_a_pass(there: FakeTarget) -> None:
    """A stage is refused before its turn; an unknown word is a mistake."""
    start(there, "v2")
    with pytest.raises(UsageError, match="out of order"):
        stage(there, "canary-5")
    assert stage(there, "shadow").verdict is HOLD
    with pytest.raises(UsageError, match="out of order"):
        stage(there, "canary-5")
    with pytest.raises(UsageError, match="no stage"):
        stage(there, "canry-5")
    there.judged("PASS")
    stage(there, "canary-5")
    assert served(there) == "v1+5"
    stage(there, "canary-5")
    assert [e["stage"] for e in there.events if e["event"] == "stage"] == ["shadow", "canary-5"]


def test_a_command_about_another_version_changes_nothing(there: FakeTarget) -> None:
    """A job of a rollout that was superseded neither moves nor ends the newer one."""
    start(there, "v2")
    before = there.state
    for wrong in (lambda: stage(there, "shadow", version="v3"),
                  lambda: rollout.promote(ROOT, target=there, version="v3"),
                  lambda: rollout.settle(ROOT, target=there, version="v3")):  # fmt: skip
        with pytest.raises(UsageError, match="of v2, not of v3"):
            wrong()
    assert "not of v3" in rollout.abort(ROOT, target=there, version="v3")["text"]
    assert there.state == before
    assert rollout.abort(ROOT, target=there, version="card-fraud@v2")["status"] == "aborted"


def test_a_pause_keeps_the_stage_and_resume_goes_on(there: FakeTarget) -> None:
    """Nobody moves it on while it is paused, not even to the promotion; the guard still judges."""
    start(there, "v2")
    passed(there, "shadow")
    rollout.pause(ROOT, "a holiday", target=there, by="eve")
    held = stage(there, "canary-5")
    assert held.verdict is HOLD and held.checks[0].reason == "Paused by eve: a holiday"
    assert served(there) == "v1+0"
    rollout.resume(ROOT, target=there, by="eve")
    passed(there, "canary-5")
    rollout.pause(ROOT, target=there, by="eve")
    assert rollout.promote(ROOT, target=there).verdict is HOLD
    assert served(there) == "v1+5"
    there.judged("FAIL")
    assert served(there) == "v1"
    assert rollout.promote(ROOT, target=there).verdict is FAIL


def test_a_last_stage_that_is_watched_is_not_promoted_while_paused(there: FakeTarget) -> None:
    """All traffic is at the canary and it passed: it becomes stable only after the pause."""
    last = {"name": "promote", "weight": 100, "requests": 50}
    start(there, "v2", policy=policy(plan="blue-green", stages=[*STAGES[:2], last]))
    assert stage(there, "promote").verdict is HOLD
    assert served(there) == "v1+100"
    rollout.pause(ROOT, "look at it", target=there, by="eve")
    there.judged("PASS")
    assert stage(there, "promote").checks[0].name == "paused"
    assert there.state.running
    rollout.resume(ROOT, target=there)
    assert stage(there, "promote").verdict is PASS
    assert served(there) == "v2" and there.state.provisional


def test_a_pause_counts_the_hold_anew_and_does_not_stop_it(there: FakeTarget) -> None:
    """Whoever pauses has as long as any stage has; then it is rolled back."""
    start(there, "v2", policy=policy(hold_seconds=1000))
    there.state = replace(there.state, hold_until=time.time() + 1, hold_monotonic=time.monotonic())
    rollout.pause(ROOT, target=there)
    left = (there.state.hold_until or 0) - time.time()
    assert 990 < left <= 1000
    assert not there.state.held_too_long()
    again = rollout.pause(ROOT, target=there, by="another")
    assert again["hold_until"] == there.state.hold_until, "a second pause is none"
    late = replace(there.state, hold_monotonic=time.monotonic() - 1)
    assert late.held_too_long()


def test_a_newer_version_supersedes(there: FakeTarget) -> None:
    """Back to stable first, then the newer one from the beginning; unasked it is refused."""
    start(there, "v2")
    passed(there, "shadow")
    with pytest.raises(RaceError, match="v2 is being rolled out"):
        start(there, "v3")
    assert start(there, "v3", supersede=True).verdict is PASS
    names = [e["event"] for e in there.events]
    assert names[-3:] == ["aborted", "tidied", "started"]
    assert (there.state.version, there.state.stage) == ("v3", None)
    assert set(there.services.values()) == {digest("v1"), digest("v3")}


def test_the_guard_is_faster_and_the_command_decides_again(there: FakeTarget) -> None:
    """A state that changed under a command is read again: a rollback is not overwritten."""
    start(there, "v2")
    passed(there, "shadow")
    there.faster = [lambda now: replace(now, status="rolled-back", reason="bad", weight=0)]
    assert stage(there, "canary-5").verdict is FAIL
    assert served(there) == "v1" and there.state.status == "rolled-back"


def test_two_commands_at_once_are_refused(there: FakeTarget) -> None:
    """The lock is one; an abort needs none."""
    start(there, "v2")
    with there.alone():
        for wrong in (lambda: stage(there, "shadow"), lambda: start(there, "v3")):
            with pytest.raises(RaceError, match="at work"):
                wrong()
        assert rollout.abort(ROOT, target=there)["status"] == "aborted"


# ---- crashes -------------------------------------------------------------------------------------


def whole(there: FakeTarget) -> None:
    """A rollout of v2 to its end, as its jobs ask for it; each may have been run before."""
    start(there, "v2")
    for name in ("shadow", "canary-5"):
        if stage(there, name).verdict is HOLD:
            there.judged("PASS")
            stage(there, name)
    rollout.promote(ROOT, target=there)
    there.state = replace(there.state, warm_until=time.time() - 1)
    rollout.settle(ROOT, target=there)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_command_that_is_killed_anywhere_is_finished_by_the_same_commands(after: bool) -> None:
    """Died before or after each change: run again, it ends as it would have, and once."""
    there = FakeTarget()
    start(there, "v1")
    first = there.calls
    whole(there)
    changes = there.calls - first
    assert changes > 8
    for at in range(changes):
        there = FakeTarget()
        start(there, "v1")
        there.die_at, there.after = first + at, after
        with pytest.raises(Died):
            whole(there)
        there.die_at = None
        whole(there)
        assert (served(there), there.state.status) == ("v2", "settled"), at
        assert list(there.services.values()) == [digest("v2")], at
        moves = [e["stage"] for e in there.events if e["event"] == "stage"]
        assert moves == ["shadow", "canary-5"], "a weight was moved twice"


def test_the_help_of_down_says_whose_processes_end() -> None:
    """It follows MAINLINE_TARGET as every command does, and may end those of another machine."""
    said = str(cli.rollout_down.__doc__)
    assert "MAINLINE_TARGET" in said and "this machine" not in said


@pytest.mark.parametrize("act", [rollout.abort, rollout.pause, rollout.resume])
def test_ending_twice_is_ending_once(there: FakeTarget, act: Callable[..., Any]) -> None:
    """abort, pause and resume may be called again."""
    start(there, "v2")
    stage(there, "shadow")
    if act is rollout.resume:
        rollout.pause(ROOT, target=there)
    act(ROOT, target=there)
    once = there.state
    act(ROOT, target=there)
    assert there.state == once


# ---- settle --------------------------------------------------------------------------------------


def promote(there: FakeTarget, **more: Any) -> None:
    start(there, "v2", policy=policy(plan="blue-green", **more))
    assert rollout.promote(ROOT, target=there).verdict is PASS


def labels(verdict: Verdict) -> Callable[[Any], StepVerdict]:
    return lambda now: StepVerdict("labels", (Check("labels", verdict, f"labels say {verdict}"),))


def test_a_promotion_is_provisional_until_its_time_is_over(there: FakeTarget) -> None:
    """The old version is warm for as long; then it is stopped, and the promotion holds."""
    promote(there, warm_seconds=1000)
    assert rollout.settle(ROOT, target=there).verdict is HOLD
    assert len(there.services) == 2
    there.state = replace(there.state, warm_until=time.time() - 1)
    done = rollout.settle(ROOT, target=there)
    assert done.verdict is PASS and "time alone" in done.checks[-1].reason
    assert there.state.status == "settled" and len(there.services) == 1
    assert rollout.settle(ROOT, target=there).verdict is PASS, "the same again"


def test_an_abort_of_a_version_leaves_what_began_meanwhile_alone(there: FakeTarget) -> None:
    """A dying job's rollout is over and another's begun between its look and its change."""
    start(there, "v2")

    def superseded(now: State) -> State:
        assert now.canary is not None
        return replace(now, version="v3", canary=replace(now.canary, version="v3"))

    there.faster = [superseded]
    said = rollout.abort(ROOT, target=there, version="v2")["text"]
    assert "of v3, not of v2: nothing was changed" in said
    assert there.state.running and there.state.version == "v3"


def test_an_abort_names_what_it_ended(there: FakeTarget) -> None:
    """A rollout that began after the first look is aborted, and the answer says so."""
    start(there, "v2")
    running = there.state
    over = transitions.rolled_back(running, "rolled-back", "it failed")
    there.read = iter([over, running, *[over] * 9]).__next__  # type: ignore[method-assign]
    assert rollout.abort(ROOT, target=there)["text"].startswith("v2 is aborted")


def test_a_promotion_is_not_aborted_and_the_way_back_is_named(there: FakeTarget) -> None:
    """Who aborts it wants to go back: status 2 and the command; a dying job changes nothing."""
    promote(there)
    before = there.state
    with pytest.raises(UsageError, match="v2 is promoted already") as caught:
        rollout.abort(ROOT, target=there)
    assert caught.value.status == 2
    assert "./mainline rollback`: its traffic goes back to v1" in caught.value.remedy
    said = rollout.abort(ROOT, target=there, version="v2")["text"]
    assert "v2 is promoted already: nothing was changed" in said and "rollback" in said
    assert there.state == before and served(there) == "v2"


def test_labels_that_contradict_take_a_promotion_back(there: FakeTarget) -> None:
    """FAIL goes back to the warm version at once; labels that are not there only wait."""
    promote(there, warm_seconds=1000)
    assert rollout.settle(ROOT, target=there, labels=labels(PASS)).verdict is HOLD
    assert rollout.settle(ROOT, target=there, labels=labels(HOLD)).verdict is HOLD
    assert rollout.settle(ROOT, target=there, labels=labels(FAIL)).verdict is FAIL
    assert (served(there), there.state.status) == ("v1", "rolled-back")
    assert "labels say" in there.state.reason
    assert rollout.settle(ROOT, target=there).verdict is FAIL, "it stays taken back"


def test_a_promotion_is_open_until_its_labels_are_due(there: FakeTarget) -> None:
    """The warm time alone does not settle what labels may still contradict."""
    promote(there, warm_seconds=0)

    def young(now: Any) -> StepVerdict:
        return StepVerdict("labels", (Check("maturity", HOLD, "due in 29 days"),))

    assert rollout.settle(ROOT, target=there, labels=young).verdict is HOLD
    assert there.state.status == "promoted"


def test_labels_that_never_come_do_not_keep_a_promotion_open(there: FakeTarget) -> None:
    """After the warm time, what labels cannot say yet is no FAIL."""
    promote(there, warm_seconds=0)
    assert rollout.settle(ROOT, target=there, labels=labels(HOLD)).verdict is PASS


def test_a_promotion_that_the_guard_took_back_is_not_settled(there: FakeTarget) -> None:
    """The record says why; a rollback by hand has nothing more to do."""
    promote(there, warm_seconds=0)
    there.took_back("it failed")
    done = rollout.settle(ROOT, target=there)
    assert done.verdict is FAIL and "it failed" in done.checks[0].reason


# ---- refusals ------------------------------------------------------------------------------------


def test_a_service_that_cannot_take_its_port_is_refused(there: FakeTarget) -> None:
    """A port that somebody else took ends the service: said in its own words, traffic untouched."""
    there.broken["v2"] = "unready"
    refused = start(there, "v2", ready_seconds=0.0)
    assert "address already in use" in check(refused, "ready").reason
    assert served(there) == "v1" and len(there.services) == 1
    assert there.events[-1]["event"] == "refused" and there.events[-1]["by"] == "ann"


def test_what_is_not_a_promotion_is_not_settled() -> None:
    """Nothing rolled out, and a rollout under way."""
    there = FakeTarget()
    with pytest.raises(UsageError, match="No promotion"):
        rollout.settle(ROOT, target=there)
    with pytest.raises(UsageError, match="Nothing is rolled out"):
        stage(there, "shadow")


def test_an_old_version_that_is_not_warm_is_started_again(there: FakeTarget) -> None:
    """Labels contradict, and the old service is gone: it is started, and only then takes over."""
    promote(there)
    there.services.pop("model-" + digest("v1")[7:19])
    assert rollout.settle(ROOT, target=there, labels=labels(FAIL)).verdict is FAIL
    assert served(there) == "v1" and digest("v1") in there.services.values()


def test_an_old_version_that_does_not_start_gets_no_traffic(there: FakeTarget) -> None:
    """Nothing to go back to is said, and the promoted version goes on."""
    promote(there)
    there.services.pop("model-" + digest("v1")[7:19])
    there.broken["v1"] = "unready"
    done = rollout.settle(ROOT, target=there, labels=labels(FAIL))
    assert done.verdict is FAIL and "no older version" in done.checks[-1].reason
    assert served(there) == "v2"
