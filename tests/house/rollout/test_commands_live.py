"""After a promotion, and plans that serve nothing: with real Envoy, guard and services."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rollout.rig import ROWS, Rig, argv, digest, expected, policy, rig

from mainline.errors import NotMeasured, PlatformError
from mainline.rollout import guard, host, life, local, rollout, state, watcher
from mainline.rollout.local import LocalTarget
from mainline.rollout.pace import Pace
from mainline.rollout.traffic import Replay
from mainline.verdict import Verdict

GREEN = [{"name": "promote", "weight": 100, "requests": 0}]


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """One target with version a live."""
    with rig(tmp_path_factory.mktemp("rollout")) as found:
        yield found


def promote(live: Rig, mode: str = "good", **more: Any) -> None:
    """Version b has all traffic, provisionally; a is warm. `more` goes to the policy."""
    plan = policy(plan="blue-green", stages=GREEN, **more)
    assert live.start("b", mode, policy=plan).verdict.status == 0
    assert live.stage("promote").verdict is Verdict.PASS
    now = live.state()
    assert now.provisional and now.stable is not None and now.stable.version == "b"


def gone_back(live: Rig) -> str:
    """Wait until the guard took the promotion back; returns why."""
    assert live.until(live.is_back, 15)
    now = live.state()
    assert now.stable is not None and now.stable.version == "a"
    return now.reason


def test_a_promoted_version_whose_process_ends_is_taken_back(live: Rig) -> None:
    """Killed with -9 after 100%: the guard goes back to the old, warm version by itself."""
    promote(live)
    os.kill(live.pid(live.arm("b").program), signal.SIGKILL)
    assert "its process ended" in gone_back(live)
    assert live.answering() == {"a"}


@pytest.mark.parametrize("mode", ["few", "tail"])
def test_a_promoted_version_that_turns_bad_is_taken_back(live: Rig, mode: str) -> None:
    """One failure or one slow answer in twenty is over a budget of 2%: e reaches its limit."""
    # A machine that stalls is slow, too: no reason to go back before the first failure.
    promote(live, latency_ms=250 if mode == "tail" else 5000)
    with live.traffic(rate=400, connections=32) as client:
        assert live.until(lambda: client.totals.ok > 300)
        assert live.state().provisional, "it was good so far"
        live.turn("b", mode)
        reason = gone_back(live)
    assert client.totals.lost == 0
    assert ("failed" if mode == "few" else "took more than") in reason


def test_a_promoted_version_that_leaks_is_taken_back_and_ended(live: Rig) -> None:
    """After 100% its memory grows: users go back to the old version first, then it is ended."""
    plan = policy(plan="blue-green", stages=GREEN, memory_mb=100)
    assert live.start("b", policy=plan).verdict is Verdict.PASS
    assert live.stage("promote").verdict is Verdict.PASS
    program = live.arm("b").program
    with live.traffic(rate=200) as client:
        assert live.until(lambda: client.totals.ok > 200)
        live.turn("b", "leak")
        assert "memory grew" in gone_back(live)
    assert client.totals.lost == 0
    assert live.until(lambda: host.programs(live.target)[program]["pid"] == 0)


def test_a_promoted_version_with_one_answer_to_all_is_taken_back(live: Rig) -> None:
    """One and the same score for rows that differ; the same row again and again is no such."""
    plan = policy(plan="blue-green", stages=GREEN)
    for mode, rows in (("good", [{"x": 0.5}]), ("constant", ROWS)):
        rollout.start(live.root, "b", live.root, digest("b"), command=argv("b", mode), policy=plan)
        assert live.stage("promote").verdict is Verdict.PASS
        with Replay(live.url, rows, {}, rate=300, connections=8) as client:
            assert live.until(lambda seen=client.totals: seen.ok > 300)
            if mode == "good":
                assert live.state().provisional, "one row asked often has one answer"
                rollout.rollback(live.root)
            else:
                assert "same score" in gone_back(live)


def test_an_outage_of_both_versions_is_held_until_the_old_one_is_there_again(live: Rig) -> None:
    """Where the old version does not answer either, going back is no help; once it does, it is."""
    promote(live)
    host.rpc(live.target).stopProcess(live.arm("a").program)
    with live.traffic(rate=400, connections=32) as client:
        assert live.until(lambda: client.totals.ok > 100)
        live.turn("b", "down")
        seen = len(live.looks())
        assert live.until(
            lambda: sum(e["errors"]["stable"] for e in live.looks()[seen:]) > 100, 60
        ), [live.looks()[seen - 1 :], live.state().reason]
        assert not live.until(lambda: not live.state().provisional, 2)
    host.rpc(live.target).startProcess(live.arm("a").program)
    assert gone_back(live)


def test_a_guard_that_is_stuck_after_a_promotion_is_started_again(live: Rig) -> None:
    """Traffic stays, since most promotions are good; but somebody has to watch."""
    promote(live)
    pid = live.pid("guard")
    os.kill(pid, signal.SIGSTOP)
    assert live.until(lambda: live.pid("guard") not in (0, pid), 15)
    assert live.until(lambda: LocalTarget(live.target).observe()["guarded"], 15)
    assert live.state().provisional
    rollout.rollback(live.root)


SLOW = """
import runpy, sys, time
time.sleep(4.5)
sys.argv = ["guard", "."]
runpy.run_module("mainline.rollout.guard", run_name="__main__")
"""


@pytest.mark.slow
def test_a_guard_that_starts_slowly_is_not_killed_for_ever(live: Rig) -> None:
    """It needs longer than a lease for its first sign: each one that is killed gets more time."""
    promote(live)
    path = live.target / "programs" / "guard.json"
    before = path.read_text("utf-8")
    command = {"command": [sys.executable, "-c", SLOW], "directory": str(live.target)}
    try:
        path.write_text(json.dumps(command), "utf-8")
        host.kill_program(live.target, "guard")
        assert live.until(lambda: not LocalTarget(live.target).observe()["guarded"], 15)
        assert live.until(lambda: LocalTarget(live.target).observe()["guarded"], 60)
    finally:
        path.write_text(before, "utf-8")
    assert live.state().provisional
    rollout.rollback(live.root)


class Ended(BaseException):
    """The time of a test is over: nothing in the program may go on after it."""


def test_a_watcher_that_waits_for_a_guard_does_all_else_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It waits twice as long each time, at most a minute; a canary goes back at once all the same.

    Once the guard has signed, the first wait is a lease again.
    """
    now, killed, back = [0.0], [], []
    quiet, canary = (250.0, 260.0), (370.0, 370.3)

    def sleep(seconds: float) -> None:
        now[0] += seconds
        if now[0] > 420:
            raise Ended

    def within(span: tuple[float, float]) -> bool:
        return span[0] <= now[0] < span[1]

    clock = SimpleNamespace(monotonic=lambda: now[0], sleep=sleep)
    monkeypatch.setattr(watcher, "time", clock)
    monkeypatch.setattr(watcher, "stuck", lambda *given: not within(quiet))
    monkeypatch.setattr(watcher, "expired", lambda *given: within(canary))
    monkeypatch.setattr(watcher, "send_back", lambda target: back.append(now[0]))
    monkeypatch.setattr(watcher.socket, "setdefaulttimeout", lambda seconds: None)
    monkeypatch.setattr(watcher.host, "deserted", lambda target: False)
    monkeypatch.setattr(watcher.host, "kill_program", lambda *given: killed.append(now[0]))
    with pytest.raises(Ended):
        watcher.main(tmp_path)
    first = [b - a for a, b in pairwise(k for k in killed if k < quiet[0])]
    assert first == pytest.approx([3, 6, 12, 24, 48, 60, 60], abs=0.5)
    later = [k for k in killed if quiet[1] <= k < 275]
    assert later == pytest.approx([260, 263, 269], abs=0.9)
    assert back and back[0] == pytest.approx(370, abs=0.5)


