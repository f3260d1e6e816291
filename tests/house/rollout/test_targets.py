"""What every target must do, held for each kind.

A folder of this machine, one whose installed agent is asked, and one over ssh.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import sshd
from rollout.rig import argv, digest

from mainline.errors import RaceError
from mainline.rollout import envoy, handover, host, machine, ssh, wire
from mainline.rollout.local import LocalTarget
from mainline.rollout.remote import RemoteTarget
from mainline.rollout.state import Arm, Stage, State
from mainline.rollout.steps import change
from mainline.rollout.target import Ask, Target

PLAN = (Stage("shadow", 0, 0), Stage("half", 50, 0), Stage("promote", 100, 0))
# Holds the lock, says so, and waits to be killed.
HOLDER = """
import sys, time
from pathlib import Path
from mainline.rollout import ssh
from mainline.rollout.target import target_of
place = sys.argv[1].removeprefix("agent:")
there = ssh.beside(Path(place)) if place != sys.argv[1] else target_of(Path("."), place)
with there as target, target.alone():
    print("held", getattr(getattr(target, "link", None), "process", None) and
          target.link.process.pid or 0, flush=True)
    time.sleep(600)
"""


@dataclass
class Place:
    """One kind of target: `open` is a new connection to the same `folder`."""

    kind: str
    folder: Path
    address: str
    open: Callable[[], contextlib.AbstractContextManager[Target]]
    target: Target


@pytest.fixture(scope="module", params=["local", "agent", "ssh"])
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
          ) -> Iterator[Place]:  # fmt: skip
    """A target in which nothing was ever served; afterwards no process of it is left."""
    base = tmp_path_factory.mktemp("a place")
    folder = base / "serving here"
    with contextlib.ExitStack() as stack:
        if request.param == "local":
            address, kind = str(folder), lambda: contextlib.nullcontext(LocalTarget(folder))
        elif request.param == "agent":
            folder.mkdir()
            machine.put_agent(folder)
            address, kind = f"agent:{folder}", lambda: ssh.beside(folder)
        else:
            server = stack.enter_context(sshd.serving(base / "sshd"))
            patch = stack.enter_context(pytest.MonkeyPatch.context())
            for name, value in server.environ.items():
                patch.setenv(name, value)
            folder.mkdir()
            machine.put_agent(folder)
            address = server.address(folder)
            kind = lambda: ssh.connect(base, address)  # noqa: E731
        stack.callback(lambda: host.down(folder))
        target = stack.enter_context(kind())
        yield Place(request.param, folder, address, kind, target)
    assert not host.marked(folder)


def ready(target: Target, arm: Arm) -> bool:
    """Wait until the service of `arm` is ready."""
    for _ in range(400):
        if target.ask(arm, [Ask("/readyz")])[0][0] == 200:
            return True
        time.sleep(0.05)
    return False


def launched(target: Target, name: str, mode: str = "good") -> Arm:
    """The service of version `name`, ready."""
    arm = target.launch(name, digest(name), Path("/nowhere"), argv(name, mode))
    assert ready(target, arm)
    return arm


@pytest.fixture
def served(place: Place) -> Place:
    """The place with version `a` stable and nothing else."""
    target = place.target
    target.ensure()
    arm = launched(target, "a")

    def alone(now: State) -> State | None:
        only = replace(State(), generation=now.generation, status="promoted", stable=arm, plan=PLAN)
        return None if replace(now, route=0) == only else only

    # Tried again where the guard of the test before was faster.
    change(target, "first", alone, by="a test")
    target.retire()
    assert target.confirm(target.read(), 10)
    return place


def canaried(target: Target) -> tuple[State, State]:
    """The state now, and the wanted one with version `b` at half of the traffic."""
    now = target.read()
    arm = launched(target, "b")
    return now, replace(now, status="running", canary=arm, stage="half", weight=50,
                        started=now.generation + 1, hold_seconds=600.0,
                        limits={"error_budget": 0.02, "latency_ms": 250.0})  # fmt: skip


def guarded(target: Target) -> bool:
    """Whether guard or watcher sent the canary back meanwhile: on a machine that stalls they do."""
    ended = [e for e in target.history() if e["event"] == "rolled-back"]
    return target.read().status == "rolled-back" and ended[-1]["by"] in ("guard", "watcher")


def test_a_target_that_was_never_used_is_idle(place: Place) -> None:
    """Reading and observing ask for no set-up; nothing is up and nothing waits."""
    if place.target.read() == State():
        found = place.target.observe()
        assert (found["up"], found["stable"], found["waiting"]) == (False, None, False)
        assert place.target.history() == []


def test_what_is_applied_is_what_is_read_and_what_traffic_follows(served: Place) -> None:
    """A swap is on disk, in the record, and shown by Envoy; what is observed says so."""
    target = served.target
    now, wanted = canaried(target)
    new, shown = target.apply(now, wanted, "stage", {"by": "somebody", "note": "größer"})
    assert shown and (target.confirm(new, 5.0) or guarded(target))
    there = replace(target.read(), route=0)
    assert there == replace(wanted, generation=now.generation + 1, route=0) or guarded(target)
    found = target.observe()
    assert (found["up"] is True and (found["envoy"], found["weight"]) == (True, 50)) or guarded(
        target
    )
    assert found["canary"]["version"] == "b" and found["processes"][new.canary.program]["pid"]
    last = [e for e in target.history() if e["event"] == "stage"][-1]
    assert (last["by"], last["note"], last["weight"]) == ("somebody", "größer", 50)


def test_a_swap_that_comes_late_changes_nothing(served: Place) -> None:
    """Of two that decided on the same state the second is told, and so is the same call again."""
    target = served.target
    now, wanted = canaried(target)
    target.apply(now, wanted, "stage", {})
    there = target.read()
    for late in (wanted, replace(wanted, weight=1)):
        with served.open() as other, pytest.raises(RaceError) as raised:
            other.apply(now, late, "stage", {})
        assert raised.value.status == 24
    # The same call on the same target may find what it did itself: it is that, or it is refused.
    assert target.read() == there or guarded(target)


def test_a_service_is_launched_once(served: Place) -> None:
    """The same digest again is the service that is there: one process, one port."""
    target = served.target
    first = target.read().stable
    again = target.launch("a", digest("a"), Path("/nowhere"), argv("a", "good"))
    assert again == first
    processes = target.observe()["processes"]
    assert [n for n in processes if n.startswith("model-")] == [again.program]


def test_a_service_is_asked_and_says_what_model_it_is(served: Place) -> None:
    """Questions are answered in order; a port where nobody is gives status 0."""
    target = served.target
    arm = target.read().stable
    row = json.dumps({"rows": [{"x": 0.5}]})
    ready_, version, predicted = target.ask(
        arm, [Ask("/readyz"), Ask("/version"), Ask("/predict", row)]
    )
    assert ready_[0] == 200 and json.loads(version[1])["digest"] == digest("a")
    assert json.loads(predicted[1])["predictions"]
    assert target.ask(replace(arm, port=1), [Ask("/readyz")]) == [(0, "")]


def test_a_service_that_ended_says_why_and_one_that_is_not_kept_is_stopped(served: Place) -> None:
    """The last words of a service that cannot start; retire leaves the state's and those named."""
    target = served.target
    program = [sys.executable, "-c", "raise SystemExit('no model today')"]
    bad = target.launch("x", digest("x"), Path("/nowhere"), program)
    for _ in range(200):
        if (said := target.ended(bad)) is not None:
            break
        time.sleep(0.05)
    # Asked once more it may just be started again, and has not ended.
    assert "no model today" in str(said)
    kept, other = launched(target, "c"), launched(target, "d")
    target.retire(kept)
    names = {n for n in target.observe()["processes"] if n.startswith("model-")}
    assert names == {kept.program, target.read().stable.program}
    assert target.ended(kept) is None and target.ended(other) is not None


