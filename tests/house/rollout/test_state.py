"""rollout.json: swapped, never overwritten."""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from rollout.clocks import elsewhere

from mainline.errors import NotMeasured, RaceError
from mainline.rollout import actions, host, state, transitions
from mainline.rollout.state import Arm, Stage, State
from mainline.verdict import StepVerdict

A = Arm("v1", "sha256:" + "a" * 64, 9001, "model-a")
RUNNING = State(status="running", stable=A, canary=replace(A, digest="sha256:" + "b" * 64),
                plan=(Stage("x", 5, 1),), stage="x", weight=5, hold_seconds=60)  # fmt: skip


def test_what_is_written_is_read(tmp_path: Path) -> None:
    """A state comes back as it was, with the next generation."""
    written = state.swap(tmp_path, State(), state.held(RUNNING))
    assert state.read(tmp_path) == written
    assert written.generation == 1


def test_the_slower_of_two_changes_is_refused(tmp_path: Path) -> None:
    """Whoever read an older generation must look again."""
    first = state.swap(tmp_path, State(), RUNNING)
    state.swap(tmp_path, first, replace(first, weight=25))
    with pytest.raises(RaceError):
        state.swap(tmp_path, first, replace(first, weight=50))
    assert state.read(tmp_path).weight == 25


def test_a_damaged_file_is_no_empty_state(tmp_path: Path) -> None:
    """Half a file is an error: taken for nothing it would forget which model is stable."""
    (tmp_path / "rollout.json").write_text('{"schema": "rollout/1", "gener')
    with pytest.raises(NotMeasured):
        state.read(tmp_path)


def test_the_lock_dies_with_its_owner(tmp_path: Path) -> None:
    """A lock whose owner was killed with -9 is free."""
    code = (
        "import sys, time; from pathlib import Path; from mainline.rollout.state import locked\n"
        "with locked(Path(sys.argv[1])):\n    print('held', flush=True); time.sleep(60)"
    )
    owner = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE)
    assert owner.stdout is not None and owner.stdout.readline().strip() == b"held"
    with pytest.raises(RaceError), state.locked(tmp_path, wait=0.05):
        pass
    owner.kill()
    owner.wait()
    with state.locked(tmp_path, wait=5):
        pass


def test_a_hold_ends_on_the_clock_that_does_not_jump(tmp_path: Path) -> None:
    """In this boot the monotonic clock counts; after another boot, the time of day."""
    now = state.held(RUNNING)
    assert not now.held_too_long()
    assert not replace(now, hold_until=0.0).held_too_long(), "the clock jumped"
    assert replace(now, hold_monotonic=time.monotonic() - 1).held_too_long()
    assert replace(now, boot_id="other", hold_until=time.time() - 1).held_too_long()
    assert not replace(now, boot_id="other", hold_monotonic=0.0).held_too_long()


def test_a_stage_has_a_time_of_its_own() -> None:
    """Its max_seconds count where it has some, else the rollout's; entering it starts the clock."""
    for longest, expected in ((None, 60), (5.0, 5)):
        plan = (Stage("x", 5, 1, max_seconds=longest),)
        now = state.held(replace(RUNNING, plan=plan))
        assert now.hold_until is not None
        assert expected - 1 < now.hold_until - time.time() <= expected
        assert 0 <= state.seconds_in(now) < 1


def test_a_hold_that_is_counted_anew_leaves_the_time_in_the_stage_alone() -> None:
    """A pause is no new stage; after another boot the time in it is that of the wall clock."""
    began = state.held(RUNNING)
    assert began.entered is not None and began.entered_monotonic is not None
    old = replace(began, entered=began.entered - 50, entered_monotonic=began.entered_monotonic - 50,
                  hold_until=0.0)  # fmt: skip
    anew = state.held_anew(old)
    assert 50 <= state.seconds_in(anew) < 51
    assert anew.hold_until is not None and anew.hold_until > time.time() + 50
    booted = state.held_anew(replace(old, boot_id="other", entered_monotonic=1e9))
    assert 50 <= state.seconds_in(booted) < 51


def test_the_lease_is_of_this_boot_and_of_the_last_seconds() -> None:
    """A sign of life that is old, of another boot or unreadable is none."""
    at = time.monotonic()
    assert actions.lease_left({"at": at, "boot_id": "b"}, "b") > 2
    assert actions.lease_left({"at": at - 4, "boot_id": "b"}, "b") < 0
    assert actions.lease_left({"at": at, "boot_id": "a"}, "b") < 0
    assert actions.lease_left({}, "b") < 0


def test_a_rollback_has_one_way() -> None:
    """A rollback of what is not running changes nothing, so whoever comes second does no harm."""
    back = actions.rolled_back(RUNNING, "rolled-back", "bad")
    assert back is not None
    assert (back.status, back.weight, back.stable) == ("rolled-back", 0, A)
    assert actions.rolled_back(back, "rolled-back", "again") is None


def test_a_torn_record_is_read_up_to_its_end(tmp_path: Path) -> None:
    """The last line of a record that was being written is left out."""
    state.record(tmp_path, "one", n=1)
    with (tmp_path / "history.jsonl").open("a") as stream:
        stream.write('{"event": "tw')
    assert [e["event"] for e in state.history(tmp_path)] == ["one"]