@pytest.mark.parametrize(("signs_at", "waits"), [(7.0, 7.0), (99.0, watcher.FIRST_SECONDS)])
def test_after_a_boot_the_guard_has_longer_for_its_first_sign(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, signs_at: float, waits: float
) -> None:
    """A busy machine's slow start is no death; without any sign the wait ends all the same."""
    now = [0.0]
    clock = SimpleNamespace(monotonic=lambda: now[0],
                            sleep=lambda seconds: now.__setitem__(0, now[0] + seconds))  # fmt: skip
    monkeypatch.setattr(watcher, "time", clock)
    monkeypatch.setattr(watcher.actions, "lease_left",
                        lambda *given: 1.0 if now[0] >= signs_at else -1.0)  # fmt: skip
    watcher.await_guard(tmp_path, "this")
    assert now[0] == pytest.approx(waits, abs=0.3)


def test_a_settled_promotion_stops_the_old_service(live: Rig) -> None:
    """When the guarded time is over the old version is stopped, and clients notice nothing."""
    if live.state().provisional:
        rollout.rollback(live.root)
    short = policy(plan="blue-green", stages=GREEN, warm_seconds=0)
    assert live.start("b", policy=short).verdict is Verdict.PASS
    assert live.stage("promote").verdict is Verdict.PASS
    old = live.arm("a").program
    with live.traffic() as client:
        assert rollout.settle(live.root).verdict is Verdict.PASS
        assert live.until(lambda: client.totals.ok > 50)
    assert client.totals.lost == 0 and set(client.totals.codes) == {200}
    assert live.state().status == "settled"
    assert old not in host.programs(live.target)


