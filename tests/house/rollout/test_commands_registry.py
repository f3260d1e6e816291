"""What may be started, going back by a version, who approved, and what people read of it all."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rollout.fake_target import FakeTarget

from mainline import registry
from mainline.errors import RaceError, RemoteError, SettingsError, UsageError
from mainline.register import lifecycle
from mainline.registry import Move, Version
from mainline.rollout import (
    admit,
    approvals,
    commands,
    describe,
    goback,
    rollout,
    transitions,
    versions,
)
from mainline.rollout.state import State
from mainline.rollout.who import who
from mainline.settings import Rollout
from mainline.verdict import StepVerdict, Verdict

ROOT = Path("/nonexistent")
STAGES = [
    {"name": "shadow", "weight": 0, "requests": 100},
    {"name": "promote", "weight": 100, "requests": 0},
]


def version(name: str, digest: str = "") -> Version:
    major, minor, patch = map(int, name.removeprefix("v").split("."))
    value = "sha256:" + (digest or str(minor)) * 64
    return Version("fraud", (major, minor, patch), "c" * 40, {"Model-Digest": value})


ONE, TWO, THREE, MAJOR = (version(n) for n in ("v1.1.0", "v1.2.0", "v1.3.0", "v2.4.0"))


@pytest.fixture
def tags(monkeypatch: pytest.MonkeyPatch) -> list[Move]:
    """The assignments of the registry, which a test may add to."""
    moves: list[Move] = []
    monkeypatch.setattr(registry, "versions", lambda root, model: [ONE, TWO, THREE, MAJOR])
    monkeypatch.setattr(registry, "moves", lambda root, model: moves)
    monkeypatch.setattr(
        registry, "at_stage",
        lambda root, model, stage: next(
            (m.version for m in reversed(moves) if m.stage == stage), None
        ),
    )  # fmt: skip
    return moves


def test_what_was_put_away_is_not_started(tags: list[Move]) -> None:
    """Archived and rejected versions are refused by name; an assignment lifts it."""
    admit.require(ROOT, ONE)
    for stage in ("archived", "rejected"):
        tags.append(Move(stage, 1, ONE))
        with pytest.raises(UsageError, match=f"fraud@v1.1.0 is {stage}"):
            admit.require(ROOT, ONE)
    tags.append(Move("dev", 2, ONE))
    admit.require(ROOT, ONE)


def test_another_major_version_gets_neither_copies_nor_parts_of_the_traffic(
    tags: list[Move],
) -> None:
    """Its requests are others: only a plan that sends it none may roll it out."""
    for plan in ("auto", "canary", "bake", "shadow"):
        with pytest.raises(SettingsError, match="takes other requests"):
            admit.plan_of(ROOT, MAJOR, ONE, plan, revert=False)
    for plan in ("blue-green", "offline"):
        assert admit.plan_of(ROOT, MAJOR, ONE, plan, revert=False) is None
    assert admit.plan_of(ROOT, MAJOR, None, "canary", revert=False) is None


def test_a_revert_is_a_model_that_was_healthy_in_production(tags: list[Move]) -> None:
    """By digest: another name of it passes too; what was taken back does not."""
    tags += [Move("prod", 1, ONE), Move("prod", 2, TWO), Move("prod", 3, THREE),
             Move("prod", 4, TWO, back_from="v1.3.0")]  # fmt: skip
    again = version("v1.5.0", digest="1")
    found = admit.plan_of(ROOT, again, TWO, "canary", revert=True)
    assert found is not None and found[0] == "blue-green"
    with pytest.raises(UsageError, match="never healthy"):
        admit.plan_of(ROOT, THREE, TWO, "canary", revert=True)


def test_an_older_version_does_not_supersede_a_newer_one(tags: list[Move]) -> None:
    """A job that comes late leaves the newer rollout alone."""
    now = State(status="running", version="v1.2.0", canary=object())  # type: ignore[arg-type]
    with pytest.raises(RaceError, match="newer than"):
        admit.require_turn(ROOT, ONE, now, revert=False)
    admit.require_turn(ROOT, THREE, now, revert=False)
    admit.require_turn(ROOT, ONE, now, revert=True)


# ---- rollback ------------------------------------------------------------------------------------


@pytest.fixture
def there(tags: list[Move], monkeypatch: pytest.MonkeyPatch) -> FakeTarget:
    """v1.1.0 is stable and at prod; a rollback moves the tag in memory."""

    class Options:
        model = type("Model", (), {"name": "fraud"})
        rollout = Rollout.model_validate({"plan": "blue-green", "stages": STAGES})

    def moved(root: Path, name: str | None = None, **more: Any) -> dict[str, Any]:
        wanted = registry.find(root, "fraud", name)
        now = registry.at_stage(root, "fraud", "prod")
        if now is wanted:
            return {"version": wanted.name, "changed": False, "from": "", "text": "already"}
        tags.append(Move("prod", len(tags) + 1, wanted, back_from=now.name if now else ""))
        return {"version": wanted.name, "changed": True, "text": f"{wanted.tag} is at prod now"}

    monkeypatch.setattr(goback.settings, "load", lambda root: Options)
    monkeypatch.setattr("mainline.rollout.starting.load", lambda root: Options)
    monkeypatch.setattr(lifecycle, "rollback", moved)
    monkeypatch.setattr(versions, "bento_of", lambda root, version: Path("bento"))
    found = FakeTarget()
    begin(found, ONE)
    tags.append(Move("prod", 1, ONE))
    return found


def begin(there: FakeTarget, wanted: Version) -> StepVerdict:
    policy = Rollout.model_validate({"plan": "blue-green", "stages": STAGES})
    return rollout.start(ROOT, wanted.name, Path("bento"), str(wanted.digest), target=there,
                         policy=policy, by="ann")  # fmt: skip


def promoted(there: FakeTarget, wanted: Version, tags: list[Move]) -> None:
    begin(there, wanted)
    assert rollout.promote(ROOT, target=there).verdict is Verdict.PASS
    tags.append(Move("prod", len(tags) + 1, wanted))


def stable(there: FakeTarget) -> str:
    assert there.state.stable is not None
    return there.state.stable.version


def test_a_rollback_goes_to_the_warm_version_and_then_moves_the_tag(
    there: FakeTarget, tags: list[Move]
) -> None:
    """Traffic first, at once; run twice it goes back once."""
    promoted(there, TWO, tags)
    calls = there.calls
    done = goback.run(ROOT, target=there)
    assert stable(there) == "v1.1.0" and tags[-1].version is ONE
    assert "was warm" in done["text"] and there.calls == calls + 2
    count = len(tags)
    goback.run(ROOT, target=there)
    assert stable(there) == "v1.1.0" and len(tags) == count


@pytest.mark.parametrize("before", ["running", "guard", "no tag", "settled", "no prod"])
def test_a_rollback_run_twice_goes_back_once(
    there: FakeTarget, tags: list[Move], before: str
) -> None:
    """Whatever was taken back, and by whom: the second time nothing moves, and it says so."""
    promoted(there, TWO, tags)
    wanted = "v1.2.0"
    if before == "settled":
        now = transitions.settled(there.state)
        assert now is not None
        there.state, wanted = replace(now, generation=now.generation + 1), "v1.1.0"
        there.retire()
    elif before == "guard":
        begin(there, THREE)
        back = transitions.rolled_back(there.state, "rolled-back", "it failed")
        assert back is not None
        there.state = replace(back, generation=back.generation + 1)
    else:
        begin(there, THREE)
        if before == "no tag":
            assert rollout.promote(ROOT, target=there).verdict is Verdict.PASS
        if before == "no prod":
            tags.clear()
    if before != "guard":
        goback.run(ROOT, target=there)
    assert stable(there) == wanted
    count, events = len(tags), len(there.events)
    for _ in range(2):
        again = goback.run(ROOT, target=there)
        assert (stable(there), len(tags), len(there.events)) == (wanted, count, events)
        assert again["changed"] is False and "Nothing was changed" in again["text"]
        assert "./mainline rollback VERSION" in again["text"]
    if before == "guard":
        assert again["from"] == "v1.3.0", "the workflow still rejects what was bad"
    goback.run(ROOT, "v1.1.0", target=there)
    assert stable(there) == "v1.1.0", "a version that is named is gone back to"


def test_a_rollback_while_the_guard_goes_back_moves_the_tag(
    there: FakeTarget, tags: list[Move]
) -> None:
    """The guard is faster, after the command looked: the traffic is there, and the tag follows."""
    promoted(there, TWO, tags)
    there.ensure = lambda: there.took_back("it failed")  # type: ignore[method-assign]
    done = goback.run(ROOT, target=there)
    assert done["changed"] and (stable(there), tags[-1].version) == ("v1.1.0", ONE)


def test_a_rollback_to_a_version_that_is_not_warm_starts_it(
    there: FakeTarget, tags: list[Move]
) -> None:
    """From the registry, blue-green under the guard; the version that gave way stays warm."""
    promoted(there, TWO, tags)
    promoted(there, THREE, tags)
    done = goback.run(ROOT, "v1.1.0", target=there)
    assert stable(there) == "v1.1.0" and there.state.provisional
    assert "under the guard" in done["text"] and tags[-1].version is ONE


def test_a_rollback_to_what_does_not_start_moves_neither_traffic_nor_tag(
    there: FakeTarget, tags: list[Move]
) -> None:
    """The answer says so, with status 10."""
    promoted(there, TWO, tags)
    promoted(there, THREE, tags)
    there.broken["v1.1.0"] = "unready"
    count = len(tags)
    done = goback.run(ROOT, "v1.1.0", target=there)
    assert (done["status"], done["verdict"], len(tags)) == (10, "FAIL", count)
    assert stable(there) == "v1.3.0"


def test_a_rollback_during_a_rollout_is_an_abort(there: FakeTarget, tags: list[Move]) -> None:
    """Production is what it was: the tag stays."""
    begin(there, TWO)
    count = len(tags)
    assert goback.run(ROOT, target=there, reason="no")["from"] == "v1.2.0"
    assert (there.state.status, stable(there), len(tags)) == ("aborted", "v1.1.0", count)


def test_a_rollback_without_any_rollout_moves_the_tag_alone(
    tags: list[Move], there: FakeTarget
) -> None:
    """Nothing was ever served here, so Git is all there is."""
    tags.append(Move("prod", 2, TWO))
    done = goback.run(ROOT, "v1.1.0", target=FakeTarget())
    assert done["changed"] and tags[-1].version is ONE


def test_a_rejected_version_is_no_aim_of_a_rollback(there: FakeTarget, tags: list[Move]) -> None:
    """Its own rollout found it to be bad."""
    promoted(there, TWO, tags)
    tags.append(Move("rejected", 9, ONE))
    with pytest.raises(UsageError, match="rejected"):
        goback.run(ROOT, "v1.1.0", target=there)
    assert stable(there) == "v1.2.0"


# ---- who, approvals, the verdict of a job --------------------------------------------------------

RUN = {"GITHUB_ACTIONS": "true", "GITHUB_ACTOR": "ann", "GITHUB_RUN_ID": "7", "GITHUB_TOKEN": "t",
       "GITHUB_REPOSITORY": "o/r", "GITHUB_SERVER_URL": "https://github.com"}  # fmt: skip


def test_who_is_the_actor_with_the_run_or_a_user_of_a_machine() -> None:
    """A record that says who did it."""
    assert who(RUN) == "ann (https://github.com/o/r/actions/runs/7)"
    assert "@" in who({})


def test_approvals_are_recorded_once_with_who_and_where(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of this run, each once, however many jobs ask; a GitHub that is away stops nobody."""
    said: Any = [
        {"state": "approved", "user": {"login": "eve"}, "comment": "go",
         "environments": [{"name": "canary-5"}, {"name": "canary-25"}]},
        {"state": "rejected", "user": {"login": "eve"}, "environments": [{"name": "promote"}]},
        "no review",
    ]  # fmt: skip
    asked = []

    def call(self: Any, method: str, path: str, body: Any = None) -> Any:
        asked.append(path)
        return said

    monkeypatch.setattr(approvals.GitHub, "call", call)
    there = FakeTarget()
    for _ in range(2):
        approvals.note(there, RUN)
    assert asked == ["actions/runs/7/approvals"] * 2
    assert [(e["by"], e["environment"]) for e in there.events] == [
        ("eve", "canary-5"), ("eve", "canary-25")
    ]  # fmt: skip
    assert approvals.approvals({**RUN, "GITHUB_TOKEN": ""}) == []

    def refuse(*given: Any) -> Any:
        raise RemoteError("GitHub answered 403")

    monkeypatch.setattr(approvals.GitHub, "call", refuse)
    assert approvals.approvals(RUN) == []