def test_times_of_another_machine_are_counted_on_the_clocks_here(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A runner's clocks and boot say nothing here; how long is held or kept warm, it does say."""
    old = state.held(replace(RUNNING, limits={"warm_seconds": 300.0}))
    here = state.boot_id()
    jumped = replace(old, entered=time.time() - 5000)
    with monkeypatch.context() as patch:
        elsewhere(patch, 3600.0)
        entered = transitions.entered(old, old.started, "x")
        paused = transitions.paused(old, "ann", "")
        late = transitions.paused(jumped, "ann", "")
        promoted = transitions.promoted(old, old.started, StepVerdict("rollout-x", ()))
    assert entered and paused and late and promoted
    assert entered.boot_id != here and entered.entered > time.time() + 3000  # type: ignore[operator]
    for wanted in (entered, paused, promoted):
        now = state.anchored(wanted, old)
        assert now.boot_id == here and 0 <= state.seconds_in(now) < 5
        assert abs(now.entered - time.time()) < 5  # type: ignore[operator]
    for wanted in (entered, paused):
        now = state.anchored(wanted, old)
        assert now.hold_until is not None and now.hold_monotonic is not None
        assert 55 < now.hold_until - time.time() <= 60
        assert 55 < now.hold_monotonic - time.monotonic() <= 60
    assert state.anchored(paused, old).entered_monotonic == pytest.approx(old.entered_monotonic)
    assert 0 <= state.seconds_in(state.anchored(late, jumped)) < 5, "its clock jumped before"
    assert 295 < state.warm_left(state.anchored(promoted, old)) <= 300
    for same in (old, replace(old, weight=9), State()):
        assert state.anchored(same, old) == same, "no time was given anew"


def test_the_guarded_time_ends_on_the_clock_that_does_not_jump() -> None:
    """In this boot the monotonic clock counts; after another boot, the time of day."""
    began = time.monotonic() - 50
    now = replace(RUNNING, status="promoted", entered=1e6, warm_until=1e6 + 90,
                  entered_monotonic=began, boot_id=state.boot_id())  # fmt: skip
    assert 35 < state.warm_left(now) <= 40, "the clock jumped by years"
    booted = replace(now, boot_id="other", entered=time.time() - 80, warm_until=time.time() + 10)
    assert 5 < state.warm_left(booted) <= 10
    assert state.warm_left(replace(now, warm_until=None)) == 0


def test_a_boot_has_a_name_where_there_is_no_proc(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """macOS is asked once by sysctl; where boots have no names, none is taken for this one."""
    monkeypatch.setattr(state, "BOOT", tmp_path / "nothing")
    monkeypatch.setattr(state, "SYSCTL", str(tmp_path / "sysctl"))
    state._boot_session.cache_clear()
    now = replace(state.held(RUNNING), entered_monotonic=0.0, hold_monotonic=0.0)
    assert now.boot_id == state.boot_id() == state.UNKNOWN
    assert not now.held_too_long() and 0 <= state.seconds_in(now) < 5, "it may be another boot"
    (tmp_path / "sysctl").write_text(f'#!/bin/sh\necho "$2" >>"{tmp_path}/asked"\necho A-B\n')
    (tmp_path / "sysctl").chmod(0o755)
    try:
        assert [state.boot_id() for _ in range(3)] == ["A-B"] * 3
        assert (tmp_path / "asked").read_text("utf-8") == "kern.bootsessionuuid\n"
        assert state.of_this_boot("A-B") and not state.of_this_boot("")
    finally:
        state._boot_session.cache_clear()


def test_a_torn_line_spoils_no_line_after_it(tmp_path: Path) -> None:
    """A full disk cuts a line off, which is said; the rollback that follows is still read."""
    state.record(tmp_path, "one")
    path = tmp_path / "history.jsonl"
    most, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 20, hard))
    try:
        with pytest.raises(OSError):
            state.record(tmp_path, "look", n=5)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))
    assert not path.read_bytes().endswith(b"\n"), "the fault is not there"
    state.record(tmp_path, "rolled-back", reason="no room")
    assert [e["event"] for e in state.history(tmp_path)] == ["one", "rolled-back"]


def test_a_rollback_is_in_the_record_of_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Room for the state and none for its line: the reserve is for that, too."""
    state.swap(tmp_path, State(), replace(RUNNING, stable=replace(A, port=0)))
    (tmp_path / host.RESERVE).write_bytes(b"room")

    def full(target: Path, event: str, **values: object) -> None:
        if (target / host.RESERVE).exists():
            raise OSError(28, "No space left on device")
        state.record(target, event, **values)

    monkeypatch.setattr(actions, "record", full)
    with pytest.raises(OSError):
        actions.change(tmp_path, "paused", lambda now: replace(now, paused={"by": "ann"}))
    assert actions.roll_back(tmp_path, "it failed", "guard")[0].status == "rolled-back"
    assert [(e["event"], e["by"]) for e in state.history(tmp_path)] == [("rolled-back", "guard")]