@pytest.mark.slow
@pytest.mark.parametrize("place", ["local"], indirect=True)
def test_a_handover_that_was_cut_off_survives_what_is_not_kept(served: Place) -> None:
    """Of two Envoys the old one is drained already: the one that answers is not retired."""
    try:
        handover._take_over(served.folder, host.NEXT, "bootstrap-next.json")
        served.target.retire()
        assert host.NEXT in host.programs(served.folder)
        port = host.ports(served.folder)["public"]
        for _ in range(20):
            assert envoy.ask(port, "/readyz")
    finally:
        served.target.down()  # what comes next sets up one Envoy


def test_offline_answers_are_kept_and_taken_away(served: Place) -> None:
    """What the guard holds served answers against is on the host, whole."""
    answers = {digest("a"): [[0.1], [1 / 3]]}
    served.target.expect(answers)
    assert json.loads((served.folder / "expected.json").read_text("utf-8")) == answers
    served.target.expect(None)
    assert not (served.folder / "expected.json").exists()


def test_the_record_keeps_its_order(served: Place) -> None:
    """What is recorded is appended, whoever writes."""
    served.target.record("one", by="somebody", n=1)
    with served.open() as other:
        other.record("two", reason='a "quoted"\nline')
    last = served.target.history()[-2:]
    assert [e["event"] for e in last] == ["one", "two"]
    assert last[1]["reason"] == 'a "quoted"\nline'