def test_the_guard_measures_how_many_requests_come(live: Rig) -> None:
    """The rate that chooses a plan is what came of late, and the target says it."""
    with live.traffic(rate=50):
        assert live.until(lambda: (LocalTarget(live.target).observe()["rate"] or 0) > 5)


def test_a_promotion_between_two_looks_is_counted_from_its_own_beginning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Blue-green may be over before the guard looks: nothing of the rollout before counts on."""
    arms = [state.Arm(n, digest(n), 1, f"model-{n}") for n in "ab"]
    limits = {"error_budget": 0.02, "latency_ms": 250.0}
    now = state.State(status="promoted", stable=arms[1], previous=arms[0], started=7, limits=limits)
    watching = guard.Guard(tmp_path)
    state.swap(tmp_path, state.State(), now)
    watching.life.born = [1, 1]
    for name in ("_follow_up", "_check_route", "_keep_parity", "_rotate"):
        monkeypatch.setattr(watching, name, lambda *given: None)
    watching.look()
    assert (watching.started, watching.life.born) == (7, None)


@pytest.mark.parametrize(("why", "end"), [("", "ended"), ("Exited too quickly", "quickly)")])
def test_a_process_that_ended_without_a_word_has_no_empty_brackets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, why: str, end: str
) -> None:
    """supervisor often has no reason for an end; the sentence then says none."""
    process = {"pid": 7, "start": 1, "state": "EXITED", "why": why}
    monkeypatch.setattr(host, "ports", lambda target: {"admin": 1})
    monkeypatch.setattr(host, "programs", lambda target: {"model-b": process})
    monkeypatch.setattr(life.envoy, "health", lambda admin: {})
    monkeypatch.setattr(life, "_younger", lambda *given: False)
    watching = life.Life(tmp_path, born=[7, 1])
    lost = watching.lost(state.State(), state.Arm("b", digest("b"), 1, "model-b"))
    assert lost is not None and lost.startswith("its process ended") and lost.endswith(end)


def test_a_process_is_younger_than_a_stage_by_its_own_age() -> None:
    """One that was started again after the stage began is told from the one that was ready."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        now = state.held(state.State(status="running"))
        assert now.entered_monotonic is not None
        long_ago = replace(now, entered_monotonic=now.entered_monotonic - 100)
        assert life._younger(process.pid, 0.0, long_ago)
        later = replace(now, entered_monotonic=now.entered_monotonic + 100)
        assert not life._younger(process.pid, 0.0, later)
        assert life._younger(2**22 + 1, (now.entered or 0) + 1, now), "by supervisor's own word"
    finally:
        process.kill()
        process.wait()


def test_a_rate_is_that_of_the_last_minutes() -> None:
    """What was in the log before is not counted, nor what is long ago; a pause brings it to 0."""
    pace = Pace(before=7.0, now=0.0)
    pace.add(100_000, now=0.0)
    assert pace.rate(now=5.0) == 7.0
    for second in range(1, 101):
        pace.add(3, now=float(second))
    assert pace.rate(now=100.0) == 3.0
    assert pace.rate(now=250.0) == 300 / 250
    assert pace.rate(now=500.0) == 0.0


def offline(root: Path, mode: str) -> Verdict:
    return rollout.start(
        root, "b", root, digest("b"), policy=policy(plan="offline"), command=argv("b", mode),
        golden=[{"x": 0.5}], expected=expected("b"),
        answers=[expected("b")[digest("b")][100]], ready_seconds=20.0,
    ).verdict  # fmt: skip


def test_offline_serves_nothing(tmp_path: Path) -> None:
    """The version is started, asked and stopped, and becomes stable; neither Envoy nor guard."""
    assert offline(tmp_path, "swapped") is Verdict.FAIL
    assert state.read(tmp_path / "serving").stable is None
    assert offline(tmp_path, "good") is Verdict.PASS
    now = state.read(tmp_path / "serving")
    assert (now.status, now.version, now.stable and now.stable.port) == ("settled", "b", 0)
    assert not (tmp_path / "serving" / "host.json").exists()
    assert not host.marked(tmp_path / "serving")


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """A target on a read-only disk is one sentence, whatever the command."""
    place = tmp_path / "file"
    place.write_text("no folder")
    with pytest.raises(NotMeasured, match="cannot be written"):
        rollout.start(tmp_path, "b", tmp_path, digest("b"), target=place / "serving",
                      policy=policy(), command=argv("b", "good"))  # fmt: skip


def test_without_the_wheels_a_rollout_is_refused_by_name(
    live: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No supervisor (or no Envoy) on this platform: said before anything moves."""
    before = live.state()

    def missing() -> None:
        raise PlatformError("supervisor is not installed", "Roll out elsewhere")

    monkeypatch.setattr(host, "require_platform", missing)
    with pytest.raises(PlatformError, match="supervisor"):
        live.start("c")
    assert live.state() == before
    assert local.LocalTarget(live.target).read() == before
