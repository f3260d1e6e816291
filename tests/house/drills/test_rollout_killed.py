"""Whatever is killed, no request is lost and traffic ends where it should."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from rollout.rig import ENDLESS, Rig, digest, policy, rig

from mainline.errors import RaceError, UsageError
from mainline.rollout import envoy, host, rollout, state
from mainline.verdict import Verdict


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Rig]:
    """A target with version a live."""
    with rig(tmp_path) as found:
        yield found


def test_a_killed_canary_loses_no_request_and_is_rolled_back(live: Rig) -> None:
    """The canary is killed with -9 under traffic: its share falls back to stable."""
    live.begin()
    with live.traffic() as client:
        assert live.until(lambda: client.totals.models.get(digest("b")[7:19], 0) > 100)
        os.kill(live.pid(live.state().canary.program), signal.SIGKILL)  # type: ignore[union-attr]
        assert live.until(lambda: live.state().status == "rolled-back")
    assert client.totals.lost == 0
    assert set(client.totals.codes) == {200}
    assert "lost" in live.state().reason or "failed" in live.state().reason


@pytest.mark.slow
def test_a_guard_that_is_killed_comes_back_and_goes_on(live: Rig) -> None:
    """A guard killed with -9 is started again and counts on from where it was."""
    live.begin()
    with live.traffic(rate=300):
        assert live.until(lambda: bool(live.looks()) and live.looks()[-1]["total"]["canary"] > 100)
        before, pid = live.looks()[-1]["total"]["canary"], live.pid("guard")
        os.kill(pid, signal.SIGKILL)
        assert live.until(lambda: live.pid("guard") not in (0, pid))
        assert live.until(lambda: live.looks()[-1]["total"]["canary"] > before)
        assert live.state().running


@pytest.mark.parametrize("how", [pytest.param("stopped", marks=pytest.mark.slow), "frozen"])
def test_a_guard_that_is_gone_is_noticed_by_its_lease(live: Rig, how: str) -> None:
    """Without a guard nobody judges, so the watcher sends all traffic to stable."""
    live.begin()
    assert live.until(lambda: bool(live.looks()))
    if how == "stopped":
        host.rpc(live.target).stopProcess("guard")
    else:
        os.kill(live.pid("guard"), signal.SIGSTOP)
    assert live.until(live.is_back, 10)
    assert "sign of life" in live.state().reason
    with live.traffic() as client:
        assert live.until(lambda: client.totals.ok >= 50)
    assert set(client.totals.models) == {digest("a")[7:19]}


STUCK = """
import fcntl, runpy, sys, time
from pathlib import Path
if not Path("stuck").exists():
    Path("stuck").touch()
    lock = open("rollout.lock", "a")
    fcntl.flock(lock, fcntl.LOCK_EX)
    time.sleep(3600)