def test_a_verdict_is_an_output_of_the_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: FakeTarget
) -> None:
    """The next job reads it; a hold that a schedule asks about again ends green."""
    from mainline import console

    monkeypatch.setenv("GITHUB_OUTPUT", str(tmp_path / "out"))
    monkeypatch.setenv("MAINLINE_UNDECIDED", "output")
    begin(there, TWO)
    rollout.pause(ROOT, target=there)
    found = commands.said(rollout.promote(ROOT, target=there))
    assert (tmp_path / "out").read_text() == "verdict=INCONCLUSIVE\n"
    assert console.exit_status(found) == 0
    monkeypatch.delenv("MAINLINE_UNDECIDED")
    assert console.exit_status(found) == 11


# ---- for people ----------------------------------------------------------------------------------


def look(stage: str, n: int) -> dict[str, Any]:
    return {"t": 9.0, "event": "look", "stage": stage, "verdict": "PASS",
            "n": {"canary": n, "stable": n}, "errors": {"canary": 1, "stable": 0},
            "slow": {"canary": 0, "stable": 0}, "e": {"errors": 1.5, "latency": 1.0}}  # fmt: skip


def test_the_history_condenses_looks_and_names_people(there: FakeTarget) -> None:
    """Who started, paused and aborted it, and the sums of each stage's looks in one line."""
    begin(there, TWO)
    there.events += [look("shadow", 5), look("shadow", 6), look("canary-5", 1)]
    rollout.pause(ROOT, "holiday", target=there, by="eve")
    rollout.abort(ROOT, "enough", target=there, by="bob")
    text = describe.history_text(there.history())
    lines = text.splitlines()
    assert any("2 looks at shadow: 11 canary and 11 stable requests" in line for line in lines)
    assert any("is paused: holiday, by eve" in line for line in lines)
    assert any("is aborted: enough, by bob" in line for line in lines)
    assert any("v1.2.0 is started" in line and line.endswith("by ann") for line in lines)
    assert describe.history_text([]) == "Nothing was recorded."
    json.dumps(there.history())


def test_the_status_is_a_few_lines(there: FakeTarget) -> None:
    """What runs, where, by which plan, and whether traffic follows."""
    begin(there, TWO)
    rollout.pause(ROOT, target=there, by="eve")
    text = describe.status_text(there.observe())
    assert "v1.2.0: running" in text and "paused    by eve" in text
    assert "follows the state" in text
    assert "Nothing was ever" in describe.status_text(FakeTarget().observe())