def test_one_command_at_a_time(served: Place) -> None:
    """A second command is refused with 24 while the first holds the lock, and seen to wait."""
    with served.open() as other:
        with served.target.alone():
            assert served.target.observe()["waiting"] is True
            with pytest.raises(RaceError), other.alone():
                pass
        with other.alone():
            pass
    assert served.target.observe()["waiting"] is False


def test_the_lock_dies_with_its_owner(served: Place) -> None:
    """Kill -9 of the process that holds it (of its ssh, where there is one) sets it free."""
    source = str(Path(machine.__file__).parents[2])
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, served.address], stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": source},
    )  # fmt: skip
    try:
        assert process.stdout is not None
        word, pid = process.stdout.readline().split()
        assert word == "held" and (served.kind == "local") == (pid == "0")
        assert served.target.observe()["waiting"] is True
        os.kill(int(pid) or process.pid, signal.SIGKILL)
        deadline = time.monotonic() + 30
        while served.target.observe()["waiting"] and time.monotonic() < deadline:
            time.sleep(0.1)
        with served.target.alone():
            pass
    finally:
        process.kill()
        process.wait()


def test_what_ran_comes_back_at_its_weights(served: Place) -> None:
    """After a reboot `ensure` brings back the versions, and traffic its weights."""
    target = served.target
    now, wanted = canaried(target)
    new, _ = target.apply(now, wanted, "stage", {})
    before = {n: p["pid"] for n, p in target.observe()["processes"].items()}
    sshd.power_cut(served.folder)
    assert target.observe()["up"] is False
    target.ensure()
    assert (target.confirm(new, 10.0) and target.read().weight == 50) or guarded(target)
    after = {n: p["pid"] for n, p in target.observe()["processes"].items()}
    assert after.keys() == before.keys() and not set(after.values()) & set(before.values())
    assert ready(target, new.stable) and ready(target, new.canary)
    target.down()
    assert target.observe()["up"] is False and not host.marked(served.folder)
    assert target.read().weight == 50 or guarded(target)


# ---- the connection is cut in the middle of each call --------------------------------------------


def cut(served: Place, agent: str, moment: str) -> None:
    """Let the agent end once at `moment`, such as `apply before`."""
    script = Path(__file__).with_name("cut_agent.py")
    words = agent.replace("-m mainline.rollout.agent", f"'{script}'")
    (served.folder / "agent").write_text(words, "utf-8")
    (served.folder / "cut").write_text(moment, "utf-8")


def performed(served: Place, target: Target, call: str) -> None:
    """Make one call of each kind, and see that it came about."""
    now = target.read()
    assert now.stable is not None
    if call == "apply":
        wanted = replace(now, reason="cut in the middle")
        new, shown = target.apply(now, wanted, "cut", {})
        assert shown and new.reason == "cut in the middle"
        assert target.read().generation == now.generation + 1
    elif call == "launch":
        arm = launched(target, "e")
        programs = [n for n in target.observe()["processes"] if n == arm.program]
        assert programs == [arm.program]
    elif call == "ask":
        assert target.ask(now.stable, [Ask("/readyz")])[0][0] == 200
    elif call == "retire":
        target.retire()
        live = {n for n in target.observe()["processes"] if n.startswith("model-")}
        assert live == {now.stable.program}
    elif call == "lock":
        with target.alone():
            assert target.observe()["waiting"] is True
    elif call == "record":
        target.record("cut")
        assert target.history()[-1]["event"] == "cut"
    elif call == "confirm":
        assert target.confirm(now, 5.0)
    elif call == "ended":
        assert target.ended(now.stable) is None
    elif call == "replay":
        assert "log" in target.replay(now.stable, now.stable, 10)["why"]
    elif call == "labels":
        assert target.labels()["skipped"]
    elif call == "expect":
        target.expect({"sha256:0": [[1.0]]})
        assert (served.folder / "expected.json").exists()
        target.expect(None)
    elif call == "observe":
        assert target.observe()["up"] is True
    elif call == "history":
        assert target.history()
    elif call == "ensure":
        target.ensure()
    elif call == "down":
        target.down()
        assert not host.marked(served.folder)


@pytest.mark.parametrize("place", ["ssh"], indirect=True)
@pytest.mark.parametrize("call", ["lock", *sorted(wire.CALLS)])
def test_a_call_that_is_cut_is_made_again(served: Place, call: str) -> None:
    """The agent dies before and after each call: the call comes about once, and nothing is half."""
    agent = (served.folder / "agent").read_text("utf-8")
    try:
        for moment in ("before", "after"):
            cut(served, agent, f"{call} {moment}")
            with served.open() as target:
                assert isinstance(target, RemoteTarget)
                performed(served, target, call)
            assert (served.folder / "cut").read_text("utf-8") == "", f"was not cut {moment}"
    finally:
        (served.folder / "agent").write_text(agent, "utf-8")
        (served.folder / "cut").unlink(missing_ok=True)