sys.argv = ["guard", "."]
runpy.run_module("mainline.rollout.guard", run_name="__main__")
"""


@pytest.mark.slow
def test_a_guard_that_is_stuck_with_the_lock_does_not_keep_it(live: Rig) -> None:
    """The watcher ends a guard that holds the lock and gives no sign of life."""
    live.begin()
    command = {"command": [sys.executable, "-c", STUCK], "directory": str(live.target)}
    (live.target / "programs" / "guard.json").write_text(json.dumps(command))
    host.kill_program(live.target, "guard")
    assert live.until((live.target / "stuck").exists)
    assert live.until(live.is_back, 10)


def test_a_killed_envoy_comes_back_at_its_weights(live: Rig) -> None:
    """Envoy killed with -9 is started again and reads the same weights from its files."""
    live.begin()
    pid = live.pid("envoy")
    os.kill(pid, signal.SIGKILL)
    assert live.until(lambda: live.pid("envoy") not in (0, pid) and host.envoy_ready(live.target))
    with live.traffic() as client:
        assert live.until(lambda: client.totals.ok >= 400)
    assert live.state().running
    share = client.totals.models[digest("b")[7:19]] / client.totals.ok
    assert 0.3 < share < 0.7


@pytest.mark.slow
def test_a_killed_supervisor_leaves_nothing_in_the_way(live: Rig) -> None:
    """After a supervisor killed with -9, `up` ends the orphans and brings back what ran."""
    os.kill(int((live.target / "supervisord.pid").read_text()), signal.SIGKILL)
    assert live.until(lambda: not host.is_up(live.target))
    found = rollout.up(live.root)
    assert found["up"]
    with live.traffic() as client:
        assert live.until(lambda: client.totals.ok >= 50)


def test_a_killed_supervisor_comes_back_and_condemns_nobody(live: Rig) -> None:
    """In the middle of a stage, nobody there: the watcher starts it again, and traffic goes on.

    The canary's process is another one now, which is no loss of it.
    """
    live.begin(latency_ms=2000)  # nothing here is about a busy machine
    dead = (live.target / "supervisord.pid").read_text()
    os.kill(int(dead), signal.SIGKILL)
    assert live.until(lambda: (live.target / "supervisord.pid").read_text() != dead, 30)
    both = {digest("a")[7:19], digest("b")[7:19]}
    assert live.until(lambda: host.is_up(live.target) and rollout.status(live.root)["envoy"], 30)
    # Envoy may be back before the services are, and has nobody to ask then.
    assert live.until(lambda: all(live.answers(name) for name in "ab"), 30)
    with live.traffic(rate=200) as client:
        assert live.until(lambda: both <= set(client.totals.models), 30)
        looks = len(live.looks())
        assert live.until(lambda: len(live.looks()) > looks + 4)
    assert live.state().running, live.state().reason
    assert (client.totals.lost, set(client.totals.codes)) == (0, {200})


def test_a_frozen_supervisor_keeps_no_traffic_at_the_canary(live: Rig) -> None:
    """It takes calls and answers none, so the guard hangs: the watcher goes back without it."""
    live.begin()
    pid, ports = int((live.target / "supervisord.pid").read_text()), host.ports(live.target)
    with live.traffic() as client:
        assert live.until(lambda: bool(live.looks()))
        os.kill(pid, signal.SIGSTOP)
        try:
            # Nothing here may ask supervisor.
            assert live.until(lambda: live.state().status == "rolled-back")
            assert live.until(lambda: envoy.shows(ports, live.state().route), 10)
            assert live.until(lambda: live.answering() == {"a"}, 10)
        finally:
            os.kill(pid, signal.SIGCONT)
    assert "sign of life" in live.state().reason
    assert (client.totals.lost, set(client.totals.codes)) == (0, {200})


@pytest.mark.slow
def test_what_ran_comes_back_after_a_reboot(live: Rig) -> None:
    """Everything ended at once and started again: the same versions at the same weights."""
    live.begin()
    route = live.state().route
    rollout.down(live.root)
    assert not host.marked(live.target)
    assert rollout.up(live.root)["up"]
    assert live.until(lambda: rollout.status(live.root)["envoy"])
    both = {digest("a")[7:19], digest("b")[7:19]}
    with live.traffic() as client:
        assert live.until(lambda: both <= set(client.totals.models))
    assert live.state().route == route


def test_canary_and_envoy_killed_together_come_back_at_stable(live: Rig) -> None:
    """Both killed with -9: Envoy comes back, the canary was lost, and stable answers."""
    live.begin()
    assert live.until(lambda: bool(live.looks()))
    pids = [live.pid("envoy"), live.pid(live.arm("b").program)]
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    assert live.until(live.is_back)
    assert "lost" in live.state().reason
    assert live.until(lambda: live.answering() == {"a"})


def test_a_reboot_in_the_middle_brings_back_what_ran(live: Rig) -> None:
    """All killed at once, and another boot's monotonic clock: the same versions, the same weights.

    The time for which the stage is held goes on by the clock on the wall.
    """
    live.begin()
    route = live.state().route
    host.sweep(live.target)
    path = live.target / "rollout.json"
    document = json.loads(path.read_text())
    # The clock of the other boot stood far ahead: taken for ours, nothing would ever end.
    later = {k: document[k] + 10**7 for k in ("hold_monotonic", "entered_monotonic")}
    path.write_text(json.dumps({**document, "boot_id": "another", **later}))
    progress = live.target / "guard.json"
    kept = json.loads(progress.read_text())
    progress.write_text(json.dumps({**kept, "boot_id": "another", "at": kept["at"] + 10**7}))
    assert rollout.up(live.root)["up"]
    assert live.until(lambda: rollout.status(live.root)["envoy"])
    assert live.until(lambda: live.answering() == {"a", "b"})
    assert (live.state().route, live.state().running) == (route, True)
    document = json.loads(path.read_text())
    path.write_text(json.dumps({**document, "hold_until": time.time() + 1}))
    assert live.until(live.is_back, 10)
    assert "moved" in live.state().reason


@pytest.mark.slow
def test_a_stage_passes_after_a_reboot_in_its_middle(live: Rig) -> None:
    """What was logged before belongs to counts that are gone: it holds up nothing afterwards."""
    # It takes longer than a lost record is waited for.
    stages = [{"name": "canary-50", "weight": 50, "requests": 5000}, ENDLESS[1]]
    live.begin(stages, error_budget=0.05)
    with live.traffic(rate=500) as client:
        assert live.until(lambda: client.totals.ok > 2000)
    host.sweep(live.target)
    assert rollout.up(live.root)["up"]
    with live.traffic(rate=800, connections=8) as client:
        assert live.stage("canary-50", 40).verdict is Verdict.PASS, live.looks()[-1]
    assert client.totals.ok > 9000


@pytest.mark.slow
def test_files_that_were_tampered_with_are_mended(live: Rig) -> None:
    """A truncated route file leaves the old routes in Envoy, and the guard writes it again."""
    path = live.target / "xds" / "rds.json"
    whole = path.read_text()
    path.write_text(whole[: len(whole) // 2])
    pid = live.pid("envoy")
    os.kill(pid, signal.SIGKILL)
    assert live.until(lambda: live.pid("envoy") not in (0, pid))
    assert live.until(lambda: path.read_text() == whole)
    with live.traffic() as client:
        assert live.until(lambda: client.totals.ok >= 50)


def test_commands_out_of_turn_are_refused(live: Rig) -> None:
    """A stage out of order, a second rollout and two commands at once are refused by name."""
    assert live.start("b").verdict is Verdict.PASS
    with pytest.raises(UsageError, match="out of order"):
        live.stage("canary-50")
    with pytest.raises(RaceError, match="being rolled out"):
        live.start("c")
    assert live.start("b").verdict is Verdict.PASS, "the same start again is no second one"
    with state.locked(live.target, "command.lock"), pytest.raises(RaceError):
        live.stage("shadow")
    assert live.state().stage is None


@pytest.mark.slow
def test_an_abort_while_a_stage_waits_ends_it(live: Rig) -> None:
    """A person aborts while a job waits for a verdict; the job learns of it."""
    assert live.start("b").verdict is Verdict.PASS
    job = live.waiting("shadow")
    assert rollout.abort(live.root, "not today")["status"] == "aborted"
    job.join(10)
    assert live.verdicts[0].verdict is Verdict.FAIL
    assert "not today" in live.verdicts[0].checks[0].reason


def test_after_a_promotion_the_way_back_is_the_old_model(live: Rig) -> None:
    """A rollback after 100% goes to the old, warm model at once, and no request is lost."""
    stages = [{"name": "promote", "weight": 100, "requests": 0}]
    assert live.start("b", policy=policy(stages=stages)).verdict is Verdict.PASS
    with live.traffic() as client:
        assert live.stage("promote").verdict is Verdict.PASS
        assert live.until(lambda: client.totals.models.get(digest("b")[7:19], 0) > 50)
        assert rollout.rollback(live.root)["stable"]["version"] == "a"
    assert client.totals.lost == 0
    with live.traffic() as client:
        assert live.until(lambda: client.totals.ok >= 50)
    assert set(client.totals.models) == {digest("a")[7:19]}
